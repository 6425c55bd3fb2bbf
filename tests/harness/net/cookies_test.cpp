#include "harness/net/cookies.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "harness/base/limits.h"

namespace sluice {
namespace {

constexpr std::int64_t kNow = 1'700'000'000;

std::string sent(const CookieJar& jar, std::string_view host, std::string_view target = "/", bool tls = false,
                 std::int64_t at = kNow) {
  std::string out;
  jar.append_for(host, tls, target, at, out);
  return out;
}

struct Set {
  std::string_view text, host = "api.example.com", target = "/";
};

TEST(Cookies, GoBackToWhomTheyBelong) {
  struct Case {
    std::string_view what;
    std::vector<Set> sets;
    std::string_view host, target;
    bool tls;
    std::string_view sent;
  };
  const std::vector<Case> cases{
      {"its host", {{"a=1"}}, "api.example.com", "/", false, "a=1"},
      {"whatever the case", {{"a=1", "API.example.com"}}, "api.EXAMPLE.com", "/", false, "a=1"},
      {"no other host", {{"a=1"}}, "www.example.com", "/", false, ""},
      {"no subdomain of a host", {{"a=1", "example.com"}}, "api.example.com", "/", false, ""},
      {"the domain that it names", {{"a=1; Domain=example.com"}}, "www.example.com", "/", false, "a=1"},
      {"a dot before it is ignored", {{"a=1; Domain=.example.com"}}, "example.com", "/", false, "a=1"},
      {"not a name that only ends alike", {{"a=1; Domain=example.com"}}, "badexample.com", "/", false, ""},
      {"nobody sets for another domain", {{"a=1; Domain=example.org"}}, "example.org", "/", false, ""},
      {"nor for one below its own",
       {{"a=1; Domain=api.example.com", "example.com"}},
       "api.example.com",
       "/",
       false,
       ""},
      {"nor for all of .com", {{"a=1; Domain=com"}}, "other.com", "/", false, ""},
      {"a host without a dot may name itself",
       {{"a=1; Domain=localhost", "localhost"}},
       "localhost",
       "/",
       false,
       "a=1"},
      {"an address has no domains", {{"a=1; Domain=0.0.1", "127.0.0.1"}}, "127.0.0.1", "/", false, ""},
      {"an address names itself", {{"a=1; Domain=127.0.0.1", "127.0.0.1"}}, "127.0.0.1", "/", false, "a=1"},
      {"several, in order", {{"a=1"}, {"b=2"}}, "api.example.com", "/", false, "a=1; b=2"},
      {"the new value in place", {{"a=1"}, {"b=2"}, {"a=3"}}, "api.example.com", "/", false, "a=3; b=2"},
      {"secure over http", {{"a=1; Secure"}}, "api.example.com", "/", false, ""},
      {"secure over https", {{"a=1; secure"}}, "api.example.com", "/", true, "a=1"},
      {"its path", {{"a=1; Path=/v1"}}, "api.example.com", "/v1/chat?x=1", false, "a=1"},
      {"its path itself", {{"a=1; Path=/v1"}}, "api.example.com", "/v1", false, "a=1"},
      {"its path as a folder", {{"a=1; Path=/v1/"}}, "api.example.com", "/v1/x", false, "a=1"},
      {"no path that only begins alike", {{"a=1; Path=/v1"}}, "api.example.com", "/v10", false, ""},
      {"the folder it came from", {{"a=1", "api.example.com", "/a/b?c=/d"}}, "api.example.com", "/a/c", false, "a=1"},
      {"not above it", {{"a=1", "api.example.com", "/a/b"}}, "api.example.com", "/", false, ""},
      {"a path that is none", {{"a=1; Path=x", "api.example.com", "/a/b"}}, "api.example.com", "/a", false, "a=1"},
      {"the longest path first", {{"a=1"}, {"a=2; Path=/v1"}}, "api.example.com", "/v1", false, "a=2; a=1"},
      {"a value with =", {{"a=b=c=="}}, "api.example.com", "/", false, "a=b=c=="},
      {"quotes belong to it", {{"a=\"x y\""}}, "api.example.com", "/", false, "a=\"x y\""},
      {"an empty value", {{"a="}}, "api.example.com", "/", false, "a="},
      {"blanks around", {{"  a = 1 ; Path=/"}}, "api.example.com", "/", false, "a=1"},
      {"no name", {{"=1"}}, "api.example.com", "/", false, ""},
      {"no pair", {{"a"}}, "api.example.com", "/", false, ""},
      {"nothing", {{""}}, "api.example.com", "/", false, ""},
      {"a line break would be a header", {{"a=1\r\nX: y"}}, "api.example.com", "/", false, ""},
      {"deleted by Max-Age", {{"a=1"}, {"a=x; Max-Age=0"}}, "api.example.com", "/", false, ""},
      {"deleted by a negative Max-Age", {{"a=1"}, {"a=x; Max-Age=-1"}}, "api.example.com", "/", false, ""},
      {"deleted by Expires",
       {{"a=1"}, {"a=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}},
       "api.example.com",
       "/",
       false,
       ""},
      {"Max-Age beats Expires",
       {{"a=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}},
       "api.example.com",
       "/",
       false,
       "a=1"},
      {"a Max-Age that is no number", {{"a=1; Max-Age=soon"}}, "api.example.com", "/", false, "a=1"},
      {"another path is another cookie",
       {{"a=1"}, {"a=2; Path=/v1; Max-Age=0"}},
       "api.example.com",
       "/v1",
       false,
       "a=1"},
  };
  for (const Case& one : cases) {
    CookieJar jar;
    for (const Set& set : one.sets) jar.set(set.text, set.host, set.target, kNow);
    EXPECT_EQ(sent(jar, one.host, one.target, one.tls), one.sent) << one.what;
  }
}

TEST(Cookies, EndWhenTheirTimeIsOver) {
  CookieJar jar;
  jar.set("a=1; Max-Age=60", "h", "/", kNow);
  EXPECT_EQ(sent(jar, "h", "/", false, kNow + 59), "a=1");
  EXPECT_EQ(sent(jar, "h", "/", false, kNow + 60), "");
}

TEST(Cookies, ReadEveryDateThatServersWrite) {
  struct Case {
    std::string_view text;
    std::optional<std::int64_t> seconds;
  };
  const std::vector<Case> cases{
      {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
      {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
      {"Sun Nov  6 08:49:37 1994", 784111777},
      {"06 Nov 2094 08:49:37", 3939871777},
      {"Tue, 29 Feb 2000 00:00:00 GMT", 951782400},
      {"Thu, 01-Jan-1970 00:00:00 GMT", 0},
      {"Wed, 21 Oct 2015 7:28:0 GMT", 1445412480},
      {"", std::nullopt},
      {"soon", std::nullopt},
      {"Sun, 06 Nov 1994", std::nullopt},
      {"Sun, 06 Nov 1994 24:00:00 GMT", std::nullopt},
      {"Sun, 32 Nov 1994 08:49:37 GMT", std::nullopt},
      {"Sun, 06 Foo 1994 08:49:37 GMT", std::nullopt},
      {"Sun, 06 Nov 1500 08:49:37 GMT", std::nullopt},
  };
  for (const Case& one : cases) EXPECT_EQ(parse_cookie_date(one.text), one.seconds) << one.text;
}

TEST(Cookies, AreBounded) {
  CookieJar jar;
  jar.set("big=" + std::string(limits::cookie_bytes_max, 'x'), "h", "/", kNow);
  EXPECT_TRUE(jar.empty());
  for (std::size_t i = 0; i < limits::cookies_per_vu_max + 5; ++i)
    jar.set("c" + std::to_string(i) + "=1", "h", "/", kNow);
  EXPECT_EQ(jar.size(), limits::cookies_per_vu_max);
  EXPECT_EQ(sent(jar, "h").substr(0, 5), "c5=1;") << "the oldest made room";
}

TEST(Cookies, StandInTheRequestBesideThoseItHas) {
  std::string out;
  add_cookies("GET / HTTP/1.1\r\nHost: h\r\n\r\nbody", "a=1; b=2", out);
  EXPECT_EQ(out, "GET / HTTP/1.1\r\nHost: h\r\nCookie: a=1; b=2\r\n\r\nbody");
  add_cookies("GET / HTTP/1.1\r\ncookie: own=1\r\nHost: h\r\n\r\n", "a=1", out);
  EXPECT_EQ(out, "GET / HTTP/1.1\r\ncookie: own=1; a=1\r\nHost: h\r\n\r\n");
}

}  // namespace
}  // namespace sluice
