#include "harness/cohost/engine_metrics.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>

namespace sluice {

namespace {

/// name{labels} value
struct Line {
  std::string_view name, labels, value;
};

std::optional<Line> read_line(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.empty() || line.front() == '#') return std::nullopt;
  const auto name_end = line.find_first_of("{ ");
  if (name_end == std::string_view::npos) return std::nullopt;
  Line read{line.substr(0, name_end), {}, {}};
  line.remove_prefix(name_end);
  if (line.front() == '{') {
    bool quoted = false;
    std::size_t i = 1;
    for (; i < line.size() && (quoted || line[i] != '}'); ++i) {
      if (line[i] == '"') quoted = !quoted;
      if (quoted && line[i] == '\\') ++i;
    }
    if (i >= line.size()) return std::nullopt;
    read.labels = line.substr(1, i - 1);
    line.remove_prefix(i + 1);
  }
  while (line.starts_with(' ')) line.remove_prefix(1);
  read.value = line.substr(0, line.find(' '));
  return read;
}

/// The value of a label, its escapes resolved; empty when there is none.
std::string label(std::string_view labels, std::string_view name) {
  while (!labels.empty()) {
    const auto equals = labels.find("=\"");
    if (equals == std::string_view::npos) return {};
    const auto found = labels.substr(0, equals);
    std::string value;
    std::size_t i = equals + 2;
    for (; i < labels.size() && labels[i] != '"'; ++i) {
      if (labels[i] == '\\' && i + 1 < labels.size()) {
        ++i;
        value += labels[i] == 'n' ? '\n' : labels[i];
      } else {
        value += labels[i];
      }
    }
    if (found == name) return value;
    labels.remove_prefix(std::min(i + 1, labels.size()));
    while (labels.starts_with(',') || labels.starts_with(' ')) labels.remove_prefix(1);
  }
  return {};
}

}  // namespace

EngineReading read_engine_metrics(std::string_view text) {
  EngineReading reading;
  std::optional<double> blocks, held, preemptions, steps;
  struct Wanted {
    std::string_view name;
    std::optional<double>& into;
  };
  const Wanted wanted[] = {{"sluice_requests_running", reading.running},
                           {"sluice_requests_queued", reading.queued},
                           {"sluice_kv_blocks", blocks},
                           {"sluice_kv_blocks_held", held},
                           {"sluice_preemptions_total", preemptions},
                           {"sluice_steps_total", steps}};
  bool known = false;
  while (!text.empty()) {
    const auto line = read_line(text.substr(0, text.find('\n')));
    text.remove_prefix(std::min(text.find('\n'), text.size() - 1) + 1);
    if (!line) continue;
    if (line->name == "sluice_engine_info" && !known) {
      known = true;
      reading.identity = {label(line->labels, "model"), label(line->labels, "backend"), label(line->labels, "device")};
      if (reading.identity.model.empty()) reading.identity.model = label(line->labels, "model_name");
    }
    for (const auto& [name, into] : wanted) {
      double value = 0;
      if (line->name != name || into) continue;
      const auto [end, error] = std::from_chars(line->value.data(), line->value.data() + line->value.size(), value);
      if (error == std::errc{} && std::isfinite(value) && value >= 0) into = value;
    }
  }
  const auto whole = [](const std::optional<double>& value) -> std::optional<std::uint64_t> {
    if (!value || *value > 1e18) return std::nullopt;
    return static_cast<std::uint64_t>(*value);
  };
  reading.preemptions = whole(preemptions);
  reading.steps = whole(steps);
  if (blocks && held && *blocks > 0) reading.kv_usage_percent = *held / *blocks * 100;
  return reading;
}

}  // namespace sluice
