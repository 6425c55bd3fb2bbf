#include "harness/net/redirect.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sluice {
namespace {

std::string located(std::string_view location, std::string_view target = "/a/b?c=d") {
  const Endpoint server = *parse_endpoint("http://h:8000");
  const auto to = locate(server, target, location);
  if (!to) return "error: " + to.error().message;
  return (to->endpoint.tls ? "https://" : "http://") + to->endpoint.host_header + " " + to->target;
}

TEST(Redirect, LeadsWhereTheLocationSays) {
  struct Case {
    std::string_view location, to;
  };
  const std::vector<Case> cases{
      {"/x", "http://h:8000 /x"},
      {"x", "http://h:8000 /a/x"},
      {"../x?y=%20z", "http://h:8000 /x?y=%20z"},
      {"?q", "http://h:8000 /a/b?q"},
      {"/x#part", "http://h:8000 /x"},
      {"http://other/x", "http://other /x"},
      {"https://other:444", "https://other:444 /"},
      {"//other/x", "http://other /x"},
      {"http://me:secret@other/x", "http://other /x"},
      {"http://[::1]:80/x", "http://[::1] /x"},
      {"", "error: a redirect without a Location"},
      {"#part", "error: a redirect without a Location"},
      {"ftp://other/x", "error: a redirect to where http does not lead"},
      {"http:// no/", "error: a redirect to what is not a URL"},
      {"http://other:44.c/x", "error: a redirect to where http does not lead"},
      {"http://other%0d%0aX:y/", "error: a redirect to where http does not lead"},
      {"http://other:99999/", "error: a redirect to where http does not lead"},
  };
  for (const Case& one : cases) EXPECT_EQ(located(one.location), one.to) << one.location;
}

TEST(Redirect, BecomesTheRequestThatTheStatusAsksFor) {
  const std::string post =
      "POST /login HTTP/1.1\r\nHost: h:8000\r\nAuthorization: Bearer s\r\nX-Team: t\r\nContent-Type: text/plain\r\n"
      "Content-Length: 2\r\n\r\nhi";
  const std::string kept = "Host: h:8000\r\nAuthorization: Bearer s\r\nX-Team: t\r\n";
  const RequestUrl to = *parse_url("http://h:8000/next?x=1");
  std::string out;
  for (const unsigned status : {301U, 302U, 303U}) {
    redirected_request(post, status, to, false, {}, out);
    EXPECT_EQ(out, "GET /next?x=1 HTTP/1.1\r\n" + kept + "\r\n") << status;
  }
  for (const unsigned status : {307U, 308U}) {
    redirected_request(post, status, to, false, {}, out);
    EXPECT_EQ(out, "POST /next?x=1 HTTP/1.1\r\n" + kept + "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi")
        << status;
  }
  redirected_request("HEAD / HTTP/1.1\r\nHost: h:8000\r\n\r\n", 302, to, false, {}, out);
  EXPECT_EQ(out, "HEAD /next?x=1 HTTP/1.1\r\nHost: h:8000\r\n\r\n");
}

TEST(Redirect, TellsAnotherServerNothingThatAuthorisesHere) {
  const std::string get =
      "GET / HTTP/1.1\r\nHost: h\r\nauthorization: Bearer s\r\nCookie: a=1\r\nX-API-Key: k\r\nX-Team: t\r\nAccept: */*"
      "\r\nProxy-Authorization: p\r\n\r\n";
  const std::vector<std::string> of_target{"x-team"};
  std::string out;
  redirected_request(get, 307, *parse_url("http://other:81/"), true, of_target, out);
  EXPECT_EQ(out, "GET / HTTP/1.1\r\nHost: other:81\r\nAccept: */*\r\n\r\n");
}

}  // namespace
}  // namespace sluice
