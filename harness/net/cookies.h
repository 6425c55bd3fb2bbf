// The cookies of one virtual user: what servers have set, and what goes back with the next request.
//
// RFC 6265 as browsers and k6 keep it: by host or domain, path, Secure, Max-Age and Expires; a cookie that has expired
// is deleted. There is no list of public suffixes: a domain must have a dot inside. Time is an argument, in seconds
// since 1970. Values come from servers and are bounded; the oldest cookie makes room for a new one.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

struct Cookie {
  static constexpr std::int64_t kSession = std::numeric_limits<std::int64_t>::max();
  std::string name, value;
  std::string domain;               // lower case, without a leading dot
  bool host_only = true;            // no subdomain gets it
  std::string path;                 // "/" at least
  bool secure = false;              // https only
  std::int64_t expires = kSession;  // seconds since 1970; one that has passed: to be deleted
};

/// The value of one Set-Cookie header, of an answer that `host` gave to a request for `target` (path and query). None:
/// it is to be ignored.
std::optional<Cookie> parse_set_cookie(std::string_view text, std::string_view host, std::string_view target,
                                       std::int64_t now_s);

/// A date as servers write it in Expires, in seconds since 1970.
std::optional<std::int64_t> parse_cookie_date(std::string_view text);

class CookieJar {
 public:
  bool empty() const { return cookies_.empty(); }
  std::size_t size() const { return cookies_.size(); }
  void clear() { cookies_.clear(); }

  /// Takes a Set-Cookie header, or ignores it.
  void set(std::string_view text, std::string_view host, std::string_view target, std::int64_t now_s);

  /// Appends what a Cookie header says to that host and path: "a=1; b=2", the longest path first.
  void append_for(std::string_view host, bool tls, std::string_view target, std::int64_t now_s, std::string& out) const;

 private:
  std::vector<Cookie> cookies_;  // in the order of their making
};

/// `request` (a head and perhaps a body) with the cookies in its Cookie header, beside those that it has. Replaces
/// `out`.
void add_cookies(std::string_view request, std::string_view cookies, std::string& out);

}  // namespace sluice
