#include "harness/load/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "harness/load/http_body.h"
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

bool same_name(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [&](char x, char y) { return lower(x) == lower(y); });
}

bool is_absolute(std::string_view url) {
  return url.starts_with("http://") || url.starts_with("https://") || url.starts_with("ws://") ||
         url.starts_with("wss://");
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
      if (same_name(rest.substr(0, rest.find(':')), name)) return true;
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

void render_chat_body(const Program& program, const ChatStep& chat, const Scope& scope, std::string& out) {
  std::string text;
  const auto add_text = [&](const Template& value) {
    text.clear();
    value.render(scope, text);
    append_json_string(text, out);
  };
  out = "{\"model\":";
  if (chat.model.empty()) {
    append_json_string(program.model, out);
  } else {
    add_text(chat.model);
  }
  out += ",\"messages\":[";
  for (std::size_t i = 0; i < chat.messages.size(); ++i) {
    out += i == 0 ? "{\"role\":" : ",{\"role\":";
    add_text(chat.messages[i].role);
    out += ",\"content\":";
    add_text(chat.messages[i].content);
    out += '}';
  }
  out += chat.stream ? "],\"stream\":true" : "],\"stream\":false";
  if (chat.stream && chat.include_usage) out += ",\"stream_options\":{\"include_usage\":true}";
  for (const auto& [name, json] : chat.options) {
    out += ',';
    append_json_string(name, out);
    out += ':';
    out += json;
  }
  out += '}';
}

bool is_static(const Plan& plan, const Step& step) {
  if (!all_static(plan.target.headers)) return false;
  if (const auto* chat = std::get_if<ChatStep>(&step.verb)) {
    return chat->model.is_static() &&
           std::all_of(chat->messages.begin(), chat->messages.end(), [](const ChatMessage& message) {
             return message.role.is_static() && message.content.is_static();
           });
  }
  if (const auto* socket = std::get_if<WebSocketStep>(&step.verb))
    return socket->url.is_static() && all_static(socket->headers);
  const auto& http = std::get<HttpStep>(step.verb);
  return http.url.is_static() && has_static_body(http) && all_static(http.headers);
}

/// What stands in the request line of a request to `url`.
std::string target_in(const Endpoint& endpoint, std::string url) {
  if (!is_absolute(url)) return endpoint.path + url;
  const std::size_t path = url.find_first_of("/?", url.find("://") + 3);
  url = path == std::string::npos ? "/" : url.substr(path);
  if (url.starts_with('?')) url.insert(0, 1, '/');
  return url;
}

class Builder {
 public:
  Builder(const Plan& plan, const TallyLayout& layout, Program& program)
      : plan_(plan), layout_(layout), program_(program) {}

  Result<void> build(std::uint32_t scenario) {
    FlowProgram flow;
    const ScenarioPlan& about = plan_.scenarios[scenario];
    flow.cookies = about.cookies.value_or(plan_.target.cookies);
    constexpr std::uint64_t kBytesPerKilobit = 125;
    flow.shape = {about.network.download_kbps * kBytesPerKilobit, about.network.upload_kbps * kBytesPerKilobit,
                  about.network.latency};
    next_ = layout_.first_step(scenario);
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
      if (std::holds_alternative<SleepStep>(step.verb)) {
        made.verb = StepProgram::Verb::sleep;
      } else if (const auto* group = std::get_if<GroupStep>(&step.verb)) {
        made.verb = StepProgram::Verb::group;
        if (auto built = add_steps(group->steps, made.steps, flow); !built) return built.error();
      } else if (auto built = add_request(step, made, flow); !built) {
        return built.error();
      }
      into.push_back(std::move(made));
    }
    return {};
  }

  Result<void> add_request(const Step& step, StepProgram& made, FlowProgram& flow) {
    made.timeout = step.timeout.value_or(plan_.target.request_timeout);
    const auto asks_for = [&](std::string_view name) {
      return std::any_of(step.checks.begin(), step.checks.end(),
                         [&](const Check& check) { return check.text.find(name) != std::string::npos; });
    };
    made.keep_text = asks_for("text");
    made.keep_body = asks_for("body");
    made.keep_headers = asks_for("header");
    if (const auto* chat = std::get_if<ChatStep>(&step.verb)) {
      made.answer = chat->stream ? ExchangeRequest::Answer::stream : ExchangeRequest::Answer::chat;
      flow.streams = flow.streams || chat->stream;
    } else {
      const auto* http = std::get_if<HttpStep>(&step.verb);
      if (http != nullptr) {
        made.head = http->method == "HEAD";
        made.redirects = http->redirects.value_or(plan_.target.redirects);
      } else {
        made.verb = StepProgram::Verb::websocket;
        program_.sockets = true;
      }
      const std::string url = http != nullptr ? http->url.text() : std::get<WebSocketStep>(step.verb).url.text();
      if (is_absolute(url)) {
        if (auto found = find_endpoint(step, url, made); !found) return found.error();
      } else if (!url.starts_with('/')) {
        return fail(fmt::format("{}:{}:{}: '{}' is neither a URL nor a path: write http://host/path or /path",
                                plan_.file, step.place.line, step.place.column, url));
      }
    }
    made.is_static = is_static(plan_, step);
    if (made.is_static) {
      std::string body;
      render_request(program_, made, NothingInScope{}, made.bytes, body);
    }
    return {};
  }

  Result<void> find_endpoint(const Step& step, std::string_view url, StepProgram& made) {
    const std::size_t path = url.find_first_of("/?", url.find("://") + 3);
    const std::string_view server = url.substr(0, path);
    if (server.find("${") != std::string_view::npos) {
      return fail(fmt::format("{}:{}:{}: '{}': the host of a URL cannot vary while the load runs", plan_.file,
                              step.place.line, step.place.column, url));
    }
    // ws:// is http:// until the upgrade.
    auto endpoint =
        parse_endpoint(server.starts_with("ws") ? "http" + std::string(server.substr(2)) : std::string(server));
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
};

constexpr std::string_view kUserAgent = "sluice/" SLUICE_VERSION;

bool any_step_needs_model(const std::vector<Step>& steps) {
  return std::any_of(steps.begin(), steps.end(), [](const Step& step) {
    if (const auto* group = std::get_if<GroupStep>(&step.verb)) return any_step_needs_model(group->steps);
    const auto* chat = std::get_if<ChatStep>(&step.verb);
    return chat != nullptr && chat->model.empty();
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

void render_request(const Program& program, const StepProgram& step, const Scope& scope, std::string& out,
                    std::string& body) {
  const Target& target = program.plan->target;
  const Endpoint& endpoint = program.endpoints[step.endpoint];
  out.clear();
  body.clear();
  if (const auto* chat = std::get_if<ChatStep>(&step.step->verb)) {
    render_chat_body(program, *chat, scope, body);
    HeadWriter head(out, "POST", endpoint.path + "/v1/chat/completions");
    head.add_all(target.headers, scope);
    head.add("Host", endpoint.host_header);
    head.add("User-Agent", kUserAgent);
    head.add("Accept", chat->stream ? "text/event-stream" : "application/json");
    head.add("Content-Type", "application/json");
    head.add("Content-Length", std::to_string(body.size()));
  } else if (const auto* socket = std::get_if<WebSocketStep>(&step.step->verb)) {
    std::string url;
    socket->url.render(scope, url);
    const bool on_target = !is_absolute(url) || step.endpoint == 0;
    HeadWriter head(out, "GET", target_in(endpoint, std::move(url)));
    head.add_all(socket->headers, scope);
    if (on_target) head.add_all(target.headers, scope);
    head.add("Host", endpoint.host_header);
    head.add("User-Agent", kUserAgent);
    head.add("Upgrade", "websocket");
    head.add("Connection", "Upgrade");
    head.add("Sec-WebSocket-Version", "13");
    head.add("Sec-WebSocket-Key", kWebSocketKeyPlace);
  } else {
    const auto& http = std::get<HttpStep>(step.step->verb);
    render_http_body(http, scope, body);
    std::string url;
    http.url.render(scope, url);
    // What authorises at the target is nobody else's business.
    const bool on_target = !is_absolute(url) || step.endpoint == 0;
    url = target_in(endpoint, std::move(url));
    append_query(http, scope, url);
    HeadWriter head(out, http.method, url);
    head.add_all(http.headers, scope);
    if (on_target) head.add_all(target.headers, scope);
    head.add("Host", endpoint.host_header);
    head.add("User-Agent", kUserAgent);
    head.add("Accept", "*/*");
    if (http.compression.value_or(target.compression)) head.add("Accept-Encoding", "gzip, deflate");
    if (!http.content_type.empty()) head.add("Content-Type", http.content_type);
    if (http.compress) head.add("Content-Encoding", "gzip");
    const bool owes_length = http.method == "POST" || http.method == "PUT" || http.method == "PATCH";
    if (!body.empty() || owes_length) head.add("Content-Length", std::to_string(body.size()));
  }
  out += "\r\n";
  out += body;
}

std::string models_request(const Plan& plan, const Endpoint& target) {
  std::string out;
  HeadWriter head(out, "GET", target.path + "/v1/models");
  head.add_all(plan.target.headers, NothingInScope{});
  head.add("Host", target.host_header);
  head.add("User-Agent", kUserAgent);
  head.add("Accept", "application/json");
  out += "\r\n";
  return out;
}

}  // namespace sluice
