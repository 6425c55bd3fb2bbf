#include "harness/load/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string_view>

#include "harness/base/letters.h"
#include "harness/load/http_body.h"
#include "harness/load/request_ids.h"
#include "harness/net/websocket_frames.h"

namespace sluice {
namespace {

class NothingInScope final : public Scope {
 public:
  Value lookup(std::string_view) const override { return {}; }
};

void append_json_string(std::string_view text, std::string& out) {
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7F) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(byte));
    } else {
      out += c;
    }
  }
  out += '"';
}

bool is_absolute(std::string_view url) {
  return url.starts_with("http://") || url.starts_with("https://") || url.starts_with("ws://") ||
         url.starts_with("wss://");
}

/// ws:// is http:// until the upgrade.
std::string as_http(std::string_view url) {
  return url.starts_with("ws") ? "http" + std::string(url.substr(2)) : std::string(url);
}

/// Writes a head, header by header; what was given first stays.
class HeadWriter {
 public:
  HeadWriter(std::string& out, std::string_view method, std::string_view target) : out_(out) {
    out_.append(method);
    out_ += ' ';
    // What would end the request line early is sent escaped.
    for (const char c : target) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte <= 0x20 || byte == 0x7F) {
        fmt::format_to(std::back_inserter(out_), "%{:02X}", static_cast<unsigned>(byte));
      } else {
        out_ += c;
      }
    }
    out_ += " HTTP/1.1\r\n";
    headers_from_ = out_.size();
  }

  bool has(std::string_view name) const {
    std::string_view rest = std::string_view(out_).substr(headers_from_);
    while (!rest.empty()) {
      if (same_letters(rest.substr(0, rest.find(':')), name)) return true;
      rest.remove_prefix(rest.find('\n') + 1);
    }
    return false;
  }

  void add(std::string_view name, std::string_view value) {
    if (has(name)) return;
    out_.append(name);
    out_ += ": ";
    for (const char c : value) out_ += c == '\r' || c == '\n' || c == '\0' ? ' ' : c;  // no header from a value
    out_ += "\r\n";
  }

  void add_all(const std::vector<std::pair<std::string, Template>>& headers, const Scope& scope) {
    for (const auto& [name, value] : headers) {
      value_.clear();
      value.render(scope, value_);
      add(name, value_);
    }
  }

 private:
  std::string& out_;
  std::string value_;
  std::size_t headers_from_ = 0;
};

bool all_static(const std::vector<std::pair<std::string, Template>>& headers) {
  return std::all_of(headers.begin(), headers.end(), [](const auto& header) { return header.second.is_static(); });
}

void render_model(const Program& program, const ModelRequest& request, const Scope& scope, std::string& out) {
  out = "{\"model\":";
  if (request.model.empty()) return append_json_string(program.model, out);
  std::string text;
  request.model.render(scope, text);
  append_json_string(text, out);
}

void render_options(const ModelRequest& request, const Scope& scope, std::string& out) {
  out += request.stream ? ",\"stream\":true" : ",\"stream\":false";
  if (request.stream && request.include_usage) out += ",\"stream_options\":{\"include_usage\":true}";
  for (const auto& [name, json] : request.options) {
    out += ',';
    append_json_string(name, out);
    out += ':';
    out += json;
  }
  for (const auto& [name, json] : request.live_options) {
    out += ',';
    append_json_string(name, out);
    out += ':';
    json.render(scope, out);
  }
  out += '}';
}

bool is_static(const ModelRequest& request) { return request.model.is_static() && request.live_options.empty(); }

/// What an http or sse step asks for; null for other verbs.
const HttpStep* http_of(const Step& step) {
  if (const auto* http = std::get_if<HttpStep>(&step.verb)) return http;
  const auto* sse = std::get_if<SseStep>(&step.verb);
  return sse != nullptr ? &sse->request : nullptr;
}

/// What a chat or completion step has of both; null for other verbs.
const ModelRequest* model_request_of(const Step& step) {
  if (const auto* chat = std::get_if<ChatStep>(&step.verb)) return chat;
  return std::get_if<CompletionStep>(&step.verb);
}

bool is_static(const Plan& plan, const ScenarioPlan& scenario, const Step& step) {
  if (!all_static(plan.target.headers) || !all_static(scenario.headers)) return false;
  if (const auto* chat = std::get_if<ChatStep>(&step.verb)) {
    return is_static(*chat) && chat->conversation.empty() &&
           std::all_of(chat->messages.begin(), chat->messages.end(), [](const ChatMessage& message) {
             return message.role.is_static() && message.content.is_static();
           });
  }
  if (const auto* completion = std::get_if<CompletionStep>(&step.verb))
    return is_static(*completion) && completion->prompt.is_static();
  if (const auto* socket = std::get_if<WebSocketStep>(&step.verb))
    return socket->url.is_static() && all_static(socket->headers);
  const HttpStep& http = *http_of(step);
  return http.url.is_static() && has_static_body(http) && all_static(http.headers);
}

/// What stands in the request line of a request to `url`. None: the address was a hole, and what it holds is neither a
/// path nor on this server.
std::optional<std::string> target_in(const Endpoint& endpoint, std::string url, bool is_hole) {
  if (!is_absolute(url)) {
    if (!url.starts_with('/')) return std::nullopt;
    return endpoint.path + url;
  }
  const std::size_t path = url.find_first_of("/?", url.find("://") + 3);
  if (is_hole) {
    const auto named = parse_endpoint(as_http(std::string_view(url).substr(0, path)));
    if (!named || !named->same_server(endpoint)) return std::nullopt;
  }
  url = path == std::string::npos ? "/" : url.substr(path);
  if (url.starts_with('?')) url.insert(0, 1, '/');
  return url;
}

/// Parts of an answer that someone looks at after the exchange has ended.
struct Asked {
  bool text = false, body = false, headers = false;
  void by(const Expression& expression) {
    expression.for_each_name([this](std::string_view name) {
      text = text || name == "text";
      body = body || name == "body";
      headers = headers || name.starts_with("header.");
    });
  }
};

/// By what steers the flow, which looks at the last answer whichever that is.
void collect_asked(const std::vector<Step>& steps, Asked& asked) {
  for (const Step& step : steps) {
    if (const auto* branch = std::get_if<IfStep>(&step.verb)) asked.by(branch->condition);
    if (const auto* repeat = std::get_if<RepeatStep>(&step.verb); repeat != nullptr && repeat->condition)
      asked.by(*repeat->condition);
    if (const auto* set = std::get_if<SetStep>(&step.verb)) {
      for (const auto& assignment : set->assignments) {
        if (const auto* value = std::get_if<Expression>(&assignment.value)) asked.by(*value);
      }
    }
    for_each_block(step, [&](const std::vector<Step>& block) { collect_asked(block, asked); });
  }
}

/// Names that same_text_as: has.
void collect_named(const std::vector<Step>& steps, std::set<std::string_view>& names) {
  for (const Step& step : steps) {
    for (const Check& check : step.checks) {
      if (const auto* same = std::get_if<SameTextAs>(&check.condition)) names.insert(same->step);
    }
    for_each_block(step, [&](const std::vector<Step>& block) { collect_named(block, names); });
  }
}

StepProgram::Verb verb_of(const Step& step) {
  using Verb = StepProgram::Verb;
  if (std::holds_alternative<SleepStep>(step.verb)) return Verb::sleep;
  if (std::holds_alternative<GroupStep>(step.verb)) return Verb::group;
  if (std::holds_alternative<IfStep>(step.verb)) return Verb::branch;
  if (std::holds_alternative<RepeatStep>(step.verb)) return Verb::repeat;
  if (std::holds_alternative<ChooseStep>(step.verb)) return Verb::choose;
  if (std::holds_alternative<SetStep>(step.verb)) return Verb::set;
  if (std::holds_alternative<FailStep>(step.verb)) return Verb::fail;
  if (std::holds_alternative<MetricStep>(step.verb)) return Verb::metric;
  return Verb::request;
}

class Builder {
 public:
  Builder(const Plan& plan, const TallyLayout& layout, Program& program)
      : plan_(plan), layout_(layout), program_(program) {}

  Result<void> build(std::uint32_t scenario) {
    FlowProgram flow;
    const ScenarioPlan& about = plan_.scenarios[scenario];
    flow.cookies = about.cookies.value_or(plan_.target.cookies);
    flow.http2 = about.http2.value_or(plan_.target.http2);
    constexpr std::uint64_t kBytesPerKilobit = 125;
    flow.shape = {about.network.download_kbps * kBytesPerKilobit, about.network.upload_kbps * kBytesPerKilobit,
                  about.network.latency};
    conformance_ = about.conformance;
    scenario_ = &about;
    home_ = 0;
    if (!about.url.empty()) {
      if (auto found = find_home(about); !found) return found.error();
    }
    next_ = layout_.first_step(scenario);
    asked_ = {};
    collect_asked(plan_.scenarios[scenario].flow, asked_);
    named_by_others_.clear();
    collect_named(plan_.scenarios[scenario].flow, named_by_others_);
    if (auto built = add_steps(plan_.scenarios[scenario].flow, flow.steps, flow); !built) return built.error();
    program_.flows.push_back(std::move(flow));
    return {};
  }

 private:
  Result<void> add_steps(const std::vector<Step>& steps, std::vector<StepProgram>& into, FlowProgram& flow) {
    for (const Step& step : steps) {
      StepProgram made;
      made.id = next_++;
      made.step = &step;
      made.first_check = layout_.steps()[made.id].first_check;
      made.verb = verb_of(step);
      if (made.verb == StepProgram::Verb::request) {
        if (auto built = add_request(step, made, flow); !built) return built.error();
      }
      Result<void> inside;
      for_each_block(step, [&](const std::vector<Step>& block) {
        made.blocks.emplace_back();
        if (inside) inside = add_steps(block, made.blocks.back(), flow);
      });
      if (!inside) return inside.error();
      into.push_back(std::move(made));
    }
    return {};
  }

  Result<void> add_request(const Step& step, StepProgram& made, FlowProgram& flow) {
    made.timeout = step.timeout.value_or(plan_.target.request_timeout);
    made.endpoint = made.home = home_;
    made.scenario = scenario_;
    Asked asked = asked_;
    bool reads_answer = named_by_others_.contains(step.name);
    for (const Check& check : step.checks) {
      if (const auto* expression = std::get_if<Expression>(&check.condition)) {
        asked.by(*expression);
      } else {
        reads_answer = true;
      }
      made.hashes_request = made.hashes_request || std::holds_alternative<Deterministic>(check.condition);
    }
    made.remembers_answer = named_by_others_.contains(step.name);
    const auto* model_request = model_request_of(step);
    const auto* http = http_of(step);
    const bool is_sse = std::holds_alternative<SseStep>(step.verb);
    for (const Capture& capture : step.captures) {
      if (std::holds_alternative<Capture::Header>(capture.from)) {
        asked.headers = true;
      } else if (model_request != nullptr || is_sse) {
        asked.text = true;
      } else {
        asked.body = true;
      }
    }
    if (reads_answer) (model_request != nullptr || is_sse ? asked.text : asked.body) = true;
    const auto* chat = std::get_if<ChatStep>(&step.verb);
    made.keep_text = asked.text || (chat != nullptr && !chat->conversation.empty());
    made.keep_body = asked.body;
    made.keep_headers = asked.headers;
    if (model_request != nullptr) {
      made.answer = model_request->stream ? ExchangeRequest::Answer::stream : ExchangeRequest::Answer::chat;
      flow.streams = flow.streams || model_request->stream;
      if (chat == nullptr) made.api = StreamApi::completions;
      // What is asked for is a stream of OpenAI's, whatever else the target's dialect has.
      if (conformance_.dialect == Dialect::raw && model_request->stream) made.api = StreamApi::raw;
      judge(made);
    } else {
      if (is_sse) {
        const auto& sse = std::get<SseStep>(step.verb);
        const auto api = sse.api || !sse.until.empty() ? sse.api : api_of(conformance_.dialect);
        made.answer = api ? ExchangeRequest::Answer::stream : ExchangeRequest::Answer::events;
        made.api = api.value_or(StreamApi::raw);
        flow.streams = true;
        judge(made);
      }
      if (http != nullptr) {
        made.head = http->method == "HEAD";
        if (!is_sse) made.redirects = http->redirects.value_or(plan_.target.redirects);
      } else {
        made.verb = StepProgram::Verb::websocket;
        program_.sockets = true;
      }
      const std::string url = http != nullptr ? http->url.text() : std::get<WebSocketStep>(step.verb).url.text();
      if (is_absolute(url)) {
        if (auto found = find_endpoint(step, url, made); !found) return found.error();
      } else if (!url.starts_with('/') && !url.starts_with("${")) {  // a hole is looked at when it is filled
        return fail(fmt::format("{}:{}:{}: '{}' is neither a URL nor a path: write http://host/path or /path",
                                plan_.file, step.place.line, step.place.column, url));
      }
    }
    made.is_static = is_static(plan_, *scenario_, step);
    if (made.is_static) {
      std::string body;
      render_request(program_, made, NothingInScope{}, made.bytes, body);
    }
    return {};
  }

  void judge(StepProgram& made) const {
    made.noted = known_deviations(conformance_.dialect) | conformance_.allow;
    made.keepalive = conformance_.keepalive;
  }

  /// The server of a scenario with a url of its own. Its path is of its own too, also where another's server is the
  /// same.
  Result<void> find_home(const ScenarioPlan& scenario) {
    auto endpoint = parse_endpoint(scenario.url);
    if (!endpoint)
      return fail(fmt::format("{}:{}:{}: url: {}", plan_.file, scenario.place.line, scenario.place.column,
                              endpoint.error().message));
    for (home_ = 0; home_ < program_.endpoints.size(); ++home_) {
      const Endpoint& known = program_.endpoints[home_];
      if (known.same_server(*endpoint) && known.path == endpoint->path) return {};
    }
    if (auto resolved = resolve(*endpoint); !resolved) return resolved.error();
    program_.endpoints.push_back(std::move(*endpoint));
    return {};
  }

  Result<void> find_endpoint(const Step& step, std::string_view url, StepProgram& made) {
    const std::size_t path = url.find_first_of("/?", url.find("://") + 3);
    const std::string_view server = url.substr(0, path);
    if (server.find("${") != std::string_view::npos) {
      return fail(fmt::format("{}:{}:{}: '{}': the host of a URL cannot vary while the load runs", plan_.file,
                              step.place.line, step.place.column, url));
    }
    auto endpoint = parse_endpoint(as_http(server));
    if (!endpoint) {
      return fail(
          fmt::format("{}:{}:{}: {}", plan_.file, step.place.line, step.place.column, endpoint.error().message));
    }
    for (made.endpoint = 0; made.endpoint < program_.endpoints.size(); ++made.endpoint) {
      if (program_.endpoints[made.endpoint].same_server(*endpoint)) return {};
    }
    if (auto resolved = resolve(*endpoint); !resolved) return resolved.error();
    program_.endpoints.push_back(std::move(*endpoint));
    return {};
  }

  const Plan& plan_;
  const TallyLayout& layout_;
  Program& program_;
  StepId next_ = 0;
  Asked asked_;                                 // by what steers the flow
  std::set<std::string_view> named_by_others_;  // steps whose answers those of later ones are compared with
  Conformance conformance_;
  const ScenarioPlan* scenario_ = nullptr;  // that is being built
  std::size_t home_ = 0;                    // its endpoint
};

constexpr std::string_view kUserAgent = "sluice/" SLUICE_VERSION;

bool any_step_needs_model(const std::vector<Step>& steps) {
  return std::any_of(steps.begin(), steps.end(), [](const Step& step) {
    const auto* request = model_request_of(step);
    bool needs = request != nullptr && request->model.empty();
    for_each_block(step, [&](const std::vector<Step>& block) { needs = needs || any_step_needs_model(block); });
    return needs;
  });
}

}  // namespace

bool needs_default_model(const Plan& plan) {
  return std::any_of(plan.scenarios.begin(), plan.scenarios.end(),
                     [](const ScenarioPlan& scenario) { return any_step_needs_model(scenario.flow); });
}

Result<Program> make_program(const Plan& plan, const TallyLayout& layout, const Endpoint& target, std::string model) {
  Program program;
  program.plan = &plan;
  program.model = std::move(model);
  program.endpoints.push_back(target);
  Builder builder(plan, layout, program);
  for (std::uint32_t i = 0; i < plan.scenarios.size(); ++i) {
    if (auto built = builder.build(i); !built) return built.error();
  }
  return program;
}

void append_message(std::string_view role, std::string_view content, std::string& out) {
  out += "{\"role\":";
  append_json_string(role, out);
  out += ",\"content\":";
  append_json_string(content, out);
  out += '}';
}

void render_messages(const ChatStep& chat, const Scope& scope, bool with_system, std::string& out) {
  std::string role, content;
  bool first = true;
  for (const ChatMessage& message : chat.messages) {
    role.clear();
    content.clear();
    message.role.render(scope, role);
    if (!with_system && role == "system") continue;
    message.content.render(scope, content);
    if (!first) out += ',';
    first = false;
    append_message(role, content, out);
  }
}

bool render_request(const Program& program, const StepProgram& step, const Scope& scope, std::string& out,
                    std::string& body, const std::string* messages) {
  const Target& target = program.plan->target;
  const Endpoint& endpoint = program.endpoints[step.endpoint];
  // What authorises at one server is nobody else's business.
  const auto add_own_headers = [&](HeadWriter& head) {
    if (endpoint.same_server(program.endpoints[step.home])) head.add_all(step.scenario->headers, scope);
    if (endpoint.same_server(program.endpoints[0])) head.add_all(target.headers, scope);
  };
  out.clear();
  body.clear();
  if (const auto* request = model_request_of(*step.step)) {
    render_model(program, *request, scope, body);
    const auto* chat = std::get_if<ChatStep>(&step.step->verb);
    if (chat != nullptr) {
      body += ",\"messages\":[";
      if (messages != nullptr) {
        body += *messages;
      } else {
        render_messages(*chat, scope, true, body);
      }
      body += ']';
    } else {
      body += ",\"prompt\":";
      std::string prompt;
      std::get<CompletionStep>(step.step->verb).prompt.render(scope, prompt);
      append_json_string(prompt, body);
    }
    render_options(*request, scope, body);
    HeadWriter head(out, "POST", endpoint.path + (chat != nullptr ? "/v1/chat/completions" : "/v1/completions"));
    add_own_headers(head);
    head.add("Host", endpoint.host_header);
    head.add("User-Agent", kUserAgent);
    head.add("Accept", request->stream ? "text/event-stream" : "application/json");
    head.add(kRequestIdHeader, kRequestIdPlace);
    head.add("Content-Type", "application/json");
    head.add("Content-Length", std::to_string(body.size()));
  } else if (const auto* socket = std::get_if<WebSocketStep>(&step.step->verb)) {
    std::string url;
    socket->url.render(scope, url);
    const auto asked_for = target_in(endpoint, std::move(url), socket->url.text().starts_with("${"));
    if (!asked_for) return false;
    HeadWriter head(out, "GET", *asked_for);
    head.add_all(socket->headers, scope);
    add_own_headers(head);
    head.add("Host", endpoint.host_header);
    head.add("User-Agent", kUserAgent);
    head.add("Upgrade", "websocket");
    head.add("Connection", "Upgrade");
    head.add("Sec-WebSocket-Version", "13");
    head.add("Sec-WebSocket-Key", kWebSocketKeyPlace);
  } else {
    const HttpStep& http = *http_of(*step.step);
    render_http_body(http, scope, body);
    std::string url;
    http.url.render(scope, url);
    auto asked_for = target_in(endpoint, std::move(url), http.url.text().starts_with("${"));
    if (!asked_for) return false;
    url = std::move(*asked_for);
    append_query(http, scope, url);
    HeadWriter head(out, http.method, url);
    head.add_all(http.headers, scope);
    add_own_headers(head);
    head.add("Host", endpoint.host_header);
    head.add("User-Agent", kUserAgent);
    const bool is_sse = std::holds_alternative<SseStep>(step.step->verb);
    head.add("Accept", is_sse ? "text/event-stream" : "*/*");
    if (is_sse) head.add(kRequestIdHeader, kRequestIdPlace);
    if (!is_sse && http.compression.value_or(target.compression)) head.add("Accept-Encoding", "gzip, deflate");
    if (!http.content_type.empty()) head.add("Content-Type", http.content_type);
    if (http.compress) head.add("Content-Encoding", "gzip");
    const bool owes_length = http.method == "POST" || http.method == "PUT" || http.method == "PATCH";
    if (!body.empty() || owes_length) head.add("Content-Length", std::to_string(body.size()));
  }
  out += "\r\n";
  out += body;
  return true;
}

std::string target_request(const Plan& plan, const Endpoint& target, std::string_view path) {
  std::string out;
  HeadWriter head(out, "GET", target.path + std::string(path));
  head.add_all(plan.target.headers, NothingInScope{});
  head.add("Host", target.host_header);
  head.add("User-Agent", kUserAgent);
  head.add("Accept", "application/json");
  out += "\r\n";
  return out;
}

}  // namespace sluice
