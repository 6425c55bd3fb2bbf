// Any bytes as Set-Cookie headers: the jar stays within its bounds, and what it sends back is one line.
#include <cstdint>
#include <string>
#include <string_view>

#include "harness/base/limits.h"
#include "harness/net/cookies.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  constexpr std::int64_t kNow = 1'700'000'000;
  CookieJar jar;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(line.size() < rest.size() ? line.size() + 1 : rest.size());
    jar.set(line, "api.example.com", "/a/b?c", kNow);
    (void)parse_cookie_date(line);
  }
  if (jar.size() > limits::cookies_per_vu_max) __builtin_trap();
  for (const std::string_view host : {"api.example.com", "example.com", "127.0.0.1"}) {
    std::string out, request;
    jar.append_for(host, true, "/a/b/c", kNow, out);
    if (out.find_first_of("\r\n") != std::string::npos || out.find('\0') != std::string::npos) __builtin_trap();
    if (host == "127.0.0.1" && !out.empty()) __builtin_trap();
    add_cookies("GET / HTTP/1.1\r\nHost: h\r\n\r\n", out, request);
  }
  return 0;
}
