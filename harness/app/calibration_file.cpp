#include "harness/app/calibration_file.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace sluice {
namespace {

constexpr std::size_t kBytesMax = std::size_t{1} << 16;

std::string figures_json(const ErrorFigures& figures) {
  return fmt::format(R"([{:.3f},{:.3f},{:.3f}])", figures.p50_us, figures.p99_us, figures.max_us);
}

bool read_figures(simdjson::dom::element row, const char* name, ErrorFigures& into) {
  simdjson::dom::array values;
  if (row[name].get(values) != simdjson::SUCCESS || values.size() != 3) return false;
  return values.at(0).get(into.p50_us) == simdjson::SUCCESS && values.at(1).get(into.p99_us) == simdjson::SUCCESS &&
         values.at(2).get(into.max_us) == simdjson::SUCCESS;
}

}  // namespace

std::string to_json(const Calibration& calibration) {
  std::string text = fmt::format("{{\"machine\":\"{}\",\"calibrated_at\":\"{}\",\"rows\":[", calibration.machine,
                                 calibration.calibrated_at);
  for (std::size_t i = 0; i < calibration.rows.size(); ++i) {
    const CalibrationRow& row = calibration.rows[i];
    text += fmt::format(
        "{}\n{{\"streams\":{},\"rate\":{:.3f},\"events\":{},\"lost\":{},\"ttft_kernel_us\":{},\"ttft_user_us\":{},"
        "\"gap_kernel_us\":{},\"gap_user_us\":{},\"duration_kernel_us\":{},\"duration_user_us\":{}}}",
        i == 0 ? "" : ",", row.streams, row.rate, row.events, row.lost, figures_json(row.ttft_kernel),
        figures_json(row.ttft_user), figures_json(row.gap_kernel), figures_json(row.gap_user),
        figures_json(row.duration_kernel), figures_json(row.duration_user));
  }
  return text + "\n]}\n";
}

std::optional<Calibration> parse_calibration(std::string_view text) {
  simdjson::dom::parser parser;
  simdjson::dom::element file;
  simdjson::dom::array rows;
  std::string_view machine, at;
  if (text.size() > kBytesMax || parser.parse(simdjson::padded_string(text)).get(file) != simdjson::SUCCESS ||
      file["machine"].get(machine) != simdjson::SUCCESS || file["calibrated_at"].get(at) != simdjson::SUCCESS ||
      file["rows"].get(rows) != simdjson::SUCCESS || rows.size() == 0)
    return std::nullopt;
  Calibration result{std::string(machine), std::string(at), {}};
  for (const simdjson::dom::element each : rows) {
    CalibrationRow row;
    std::uint64_t streams = 0;
    if (each["streams"].get(streams) != simdjson::SUCCESS || streams > 1'000'000 ||
        each["rate"].get(row.rate) != simdjson::SUCCESS || each["events"].get(row.events) != simdjson::SUCCESS ||
        each["lost"].get(row.lost) != simdjson::SUCCESS)
      return std::nullopt;
    row.streams = static_cast<std::uint32_t>(streams);
    for (const auto& [name, figures] :
         {std::pair("ttft_kernel_us", &row.ttft_kernel), std::pair("ttft_user_us", &row.ttft_user),
          std::pair("gap_kernel_us", &row.gap_kernel), std::pair("gap_user_us", &row.gap_user),
          std::pair("duration_kernel_us", &row.duration_kernel), std::pair("duration_user_us", &row.duration_user)})
      if (!read_figures(each, name, *figures)) return std::nullopt;
    result.rows.push_back(row);
  }
  return result;
}

std::string calibration_path() {
  const auto in = [](const char* folder) { return std::string(folder) + "/sluice/calibration.json"; };
  if (const char* const state = std::getenv("XDG_STATE_HOME"); state != nullptr && *state == '/') return in(state);
  const char* const home = std::getenv("HOME");
  return home != nullptr && *home == '/' ? in((std::string(home) + "/.local/state").c_str()) : std::string();
}

Result<void> store(const Calibration& calibration, const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << to_json(calibration);
  file.close();
  if (!file) return fail(fmt::format("{} cannot be written", path));
  return {};
}

std::optional<Calibration> stored_calibration(const std::string& path, const std::string& machine) {
  std::ifstream file(path, std::ios::binary);
  if (path.empty() || !file) return std::nullopt;
  std::string text;
  text.resize(kBytesMax + 1);
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  auto found = parse_calibration(text);
  if (found && found->machine != machine) return std::nullopt;
  return found;
}

reports::CalibrationResult calibration_for(const Calibration& calibration, std::uint64_t vus) {
  const auto fits = std::find_if(calibration.rows.begin(), calibration.rows.end(),
                                 [&](const CalibrationRow& row) { return row.streams >= vus; });
  const CalibrationRow& row = fits != calibration.rows.end() ? *fits : calibration.rows.back();
  return {.calibrated_at = calibration.calibrated_at,
          .streams = row.streams,
          .ttft_p99_us = row.ttft_kernel.p99_us,
          .gap_p99_us = row.gap_kernel.p99_us,
          .user_ttft_p99_us = row.ttft_user.p99_us,
          .user_gap_p99_us = row.gap_user.p99_us};
}

}  // namespace sluice
