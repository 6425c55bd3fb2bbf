#include "harness/output/sample_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "harness/base/stream_rule.h"
#include "harness/output/text_pieces.h"

namespace sluice::samples {
namespace {

std::string_view protocol(const AnswerTags& answer) { return answer.http2 ? "HTTP/2.0" : "HTTP/1.1"; }  // k6's words

void append_tag(std::string_view key, std::string_view value, std::string& out) {
  if (!out.empty()) out += ',';
  append_json_string(key, out);
  out += ':';
  append_json_string(value, out);
}

std::string_view contains(const MetricInfo& metric) {
  if (metric.kind == MetricKind::trend && metric.unit == Unit::milliseconds) return "time";
  return metric.unit == Unit::bytes ? "data" : "default";
}

std::string selector_text(const Tags& selector) {
  std::string text;
  for (const auto& [key, value] : selector) {
    if (!text.empty()) text += ',';
    text.append(key).append(":").append(value);
  }
  return text;
}

class Ndjson final : public SampleFormat {
 public:
  Ndjson(const StaticTags& tags, const TallyLayout& layout, const std::vector<SampleThreshold>& thresholds)
      : layout_(layout), thresholds_(thresholds), described_(layout.metrics(), false) {
    for (const Tags& set : tags.all()) {
      std::string& text = static_.emplace_back();
      for (const auto& [key, value] : set) append_tag(key, value, text);
    }
  }

  void begin(std::string&) override {}

  void set_tags(std::size_t static_tags, const AnswerTags& answer) override {
    tags_ = static_[static_tags];
    if (!answer.is_answer) return;
    append_tag("expected_response", answer.expected_response ? "true" : "false", tags_);
    number_.clear();
    fmt::format_to(std::back_inserter(number_), "{}", answer.status);
    append_tag("status", number_, tags_);  // "0" where no answer came, as in k6
    if (answer.status != 0) append_tag("proto", protocol(answer), tags_);
    if (!answer.error.empty()) append_tag("error", answer.error, tags_);
    if (answer.error_code == 0) return;
    number_.clear();
    fmt::format_to(std::back_inserter(number_), "{}", answer.error_code);
    append_tag("error_code", number_, tags_);
  }

  void add(const Point& point, std::int64_t wall_ns, std::string& out) override {
    auto described = described_[static_cast<std::size_t>(point.metric)];
    if (!described) describe(point.metric, out);
    described = true;
    fmt::format_to(std::back_inserter(out), R"({{"metric":"{}","type":"Point","data":{{"time":")",
                   layout_.info(point.metric).name);
    if (wall_ns != time_at_ || time_.empty()) {
      time_.clear();
      append_rfc3339(wall_ns, time_);
      time_at_ = wall_ns;
    }
    out += time_;
    fmt::format_to(std::back_inserter(out), R"(","value":{},"tags":{{)", point.value);
    out += tags_;
    if (point.found) {
      if (!tags_.empty()) out += ',';
      append_found(*point.found, out);
    }
    out += "}}}\n";
  }

 private:
  /// The rule as a tag; what is different in each stream as metadata, as k6 has it.
  static void append_found(const Point::Found& found, std::string& out) {
    const StreamRuleInfo& rule = sluice::info(found.rule);
    fmt::format_to(std::back_inserter(out), R"("rule":"{}"}},"metadata":{{"severity":"{}","offset":"{}","stream_id":)",
                   rule.name, name_of(rule.severity), found.offset);
    append_json_string(found.stream_id, out);
    out += R"(,"bytes":)";
    append_json_string(found.bytes, out);
  }

  void describe(Metric metric, std::string& out) const {
    const MetricInfo about = layout_.info(metric);
    std::string whole, parts;
    for (const SampleThreshold& threshold : thresholds_)
      if (threshold.metric == metric && threshold.selector.empty()) {
        if (!whole.empty()) whole += ',';
        append_json_string(threshold.text, whole);
      }
    std::vector<std::string> seen;
    for (const SampleThreshold& threshold : thresholds_) {
      if (threshold.metric != metric || threshold.selector.empty()) continue;
      const std::string selector = selector_text(threshold.selector);
      if (std::find(seen.begin(), seen.end(), selector) != seen.end()) continue;
      seen.push_back(selector);
      std::string tags;
      for (const auto& [key, value] : threshold.selector) append_tag(key, value, tags);
      if (!parts.empty()) parts += ',';
      parts += R"({"name":)";
      append_json_string(fmt::format("{}{{{}}}", about.name, selector), parts);
      parts += R"(,"suffix":)";
      append_json_string(selector, parts);
      parts.append(R"(,"tags":{)").append(tags).append("}}");
    }
    fmt::format_to(std::back_inserter(out),
                   R"({{"type":"Metric","data":{{"name":"{}","type":"{}","contains":"{}","thresholds":[{}],)"
                   R"("submetrics":{}}},"metric":"{}"}})",
                   about.name, kind_name(about.kind), contains(about), whole,
                   parts.empty() ? std::string("null") : "[" + parts + "]", about.name);
    out += '\n';
  }

  const TallyLayout& layout_;
  std::vector<SampleThreshold> thresholds_;
  std::vector<std::string> static_;  // the inside of a JSON object
  std::vector<bool> described_;      // by metric
  std::string tags_, number_, time_;
  std::int64_t time_at_ = 0;
};

class Csv final : public SampleFormat {
 public:
  Csv(const StaticTags& tags, const TallyLayout& layout) : layout_(layout) {
    for (const Tags& set : tags.all()) {
      Row& row = static_.emplace_back();
      const auto cell = [&](std::string_view key, std::string& out) {
        const auto found = std::find_if(set.begin(), set.end(), [&](const auto& tag) { return tag.first == key; });
        if (found != set.end()) append_csv_cell(found->second, out);
      };
      cell("check", row.check);
      cell("group", row.what);
      row.what += ',';
      cell("method", row.what);
      row.what += ',';
      cell("name", row.what);
      cell("scenario", row.scenario);
      cell("url", row.url);
      for (const auto& [key, value] : set) {
        if (std::find(kColumns.begin(), kColumns.end(), key) != kColumns.end()) continue;
        if (!row.extra.empty()) row.extra += '&';
        row.extra.append(key).append("=").append(value);
      }
    }
  }

  void begin(std::string& out) override {
    out +=
        "metric_name,timestamp,metric_value,check,error,error_code,expected_response,group,method,name,proto,scenario,"
        "service,status,subproto,tls_version,url,extra_tags,metadata\n";
  }

  void set_tags(std::size_t static_tags, const AnswerTags& answer) override {
    const Row& row = static_[static_tags];
    extra_ = &row.extra;
    cells_ = row.check;
    cells_ += ',';
    append_csv_cell(answer.error, cells_);
    cells_ += ',';
    append_number(answer.error_code, answer.error_code != 0);
    cells_.append(answer.is_answer ? answer.expected_response ? ",true," : ",false," : ",,");
    cells_.append(row.what).append(",");
    if (answer.status != 0) cells_ += protocol(answer);
    cells_.append(",").append(row.scenario).append(",,");
    append_number(answer.status, answer.is_answer);
    cells_.append(",,,").append(row.url).append(",");
    with_extra_ = cells_;
    append_csv_cell(*extra_, with_extra_);
  }

  void add(const Point& point, std::int64_t wall_ns, std::string& out) override {
    fmt::format_to(std::back_inserter(out), "{},{},{:.6f},", layout_.info(point.metric).name, wall_ns / 1'000'000'000,
                   point.value);
    if (!point.found) {
      out += with_extra_;
    } else {
      const auto rule = sluice::info(point.found->rule).name;
      out += cells_;
      append_csv_cell(fmt::format("{}{}rule={}", *extra_, extra_->empty() ? "" : "&", rule), out);
    }
    out += ",\n";
  }

 private:
  static constexpr std::array<std::string_view, 6> kColumns{"check", "group", "method", "name", "scenario", "url"};
  struct Row {
    std::string check, what, scenario, url;
    std::string extra;  // not yet quoted
  };

  void append_number(std::uint32_t number, bool shown) {
    if (shown) fmt::format_to(std::back_inserter(cells_), "{}", number);
  }

  const TallyLayout& layout_;
  std::vector<Row> static_;
  const std::string* extra_ = nullptr;
  std::string cells_, with_extra_;
};

}  // namespace

StaticTags::StaticTags(const TallyLayout& layout) {
  for (const StepInfo& step : layout.steps()) all_.push_back(step.tags);
  first_check_ = all_.size();
  for (const CheckInfo& check : layout.checks()) {
    Tags tags = layout.steps()[check.step].tags;
    // What a check looked at is the step's; k6's points of checks have no address, but a group.
    std::erase_if(tags, [](const auto& tag) { return tag.first == "method" || tag.first == "url"; });
    tags.emplace_back("check", check.name);
    std::sort(tags.begin(), tags.end());
    all_.push_back(std::move(tags));
  }
  first_scenario_ = all_.size();
  for (std::uint32_t scenario = 0; scenario < layout.scenarios(); ++scenario)
    all_.push_back(layout.scenario_tags(scenario));
  all_.emplace_back();
}

std::uint32_t error_code_of(Outcome outcome, std::uint32_t status) {
  switch (outcome) {
    case Outcome::connect_failed:
      return 1210;  // dial error
    case Outcome::timed_out:
      return 1050;
    case Outcome::reset:
      return 1220;
    case Outcome::malformed:
      return 1000;
    case Outcome::http_error:
      return 1000 + status;
    case Outcome::ok:
    case Outcome::stream_invalid:  // not known to k6, nor is the next
    case Outcome::flow_failed:
    case Outcome::interrupted:
      break;
  }
  return 0;
}

std::unique_ptr<SampleFormat> make_ndjson(const StaticTags& tags, const TallyLayout& layout,
                                          const std::vector<SampleThreshold>& thresholds) {
  return std::make_unique<Ndjson>(tags, layout, thresholds);
}

std::unique_ptr<SampleFormat> make_csv(const StaticTags& tags, const TallyLayout& layout) {
  return std::make_unique<Csv>(tags, layout);
}

}  // namespace sluice::samples
