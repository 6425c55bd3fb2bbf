#include "harness/scenario/threshold_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "harness/base/duration.h"
#include "harness/base/limits.h"
#include "harness/base/nearest.h"
#include "harness/scenario/timeline.h"

namespace sluice {

void ThresholdReader::read_thresholds(const YamlMember& member) {
  if (!member.value.is_mapping())
    return problems_.add(member.value.place, "thresholds: must be a mapping of metrics to expressions");
  for (const auto& entry : member.value.members) {
    const auto selection = parse_selection(entry.key, plan_.metrics);
    if (!selection) {
      problems_.add(entry.place, selection.error().message);
      continue;
    }
    check_selection(*selection, entry.place, entry.key);
    if (entry.value.is_sequence()) {
      for (const auto& item : entry.value.items) read_threshold(item, *selection);
      if (entry.value.items.empty()) problems_.add(entry.value.place, fmt::format("{}: the list is empty", entry.key));
    } else {
      read_threshold(entry.value, *selection);
    }
  }
}

void ThresholdReader::read_threshold(const YamlNode& node, const Selection& selection) {
  const YamlNode* expression = &node;
  bool abort = false;
  Nanoseconds delay{}, over{};
  std::uint64_t min_samples = 0;
  if (node.is_mapping()) {
    Section section(node, "threshold", "a threshold", problems_);
    const auto* inner = section.take("threshold");
    abort = scalars_.truth(section.take("abort_on_fail")).value_or(false);
    const auto* delay_member = section.take("delay_abort_eval");
    delay = scalars_.duration(delay_member).value_or(Nanoseconds{});
    if (abort && is_sampled(selection.metric))
      problems_.add(node.place, fmt::format("abort_on_fail: {} is known only at the end of the run",
                                            info(plan_.metrics, selection.metric).name));
    if (delay_member && !abort)
      problems_.add(delay_member->place, "delay_abort_eval: has an effect only with abort_on_fail: true");
    const auto* over_member = section.take("over");
    over = scalars_.positive_duration(over_member).value_or(Nanoseconds{});
    if (over.count() > 0) check_windows("over", selection.metric, over, 1, over_member->value.place);
    min_samples = scalars_.whole(section.take("min_samples"), 1, kWholeMax).value_or(0);
    if (!inner) return;
    expression = &inner->value;
  }
  const auto filled = scalars_.filled(*expression, info(plan_.metrics, selection.metric).name);
  if (!filled) return;
  if (!filled->is_plain()) return problems_.add(node.place, "a threshold cannot change with each iteration");
  auto threshold = parse_threshold(filled->plain(), info(plan_.metrics, selection.metric));
  if (!threshold)
    return scalars_.refuse(*expression, *filled, info(plan_.metrics, selection.metric).name, threshold.error().message);
  if (filled->shown != filled->plain()) threshold->text = filled->shown;
  threshold->selector = selection.tags;
  threshold->abort_on_fail = abort;
  threshold->delay_abort_eval = delay;
  threshold->over = over;
  threshold->min_samples = min_samples;
  threshold->place = expression->place;
  plan_.thresholds.push_back(std::move(*threshold));
}

// Windows are kept in memory for the whole run, so their number has a bound; a run without a single one would fail at
// its end.

void ThresholdReader::check_windows(std::string_view key, Metric metric, Nanoseconds over, std::uint64_t least,
                                    Place place) {
  if (is_sampled(metric) || metric == Metric::vus || metric == Metric::vus_max)
    return problems_.add(place, fmt::format("{}: {} is not kept by windows", key, info(plan_.metrics, metric).name));
  const Nanoseconds end = load_end(plan_);
  if (end.count() == 0) return;
  const Nanoseconds measured = end - measured_from(plan_);
  if (least > static_cast<std::uint64_t>(std::max<std::int64_t>(measured / over, 0)))
    return problems_.add(place, fmt::format("{}: {} of {} is longer than the {} that the load is measured", key,
                                            least == 1 ? "a window" : fmt::format("the time of {} windows", least),
                                            format_duration(over), format_duration(measured)));
  Nanoseconds graceful{};
  for (const auto& scenario : plan_.scenarios) graceful = std::max(graceful, scenario.graceful_stop);
  windows_ += static_cast<std::uint64_t>((measured + graceful) / over) + 1;
  if (windows_ > limits::windows_max)
    problems_.add(place, fmt::format("{}: {} makes {} windows with those before; at most {} are kept: take longer ones",
                                     key, format_duration(over), windows_, limits::windows_max));
}

void ThresholdReader::read_stable(const YamlMember& member) {
  Section section(member.value, "stable", "stable", problems_);
  if (!section.is_mapping()) return;
  Stability rule;
  const auto* metric = section.take("metric");
  rule.window = scalars_.positive_duration(section.take("window")).value_or(rule.window);
  rule.windows = static_cast<std::uint32_t>(
      scalars_.whole(section.take("windows"), 2, limits::windows_max).value_or(rule.windows));
  rule.tolerance = read_tolerance(section.take("tolerance")).value_or(rule.tolerance);
  rule.required = scalars_.truth(section.take("required")).value_or(false);
  if (metric == nullptr) return;
  const auto read = [&](const YamlNode& node) {
    const auto text = scalars_.text(node, "metric");
    if (!text) return;
    auto wanted = parse_stable_metric(*text, plan_.metrics);
    if (!wanted) return scalars_.refuse(node, *scalars_.filled(node, "metric"), "metric", wanted.error().message);
    check_selection({wanted->metric, wanted->selector}, node.place, *text);
    if (rule.window.count() > 0) check_windows("stable", wanted->metric, rule.window, rule.windows, node.place);
    rule.metrics.push_back(std::move(*wanted));
  };
  if (metric->value.is_sequence()) {
    for (const YamlNode& item : metric->value.items) read(item);
    if (metric->value.items.empty()) problems_.add(metric->value.place, "metric: the list is empty");
  } else {
    read(metric->value);
  }
  plan_.stable = std::move(rule);
}

/// "5%", or 0.05.
std::optional<double> ThresholdReader::read_tolerance(const YamlMember* member) {
  const auto text = scalars_.text(member);
  if (!text) return std::nullopt;
  const bool percent = text->ends_with('%');
  double share = 0;
  if (parse_decimal(percent ? std::string_view(*text).substr(0, text->size() - 1) : *text, share)) {
    if (percent) share /= 100;
    if (share > 0 && share <= 1) return share;
  }
  scalars_.refuse(member->value, *scalars_.filled(member->value, member->key), member->key,
                  fmt::format("'{}' is no share of the mean: write 5% or 0.05, at most 100%", *text));
  return std::nullopt;
}

// A selector that nothing can match would fail for want of samples, but only after the whole run.

void ThresholdReader::check_selection(const Selection& selection, Place place, const std::string& text) {
  if (is_sampled(selection.metric)) {
    for (const auto& scenario : plan_.scenarios)
      if (std::holds_alternative<FindMax>(scenario.shape))
        problems_.add(place, fmt::format("{} is sampled over the whole run: a trial of find-max cannot be judged by it",
                                         info(plan_.metrics, selection.metric).name));
    if (!selection.tags.empty())
      problems_.add(
          place, fmt::format("{} is of the whole engine: it has no tags", info(plan_.metrics, selection.metric).name));
    if (!plan_.target.engine && !plan_.target.url.empty())
      problems_.add(place, fmt::format("{} is sampled of an engine that the run starts (target.engine), not of a url",
                                       info(plan_.metrics, selection.metric).name));
    return;
  }
  std::map<std::string, std::set<std::string>> values;
  for (const auto& scenario : plan_.scenarios) {
    values["scenario"].insert(scenario.name);
    for (std::size_t i = stage_lengths(scenario.shape).size(); i > 0; --i)
      values["stage"].insert(std::to_string(i - 1));
    for (const auto& [key, value] : scenario.tags) values[key].insert(value);
    collect_tags(scenario.flow, "", values);
  }
  static constexpr std::string_view dynamic[] = {"status", "expected_response", "rule", "url"};
  for (const auto& [key, value] : selection.tags) {
    if (is_custom(selection.metric) && (key == "status" || key == "expected_response" || key == "rule")) {
      problems_.add(place, fmt::format("'{}': {} belongs to requests, not to a metric of the file's own", text, key));
      continue;
    }
    if (key == "stage" && (selection.metric == Metric::vus || selection.metric == Metric::vus_max)) {
      problems_.add(place,
                    fmt::format("'{}': {} is not kept by stage", text, info(plan_.metrics, selection.metric).name));
      continue;
    }
    if (std::find(std::begin(dynamic), std::end(dynamic), key) != std::end(dynamic)) continue;
    const auto known = values.find(key);
    if (known == values.end()) {
      std::vector<std::string_view> names(std::begin(dynamic), std::end(dynamic));
      for (const auto& [name, ignored] : values) names.push_back(name);
      problems_.add(place, fmt::format("'{}': nothing has the tag '{}'{}", text, key, did_you_mean(key, names)));
    } else if (!known->second.contains(value)) {
      problems_.add(place, fmt::format("'{}': nothing has the tag {}:{}; there is {}", text, key, value,
                                       fmt::join(known->second, ", ")));
    }
  }
}

void ThresholdReader::collect_tags(const std::vector<Step>& steps, const std::string& group,
                                   std::map<std::string, std::set<std::string>>& values) {
  values["group"].insert(group);
  for (const auto& step : steps) {
    values["name"].insert(step.name);
    for (const auto& [key, value] : step.tags) values[key].insert(value);
    if (std::holds_alternative<ChatStep>(step.verb) || std::holds_alternative<CompletionStep>(step.verb))
      values["method"].insert("POST");
    if (const auto* http = std::get_if<HttpStep>(&step.verb)) values["method"].insert(http->method);
    if (std::holds_alternative<WebSocketStep>(step.verb)) values["method"].insert("GET");
    if (const auto* sse = std::get_if<SseStep>(&step.verb)) values["method"].insert(sse->request.method);
    const auto* inner = std::get_if<GroupStep>(&step.verb);
    const std::string group_inside = inner != nullptr ? group + "::" + inner->name : group;
    for_each_block(step, [&](const auto& block) { collect_tags(block, group_inside, values); });
  }
}

}  // namespace sluice
