#include "harness/scenario/flow_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "harness/base/duration.h"
#include "harness/base/limits.h"
#include "harness/base/nearest.h"

namespace sluice {

namespace {

class NoScope : public Scope {
 public:
  Value lookup(std::string_view) const override { return {}; }
};

}  // namespace

// The verb and what it addresses; a second one alike gets a number, so that each step has its own row in a report.
class FlowReader::StepNames {
 public:
  std::string unique(std::string name) {
    const int count = ++counts_[name];
    return count == 1 ? name : fmt::format("{} ({})", name, count);
  }

 private:
  std::map<std::string, int> counts_;
};

void FlowReader::read_flows(const YamlMember& member) {
  if (!member.value.is_mapping())
    return problems_.add(member.value.place, "flows: must be a mapping of names to lists of steps");
  for (const auto& entry : member.value.members) {
    StepNames names;
    steps_ = 0;
    flows_[entry.key] = read_steps(entry.value, fmt::format("flow '{}'", entry.key), names);
  }
}

std::vector<Step> FlowReader::read_steps(const YamlNode& node, std::string_view what, StepNames& names) {
  std::vector<Step> steps;
  if (!node.is_sequence() || node.items.empty()) {
    problems_.add(node.place, fmt::format("{} must be a list of at least one step", what));
    return steps;
  }
  for (const auto& item : node.items) {
    if (++steps_ > limits::steps_max) {
      problems_.add(item.place, fmt::format("more than {} steps in a flow", limits::steps_max));
      break;
    }
    if (auto step = read_step(item, names)) steps.push_back(std::move(*step));
  }
  return steps;
}

std::optional<Step> FlowReader::read_step(const YamlNode& node, StepNames& names) {
  Section section(node, "step", "a step", problems_);
  if (!section.is_mapping()) return std::nullopt;
  const auto *chat = section.take("chat"), *http = section.take("http"), *sleep = section.take("sleep"),
             *group = section.take("group"), *websocket = section.take("websocket"), *metric = section.take("metric");
  const auto *children = section.take("steps"), *check = section.take("check"), *name = section.take("name");
  const auto *tags = section.take("tags"), *timeout = section.take("timeout");
  const auto verbs = std::array{chat, http, sleep, group, websocket, metric};
  const auto count = std::count_if(verbs.begin(), verbs.end(), [](const auto* verb) { return verb != nullptr; });
  if (count != 1) {
    const bool spelled = std::any_of(node.members.begin(), node.members.end(), [](const auto& member) {
      const auto& keys = section_named("step").keys;
      return std::none_of(keys.begin(), keys.end(), [&](const auto& key) { return key.name == member.key; });
    });
    if (count > 1) {
      problems_.add(
          node.place,
          "a step has one of chat, http, websocket, sleep, metric and group, and this has more: make them steps of "
          "their own");
    } else if (!spelled) {  // else the unknown key has been named already
      problems_.add(node.place, "a step needs one of chat, http, websocket, sleep, metric and group");
    }
  }
  const bool asks = chat || http || websocket;
  if (sleep || group || metric) {
    for (const auto* extra : {check, timeout, tags}) {
      if (extra && !asks)
        problems_.add(extra->place, fmt::format("{}: belongs to chat, http and websocket steps", extra->key));
    }
  }
  if (children && !group && count > 0) problems_.add(children->place, "steps: belongs to a group");

  Step step;
  step.place = node.place;
  if (chat) {
    step.verb = read_chat(*chat);
    step.name = "chat";
  } else if (http) {
    auto read = read_http(*http);
    step.name = fmt::format("{} {}", read.method, read.shown_url);
    step.verb = std::move(read);
  } else if (websocket) {
    auto read = http_.read_websocket(*websocket);
    step.name = fmt::format("websocket {}", read.shown_url);
    step.verb = std::move(read);
  } else if (sleep) {
    const auto range = scalars_.range(sleep).value_or(std::pair<Nanoseconds, Nanoseconds>{});
    step.verb = SleepStep{range.first, range.second};
    step.name = "sleep";
  } else if (metric) {
    step.verb = read_metric(*metric);
    step.name = "metric";
  } else if (group) {
    GroupStep read;
    read.name = scalars_.text(group).value_or("");
    step.name = read.name;
    if (read.name.empty() || read.name.find("::") != std::string::npos)
      problems_.add(group->value.place, "group: a name without '::' is wanted");
    if (children) {
      read.steps = read_steps(children->value, "steps", names);
    } else {
      problems_.add(node.place, "a group needs steps:");
    }
    step.verb = std::move(read);
  }
  if (name) {
    step.name = scalars_.text(name).value_or("");
    if (step.name.empty() || step.name.size() > 200)
      problems_.add(name->value.place, "name: 1 to 200 characters are wanted");
  } else if (asks) {
    step.name = names.unique(step.name);
  }
  if (check && asks) step.checks = read_checks(*check);
  step.tags = read_tags(tags, scalars_, problems_);
  step.timeout = scalars_.positive_duration(timeout);
  return step;
}

MetricStep FlowReader::read_metric(const YamlMember& member) {
  MetricStep step;
  if (!member.value.is_mapping() || member.value.members.empty()) {
    problems_.add(member.value.place, "metric: must be a mapping of names under metrics: to numbers");
    return step;
  }
  for (const auto& entry : member.value.members) {
    const auto& metrics = *metrics_;
    const auto found =
        std::find_if(metrics.begin(), metrics.end(), [&](const auto& known) { return known.name == entry.key; });
    if (found == metrics.end()) {
      std::vector<std::string_view> names;
      for (const auto& known : metrics) names.push_back(known.name);
      problems_.add(entry.place,
                    fmt::format("metric: no '{}' stands under metrics:{}", entry.key, did_you_mean(entry.key, names)));
      continue;
    }
    auto value = scalars_.pattern(entry.value, entry.key);
    if (!value) continue;
    double number = 0;
    const std::string text = value->text();
    const bool truth = found->kind == MetricKind::rate && (text == "true" || text == "false");
    if (value->is_static() && !truth && !parse_decimal(text, number))
      problems_.add(entry.value.place, fmt::format("{}: what is given is not a number", entry.key));
    step.samples.emplace_back(custom_metric(static_cast<std::size_t>(found - metrics.begin())), std::move(*value));
  }
  return step;
}

ChatStep FlowReader::read_chat(const YamlMember& member) {
  ChatStep chat;
  Section section(member.value, "chat", "chat", problems_);
  if (!section.is_mapping()) return chat;
  const auto *prompt = section.take("prompt"), *messages = section.take("messages"), *system = section.take("system");
  if ((prompt != nullptr) == (messages != nullptr)) {
    problems_.add(member.place,
                  prompt ? "chat: has prompt and messages: one of them is wanted" : "chat: needs prompt: or messages:");
  }
  const auto add = [&](std::string_view role, const YamlMember* text) {
    if (!text) return;
    if (auto content = scalars_.pattern(text->value, text->key))
      chat.messages.push_back({Template(std::string(role)), std::move(*content)});
  };
  add("system", system);
  add("user", prompt);
  if (messages) read_messages(*messages, chat);
  if (const auto* model = section.take("model"))
    chat.model = scalars_.pattern(model->value, "model").value_or(Template());
  chat.stream = scalars_.truth(section.take("stream")).value_or(true);
  const auto* usage = section.take("include_usage");
  chat.include_usage = scalars_.truth(usage).value_or(true);
  if (usage && !chat.stream)
    problems_.add(usage->place, "include_usage: belongs to streams; an unstreamed answer always has its usage");

  const auto whole = [&](std::string_view key, std::uint64_t least, std::uint64_t most) {
    if (const auto value = scalars_.whole(section.take(key), least, most))
      chat.options.emplace_back(key, fmt::format("{}", *value));
  };
  const auto number = [&](std::string_view key, double least, double most) {
    if (const auto value = scalars_.number(section.take(key), least, most))
      chat.options.emplace_back(key, fmt::format("{}", *value));
  };
  whole("max_tokens", 1, 10'000'000);
  number("temperature", 0, 2);
  number("top_p", 0, 1);
  whole("top_k", 0, 10'000'000);
  number("min_p", 0, 1);
  number("presence_penalty", -2, 2);
  number("frequency_penalty", -2, 2);
  number("repetition_penalty", 0.01, 100);
  whole("seed", 0, kWholeMax);
  if (const auto* stop = section.take("stop")) read_stop(*stop, chat);
  if (const auto* body = section.take("body")) read_body_members(*body, chat);
  return chat;
}

void FlowReader::read_messages(const YamlMember& member, ChatStep& chat) {
  if (!member.value.is_sequence() || member.value.items.empty()) {
    return problems_.add(member.value.place, "messages: must be a list of {role, content}");
  }
  for (const auto& item : member.value.items) {
    Section section(item, "message", "a message", problems_);
    if (!section.is_mapping()) continue;
    const auto *role = section.take("role"), *content = section.take("content");
    if (!role || !content) continue;
    auto role_pattern = scalars_.pattern(role->value, "role");
    auto content_pattern = scalars_.pattern(content->value, "content");
    static constexpr std::string_view roles[] = {"system", "user", "assistant", "tool", "developer"};
    if (role_pattern && role_pattern->is_static() &&
        std::find(std::begin(roles), std::end(roles), role_pattern->text()) == std::end(roles)) {
      problems_.add(role->value.place, fmt::format("role: unknown '{}'{}", role_pattern->text(),
                                                   did_you_mean(role_pattern->text(), roles)));
    }
    if (role_pattern && content_pattern)
      chat.messages.push_back({std::move(*role_pattern), std::move(*content_pattern)});
  }
}

void FlowReader::read_stop(const YamlMember& member, ChatStep& chat) {
  std::string json;
  const auto add = [&](const YamlNode& node) {
    const auto value = scalars_.text(node, "stop");
    if (value && value->empty()) problems_.add(node.place, "stop: an empty text would end every answer at once");
    if (value) json += (json.empty() ? "" : ",") + json_quoted(*value);
  };
  if (member.value.is_sequence()) {
    for (const auto& item : member.value.items) add(item);
  } else {
    add(member.value);
  }
  chat.options.emplace_back("stop", "[" + json + "]");
}

void FlowReader::read_body_members(const YamlMember& member, ChatStep& chat) {
  if (!member.value.is_mapping())
    return problems_.add(member.value.place, "body: must be a mapping of members of the request's body");
  for (const auto& entry : member.value.members) {
    static constexpr std::string_view own[] = {"messages", "model", "stream", "stream_options"};
    const bool given = std::any_of(chat.options.begin(), chat.options.end(),
                                   [&](const auto& option) { return option.first == entry.key; });
    if (given || std::find(std::begin(own), std::end(own), entry.key) != std::end(own)) {
      problems_.add(entry.place,
                    fmt::format("body: '{}' is a key of chat itself: it cannot stand here as well", entry.key));
      continue;
    }
    Template value;
    if (!scalars_.json(entry.value, entry.key, 0, value)) continue;
    if (!value.is_static()) {
      problems_.add(entry.value.place,
                    fmt::format("{}: what changes with each iteration can stand in messages only", entry.key));
      continue;
    }
    std::string text;
    value.render(NoScope(), text);
    chat.options.emplace_back(entry.key, std::move(text));
  }
}

HttpStep FlowReader::read_http(const YamlMember& member) {
  HttpStep http;
  Section section(member.value, "http", "http", problems_);
  if (!section.is_mapping()) return http;
  http_.read_address(section, member, http);
  if (const auto* headers = section.take("headers")) http.headers = read_headers(*headers, scalars_, problems_);
  http_.read_options(section, http);
  return http;
}

std::vector<Check> FlowReader::read_checks(const YamlMember& member) {
  std::vector<Check> checks;
  const auto add = [&](const YamlNode& node) {
    const auto filled = scalars_.filled(node, "check");
    if (!filled) return;
    if (!filled->is_plain()) {
      return problems_.add(node.place, "check: what changes with each iteration cannot stand in a check");
    }
    auto condition = Expression::parse(filled->plain(), kResponseNames);
    if (!condition)
      return scalars_.refuse(node, *filled, "check", fmt::format("{}: {}", filled->plain(), condition.error().message));
    checks.push_back({filled->shown, std::move(*condition), node.place});
  };
  if (member.value.is_sequence()) {
    for (const auto& item : member.value.items) add(item);
  } else {
    add(member.value);
  }
  return checks;
}

std::vector<Step> FlowReader::read_flow(const YamlMember& member, const std::string& scenario) {
  if (!member.value.is_scalar()) {
    StepNames names;
    steps_ = 0;
    return read_steps(member.value, fmt::format("the flow of '{}'", scenario), names);
  }
  const auto name = scalars_.text(&member);
  if (!name) return {};
  if (const auto known = flows_.find(*name); known != flows_.end()) return known->second;
  std::vector<std::string_view> names;
  for (const auto& [known, steps] : flows_) names.push_back(known);
  problems_.add(member.value.place,
                fmt::format("flow: nothing under flows: is named '{}'{}", *name, did_you_mean(*name, names)));
  return {};
}

}  // namespace sluice
