#include "harness/app/stream_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "harness/app/commands.h"
#include "harness/base/letters.h"
#include "harness/cohost/probe.h"
#include "harness/load/program.h"

namespace sluice {

namespace {

namespace json = boost::json;

struct ApiInfo {
  StreamApi api;
  std::string_view name, path;  // of its requests
};
constexpr ApiInfo kApis[] = {{StreamApi::chat, "chat", "/chat/completions"},
                             {StreamApi::completions, "completions", "/completions"},
                             {StreamApi::messages, "messages", "/messages"},
                             {StreamApi::responses, "responses", "/responses"},
                             {StreamApi::raw, "raw", ""}};

constexpr std::size_t kSecretBytes = 4;  // what is shorter is no secret, and stands everywhere

PlannedRequest unplanned(int exit_code, std::string problem) {
  PlannedRequest planned;
  planned.exit_code = exit_code;
  planned.problem = std::move(problem);
  return planned;
}

std::string body_of(StreamApi api, const WantedRequest& wanted, const std::string& model) {
  json::object body{{"model", model}, {"stream", true}};
  const json::array messages{json::object{{"role", "user"}, {"content", wanted.prompt}}};
  switch (api) {
    case StreamApi::chat:
    case StreamApi::raw:
      body["messages"] = messages;
      body["max_tokens"] = wanted.max_tokens;
      body["stream_options"] = json::object{{"include_usage", true}};
      break;
    case StreamApi::completions:
      body["prompt"] = wanted.prompt;
      body["max_tokens"] = wanted.max_tokens;
      body["stream_options"] = json::object{{"include_usage", true}};
      break;
    case StreamApi::messages:
      body["messages"] = messages;
      body["max_tokens"] = wanted.max_tokens;
      break;
    case StreamApi::responses:
      body["input"] = wanted.prompt;
      body["max_output_tokens"] = wanted.max_tokens;
      break;
  }
  return json::serialize(body);
}

}  // namespace

std::string_view name_of(StreamApi api) { return kApis[static_cast<std::size_t>(api)].name; }

std::optional<StreamApi> stream_api_named(std::string_view name) {
  for (const ApiInfo& api : kApis)
    if (api.api != StreamApi::raw && api.name == name) return api.api;
  return std::nullopt;
}

std::optional<StreamApi> api_of_path(std::string_view path) {
  for (const ApiInfo& api : kApis)
    if (!api.path.empty() && path.ends_with(api.path)) return api.api;
  return std::nullopt;
}

bool is_url(std::string_view source) { return source.starts_with("http://") || source.starts_with("https://"); }

Result<RequestHeaders> read_headers(const std::vector<std::string>& headers) {
  RequestHeaders read;
  for (const std::string& header : headers) {
    const std::size_t colon = header.find(':');
    if (colon == 0 || colon == std::string::npos || header.find_first_of("\r\n") != std::string::npos)
      return fail("--header: write 'Name: value'");
    std::string value = header.substr(colon + 1);
    value.erase(0, value.find_first_not_of(' '));
    read.headers.emplace_back(header.substr(0, colon), Template(value));
    for (std::size_t at = 0; at < value.size();) {  // "Bearer x": x alone as well
      const std::size_t end = std::min(value.find(' ', at), value.size());
      if (end - at >= kSecretBytes && !same_letters(value.substr(at, end - at), "bearer"))
        read.secrets.push_back(value.substr(at, end - at));
      at = end + 1;
    }
  }
  return {boost::system::in_place_value, std::move(read)};
}

PlannedRequest plan_request(const WantedRequest& wanted) {
  const auto url = parse_url(wanted.url);
  if (!url) return unplanned(kExitInvalid, url.error().message);
  std::string path = url->target;
  const std::size_t mark = std::min(path.find('?'), path.size());
  const std::string query = path.substr(mark);
  path.resize(mark);
  while (path.ends_with('/')) path.pop_back();
  const auto asked = api_of_path(path);
  if (asked && wanted.api && *wanted.api != StreamApi::raw && *wanted.api != *asked)
    return unplanned(kExitInvalid, fmt::format("{}: is the path of {}, and {} are wanted: leave one of them out",
                                               wanted.url, name_of(*asked), name_of(*wanted.api)));
  PlannedRequest planned;
  planned.api = wanted.api.value_or(asked.value_or(StreamApi::chat));
  std::string base = path;
  if (asked) base.resize(base.size() - kApis[static_cast<std::size_t>(*asked)].path.size());
  if (base.ends_with("/v1")) base.resize(base.size() - 3);
  if (!asked) {
    const StreamApi form = planned.api == StreamApi::raw ? StreamApi::chat : planned.api;
    path = base + "/v1" + std::string(kApis[static_cast<std::size_t>(form)].path);
  }
  path += query;
  const std::string server = fmt::format("{}://{}", url->endpoint.tls ? "https" : "http", url->endpoint.host_header);
  planned.source = server + path;
  if (const auto reached = can_connect(url->endpoint.host, url->endpoint.port,
                                       std::min<Nanoseconds>(wanted.timeout, std::chrono::seconds(10)));
      !reached)
    return unplanned(kExitUnreachable, fmt::format("{} cannot be reached: {}", server, reached.error().message));

  Plan& plan = planned.plan;
  plan.name = "one request";
  plan.target.url = server;
  plan.target.headers = wanted.headers;
  plan.target.request_timeout = wanted.timeout;
  plan.target.tls_verify = !wanted.insecure;
  std::string model = wanted.model;
  if (model.empty()) {
    auto endpoint = parse_endpoint(server + base);
    if (!endpoint) return unplanned(kExitInvalid, endpoint.error().message);
    if (const auto resolved = resolve(*endpoint); !resolved)
      return unplanned(kExitUnreachable, resolved.error().message);
    auto tls = TlsContext::make(tls_options(plan.target));
    if (!tls) return unplanned(kExitInternal, tls.error().message);
    auto learnt = learn_model(plan, *endpoint, *tls);
    if (!learnt)
      return unplanned(kExitInvalid,
                       fmt::format("{}{}/v1/models does not say which model there is: give --model", server, base));
    model = std::move(*learnt);
  }

  SseStep sse;
  sse.api = planned.api;
  sse.request.method = "POST";
  sse.request.url = Template(path);
  sse.request.body = Template(body_of(planned.api, wanted, model));
  sse.request.content_type = "application/json";
  if (planned.api == StreamApi::messages) sse.request.headers.emplace_back("anthropic-version", Template("2023-06-01"));
  ScenarioPlan scenario;
  scenario.name = "stream";
  scenario.shape =
      PerVuIterations{.vus = 1, .iterations = 1, .max_duration = wanted.timeout + std::chrono::seconds(10)};
  scenario.flow.push_back(
      Step{.name = "stream", .verb = std::move(sse), .checks = {}, .tags = {}, .timeout = {}, .place = {}});
  plan.scenarios.push_back(std::move(scenario));
  return planned;
}

}  // namespace sluice
