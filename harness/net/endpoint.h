// Where requests go: a URL taken apart and its name resolved, once.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "harness/base/result.h"

namespace sluice {

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

struct Endpoint {
  bool tls = false;
  std::string host;  // a name, or an address without brackets
  std::string port;
  std::string host_header;         // with brackets and a port that is not the scheme's own
  std::string path;                // prefix of every target: "" or "/base", never with a trailing slash
  std::string tls_name;            // whom TLS asks for; empty: host
  std::vector<Address> addresses;  // filled by resolve()

  bool same_server(const Endpoint& other) const { return tls == other.tls && host == other.host && port == other.port; }
};

/// A URL of a request: its server, and what stands in the request line.
struct RequestUrl {
  Endpoint endpoint;
  std::string target;  // path and query, at least "/"
};

/// http(s)://host[:port][/path][?query]. Credentials, a fragment and other schemes are refused.
Result<RequestUrl> parse_url(std::string_view url);
/// The same for a target's base: its path becomes Endpoint::path.
Result<Endpoint> parse_endpoint(std::string_view url);
/// Looks the host up; blocking.
Result<void> resolve(Endpoint& endpoint);

}  // namespace sluice
