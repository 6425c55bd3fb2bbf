// The verbs that steer a flow (sleep, if, repeat, choose, set), and what stands beside a request: capture, abandon.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "harness/base/limits.h"
#include "harness/base/nearest.h"
#include "harness/scenario/flow_reader.h"

namespace sluice {

SleepStep FlowReader::read_sleep(const YamlMember& member) {
  SleepStep sleep;
  if (!member.value.is_mapping()) {
    const auto range = scalars_.range(&member).value_or(std::pair<Nanoseconds, Nanoseconds>{});
    sleep.from = range.first;
    sleep.to = range.second;
    return sleep;
  }
  Section section(member.value, "sleep", "sleep", problems_);
  sleep.mean = scalars_.positive_duration(section.take("mean")).value_or(Nanoseconds{});
  const auto distribution = scalars_.word(section.take("distribution"), "sleep");
  const bool normal = distribution == "normal";
  sleep.distribution = normal ? SleepStep::Distribution::normal : SleepStep::Distribution::exponential;
  const auto* deviation = section.take("deviation");
  sleep.deviation = scalars_.duration(deviation).value_or(sleep.mean / 4);
  if (deviation && !normal)
    problems_.add(deviation->place,
                  "deviation: belongs to distribution: normal; an exponential one has that of its mean");
  const auto* max = section.take("max");
  sleep.max = scalars_.positive_duration(max);
  if (sleep.max && *sleep.max < sleep.mean) problems_.add(max->value.place, "max: is less than the mean");
  return sleep;
}

IfStep FlowReader::read_if(const YamlMember& member, const YamlMember* then, const YamlMember* otherwise,
                           StepNames& names) {
  IfStep branch;
  if (auto condition = scalars_.expression(member.value, "if", kResponseNames))
    branch.condition = std::move(*condition);
  if (!then && !otherwise) problems_.add(member.place, "if: needs then: or else:");
  if (then) branch.then = read_steps(then->value, "then", names);
  if (otherwise) branch.otherwise = read_steps(otherwise->value, "else", names);
  return branch;
}

RepeatStep FlowReader::read_repeat(const YamlMember& member, const YamlMember* steps, StepNames& names) {
  RepeatStep repeat;
  const YamlMember* times = &member;
  if (member.value.is_mapping()) {
    Section section(member.value, "repeat", "repeat", problems_);
    times = section.take("times");
    const auto* condition = section.take("while");
    if (condition) repeat.condition = scalars_.expression(condition->value, "while", kResponseNames);
    if (!times && !condition) problems_.add(member.place, "repeat: needs times: or while:");
  }
  if (times) {
    const auto filled = scalars_.filled(times->value, times->key);
    if (filled && !filled->is_plain()) {
      repeat.times = scalars_.pattern(times->value, times->key);
    } else if (const auto number = filled ? scalars_.whole(times, 1, limits::repeat_rounds_max) : std::nullopt) {
      repeat.times = Template(fmt::format("{}", *number));
    }
  }
  if (steps) {
    repeat.steps = read_steps(steps->value, "steps", names);
  } else {
    problems_.add(member.place, "repeat: needs steps: beside it");
  }
  return repeat;
}

ChooseStep FlowReader::read_choose(const YamlMember& member, StepNames& names) {
  ChooseStep choose;
  if (!member.value.is_sequence() || member.value.items.empty()) {
    problems_.add(member.value.place, "choose: must be a list of {weight, steps}");
    return choose;
  }
  double sum = 0;
  for (const auto& item : member.value.items) {
    Section section(item, "way", "a way to choose", problems_);
    if (!section.is_mapping()) continue;
    ChooseStep::Way way;
    way.weight = scalars_.number(section.take("weight"), 0, 1e9).value_or(1);
    sum += way.weight;
    if (const auto* steps = section.take("steps")) way.steps = read_steps(steps->value, "steps", names);
    choose.ways.push_back(std::move(way));
  }
  if (!choose.ways.empty() && sum <= 0) problems_.add(member.value.place, "choose: no weight is over 0");
  return choose;
}

/// Whether a variable of the iteration may have this name.
bool FlowReader::is_free_name(const YamlMember& entry) {
  const std::string_view name = entry.key;
  const bool plain = !name.empty() && name.size() <= 64 && !(name[0] >= '0' && name[0] <= '9') &&
                     std::all_of(name.begin(), name.end(), [](char c) {
                       return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
                     });
  if (!plain) {
    problems_.add(entry.place, fmt::format("'{}' is no name: 1 to 64 letters, digits and _, no digit first", name));
    return false;
  }
  const auto has_it = [&](const auto& known) { return known.name == name; };
  const bool taken = is_expression_word(name) ||
                     std::find(kIterationNames.begin(), kIterationNames.end(), name) != kIterationNames.end() ||
                     std::any_of(kResponseNames.begin(), kResponseNames.end(), has_it);
  if (taken) {
    problems_.add(entry.place, fmt::format("'{}' means something else in expressions: choose another name", name));
  } else if (scalars_.variables().is_declared(name)) {
    problems_.add(entry.place, fmt::format("'{}' is a variable of env: already: choose another name", name));
  }
  return !taken;
}

SetStep FlowReader::read_set(const YamlMember& member) {
  SetStep set;
  if (!member.value.is_mapping() || member.value.members.empty()) {
    problems_.add(member.value.place, "set: must be a mapping of names to expressions");
    return set;
  }
  for (const auto& entry : member.value.members) {
    if (!is_free_name(entry)) continue;
    const bool is_text = entry.value.is_scalar() && entry.value.text.find("${") != std::string::npos;
    if (entry.value.is_null() || (entry.value.is_scalar() && entry.value.text.empty())) {
      set.assignments.push_back({entry.key, Template()});
    } else if (is_text) {
      if (auto value = scalars_.pattern(entry.value, entry.key))
        set.assignments.push_back({entry.key, std::move(*value)});
    } else if (auto value = scalars_.expression(entry.value, entry.key, kResponseNames)) {
      set.assignments.push_back({entry.key, std::move(*value)});
    }
    scalars_.flow_names.insert(entry.key);
  }
  return set;
}

std::vector<Capture> FlowReader::read_captures(const YamlMember& member) {
  std::vector<Capture> captures;
  if (!member.value.is_mapping() || member.value.members.empty()) {
    problems_.add(member.value.place, "capture: must be a mapping of names to what is captured, as in {id: $.id}");
    return captures;
  }
  if (member.value.members.size() > limits::captures_max) {
    problems_.add(member.value.place, fmt::format("more than {} captures in a step", limits::captures_max));
    return captures;
  }
  for (const auto& entry : member.value.members) {
    if (!is_free_name(entry)) continue;
    if (auto capture = read_capture(entry)) captures.push_back(std::move(*capture));
    scalars_.flow_names.insert(entry.key);
  }
  return captures;
}

std::optional<Capture> FlowReader::read_capture(const YamlMember& entry) {
  Capture capture;
  capture.name = entry.key;
  const auto read_path = [&](const YamlNode& node) {
    const auto text = scalars_.text(node, entry.key);
    if (!text) return false;
    auto path = JsonPath::parse(*text);
    if (!path) {
      const auto filled = scalars_.filled(node, entry.key);
      scalars_.refuse(node, *filled, entry.key, fmt::format("'{}': {}", *text, path.error().message));
      return false;
    }
    capture.from = std::move(*path);
    capture.text = *scalars_.shown_text(node, entry.key);
    return true;
  };
  if (!entry.value.is_mapping()) {
    if (!read_path(entry.value)) return std::nullopt;
    return capture;
  }
  Section section(entry.value, "capture", fmt::format("capture '{}'", entry.key), problems_);
  const auto *json = section.take("json"), *regex = section.take("regex"), *group = section.take("group"),
             *header = section.take("header"), *text = section.take("text"), *otherwise = section.take("default");
  const auto ways = std::array{json, regex, header, text};
  if (std::count_if(ways.begin(), ways.end(), [](const auto* way) { return way != nullptr; }) != 1) {
    problems_.add(entry.place, fmt::format("capture '{}': one of json, regex, header and text is wanted", entry.key));
    return std::nullopt;
  }
  if (group && !regex) problems_.add(group->place, "group: belongs to regex");
  if (otherwise) capture.otherwise = otherwise->value.is_null() ? std::string() : scalars_.text(otherwise);
  if (json) {
    if (!read_path(json->value)) return std::nullopt;
  } else if (regex) {
    const auto pattern = scalars_.text(regex);
    if (!pattern) return std::nullopt;
    auto compiled = Regex::compile(*pattern);
    if (!compiled) {
      scalars_.refuse(regex->value, *scalars_.filled(regex->value, "regex"), "regex", compiled.error().message);
      return std::nullopt;
    }
    Capture::Pattern made{std::move(*compiled), 0};
    const std::uint32_t groups = made.regex.groups();
    made.group = static_cast<std::uint32_t>(scalars_.whole(group, 0, 1000).value_or(groups > 0 ? 1 : 0));
    if (made.group > groups)
      problems_.add(group->value.place, fmt::format("group: the pattern has {} of them", groups));
    capture.from = std::move(made);
    capture.text = fmt::format("/{}/", *scalars_.shown_text(regex->value, "regex"));
  } else if (header) {
    auto name = scalars_.text(header);
    if (!name) return std::nullopt;
    if (name->empty()) problems_.add(header->value.place, "header: names no header");
    capture.text = fmt::format("header {}", *name);
    capture.from = Capture::Header{std::move(*name)};
  } else {
    if (scalars_.truth(text) == false) problems_.add(text->value.place, "text: true is all that can stand here");
    capture.from = Capture::WholeText{};
    capture.text = "text";
  }
  return capture;
}

std::optional<Abandon> FlowReader::read_abandon(const YamlMember& member) {
  Section section(member.value, "abandon", "abandon", problems_);
  if (!section.is_mapping()) return std::nullopt;
  Abandon abandon;
  const auto *events = section.take("after_events"), *after = section.take("after");
  abandon.after_events = scalars_.whole(events, 1, limits::content_events_kept).value_or(0);
  abandon.after = scalars_.positive_duration(after);
  if (!events && !after) problems_.add(member.place, "abandon: needs after_events: or after:");
  return abandon;
}

}  // namespace sluice
