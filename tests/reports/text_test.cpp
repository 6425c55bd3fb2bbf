#include "reports/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "reports/format.h"
#include "tests/reports/sample_summary.h"

namespace sluice::reports {
namespace {

using testing::HasSubstr;
using testing::Not;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// Compares with a file of tests/reports/golden; UPDATE_GOLDEN=1 rewrites it.
void expect_golden(const std::string& name, const std::string& text) {
  const std::string path = SLUICE_SOURCE_DIR "/tests/reports/golden/" + name;
  if (std::getenv("UPDATE_GOLDEN") != nullptr) std::ofstream(path, std::ios::binary) << text;
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file) << path;
  std::stringstream wanted;
  wanted << file.rdbuf();
  EXPECT_EQ(text, wanted.str()) << path;
}

TEST(Text, LooksAsReviewed) {
  expect_golden("sample_100.txt", to_text(sample_summary()));
  expect_golden("sample_140.txt", to_text(sample_summary(), {.color = false, .width = 140}));
  expect_golden("gpu_100.txt", to_text(gpu_summary()));
  expect_golden("small_80.txt", to_text(small_summary(), {.color = false, .width = 80}));
}

TEST(Text, StaysWithinItsWidth) {
  for (const int width : {80, 100, 120, 160})
    for (const Summary& summary : {sample_summary(), gpu_summary(), small_summary()})
      for (const std::string& line : lines_of(to_text(summary, {.color = false, .width = width})))
        EXPECT_LE(columns(line), static_cast<std::size_t>(width)) << line;
}

TEST(Text, ColourAddsNothingButEscapes) {
  std::string colored = to_text(sample_summary(), {.color = true, .width = 120}), plain;
  EXPECT_THAT(colored, HasSubstr("\x1b["));
  for (std::size_t i = 0; i < colored.size(); ++i) {
    if (colored[i] != '\x1b') {
      plain += colored[i];
      continue;
    }
    while (colored[i] != 'm') ++i;
  }
  const std::string expected = to_text(sample_summary(), {.color = false, .width = 120});
  // Spaces at a line's end are cut only where no escape follows them.
  const auto trimmed = [](const std::string& text) {
    std::string out;
    for (std::string line : lines_of(text)) out += line.erase(line.find_last_not_of(' ') + 1) + "\n";
    return out;
  };
  EXPECT_EQ(trimmed(plain), trimmed(expected));
}

TEST(Text, TextFromAServerCannotDriveTheTerminal) {
  Summary summary = small_summary();
  summary.name = "a\x1b[2Jb";
  summary.failures = {{"reset", "x\ny\x1b]0;title\x07", 1}};
  summary.findings = {{"error-event", "fatal", 1, "\r\x1b[31m"}};
  const std::string text = to_text(summary);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_EQ(text.find('\x07'), std::string::npos);
  EXPECT_THAT(text, HasSubstr("x?y"));
}

TEST(Format, WritesNumbersAsK6Does) {
  EXPECT_EQ(format_ms(0), "0s");
  EXPECT_EQ(format_ms(0.0000005), "0.5ns");
  EXPECT_EQ(format_ms(0.0215), "21.5µs");
  EXPECT_EQ(format_ms(148.214), "148.21ms");
  EXPECT_EQ(format_ms(1200), "1.2s");
  EXPECT_EQ(format_ms(60'000), "1m0s");
  EXPECT_EQ(format_ms(123'400), "2m3s");
  EXPECT_EQ(format_ms(3'723'000), "1h2m3s");
  EXPECT_EQ(format_bytes(711), "711 B");
  EXPECT_EQ(format_bytes(4900), "4.9 kB");
  EXPECT_EQ(format_bytes(999'700), "1.0 MB");
  EXPECT_EQ(format_bytes(519'000), "519 kB");
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_number(6.561087), "6.5611");
  EXPECT_EQ(format_number(12), "12");
  EXPECT_EQ(format_number(0.5), "0.5");
  EXPECT_EQ(format_number(-0.0), "0");
  EXPECT_EQ(format_count(1234567), "1 234 567");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_seconds(9.84), "9.8s");
}

TEST(Format, AShareIsNeverRoundedToNoneOrAll) {
  EXPECT_EQ(format_share(0), "0.00%");
  EXPECT_EQ(format_share(1), "100.00%");
  EXPECT_EQ(format_share(1e-6), "<0.01%");
  EXPECT_EQ(format_share(1 - 1e-6), ">99.99%");
  EXPECT_EQ(format_share(0.0321), "3.21%");
}

TEST(Format, AShareOfATimeIsOneWhateverAFileSays) {
  TtftSplitResult split{.parts = {{.name = "queue", .mean_ms = 1}, {.name = "prefill", .mean_ms = 3}}};
  EXPECT_DOUBLE_EQ(share_of(split, split.parts[1]), 0.75);
  for (const double odd : {-4.0, -1.0, 1e308, 0.0}) {
    split.parts = {{.mean_ms = odd}, {.mean_ms = odd}, {.mean_ms = 1}};
    for (const TtftPart& part : split.parts) {
      EXPECT_GE(share_of(split, part), 0) << odd;
      EXPECT_LE(share_of(split, part), 1) << odd;
    }
  }
}

}  // namespace
}  // namespace sluice::reports
