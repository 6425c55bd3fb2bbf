#include "harness/app/calibration_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace sluice {
namespace {

Calibration sample() {
  Calibration calibration{"host", "2026-11-26T07:00:00Z", {}};
  for (const std::uint32_t streams : {1, 100, 1000}) {
    CalibrationRow row;
    row.streams = streams;
    row.rate = 100;
    row.events = streams * 300;
    row.ttft_kernel = {2, streams * 1.5, 40};
    row.gap_user = {1, 7.25, 9};
    calibration.rows.push_back(row);
  }
  return calibration;
}

TEST(CalibrationFile, ReadsWhatItHasWritten) {
  const Calibration written = sample();
  const auto read = parse_calibration(to_json(written));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->machine, "host");
  EXPECT_EQ(read->calibrated_at, written.calibrated_at);
  ASSERT_EQ(read->rows.size(), 3u);
  EXPECT_EQ(read->rows[2].streams, 1000u);
  EXPECT_DOUBLE_EQ(read->rows[2].ttft_kernel.p99_us, 1500);
  EXPECT_DOUBLE_EQ(read->rows[0].gap_user.p99_us, 7.25);
}

TEST(CalibrationFile, AnythingElseIsAsGoodAsNone) {
  std::string whole = to_json(sample());
  for (std::size_t bytes = 0; bytes + 3 < whole.size(); bytes += 7)
    EXPECT_FALSE(parse_calibration(whole.substr(0, bytes))) << bytes;
  for (const char* text : {"", "[]", "{}", "{\"machine\":1}", "{\"machine\":\"a\",\"calibrated_at\":\"b\",\"rows\":[]}",
                           "{\"machine\":\"a\",\"calibrated_at\":\"b\",\"rows\":[{}]}"})
    EXPECT_FALSE(parse_calibration(text)) << text;
  EXPECT_FALSE(parse_calibration(std::string(1 << 20, ' ') + whole)) << "too long";
}

TEST(CalibrationFile, CountsOnlyOnTheMachineThatItIsOf) {
  const std::string path = (std::filesystem::path(testing::TempDir()) / "sluice-calibration" / "c.json").string();
  ASSERT_TRUE(store(sample(), path));
  EXPECT_TRUE(stored_calibration(path, "host"));
  EXPECT_FALSE(stored_calibration(path, "other"));
  EXPECT_FALSE(stored_calibration(path + ".none", "host"));
  EXPECT_FALSE(stored_calibration("", "host"));
  EXPECT_FALSE(store(sample(), "/proc/none/c.json"));
}

TEST(CalibrationFile, AReportNamesTheRowThatFitsItsLoad) {
  for (const auto& [vus, streams] : {std::pair(1, 1), {2, 100}, {100, 100}, {101, 1000}, {5000, 1000}}) {
    const auto named = calibration_for(sample(), static_cast<std::uint64_t>(vus));
    EXPECT_EQ(named.streams, static_cast<std::uint64_t>(streams)) << vus;
    EXPECT_DOUBLE_EQ(named.ttft_p99_us, streams * 1.5);
    EXPECT_DOUBLE_EQ(named.user_gap_p99_us, 7.25);
  }
}

}  // namespace
}  // namespace sluice
