// One request for a stream to the server that a URL names, as a plan: what check-stream and record send.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "harness/base/dialect.h"
#include "harness/base/result.h"
#include "harness/base/time.h"
#include "harness/scenario/plan.h"

namespace sluice {

/// What a person may ask for; `raw` is a dialect.
inline constexpr std::array<std::string_view, 4> kStreamApiNames{"chat", "completions", "messages", "responses"};
std::string_view name_of(StreamApi api);
std::optional<StreamApi> stream_api_named(std::string_view name);
/// The API whose path this ends with.
std::optional<StreamApi> api_of_path(std::string_view path);

bool is_url(std::string_view source);

struct RequestHeaders {
  std::vector<std::pair<std::string, Template>> headers;
  std::vector<std::string> secrets;  // values of them, which nobody may see
};
/// Of "Name: value" each. What is wrong may be a secret, so that the error does not show it.
Result<RequestHeaders> read_headers(const std::vector<std::string>& headers);

struct WantedRequest {
  std::string url;               // of the request, or a base with or without /v1
  std::optional<StreamApi> api;  // none: that of the URL, else chat
  std::string model;             // empty: the server's first
  std::string prompt;
  std::uint32_t max_tokens = 0;
  std::vector<std::pair<std::string, Template>> headers;
  Nanoseconds timeout{};
  bool insecure = false;
};

struct PlannedRequest {
  Plan plan;  // one scenario: one VU sends it once
  StreamApi api{};
  std::string source;   // its URL
  std::string problem;  // why there is no plan; empty: there is one
  int exit_code = 0;    // then
};

/// Looks whether the server is there, and asks it for its models where none is named.
PlannedRequest plan_request(const WantedRequest& wanted);

}  // namespace sluice
