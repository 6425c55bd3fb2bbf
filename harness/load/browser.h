// What a VU does around its requests as a browser would: cookies, redirects, decoding what came compressed.
//
// Costs nothing while no server sets a cookie, redirects or compresses. Lives on one load thread.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/load/program.h"
#include "harness/metrics/record.h"
#include "harness/net/cookies.h"
#include "harness/net/exchange.h"
#include "harness/net/redirect.h"

namespace sluice {

/// Servers that redirects have led to: each is looked up once a thread, which blocks it, and found again from then on.
class FoundServers {
 public:
  /// Its number, from 0; none when there are too many. One that is not found has no addresses.
  std::optional<std::size_t> number_of(const Endpoint& server);
  const Endpoint& at(std::size_t number) const { return servers_[number]; }

 private:
  std::deque<Endpoint> servers_;  // their addresses do not move
};

class Browser {
 public:
  /// Both must outlive it.
  Browser(const Program& program, FoundServers& found, CookieKeeping cookies)
      : program_(program), found_(found), cookies_(cookies) {}

  void begin_iteration() {
    if (cookies_ == CookieKeeping::reset && !jar_.empty()) jar_.clear();
  }
  bool keeps_cookies() const { return cookies_ != CookieKeeping::off; }

  /// The program's endpoints, then those found.
  const Endpoint& server(std::size_t number) const {
    const std::size_t known = program_.endpoints.size();
    return number < known ? program_.endpoints[number] : found_.at(number - known);
  }

  /// The request as it is to be sent there: `bytes`, or a copy with cookies that lives until the next call.
  std::string_view dressed(std::string_view bytes, std::size_t server) {
    return jar_.empty() ? bytes : with_cookies(bytes, server);
  }

  /// Is there anything to do after this answer?
  static bool concerns(const AnswerHeaders& headers, const RequestRecord& record) {
    return !headers.set_cookies.empty() || !headers.content_encoding.empty() ||
           (is_redirect(record.status) && record.outcome == Outcome::ok);
  }
  /// Keeps its cookies, and decodes its body. `bytes`: the request, as it was before it was dressed.
  void take(const AnswerHeaders& headers, std::string_view bytes, std::size_t server, RequestRecord& record);

  struct Hop {
    std::size_t server = 0;
    std::string_view bytes;  // good until two calls later
  };
  /// Where the answer leads. None: nowhere, or to where nobody can go, which is then the record's error.
  std::optional<Hop> follow(const AnswerHeaders& headers, std::string_view bytes, std::size_t server,
                            RequestRecord& record);

 private:
  std::string_view with_cookies(std::string_view bytes, std::size_t server);

  const Program& program_;
  FoundServers& found_;
  CookieKeeping cookies_;
  CookieJar jar_;
  std::string dressed_, scratch_;
  std::string hops_[2];  // the request that was redirected, and the one that follows
  std::size_t hop_ = 0;
};

}  // namespace sluice
