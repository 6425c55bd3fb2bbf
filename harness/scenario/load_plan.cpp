#include "harness/scenario/load_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <set>

#include "harness/base/cores.h"
#include "harness/base/duration.h"
#include "harness/base/limits.h"
#include "harness/base/nearest.h"
#include "harness/scenario/data_file.h"
#include "harness/scenario/plan_reader.h"
#include "harness/scenario/threshold.h"

namespace sluice {

namespace {

constexpr std::uint64_t kWholeMax = (1ull << 53) - 1;  // what JSON readers hold exactly

bool is_word(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

bool is_header_name(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

bool same_letters(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
           return lower(x) == lower(y);
         });
}

std::string base64(std::string_view bytes) {
  static constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j)
      group = group << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    for (std::size_t j = 0; j < 4; ++j) out += j <= bytes.size() - i ? digits[group >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

Result<std::string> read_whole_file(const std::string& path, std::size_t bytes_max) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return fail("this is a folder");
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail(std::filesystem::exists(path, error) ? "cannot be opened" : "there is no such file");
  std::string bytes;
  std::array<char, 65536> block{};
  while (file) {
    file.read(block.data(), block.size());
    bytes.append(block.data(), static_cast<std::size_t>(file.gcount()));
    if (bytes.size() > bytes_max) return fail(fmt::format("is larger than {} bytes", bytes_max));
  }
  if (file.bad()) return fail("cannot be read");
  return {boost::system::in_place_value, std::move(bytes)};  // both T and Error can be made of a string
}

// The verb and what it addresses; a second one alike gets a number, so that each step has its own row in a report.
class StepNames {
 public:
  std::string unique(std::string name) {
    const int count = ++counts_[name];
    return count == 1 ? name : fmt::format("{} ({})", name, count);
  }

 private:
  std::map<std::string, int> counts_;
};

class Reader {
 public:
  Reader(const std::string& file, const LoadOptions& options) : file_(file), options_(options), problems_(file) {}

  PlanOrProblems read(std::string_view text) {
    const auto tree = read_yaml(text, problems_);
    if (tree) read_file(*tree);
    if (!problems_.empty()) return problems_.take();
    if (options_.time_scale != 1) scale_times(plan_, options_.time_scale);
    return std::move(plan_);
  }

 private:
  void read_file(const YamlNode& root) {
    Section section(root, "file", "the scenario file", problems_);
    if (!section.is_mapping()) return;
    const auto* env = section.take("env");
    Variables variables(env ? &env->value : nullptr, options_.overrides, options_.environment, problems_);
    ScalarReader scalars(variables, problems_);
    scalars_ = &scalars;

    plan_.file = file_;
    const auto* name = section.take("name");
    if (const auto value = scalars.text(name)) {
      plan_.name = *value;
      if (value->empty() || value->size() > 200)
        problems_.add(name->value.place, "name: 1 to 200 characters are wanted");
    }
    plan_.seed = options_.seed.value_or(scalars.whole(section.take("seed"), 0, kWholeMax).value_or(1));
    plan_.threads = options_.threads.value_or(
        static_cast<std::uint32_t>(scalars.whole(section.take("threads"), 1, limits::threads_max).value_or(1)));
    plan_.large_chunk_chars =
        static_cast<std::uint32_t>(scalars.whole(section.take("large_chunk_chars"), 1, 1'000'000).value_or(20));
    plan_.stall_factor = scalars.number(section.take("stall_factor"), 1, 1e6).value_or(10);
    if (const auto* target = section.take("target")) read_target(*target);
    if (const auto* data = section.take("data")) read_data_sets(*data);
    if (const auto* flows = section.take("flows")) read_flows(*flows);
    if (const auto* scenarios = section.take("scenarios")) read_scenarios(*scenarios);
    if (const auto* thresholds = section.take("thresholds")) read_thresholds(*thresholds);
    plan_.env = variables.shown();
    variables.report_unused_overrides();
    scalars_ = nullptr;
  }

  // ---- target
  // ---------------------------------------------------------------------------------------------------------

  void read_target(const YamlMember& member) {
    Section section(member.value, "target", "target", problems_);
    if (!section.is_mapping()) return;
    Target& target = plan_.target;
    const auto* url = section.take("url");
    const auto url_value = scalars_->text(url);
    if (url_value) {
      target.url = *url_value;
      if (!target.url.empty()) check_url(*url);
    }
    if (const auto* engine = section.take("engine")) {
      auto read = read_engine(*engine);
      if (target.url.empty()) target.engine = std::move(read);
    } else if (target.url.empty() && (!url || url_value)) {
      problems_.add(member.place, url ? "target: url is empty, and there is no engine: to start instead"
                                      : "target: needs url: or engine:");
    }
    target.dialect = scalars_->word(section.take("dialect"), "target").value_or("openai");
    if (const auto* headers = section.take("headers")) target.headers = read_headers(*headers);
    if (const auto* auth = section.take("auth")) read_auth(*auth);
    target.model = scalars_->text(section.take("model")).value_or("");
    target.tls_verify = scalars_->truth(section.take("tls_verify")).value_or(true);
    target.connect_timeout = positive_duration(section.take("connect_timeout")).value_or(target.connect_timeout);
    target.request_timeout = positive_duration(section.take("request_timeout")).value_or(target.request_timeout);
  }

  void check_url(const YamlMember& member) {
    std::string& url = plan_.target.url;
    while (url.ends_with('/')) url.pop_back();
    if (url.ends_with("/v1")) url.resize(url.size() - 3);  // what other clients call a base URL has it; steps add it
    const auto parsed = boost::urls::parse_uri(url);
    if (parsed && parsed->has_userinfo())
      return problems_.add(member.value.place, "url: a user and a password stand under auth:");
    const bool good = parsed && (parsed->scheme() == "http" || parsed->scheme() == "https") &&
                      !parsed->encoded_host().empty() && !parsed->has_query() && !parsed->has_fragment();
    if (good && (!parsed->has_port() || parsed->port_number() != 0)) return;
    const auto filled = scalars_->filled(member.value, member.key);
    if (filled)
      scalars_->refuse(
          member.value, *filled, "url",
          "http:// or https:// with a host, perhaps a port and a path is wanted, as in http://127.0.0.1:8000");
  }

  std::optional<EngineTarget> read_engine(const YamlMember& member) {
    Section section(member.value, "engine", "engine", problems_);
    if (!section.is_mapping()) return std::nullopt;
    EngineTarget engine;
    const auto* model = section.take("model");
    engine.model = scalars_->text(model).value_or("");
    if (model && engine.model.empty()) problems_.add(model->value.place, "model: names no model");
    engine.backend = scalars_->word(section.take("backend"), "engine").value_or("auto");
    // The bounds are those of sluice-engine's options.
    engine.kv_mib = scalars_->whole(section.take("kv_mib"), 0, 1u << 22).value_or(0);
    engine.slots = scalars_->whole(section.take("slots"), 0, 65'536).value_or(0);
    engine.context = scalars_->whole(section.take("context"), 0, 1u << 24).value_or(0);
    if (const auto* args = section.take("args")) {
      if (!args->value.is_sequence()) problems_.add(args->value.place, "args: must be a list");
      for (const auto& item : args->value.items) {
        if (auto value = scalars_->text(item, "args")) engine.args.push_back(std::move(*value));
      }
    }
    engine.engine_cores = read_cores(section.take("engine_cores"));
    engine.harness_cores = read_cores(section.take("harness_cores"));
    engine.ready_timeout = positive_duration(section.take("ready_timeout")).value_or(engine.ready_timeout);
    return engine;
  }

  std::string read_cores(const YamlMember* member) {
    const auto value = scalars_->text(member);
    if (!value || value->empty()) return {};
    if (const auto cores = parse_cores(*value); !cores) {
      problems_.add(member->value.place, fmt::format("{}: {}", member->key, cores.error().message));
    }
    return *value;
  }

  void read_auth(const YamlMember& member) {
    Section section(member.value, "auth", "auth", problems_);
    if (!section.is_mapping()) return;
    const auto bearer = scalars_->text(section.take("bearer")).value_or("");
    const auto* user_member = section.take("user");
    const auto user = scalars_->text(user_member).value_or("");
    const auto password = scalars_->text(section.take("password")).value_or("");
    if (user.find(':') != std::string::npos) problems_.add(user_member->value.place, "user: cannot contain ':'");
    const auto named = [](const auto& header) { return same_letters(header.first, "authorization"); };
    if (std::any_of(plan_.target.headers.begin(), plan_.target.headers.end(), named)) {
      problems_.add(member.place, "auth: makes the Authorization header, which stands under headers: already");
    }
    if (bearer.empty() && user.empty()) return;
    const auto value = bearer.empty() ? "Basic " + base64(user + ":" + password) : "Bearer " + bearer;
    if (value.find_first_of("\r\n") != std::string::npos)
      return problems_.add(member.place, "auth: a header has no line breaks");
    plan_.target.headers.emplace_back("Authorization", Template(value));
  }

  std::vector<std::pair<std::string, Template>> read_headers(const YamlMember& member) {
    std::vector<std::pair<std::string, Template>> headers;
    if (!member.value.is_mapping()) {
      problems_.add(member.value.place, "headers: must be a mapping of names to values");
      return headers;
    }
    for (const auto& entry : member.value.members) {
      if (!is_header_name(entry.key)) {
        problems_.add(entry.place, fmt::format("'{}' is no name of a header", entry.key));
        continue;
      }
      for (const auto taken : {"content-length", "transfer-encoding", "connection"}) {
        if (same_letters(entry.key, taken))
          problems_.add(entry.place, fmt::format("{}: this header is Sluice's own", entry.key));
      }
      for (const auto& [name, value] : headers) {
        if (same_letters(name, entry.key))
          problems_.add(entry.place, fmt::format("{}: this header stands twice", entry.key));
      }
      auto value = scalars_->pattern(entry.value, entry.key);
      if (!value) continue;
      if (value->text().find_first_of("\r\n") != std::string::npos) {
        problems_.add(entry.value.place, fmt::format("{}: a header has no line breaks", entry.key));
      }
      headers.emplace_back(entry.key, std::move(*value));
    }
    return headers;
  }

  // ---- data
  // -----------------------------------------------------------------------------------------------------------

  void read_data_sets(const YamlMember& member) {
    if (!member.value.is_mapping())
      return problems_.add(member.value.place, "data: must be a mapping of names to files");
    for (const auto& entry : member.value.members) {
      if (!is_word(entry.key))
        problems_.add(entry.place, fmt::format("'{}' is no name for data: letters, digits, _ and -", entry.key));
      read_data_set(entry);
    }
  }

  void read_data_set(const YamlMember& entry) {
    scalars_->unknown_data.insert(entry.key);  // until it has been read
    Section section(entry.value, "data", fmt::format("data '{}'", entry.key), problems_);
    if (!section.is_mapping()) return;
    DataSet set;
    set.name = entry.key;
    const auto* file = section.take("file");
    const auto format_name = scalars_->word(section.take("format"), "data");
    const auto order = scalars_->word(section.take("order"), "data");
    set.order = order == "random" ? DataSet::Order::random : DataSet::Order::sequential;
    set.seed = scalars_->whole(section.take("seed"), 0, kWholeMax).value_or(plan_.seed);
    const auto path = scalars_->text(file);
    if (!path) return;
    if (path->empty()) return problems_.add(file->value.place, "file: names no file");

    const auto full = (std::filesystem::path(file_).parent_path() / *path).string();
    const auto bytes =
        options_.read_file ? options_.read_file(full) : read_whole_file(full, limits::data_file_bytes_max);
    if (!bytes) return problems_.add(file->value.place, fmt::format("file: {}: {}", full, bytes.error().message));
    const auto format = !format_name              ? data_format_of(*path)
                        : *format_name == "jsonl" ? DataFormat::jsonl
                        : *format_name == "csv"   ? DataFormat::csv
                                                  : DataFormat::text;
    auto rows = read_data(*bytes, format, full, problems_);
    if (rows.rows.empty() && problems_.empty())
      problems_.add(file->value.place, fmt::format("file: {} has no rows", full));
    if (!rows.rows.empty()) scalars_->unknown_data.erase(entry.key);
    for (const auto& field : rows.fields) {
      const auto lacking = rows.lacking.find(field);
      scalars_->hole_names[set.name + "." + field] = lacking == rows.lacking.end() ? 0 : lacking->second;
    }
    set.fields = std::move(rows.fields);
    set.rows = std::move(rows.rows);
    plan_.data.push_back(std::move(set));
  }

  // ---- flows
  // ----------------------------------------------------------------------------------------------------------

  void read_flows(const YamlMember& member) {
    if (!member.value.is_mapping())
      return problems_.add(member.value.place, "flows: must be a mapping of names to lists of steps");
    for (const auto& entry : member.value.members) {
      StepNames names;
      steps_ = 0;
      flows_[entry.key] = read_steps(entry.value, fmt::format("flow '{}'", entry.key), names);
    }
  }

  std::vector<Step> read_steps(const YamlNode& node, std::string_view what, StepNames& names) {
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

  std::optional<Step> read_step(const YamlNode& node, StepNames& names) {
    Section section(node, "step", "a step", problems_);
    if (!section.is_mapping()) return std::nullopt;
    const auto *chat = section.take("chat"), *http = section.take("http"), *sleep = section.take("sleep"),
               *group = section.take("group");
    const auto *children = section.take("steps"), *check = section.take("check"), *name = section.take("name");
    const auto *tags = section.take("tags"), *timeout = section.take("timeout");
    const auto verbs = std::array{chat, http, sleep, group};
    const auto count = std::count_if(verbs.begin(), verbs.end(), [](const auto* verb) { return verb != nullptr; });
    if (count != 1) {
      const bool spelled = std::any_of(node.members.begin(), node.members.end(), [](const auto& member) {
        const auto& keys = section_named("step").keys;
        return std::none_of(keys.begin(), keys.end(), [&](const auto& key) { return key.name == member.key; });
      });
      if (count > 1) {
        problems_.add(node.place,
                      "a step has one of chat, http, sleep and group, and this has more: make them steps of their own");
      } else if (!spelled) {  // else the unknown key has been named already
        problems_.add(node.place, "a step needs one of chat, http, sleep and group");
      }
    }
    const bool asks = chat || http;
    if (verbs[2] || verbs[3]) {
      for (const auto* extra : {check, timeout, tags}) {
        if (extra && !asks) problems_.add(extra->place, fmt::format("{}: belongs to chat and http steps", extra->key));
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
      step.name = fmt::format("{} {}", read.method, read.url.text());
      step.verb = std::move(read);
    } else if (sleep) {
      const auto range = scalars_->range(sleep).value_or(std::pair<Nanoseconds, Nanoseconds>{});
      step.verb = SleepStep{range.first, range.second};
      step.name = "sleep";
    } else if (group) {
      GroupStep read;
      read.name = scalars_->text(group).value_or("");
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
      step.name = scalars_->text(name).value_or("");
      if (step.name.empty() || step.name.size() > 200)
        problems_.add(name->value.place, "name: 1 to 200 characters are wanted");
    } else if (asks) {
      step.name = names.unique(step.name);
    }
    if (check && asks) step.checks = read_checks(*check);
    step.tags = read_tags(tags);
    step.timeout = positive_duration(timeout);
    return step;
  }

  ChatStep read_chat(const YamlMember& member) {
    ChatStep chat;
    Section section(member.value, "chat", "chat", problems_);
    if (!section.is_mapping()) return chat;
    const auto *prompt = section.take("prompt"), *messages = section.take("messages"), *system = section.take("system");
    if ((prompt != nullptr) == (messages != nullptr)) {
      problems_.add(member.place, prompt ? "chat: has prompt and messages: one of them is wanted"
                                         : "chat: needs prompt: or messages:");
    }
    const auto add = [&](std::string_view role, const YamlMember* text) {
      if (!text) return;
      if (auto content = scalars_->pattern(text->value, text->key))
        chat.messages.push_back({Template(std::string(role)), std::move(*content)});
    };
    add("system", system);
    add("user", prompt);
    if (messages) read_messages(*messages, chat);
    if (const auto* model = section.take("model"))
      chat.model = scalars_->pattern(model->value, "model").value_or(Template());
    chat.stream = scalars_->truth(section.take("stream")).value_or(true);
    const auto* usage = section.take("include_usage");
    chat.include_usage = scalars_->truth(usage).value_or(true);
    if (usage && !chat.stream)
      problems_.add(usage->place, "include_usage: belongs to streams; an unstreamed answer always has its usage");

    const auto whole = [&](std::string_view key, std::uint64_t least, std::uint64_t most) {
      if (const auto value = scalars_->whole(section.take(key), least, most))
        chat.options.emplace_back(key, fmt::format("{}", *value));
    };
    const auto number = [&](std::string_view key, double least, double most) {
      if (const auto value = scalars_->number(section.take(key), least, most))
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

  void read_messages(const YamlMember& member, ChatStep& chat) {
    if (!member.value.is_sequence() || member.value.items.empty()) {
      return problems_.add(member.value.place, "messages: must be a list of {role, content}");
    }
    for (const auto& item : member.value.items) {
      Section section(item, "message", "a message", problems_);
      if (!section.is_mapping()) continue;
      const auto *role = section.take("role"), *content = section.take("content");
      if (!role || !content) continue;
      auto role_pattern = scalars_->pattern(role->value, "role");
      auto content_pattern = scalars_->pattern(content->value, "content");
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

  void read_stop(const YamlMember& member, ChatStep& chat) {
    std::string json;
    const auto add = [&](const YamlNode& node) {
      const auto value = scalars_->text(node, "stop");
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

  void read_body_members(const YamlMember& member, ChatStep& chat) {
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
      if (!scalars_->json(entry.value, entry.key, 0, value)) continue;
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

  HttpStep read_http(const YamlMember& member) {
    HttpStep http;
    Section section(member.value, "http", "http", problems_);
    if (!section.is_mapping()) return http;
    const YamlMember* address = nullptr;
    for (const std::string_view method : {"get", "post", "put", "patch", "delete", "head"}) {
      const auto* here = section.take(method);
      if (here && address)
        problems_.add(here->place, fmt::format("http: has {} and {}: one request a step", address->key, method));
      if (!here || address) continue;
      address = here;
      http.method.clear();
      for (const char c : method) http.method += static_cast<char>(c - 'a' + 'A');
    }
    if (!address) {
      problems_.add(member.place, "http: needs one of get, post, put, patch, delete and head");
    } else if (auto url = scalars_->pattern(address->value, address->key)) {
      const auto text = url->text();
      if (!text.starts_with('/') && !text.starts_with("http://") && !text.starts_with("https://") &&
          !text.starts_with("${")) {
        problems_.add(address->value.place,
                      fmt::format("{}: a path that starts with '/' is wanted, or a whole URL", address->key));
      }
      if (text.find_first_of(" \t\r\n") != std::string::npos) {
        problems_.add(address->value.place, fmt::format("{}: a URL has no blanks: write %20", address->key));
      }
      http.url = std::move(*url);
    }
    if (const auto* headers = section.take("headers")) http.headers = read_headers(*headers);
    const auto *json = section.take("json"), *body = section.take("body");
    if (json && body) problems_.add(body->place, "http: has json and body: one of them is wanted");
    if ((json || body) && (http.method == "GET" || http.method == "HEAD")) {
      problems_.add((json ? json : body)->place,
                    fmt::format("{}: {} sends no body", (json ? json : body)->key, http.method));
    }
    const bool typed = std::any_of(http.headers.begin(), http.headers.end(),
                                   [](const auto& header) { return same_letters(header.first, "content-type"); });
    if (json) {
      scalars_->json(json->value, "json", 0, http.body);
      if (!typed) http.content_type = "application/json";
    } else if (body) {
      http.body = scalars_->pattern(body->value, "body").value_or(Template());
      if (!typed) http.content_type = "text/plain; charset=utf-8";
    }
    return http;
  }

  std::vector<Check> read_checks(const YamlMember& member) {
    std::vector<Check> checks;
    const auto add = [&](const YamlNode& node) {
      const auto filled = scalars_->filled(node, "check");
      if (!filled) return;
      if (!filled->is_plain()) {
        return problems_.add(node.place, "check: what changes with each iteration cannot stand in a check");
      }
      auto condition = Expression::parse(filled->plain(), kResponseNames);
      if (!condition)
        return scalars_->refuse(node, *filled, "check",
                                fmt::format("{}: {}", filled->plain(), condition.error().message));
      checks.push_back({filled->shown, std::move(*condition), node.place});
    };
    if (member.value.is_sequence()) {
      for (const auto& item : member.value.items) add(item);
    } else {
      add(member.value);
    }
    return checks;
  }

  Tags read_tags(const YamlMember* member) {
    Tags tags;
    for (const auto& [entry, value] : scalars_->text_map(member)) {
      static constexpr std::string_view own[] = {"scenario",          "group", "method", "status",
                                                 "expected_response", "rule",  "url",    "name"};
      const auto fits = [](std::string_view text) {
        return !text.empty() && text.size() <= 200 && text.find_first_of("{},\n\r\t") == std::string_view::npos;
      };
      if (!fits(entry->key) || entry->key.find(':') != std::string::npos || !fits(value)) {
        problems_.add(
            entry->place,
            fmt::format("tags: '{}': a name and a value without {{ }} , and line breaks are wanted", entry->key));
      } else if (std::find(std::begin(own), std::end(own), entry->key) != std::end(own)) {
        problems_.add(entry->place, fmt::format("tags: '{}' is a tag that Sluice sets itself", entry->key));
      } else {
        tags.emplace_back(entry->key, value);
      }
    }
    std::sort(tags.begin(), tags.end());
    return tags;
  }

  // ---- scenarios
  // ------------------------------------------------------------------------------------------------------

  void read_scenarios(const YamlMember& member) {
    if (!member.value.is_mapping() || member.value.members.empty()) {
      return problems_.add(member.value.place, "scenarios: must be a mapping of names to scenarios, with at least one");
    }
    if (member.value.members.size() > limits::scenarios_max) {
      return problems_.add(member.value.place, fmt::format("more than {} scenarios", limits::scenarios_max));
    }
    std::uint64_t vus = 0;
    for (const auto& entry : member.value.members) {
      if (!is_word(entry.key))
        problems_.add(entry.place, fmt::format("'{}' is no name for a scenario: letters, digits, _ and -", entry.key));
      read_scenario(entry);
    }
    for (const auto& scenario : plan_.scenarios) {
      if (const auto* constant = std::get_if<ConstantVus>(&scenario.shape)) {
        vus += constant->vus;
      } else {
        const auto& ramping = std::get<RampingVus>(scenario.shape);
        std::uint32_t peak = ramping.start_vus;
        for (const auto& stage : ramping.stages) peak = std::max(peak, stage.target);
        vus += peak;
      }
    }
    if (vus > limits::vus_max)
      problems_.add(member.place, fmt::format("{} VUs together: at most {} are run", vus, limits::vus_max));
  }

  void read_scenario(const YamlMember& entry) {
    Section section(entry.value, "scenario", fmt::format("scenario '{}'", entry.key), problems_);
    if (!section.is_mapping()) return;
    ScenarioPlan scenario;
    scenario.name = entry.key;
    scenario.place = entry.place;
    const auto executor = read_executor(section.take("executor"));
    const auto *vus = section.take("vus"), *duration = section.take("duration");
    const auto *start_vus = section.take("start_vus"), *stages = section.take("stages");
    const auto *ramp_down = section.take("graceful_ramp_down"), *scale_to = section.take("scale_to");
    const auto belongs = [&](const YamlMember* key, std::string_view to) {
      if (key && executor && *executor != to)
        problems_.add(key->place, fmt::format("{}: belongs to executor: {}", key->key, to));
    };
    for (const auto* key : {vus, duration}) belongs(key, "constant-vus");
    for (const auto* key : {start_vus, stages, ramp_down, scale_to}) belongs(key, "ramping-vus");
    if (executor == "constant-vus") {
      ConstantVus shape;
      shape.vus = read_vus(vus, 1).value_or(1);
      if (!duration) problems_.add(entry.place, fmt::format("scenario '{}' needs duration:", entry.key));
      shape.duration = positive_duration(duration).value_or(std::chrono::seconds(1));
      scenario.shape = shape;
    } else if (executor == "ramping-vus") {
      scenario.shape = read_ramp(entry, start_vus, stages, ramp_down, scale_to);
    }
    scenario.start_time = scalars_->duration(section.take("start_time")).value_or(Nanoseconds{});
    scenario.graceful_stop = scalars_->duration(section.take("graceful_stop")).value_or(scenario.graceful_stop);
    scenario.tags = read_tags(section.take("tags"));
    if (const auto* objectives = section.take("objectives")) scenario.objectives = read_objectives(*objectives);
    if (const auto* flow = section.take("flow")) scenario.flow = read_flow(*flow, entry.key);
    plan_.scenarios.push_back(std::move(scenario));
  }

  std::optional<std::string> read_executor(const YamlMember* member) {
    const auto value = scalars_->text(member);
    if (!value) return std::nullopt;
    static constexpr std::string_view later[] = {"shared-iterations",
                                                 "per-vu-iterations",
                                                 "constant-arrival-rate",
                                                 "ramping-arrival-rate",
                                                 "externally-controlled",
                                                 "poisson",
                                                 "gamma",
                                                 "trace",
                                                 "find-max"};
    if (std::find(std::begin(later), std::end(later), *value) != std::end(later)) {
      problems_.add(member->value.place,
                    fmt::format("executor: '{}' is not in this version: it has constant-vus and ramping-vus", *value));
      return std::nullopt;
    }
    return scalars_->word(member, "scenario");
  }

  std::optional<std::uint32_t> read_vus(const YamlMember* member, std::uint64_t least) {
    const auto value = scalars_->whole(member, least, limits::vus_max);
    return value ? std::optional(static_cast<std::uint32_t>(*value)) : std::nullopt;
  }

  RampingVus read_ramp(const YamlMember& entry, const YamlMember* start_vus, const YamlMember* stages,
                       const YamlMember* ramp_down, const YamlMember* scale_to) {
    RampingVus shape;
    shape.start_vus = read_vus(start_vus, 0).value_or(0);
    shape.graceful_ramp_down = scalars_->duration(ramp_down).value_or(shape.graceful_ramp_down);
    if (!stages) {
      problems_.add(entry.place, fmt::format("scenario '{}' needs stages:", entry.key));
      return shape;
    }
    if (!stages->value.is_sequence() || stages->value.items.empty() ||
        stages->value.items.size() > limits::stages_max) {
      problems_.add(stages->value.place,
                    fmt::format("stages: must be a list of 1 to {} {{duration, target}}", limits::stages_max));
      return shape;
    }
    for (const auto& item : stages->value.items) {
      Section section(item, "stage", "a stage", problems_);
      if (!section.is_mapping()) continue;
      Stage stage;
      stage.duration = scalars_->duration(section.take("duration")).value_or(Nanoseconds{});
      stage.target = read_vus(section.take("target"), 0).value_or(0);
      shape.stages.push_back(stage);
    }
    Nanoseconds total{};
    std::uint32_t peak = shape.start_vus;
    for (const auto& stage : shape.stages) {
      total += stage.duration;
      peak = std::max(peak, stage.target);
    }
    if (!problems_.empty()) return shape;
    if (total.count() == 0) problems_.add(stages->place, "stages: last no time at all");
    if (total > limits::duration_max)
      problems_.add(stages->place, fmt::format("stages: last longer than {}", format_duration(limits::duration_max)));
    if (peak == 0) problems_.add(stages->place, "stages: no target is over 0, so nothing would run");
    if (scale_to && problems_.empty()) scale_ramp(*scale_to, total, peak, shape);
    return shape;
  }

  void scale_ramp(const YamlMember& member, Nanoseconds total, std::uint32_t peak, RampingVus& shape) {
    Section section(member.value, "scale_to", "scale_to", problems_);
    if (!section.is_mapping()) return;
    if (const auto wanted = positive_duration(section.take("duration")); wanted && *wanted != total) {
      const double factor = static_cast<double>(wanted->count()) / static_cast<double>(total.count());
      for (auto& stage : shape.stages)
        stage.duration = Nanoseconds(std::llround(static_cast<double>(stage.duration.count()) * factor));
    }
    if (const auto wanted = read_vus(section.take("vus"), 1); wanted && *wanted != peak) {
      const auto scaled = [&](std::uint32_t vus) {
        return static_cast<std::uint32_t>((static_cast<std::uint64_t>(vus) * *wanted + peak - 1) / peak);
      };
      shape.start_vus = scaled(shape.start_vus);
      for (auto& stage : shape.stages) stage.target = scaled(stage.target);
    }
  }

  std::vector<Objective> read_objectives(const YamlMember& member) {
    std::vector<Objective> objectives;
    if (!member.value.is_mapping()) {
      problems_.add(member.value.place, "objectives: must be a mapping of metrics to durations");
      return objectives;
    }
    static constexpr std::array allowed{Metric::ttft,
                                        Metric::tpot,
                                        Metric::e2e,
                                        Metric::http_req_duration,
                                        Metric::ttfb,
                                        Metric::ttfe,
                                        Metric::ttfa,
                                        Metric::ttft_sched,
                                        Metric::e2e_done,
                                        Metric::e2e_sched,
                                        Metric::http_req_waiting,
                                        Metric::http_req_duration_sched};
    std::vector<std::string_view> names;
    names.reserve(allowed.size());
    for (const auto metric : allowed) names.push_back(info(metric).name);
    for (const auto& entry : member.value.members) {
      const auto metric = metric_named(entry.key);
      if (!metric || std::find(allowed.begin(), allowed.end(), *metric) == allowed.end()) {
        problems_.add(entry.place,
                      fmt::format("objectives: '{}' is not a time of one request{}", entry.key,
                                  nearest(entry.key, names) ? did_you_mean(entry.key, names)
                                                            : fmt::format("; there is {}", fmt::join(names, ", "))));
        continue;
      }
      const auto limit = scalars_->duration(entry.value, entry.key);
      if (limit) objectives.push_back({*metric, static_cast<double>(limit->count()) / 1e6});
    }
    return objectives;
  }

  std::vector<Step> read_flow(const YamlMember& member, const std::string& scenario) {
    if (!member.value.is_scalar()) {
      StepNames names;
      steps_ = 0;
      return read_steps(member.value, fmt::format("the flow of '{}'", scenario), names);
    }
    const auto name = scalars_->text(&member);
    if (!name) return {};
    if (const auto known = flows_.find(*name); known != flows_.end()) return known->second;
    std::vector<std::string_view> names;
    for (const auto& [known, steps] : flows_) names.push_back(known);
    problems_.add(member.value.place,
                  fmt::format("flow: nothing under flows: is named '{}'{}", *name, did_you_mean(*name, names)));
    return {};
  }

  // ---- thresholds
  // -----------------------------------------------------------------------------------------------------

  void read_thresholds(const YamlMember& member) {
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
        if (entry.value.items.empty())
          problems_.add(entry.value.place, fmt::format("{}: the list is empty", entry.key));
      } else {
        read_threshold(entry.value, *selection);
      }
    }
  }

  void read_threshold(const YamlNode& node, const Selection& selection) {
    const YamlNode* expression = &node;
    bool abort = false;
    Nanoseconds delay{};
    if (node.is_mapping()) {
      Section section(node, "threshold", "a threshold", problems_);
      const auto* inner = section.take("threshold");
      abort = scalars_->truth(section.take("abort_on_fail")).value_or(false);
      const auto* delay_member = section.take("delay_abort_eval");
      delay = scalars_->duration(delay_member).value_or(Nanoseconds{});
      if (abort && is_sampled(selection.metric))
        problems_.add(node.place, fmt::format("abort_on_fail: {} is known only at the end of the run",
                                              info(selection.metric).name));
      if (delay_member && !abort)
        problems_.add(delay_member->place, "delay_abort_eval: has an effect only with abort_on_fail: true");
      if (!inner) return;
      expression = &inner->value;
    }
    const auto filled = scalars_->filled(*expression, info(selection.metric).name);
    if (!filled) return;
    if (!filled->is_plain()) return problems_.add(node.place, "a threshold cannot change with each iteration");
    auto threshold = parse_threshold(filled->plain(), selection.metric);
    if (!threshold)
      return scalars_->refuse(*expression, *filled, info(selection.metric).name, threshold.error().message);
    if (filled->shown != filled->plain()) threshold->text = filled->shown;
    threshold->selector = selection.tags;
    threshold->abort_on_fail = abort;
    threshold->delay_abort_eval = delay;
    threshold->place = expression->place;
    plan_.thresholds.push_back(std::move(*threshold));
  }

  // A selector that nothing can match would fail for want of samples, but only after the whole run.
  void check_selection(const Selection& selection, const YamlMember& entry) {
    if (is_sampled(selection.metric)) {
      if (!selection.tags.empty())
        problems_.add(entry.place,
                      fmt::format("{} is of the whole engine: it has no tags", info(selection.metric).name));
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

  static void collect_tags(const std::vector<Step>& steps, const std::string& group,
                           std::map<std::string, std::set<std::string>>& values) {
    values["group"].insert(group);
    for (const auto& step : steps) {
      values["name"].insert(step.name);
      for (const auto& [key, value] : step.tags) values[key].insert(value);
      if (std::holds_alternative<ChatStep>(step.verb)) values["method"].insert("POST");
      if (const auto* http = std::get_if<HttpStep>(&step.verb)) values["method"].insert(http->method);
      if (const auto* inner = std::get_if<GroupStep>(&step.verb))
        collect_tags(inner->steps, group + "::" + inner->name, values);
    }
  }

  // ---- small ones
  // -----------------------------------------------------------------------------------------------------

  class NoScope : public Scope {
   public:
    Value lookup(std::string_view) const override { return {}; }
  };

  std::optional<Nanoseconds> positive_duration(const YamlMember* member) {
    const auto value = scalars_->duration(member);
    if (value && value->count() == 0)
      problems_.add(member->value.place, fmt::format("{}: must be longer than 0s", member->key));
    return value;
  }

  std::string file_;
  const LoadOptions& options_;
  ProblemList problems_;
  ScalarReader* scalars_ = nullptr;  // while read_file() runs
  std::map<std::string, std::vector<Step>> flows_;
  std::size_t steps_ = 0;  // of the flow being read
  Plan plan_;
};

Nanoseconds scaled(Nanoseconds value, double factor) {
  if (value.count() == 0) return value;
  const double longest = static_cast<double>(std::chrono::duration_cast<Nanoseconds>(limits::duration_max).count());
  return Nanoseconds(
      std::max<std::int64_t>(1, std::llround(std::min(static_cast<double>(value.count()) * factor, longest))));
}

void scale_sleeps(std::vector<Step>& steps, double factor) {
  for (auto& step : steps) {
    if (auto* sleep = std::get_if<SleepStep>(&step.verb)) {
      sleep->from = scaled(sleep->from, factor);
      sleep->to = scaled(sleep->to, factor);
    } else if (auto* group = std::get_if<GroupStep>(&step.verb)) {
      scale_sleeps(group->steps, factor);
    }
  }
}

std::optional<std::string> from_process_environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value ? std::optional<std::string>(value) : std::nullopt;
}

}  // namespace

PlanOrProblems read_plan(std::string_view text, const std::string& file, const LoadOptions& options) {
  LoadOptions complete = options;
  if (!complete.environment) complete.environment = from_process_environment;
  return Reader(file, complete).read(text);
}

PlanOrProblems load_plan(const std::string& file, const LoadOptions& options) {
  const auto text = read_whole_file(file, limits::scenario_bytes_max);
  if (!text) {
    ProblemList problems(file);
    problems.add({}, text.error().message);
    return problems.take();
  }
  return read_plan(*text, file, options);
}

void scale_times(Plan& plan, double factor) {
  for (auto& scenario : plan.scenarios) {
    if (auto* constant = std::get_if<ConstantVus>(&scenario.shape)) {
      constant->duration = scaled(constant->duration, factor);
    } else {
      for (auto& stage : std::get<RampingVus>(scenario.shape).stages) stage.duration = scaled(stage.duration, factor);
    }
    scenario.start_time = scaled(scenario.start_time, factor);
    scale_sleeps(scenario.flow, factor);
  }
  for (auto& threshold : plan.thresholds) threshold.delay_abort_eval = scaled(threshold.delay_abort_eval, factor);
}

}  // namespace sluice
