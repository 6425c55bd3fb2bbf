#include "harness/scenario/flow_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "harness/base/duration.h"
#include "harness/base/letters.h"
#include "harness/base/limits.h"
#include "harness/base/nearest.h"

namespace sluice {

namespace {

class NoScope : public Scope {
 public:
  Value lookup(std::string_view) const override { return {}; }
};

}  // namespace

std::string FlowReader::StepNames::unique(const std::string& name) {
  const int count = ++counts_[name];
  return count == 1 ? name : fmt::format("{} ({})", name, count);
}

void FlowReader::read_flows(const YamlMember& member) {
  if (!member.value.is_mapping())
    return problems_.add(member.value.place, "flows: must be a mapping of names to lists of steps");
  for (const auto& entry : member.value.members) flow_nodes_[entry.key] = &entry.value;
}

/// Those that no scenario names are read as well, for what is wrong with them.
void FlowReader::read_unused_flows() {
  for (const auto& [name, node] : flow_nodes_) {
    if (!used_flows_.contains(name)) read_whole(*node, fmt::format("flow '{}'", name));
  }
}

std::vector<Step> FlowReader::read_whole(const YamlNode& node, std::string_view what) {
  StepNames names;
  steps_ = 0;
  asked_names_.clear();
  scalars_.flow_names.clear();
  return read_steps(node, what, names);
}

std::vector<Step> FlowReader::read_setup(const YamlMember& member) {
  auto steps = read_whole(member.value, "setup");
  scalars_.setup_names = std::move(scalars_.flow_names);
  scalars_.flow_names.clear();
  return steps;
}

std::vector<Step> FlowReader::read_teardown(const YamlMember& member) { return read_whole(member.value, "teardown"); }

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
  const auto *chat = section.take("chat"), *completion = section.take("completion"), *http = section.take("http"),
             *sse = section.take("sse"), *sleep = section.take("sleep"), *group = section.take("group"),
             *branch = section.take("if"), *repeat = section.take("repeat"), *choose = section.take("choose"),
             *set = section.take("set"), *failure = section.take("fail"), *websocket = section.take("websocket"),
             *metric = section.take("metric");
  const auto *children = section.take("steps"), *then = section.take("then"), *otherwise = section.take("else");
  const auto *check = section.take("check"), *capture = section.take("capture"), *abandon = section.take("abandon");
  const auto *name = section.take("name"), *tags = section.take("tags"), *timeout = section.take("timeout");
  const auto verbs =
      std::array{chat, completion, http, sse, websocket, sleep, group, branch, repeat, choose, set, failure, metric};
  constexpr std::string_view all_verbs =
      "chat, completion, http, sse, websocket, sleep, group, if, repeat, choose, set, metric and fail";
  const auto count = std::count_if(verbs.begin(), verbs.end(), [](const auto* verb) { return verb != nullptr; });
  if (count != 1) {
    const bool spelled = std::any_of(node.members.begin(), node.members.end(), [](const auto& member) {
      const auto& keys = section_named("step").keys;
      return std::none_of(keys.begin(), keys.end(), [&](const auto& key) { return key.name == member.key; });
    });
    if (count > 1) {
      problems_.add(node.place,
                    fmt::format("a step has one of {}, and this has more: make them steps of their own", all_verbs));
    } else if (!spelled) {  // else the unknown key has been named already
      problems_.add(node.place, fmt::format("a step needs one of {}", all_verbs));
    }
  }
  const bool asks = chat || completion || http || sse || websocket;
  if (count > 0 && !asks) {
    for (const auto* extra : {check, capture, timeout, tags}) {
      if (extra) problems_.add(extra->place, fmt::format("{}: belongs to steps that send a request", extra->key));
    }
  }
  if (abandon && count > 0 && !chat && !completion && !sse)
    problems_.add(abandon->place, "abandon: belongs to chat, completion and sse steps");
  if (children && !group && !repeat && count > 0)
    problems_.add(children->place, "steps: belongs to a group or a repeat");
  for (const auto* extra : {then, otherwise}) {
    if (extra && !branch && count > 0) problems_.add(extra->place, fmt::format("{}: belongs to an if", extra->key));
  }

  Step step;
  step.place = node.place;
  bool streams = sse != nullptr;
  if (chat) {
    auto read = read_chat(*chat);
    streams = read.stream;
    step.verb = std::move(read);
    step.name = "chat";
  } else if (completion) {
    auto read = read_completion(*completion);
    streams = read.stream;
    step.verb = std::move(read);
    step.name = "completion";
  } else if (http) {
    auto read = read_http(*http);
    step.name = fmt::format("{} {}", read.method, read.shown_url);
    step.verb = std::move(read);
  } else if (sse) {
    auto read = read_sse(*sse);
    step.name = fmt::format("sse {}", read.request.shown_url);
    step.verb = std::move(read);
  } else if (websocket) {
    auto read = http_.read_websocket(*websocket);
    step.name = fmt::format("websocket {}", read.shown_url);
    step.verb = std::move(read);
  } else if (sleep) {
    step.verb = read_sleep(*sleep);
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
  } else if (branch) {
    step.verb = read_if(*branch, then, otherwise, names);
    step.name = "if";
  } else if (repeat) {
    step.verb = read_repeat(*repeat, children, names);
    step.name = "repeat";
  } else if (choose) {
    step.verb = read_choose(*choose, names);
    step.name = "choose";
  } else if (set) {
    step.verb = read_set(*set);
    step.name = "set";
  } else if (failure) {
    step.verb = FailStep{scalars_.shown_text(failure->value, failure->key).value_or("")};
    step.name = "fail";
  }
  if (name) {
    step.name = scalars_.text(name).value_or("");
    if (step.name.empty() || step.name.size() > 200)
      problems_.add(name->value.place, "name: 1 to 200 characters are wanted");
  } else if (asks) {
    step.name = names.unique(step.name);
  }
  if (capture && asks) step.captures = read_captures(*capture);  // before the checks, which may use what is captured
  if (check && asks) step.checks = read_checks(*check);
  const auto is_crosstalk = [](const Check& each) { return std::holds_alternative<NoCrosstalk>(each.condition); };
  if (std::count_if(step.checks.begin(), step.checks.end(), is_crosstalk) > 1)
    problems_.add(check->place, "no_crosstalk: a step has one word of its own");
  if (websocket) {
    for (const Check& each : step.checks) {
      if (std::holds_alternative<Deterministic>(each.condition) || std::holds_alternative<NoCrosstalk>(each.condition))
        problems_.add(each.place, fmt::format("{}: belongs to chat, completion, http and sse steps", each.text));
    }
  }
  if (asks) asked_names_.push_back(step.name);
  if (abandon) {
    if (asks && !streams) problems_.add(abandon->place, "abandon: drops streams, and this has stream: false");
    step.abandon = read_abandon(*abandon);
  }
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
  const auto* conversation = section.take("conversation");
  if (conversation) {
    chat.conversation = scalars_.text(conversation).value_or("");
    if (!is_word(chat.conversation))
      problems_.add(conversation->value.place, "conversation: a name of letters, digits, _ and - is wanted");
    if (messages) problems_.add(messages->place, "messages: a conversation is told by prompts, one a step");
  }
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
  read_model_request(section, chat);
  return chat;
}

CompletionStep FlowReader::read_completion(const YamlMember& member) {
  CompletionStep completion;
  Section section(member.value, "completion", "completion", problems_);
  if (!section.is_mapping()) return completion;
  if (const auto* prompt = section.take("prompt"))
    completion.prompt = scalars_.pattern(prompt->value, "prompt").value_or(Template());
  read_model_request(section, completion);
  return completion;
}

void FlowReader::read_model_request(Section& section, ModelRequest& request) {
  if (const auto* model = section.take("model"))
    request.model = scalars_.pattern(model->value, "model").value_or(Template());
  request.stream = scalars_.truth(section.take("stream")).value_or(true);
  const auto* usage = section.take("include_usage");
  request.include_usage = scalars_.truth(usage).value_or(true);
  if (usage && !request.stream)
    problems_.add(usage->place, "include_usage: belongs to streams; an unstreamed answer always has its usage");

  // What changes with each iteration can be known only then: a number is sent as one, all else as text.
  const auto is_live = [&](const YamlMember* option) {
    if (!option) return false;
    const auto filled = scalars_.filled(option->value, option->key);
    if (filled && filled->is_plain()) return false;
    auto value = filled ? scalars_.pattern(option->value, option->key, Template::Form::json_number) : std::nullopt;
    if (value) request.live_options.emplace_back(option->key, std::move(*value));
    return true;
  };
  const auto whole = [&](std::string_view key, std::uint64_t least, std::uint64_t most) {
    const auto* option = section.take(key);
    if (is_live(option)) return;
    if (const auto value = scalars_.whole(option, least, most))
      request.options.emplace_back(key, fmt::format("{}", *value));
  };
  const auto number = [&](std::string_view key, double least, double most) {
    const auto* option = section.take(key);
    if (is_live(option)) return;
    if (const auto value = scalars_.number(option, least, most))
      request.options.emplace_back(key, fmt::format("{}", *value));
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
  if (const auto* stop = section.take("stop")) read_stop(*stop, request);
  if (const auto* body = section.take("body")) read_body_members(*body, request);
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

void FlowReader::read_stop(const YamlMember& member, ModelRequest& request) {
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
  request.options.emplace_back("stop", "[" + json + "]");
}

void FlowReader::read_body_members(const YamlMember& member, ModelRequest& request) {
  if (!member.value.is_mapping())
    return problems_.add(member.value.place, "body: must be a mapping of members of the request's body");
  for (const auto& entry : member.value.members) {
    static constexpr std::string_view own[] = {"messages", "prompt", "model", "stream", "stream_options"};
    const auto is_it = [&](const auto& option) { return option.first == entry.key; };
    const bool given = std::any_of(request.options.begin(), request.options.end(), is_it) ||
                       std::any_of(request.live_options.begin(), request.live_options.end(), is_it);
    if (given || std::find(std::begin(own), std::end(own), entry.key) != std::end(own)) {
      problems_.add(entry.place,
                    fmt::format("body: '{}' is a key of the step itself: it cannot stand here as well", entry.key));
      continue;
    }
    Template value;
    if (!scalars_.json(entry.value, entry.key, 0, value)) continue;
    if (!value.is_static()) {
      request.live_options.emplace_back(entry.key, std::move(value));
      continue;
    }
    std::string text;
    value.render(NoScope(), text);
    request.options.emplace_back(entry.key, std::move(text));
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

SseStep FlowReader::read_sse(const YamlMember& member) {
  SseStep sse;
  HttpStep& request = sse.request;
  Section section(member.value, "sse", "sse", problems_);
  if (!section.is_mapping()) return sse;
  const auto *get = section.take("get"), *post = section.take("post"), *until = section.take("until");
  const auto *json = section.take("json"), *body = section.take("body"), *headers = section.take("headers");
  if ((get != nullptr) == (post != nullptr)) {
    problems_.add(member.place, get ? "sse: has get and post: one request a step" : "sse: needs get: or post:");
  } else {
    const auto* address = get ? get : post;
    request.method = get ? "GET" : "POST";
    request.url = http_.read_url(*address, false);
    request.shown_url = http_.shown(*address, request.url);
  }
  if (headers) request.headers = read_headers(*headers, scalars_, problems_);
  if (json && body) problems_.add(body->place, "sse: has json and body: one of them is wanted");
  if ((json || body) && get) problems_.add((json ? json : body)->place, "sse: GET sends no body");
  const bool typed = std::any_of(request.headers.begin(), request.headers.end(),
                                 [](const auto& header) { return same_letters(header.first, "content-type"); });
  if (json) {
    scalars_.json(json->value, "json", 0, request.body);
    if (!typed) request.content_type = "application/json";
  } else if (body) {
    request.body = scalars_.pattern(body->value, "body").value_or(Template());
    if (!typed) request.content_type = "text/plain; charset=utf-8";
  }
  if (const auto* api_member = section.take("api"); const auto api = scalars_.word(api_member, "sse")) {
    sse.api = *api == "completions" ? StreamApi::completions
              : *api == "messages"  ? StreamApi::messages
              : *api == "responses" ? StreamApi::responses
                                    : StreamApi::chat;
    if (until)
      problems_.add(until->place, "until: a stream of an API ends with that API's own event: leave one of them out");
  }
  if (until) {
    sse.until = scalars_.text(until).value_or("");
    if (sse.until.empty()) problems_.add(until->value.place, "until: the data of an event is wanted, such as [DONE]");
  }
  return sse;
}

std::vector<Check> FlowReader::read_checks(const YamlMember& member) {
  std::vector<Check> checks;
  const auto add = [&](const YamlNode& node) {
    if (node.is_mapping()) {
      if (auto check = read_content_check(node)) checks.push_back(std::move(*check));
      return;
    }
    std::string shown;
    if (auto condition = scalars_.expression(node, "check", kResponseNames, &shown))
      checks.push_back({std::move(shown), std::move(*condition), node.place});
  };
  if (member.value.is_sequence()) {
    for (const auto& item : member.value.items) add(item);
  } else {
    add(member.value);
  }
  return checks;
}

std::optional<Check> FlowReader::read_content_check(const YamlNode& node) {
  Section section(node, "content_check", "a check", problems_);
  const auto *parses = section.take("code_parses"), *same = section.take("same_text_as"),
             *deterministic = section.take("deterministic"), *crosstalk = section.take("no_crosstalk");
  if ((parses != nullptr) + (same != nullptr) + (deterministic != nullptr) + (crosstalk != nullptr) != 1) {
    if (node.members.size() != 1 || parses || same || deterministic || crosstalk)
      problems_.add(
          node.place,
          "a check is an expression, or one of code_parses:, same_text_as:, deterministic: and no_crosstalk:");
    return std::nullopt;
  }
  Check check;
  check.place = node.place;
  if (parses != nullptr) {
    const auto language = scalars_.word(parses, "content_check");
    if (!language) return std::nullopt;
    check.condition = CodeParses{*language == "json" ? CodeParses::Language::json : CodeParses::Language::python};
    check.text = fmt::format("code_parses: {}", *language);
  } else if (same != nullptr) {
    const auto name = scalars_.text(same);
    if (!name) return std::nullopt;
    if (std::find(asked_names_.begin(), asked_names_.end(), *name) == asked_names_.end()) {
      const std::vector<std::string_view> known(asked_names_.begin(), asked_names_.end());
      problems_.add(same->value.place, fmt::format("same_text_as: no step before this one is named '{}'{}", *name,
                                                   did_you_mean(*name, known)));
    }
    check.condition = SameTextAs{*name};
    check.text = fmt::format("same_text_as: {}", *name);
  } else if (deterministic != nullptr) {
    const auto wanted = scalars_.truth(deterministic);
    if (!wanted) return std::nullopt;
    if (!*wanted) problems_.add(deterministic->value.place, "deterministic: true is wanted; leave it out otherwise");
    check.condition = Deterministic{};
    check.text = "deterministic";
  } else {
    auto nonce = scalars_.pattern(crosstalk->value, crosstalk->key);
    if (!nonce) return std::nullopt;
    if (nonce->is_static())
      problems_.add(crosstalk->value.place,
                    "no_crosstalk: a word that differs from request to request is wanted, such as ${names.name}");
    check.text = fmt::format("no_crosstalk: {}", nonce->text());
    check.condition = NoCrosstalk{std::move(*nonce)};
  }
  return check;
}

std::vector<Step> FlowReader::read_flow(const YamlMember& member, const std::string& scenario, bool has_own_variables) {
  if (!member.value.is_scalar()) return read_whole(member.value, fmt::format("the flow of '{}'", scenario));
  const auto name = scalars_.text(&member);
  if (!name) return {};
  if (const auto node = flow_nodes_.find(*name); node != flow_nodes_.end()) {
    used_flows_.insert(*name);
    if (const auto known = flows_.find(*name); known != flows_.end() && !has_own_variables) return known->second;
    auto steps = read_whole(*node->second, fmt::format("flow '{}'", *name));
    if (!has_own_variables) flows_[*name] = steps;
    return steps;
  }
  std::vector<std::string_view> names;
  for (const auto& [known, node] : flow_nodes_) names.push_back(known);
  problems_.add(member.value.place,
                fmt::format("flow: nothing under flows: is named '{}'{}", *name, did_you_mean(*name, names)));
  return {};
}

}  // namespace sluice
