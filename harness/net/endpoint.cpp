#include "harness/net/endpoint.h"

#include <fmt/format.h>
#include <netdb.h>

#include <algorithm>
#include <boost/url.hpp>
#include <cstring>
#include <memory>

namespace sluice {

Result<RequestUrl> parse_url(std::string_view url) {
  const auto parsed = boost::urls::parse_uri(boost::core::string_view(url.data(), url.size()));
  constexpr std::string_view kWayOut = "write http://host:port/path or https://...";
  if (!parsed) return fail(fmt::format("'{}' is not a URL: {}", url, kWayOut));
  const boost::urls::url_view& view = *parsed;
  RequestUrl result;
  Endpoint& endpoint = result.endpoint;
  const auto scheme = view.scheme_id();
  if (scheme != boost::urls::scheme::http && scheme != boost::urls::scheme::https) {
    return fail(fmt::format("'{}': only http and https can be driven: {}", url, kWayOut));
  }
  endpoint.tls = scheme == boost::urls::scheme::https;
  if (view.has_userinfo()) {
    return fail("a URL with credentials would end up in reports: put them into `headers:` (Authorization)");
  }
  if (view.has_fragment()) return fail(fmt::format("'{}': a fragment (#...) is never sent: leave it out", url));
  const auto host = view.host();
  if (host.empty()) return fail(fmt::format("'{}' names no host: {}", url, kWayOut));
  const bool bracketed = view.host_type() == boost::urls::host_type::ipv6;
  // It is decoded by now, and goes into a header: %0d%0a must not begin another one.
  const auto odd = [](char c) {
    return static_cast<unsigned char>(c) <= 0x20 || c == 0x7F ||
           std::string_view("/?#@[]").find(c) != std::string_view::npos;
  };
  if (!bracketed && std::any_of(host.begin(), host.end(), odd)) {
    return fail(fmt::format("the host of '{}' has characters that no host has: {}", url, kWayOut));
  }
  endpoint.host = bracketed ? std::string(host.substr(1, host.size() - 2)) : std::string(host);
  endpoint.port = std::string(view.port());
  const std::string own_port = endpoint.tls ? "443" : "80";
  if (endpoint.port.empty()) endpoint.port = own_port;
  if (endpoint.port.size() > 5 || std::stoul(endpoint.port) > 65535 || std::stoul(endpoint.port) == 0) {
    return fail(fmt::format("'{}': {} is not a port: write a number from 1 to 65535", url, endpoint.port));
  }
  endpoint.host_header = bracketed ? std::string(host) : endpoint.host;
  if (endpoint.port != own_port) endpoint.host_header += ":" + endpoint.port;
  const auto path = view.encoded_path();
  if (!path.empty() && path.front() != '/') {  // "h:80.c/x", which the library takes apart behind the digits
    return fail(fmt::format("'{}' is not a URL: {}", url, kWayOut));
  }
  result.target = path.empty() ? std::string("/") : std::string(path.data(), path.size());
  if (view.has_query()) {
    const auto query = view.encoded_query();
    result.target += "?" + std::string(query.data(), query.size());
  }
  return result;
}

Result<Endpoint> parse_endpoint(std::string_view url) {
  auto parsed = parse_url(url);
  if (!parsed) return parsed.error();
  if (parsed->target.find('?') != std::string::npos) {
    return fail(fmt::format("'{}': a target's URL takes no query: put it into the steps", url));
  }
  Endpoint endpoint = std::move(parsed->endpoint);
  endpoint.path = std::move(parsed->target);
  while (endpoint.path.ends_with('/')) endpoint.path.pop_back();
  return endpoint;
}

Result<void> resolve(Endpoint& endpoint) {
  addrinfo wanted{};
  wanted.ai_family = AF_UNSPEC;
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(endpoint.host.c_str(), endpoint.port.c_str(), &wanted, &found);
  if (error != 0) {
    return fail(fmt::format("cannot find the host '{}': {}: check its spelling and this machine's DNS", endpoint.host,
                            ::gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  endpoint.addresses.clear();
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    Address address;
    std::memcpy(&address.storage, one->ai_addr, one->ai_addrlen);
    address.length = one->ai_addrlen;
    endpoint.addresses.push_back(address);
  }
  return {};
}

}  // namespace sluice
