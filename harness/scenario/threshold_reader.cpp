#include "harness/scenario/threshold_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "harness/base/nearest.h"

namespace sluice {

void ThresholdReader::read_thresholds(const YamlMember& member) {
  if (!member.value.is_mapping())
    return problems_.add(member.value.place, "thresholds: must be a mapping of metrics to expressions");
  for (const auto& entry : member.value.members) {
    const auto selection = parse_selection(entry.key);
    if (!selection) {
      problems_.add(entry.place, selection.error().message);
      continue;
    }
    check_selection(*selection, entry);
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
  Nanoseconds delay{};
  if (node.is_mapping()) {
    Section section(node, "threshold", "a threshold", problems_);
    const auto* inner = section.take("threshold");
    abort = scalars_.truth(section.take("abort_on_fail")).value_or(false);
    const auto* delay_member = section.take("delay_abort_eval");
    delay = scalars_.duration(delay_member).value_or(Nanoseconds{});
    if (abort && is_sampled(selection.metric))
      problems_.add(node.place,
                    fmt::format("abort_on_fail: {} is known only at the end of the run", info(selection.metric).name));
    if (delay_member && !abort)
      problems_.add(delay_member->place, "delay_abort_eval: has an effect only with abort_on_fail: true");
    if (!inner) return;
    expression = &inner->value;
  }
  const auto filled = scalars_.filled(*expression, info(selection.metric).name);
  if (!filled) return;
  if (!filled->is_plain()) return problems_.add(node.place, "a threshold cannot change with each iteration");
  auto threshold = parse_threshold(filled->plain(), selection.metric);
  if (!threshold) return scalars_.refuse(*expression, *filled, info(selection.metric).name, threshold.error().message);
  if (filled->shown != filled->plain()) threshold->text = filled->shown;
  threshold->selector = selection.tags;
  threshold->abort_on_fail = abort;
  threshold->delay_abort_eval = delay;
  threshold->place = expression->place;
  plan_.thresholds.push_back(std::move(*threshold));
}

// A selector that nothing can match would fail for want of samples, but only after the whole run.

void ThresholdReader::check_selection(const Selection& selection, const YamlMember& entry) {
  if (is_sampled(selection.metric)) {
    if (!selection.tags.empty())
      problems_.add(entry.place, fmt::format("{} is of the whole engine: it has no tags", info(selection.metric).name));
    if (!plan_.target.engine && !plan_.target.url.empty())
      problems_.add(entry.place,
                    fmt::format("{} is sampled of an engine that the run starts (target.engine), not of a url",
                                info(selection.metric).name));
    return;
  }
  std::map<std::string, std::set<std::string>> values;
  for (const auto& scenario : plan_.scenarios) {
    values["scenario"].insert(scenario.name);
    for (const auto& [key, value] : scenario.tags) values[key].insert(value);
    collect_tags(scenario.flow, "", values);
  }
  static constexpr std::string_view dynamic[] = {"status", "expected_response", "rule", "url"};
  for (const auto& [key, value] : selection.tags) {
    if (std::find(std::begin(dynamic), std::end(dynamic), key) != std::end(dynamic)) continue;
    const auto known = values.find(key);
    if (known == values.end()) {
      std::vector<std::string_view> names(std::begin(dynamic), std::end(dynamic));
      for (const auto& [name, ignored] : values) names.push_back(name);
      problems_.add(entry.place,
                    fmt::format("'{}': nothing has the tag '{}'{}", entry.key, key, did_you_mean(key, names)));
    } else if (!known->second.contains(value)) {
      problems_.add(entry.place, fmt::format("'{}': nothing has the tag {}:{}; there is {}", entry.key, key, value,
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
    if (std::holds_alternative<ChatStep>(step.verb)) values["method"].insert("POST");
    if (const auto* http = std::get_if<HttpStep>(&step.verb)) values["method"].insert(http->method);
    if (std::holds_alternative<WebSocketStep>(step.verb)) values["method"].insert("GET");
    if (const auto* inner = std::get_if<GroupStep>(&step.verb))
      collect_tags(inner->steps, group + "::" + inner->name, values);
  }
}

}  // namespace sluice
