#include "harness/net/redirect.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/url.hpp>

#include "harness/base/limits.h"
#include "harness/net/header_text.h"

namespace sluice {
namespace {

/// What a body brings with it.
constexpr std::array<std::string_view, 4> kOfBody{"Content-Length", "Content-Type", "Content-Encoding",
                                                  "Transfer-Encoding"};
constexpr std::array<std::string_view, 6> kSecret{"Authorization", "Proxy-Authorization", "Cookie",
                                                  "Cookie2",       "X-Api-Key",           "Api-Key"};

bool among(std::string_view name, auto&& names) {
  return std::any_of(std::begin(names), std::end(names), [&](const auto& one) { return same_header(name, one); });
}

}  // namespace

std::string_view method_of(std::string_view request) { return request.substr(0, request.find(' ')); }

std::string_view target_of(std::string_view request) {
  const std::size_t from = std::min(request.find(' '), request.size() - 1) + 1;
  return request.substr(from, request.find(' ', from) - from);
}

Result<RequestUrl> locate(const Endpoint& server, std::string_view target, std::string_view location) {
  location = location.substr(0, location.find('#'));
  if (location.empty()) return fail("a redirect without a Location");
  if (location.size() > limits::location_bytes_max) return fail("a redirect to a URL that is too long");
  const std::string base = fmt::format("{}://{}{}", server.tls ? "https" : "http", server.host_header, target);
  const auto from = boost::urls::parse_uri(base);
  const auto reference = boost::urls::parse_uri_reference(boost::core::string_view(location.data(), location.size()));
  if (!reference || !from) return fail("a redirect to what is not a URL");
  boost::urls::url to;
  if (!boost::urls::resolve(*from, *reference, to)) return fail("a redirect to what is not a URL");
  if (to.has_userinfo()) to.remove_userinfo();  // whatever a server writes there is not ours to log in with
  auto parsed = parse_url(std::string_view(to.buffer().data(), to.buffer().size()));
  if (!parsed) return fail("a redirect to where http does not lead");
  return parsed;
}

void redirected_request(std::string_view request, unsigned status, const RequestUrl& to, bool other_server,
                        std::span<const std::string> private_headers, std::string& out) {
  const std::string_view method = method_of(request);
  const bool plain = method == "GET" || method == "HEAD";
  const bool to_get = status <= 303 && !plain;
  const std::size_t head_end = std::min(request.find("\r\n\r\n"), request.size());
  out.assign(to_get ? "GET" : method).append(" ").append(to.target).append(" HTTP/1.1\r\n");
  std::size_t at = request.find("\r\n");
  while (at < head_end) {
    at += 2;
    const std::size_t end = std::min(request.find("\r\n", at), head_end);
    const std::string_view line = request.substr(at, end - at);
    const std::string_view name = line.substr(0, line.find(':'));
    at = end;
    if (to_get && among(name, kOfBody)) continue;
    if (other_server && (among(name, kSecret) || among(name, private_headers))) continue;
    if (other_server && same_header(name, "Host")) {
      out.append("Host: ").append(to.endpoint.host_header).append("\r\n");
    } else {
      out.append(line).append("\r\n");
    }
  }
  out += "\r\n";
  if (!to_get) out.append(request.substr(std::min(head_end + 4, request.size())));
}

}  // namespace sluice
