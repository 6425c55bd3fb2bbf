#include "harness/load/browser.h"

#include <ctime>

#include "harness/base/limits.h"
#include "harness/net/compression.h"

namespace sluice {
namespace {

std::int64_t seconds_since_1970() { return static_cast<std::int64_t>(std::time(nullptr)); }

}  // namespace

std::optional<std::size_t> FoundServers::number_of(const Endpoint& server) {
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    if (servers_[i].same_server(server)) return i;
  }
  if (servers_.size() >= limits::redirect_hosts_max) return std::nullopt;
  servers_.push_back(server);
  (void)resolve(servers_.back());  // what is not found cannot be connected to, and is then a measurement
  return servers_.size() - 1;
}

std::string_view Browser::with_cookies(std::string_view bytes, std::size_t number) {
  const Endpoint& to = server(number);
  scratch_.clear();
  jar_.append_for(to.host, to.tls, target_of(bytes), seconds_since_1970(), scratch_);
  if (scratch_.empty()) return bytes;
  add_cookies(bytes, scratch_, dressed_);
  return dressed_;
}

void Browser::take(const AnswerHeaders& headers, std::string_view bytes, std::size_t number, RequestRecord& record) {
  for (const std::string& text : headers.set_cookies) {
    jar_.set(text, server(number).host, target_of(bytes), seconds_since_1970());
  }
  const Encoding encoding = encoding_named(headers.content_encoding);
  if (record.body.empty() || (encoding != Encoding::gzip && encoding != Encoding::deflate)) return;
  if (decompress(encoding, record.body, limits::body_bytes_kept, scratch_)) {
    record.body.swap(scratch_);
  } else if (record.outcome == Outcome::ok) {
    record.outcome = Outcome::malformed;
    record.error = "the answer's body is not " + headers.content_encoding + ", as it says";
  }
}

std::optional<Browser::Hop> Browser::follow(const AnswerHeaders& headers, std::string_view bytes, std::size_t number,
                                            RequestRecord& record) {
  if (!is_redirect(record.status) || record.outcome != Outcome::ok || headers.location.empty()) return std::nullopt;
  const Endpoint& from = server(number);
  const auto to = locate(from, target_of(bytes), headers.location);
  if (!to) {
    record.outcome = Outcome::malformed;
    record.error = to.error().message;
    return std::nullopt;
  }
  Hop hop;
  const std::size_t known = program_.endpoints.size();
  while (hop.server < known && !program_.endpoints[hop.server].same_server(to->endpoint)) ++hop.server;
  if (hop.server == known) {
    const auto found = found_.number_of(to->endpoint);
    if (!found) {
      record.outcome = Outcome::connect_failed;
      record.error = "redirects lead to too many servers";
      return std::nullopt;
    }
    hop.server = known + *found;
  }
  std::vector<std::string> private_headers;
  const bool other = !from.same_server(to->endpoint);
  if (other) {
    for (const auto& header : program_.plan->target.headers) private_headers.push_back(header.first);
    for (const ScenarioPlan& scenario : program_.plan->scenarios)
      for (const auto& header : scenario.headers) private_headers.push_back(header.first);
  }
  hop_ = 1 - hop_;
  redirected_request(bytes, record.status, *to, other, private_headers, hops_[hop_]);
  hop.bytes = hops_[hop_];
  return hop;
}

}  // namespace sluice
