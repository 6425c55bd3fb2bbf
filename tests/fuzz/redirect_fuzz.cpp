// Any bytes as a Location: where it leads is a URL that can be asked for, and the request that goes there is one.
#include <cstdint>
#include <string>
#include <string_view>

#include "harness/net/redirect.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;
  static const Endpoint server = *parse_endpoint("http://h:8000");
  const auto to = locate(server, "/a/b?c", std::string_view(reinterpret_cast<const char*>(data), size));
  if (!to) return 0;
  if (!to->target.starts_with('/') || to->target.find_first_of(" \r\n") != std::string::npos) __builtin_trap();
  if (to->endpoint.host.empty() || to->endpoint.host_header.find_first_of(" \r\n") != std::string::npos)
    __builtin_trap();
  std::string out;
  redirected_request("POST / HTTP/1.1\r\nHost: h:8000\r\nAuthorization: s\r\nContent-Length: 1\r\n\r\nx", 302, *to,
                     true, {}, out);
  if (out.find("\nAuthorization") != std::string::npos || !out.ends_with("\r\n\r\n")) __builtin_trap();
  return 0;
}
