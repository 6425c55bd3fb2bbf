// Exchanges over TLS, against a server whose certificate is made at run time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#include "harness/net/exchange.h"
#include "tests/support/tls_server.h"

namespace sluice {
namespace {

using namespace std::chrono_literals;
using namespace testing_support;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

const std::string kGet = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const std::string kA = content_event("a"), kB = content_event("b");
const std::string kRest = finish_event() + usage_event(3, 2) + done_event();

class TlsClient {
 public:
  explicit TlsClient(const std::string& url, bool verify, Nanoseconds connect_timeout = 5s)
      : TlsClient(url, TlsOptions{.verify = verify}, {}, connect_timeout) {}
  TlsClient(const std::string& url, const TlsOptions& tls, const std::string& name, Nanoseconds connect_timeout = 5s) {
    endpoint_ = *parse_endpoint(url);
    endpoint_.tls_name = name;
    if (!resolve(endpoint_)) throw std::runtime_error("resolve");
    ConnectionOptions options;
    options.connect_timeout = connect_timeout;
    clock_.start();
    options.stamps = &clock_;
    options.tls = *TlsContext::make(tls);
    connection_ = std::make_unique<Connection>(loop_, endpoint_, std::move(options));
  }

  RequestRecord exchange(ExchangeRequest::Answer answer, std::string_view bytes = kGet) {
    ExchangeRequest request;
    request.bytes = bytes;
    request.timeout = 10s;
    request.answer = answer;
    request.keep_text = request.keep_body = true;
    RequestRecord record;
    record.scheduled_at = record.started_at = now();
    exchange_.run_alone(waiter_, *connection_, request, record);
    return record;
  }
  RequestRecord get(std::string_view bytes = kGet) { return exchange(ExchangeRequest::Answer::plain, bytes); }
  RequestRecord stream() { return exchange(ExchangeRequest::Answer::stream); }
  bool open() const { return connection_->is_open(); }
  void close() { connection_->close(); }

 private:
  Endpoint endpoint_;
  EventLoop loop_;
  KernelClock clock_;
  ExchangeBuffers buffers_;
  Waiter waiter_{loop_};
  Exchange exchange_{loop_, buffers_};
  std::unique_ptr<Connection> connection_;
};

/// Makes what the system trusts this certificate alone, for TlsContexts made while it lives.
class Trusting {
 public:
  explicit Trusting(const std::string& pem) : path_(testing::TempDir() + "sluice_tls_" + std::to_string(::getpid())) {
    std::ofstream(path_) << pem;
    ::setenv("SSL_CERT_FILE", path_.c_str(), 1);
  }
  ~Trusting() {
    ::unsetenv("SSL_CERT_FILE");
    ::unlink(path_.c_str());
  }
  Trusting(const Trusting&) = delete;
  Trusting& operator=(const Trusting&) = delete;

 private:
  std::string path_;
};

TEST(Tls, ReadsAStreamAndUsesTheConnectionAgain) {
  TlsServer server({{await_request(), send(stream_head()), send(chunk(role_event())), send(chunk(kA)), send(chunk(kB)),
                     send(chunk(kRest) + chunk("")), await_request(), send(answer("hello"))}});
  TlsClient client(server.url(), false);
  const RequestRecord first = client.stream();
  EXPECT_EQ(first.outcome, Outcome::ok) << first.error;
  EXPECT_EQ(first.text, "ab");
  EXPECT_TRUE(first.saw_done);
  EXPECT_EQ(first.output_tokens, 2);
  EXPECT_THAT(first.findings, testing::IsEmpty());
  EXPECT_TRUE(first.new_connection);
  EXPECT_NE(first.tls_at, kNever);
  EXPECT_LE(first.connected_at, first.tls_at);
  EXPECT_LE(first.tls_at, first.send_began_at);
  // Nobody asks the kernel for stamps under TLS.
  EXPECT_EQ(first.events_kernel_stamped, 0u);
  for (const ContentEvent& event : first.content) EXPECT_FALSE(event.kernel_stamp);

  const RequestRecord second = client.get();
  EXPECT_EQ(second.outcome, Outcome::ok) << second.error;
  EXPECT_EQ(second.body, "hello");
  EXPECT_FALSE(second.new_connection);
  EXPECT_EQ(second.tls_at, kNever);
  EXPECT_EQ(server.connections(), 1);
}

TEST(Tls, KnowsWhichEventsCameAlone) {
  TlsServer server({{await_request(), send(stream_head() + chunk(role_event())), send(chunk(kA), 60ms),
                     send(chunk(kB + kB), 60ms), send(chunk(kA), 60ms), send(chunk(kRest) + chunk(""), 60ms)}});
  TlsClient client(server.url(), false);
  const RequestRecord r = client.stream();
  ASSERT_EQ(r.outcome, Outcome::ok) << r.error;
  std::vector<bool> coalesced;
  for (const ContentEvent& event : r.content) coalesced.push_back(event.coalesced);
  EXPECT_THAT(coalesced, testing::ElementsAre(false, true, false, false));
}

TEST(Tls, ReadsABodyOfManyRecords) {
  const std::string body(3'000'000, 'x');
  TlsServer server({{await_request(), send(answer(body)), await_request(), send(answer("2"))}});
  TlsClient client(server.url(), false);
  const RequestRecord r = client.get();
  EXPECT_EQ(r.outcome, Outcome::ok) << r.error;
  EXPECT_GT(r.bytes_received, body.size());
  EXPECT_EQ(client.get().body, "2");
}

TEST(Tls, RefusesACertificateThatNobodyTrusts) {
  TlsServer server({{await_request(), send(answer("never"))}});
  TlsClient client(server.url(), true);
  const RequestRecord r = client.get();
  EXPECT_EQ(r.outcome, Outcome::connect_failed);
  EXPECT_THAT(r.error, AllOf(HasSubstr("self-signed certificate"), HasSubstr("tls_verify")));
  EXPECT_EQ(r.bytes_sent, 0u);
  EXPECT_FALSE(client.open());
}

TEST(Tls, VerifiesTheNameOfTheHost) {
  struct Case {
    const char *names, *host, *error;
  };
  for (const Case& c : {Case{"DNS:localhost", "localhost", ""}, Case{"IP:127.0.0.1", "127.0.0.1", ""},
                        Case{"DNS:example.org", "localhost", "hostname mismatch"},
                        Case{"DNS:127.0.0.1", "127.0.0.1", "IP address mismatch"}}) {
    SCOPED_TRACE(std::string(c.names) + " as " + c.host);
    TlsServer server({{await_request(), send(answer("hello"))}}, {.names = c.names});
    const Trusting trusting(server.certificate());
    TlsClient client(server.url(c.host), true);
    const RequestRecord r = client.get();
    EXPECT_EQ(r.outcome, *c.error == '\0' ? Outcome::ok : Outcome::connect_failed) << r.error;
    EXPECT_THAT(r.error, HasSubstr(c.error));
  }
}

TEST(Tls, NamesTheHostToTheServerButNoAddress) {
  for (const bool verify : {false, true}) {
    for (const std::string host : {"localhost", "127.0.0.1"}) {
      TlsServer server({{await_request(), send(answer("hello"))}});
      const Trusting trusting(server.certificate());
      TlsClient client(server.url(host), verify);
      EXPECT_EQ(client.get().outcome, Outcome::ok);
      EXPECT_EQ(server.server_name(), host == "localhost" ? "localhost" : "");
    }
  }
}

TEST(Tls, SaysThatAServerSpeaksPlainHttp) {
  // One that waits for a request that it understands, one that answers what it does not understand.
  const std::string refusal = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
  ScriptedServer silent({{await_request()}}), answering({{send(refusal)}}), closing({{close_connection()}});
  const auto error_of = [](const ScriptedServer& server) {
    TlsClient client("https://127.0.0.1:" + std::to_string(server.port()), true, 200ms);
    const RequestRecord r = client.get();
    EXPECT_EQ(r.outcome, Outcome::connect_failed);
    EXPECT_LT(r.ended_at - r.started_at, Nanoseconds(5s).count());
    return r.error;
  };
  EXPECT_EQ(error_of(silent), "no connection within 200ms");
  EXPECT_EQ(error_of(answering), "TLS: the answer is not TLS (does this port speak http instead of https?)");
  EXPECT_THAT(error_of(closing), testing::StartsWith("TLS: "));
}

TEST(Tls, DoesNotBlameTheCertificateForAnotherFailure) {
  TlsServer server({{await_request()}}, {.wants_client_certificate = true});
  TlsClient client(server.url(), false);
  const RequestRecord r = client.get();
  EXPECT_EQ(r.outcome, Outcome::connect_failed);
  EXPECT_THAT(r.error, AllOf(HasSubstr("handshake failure"), Not(HasSubstr("tls_verify"))));
}

TEST(Tls, TakesNoStreamForWholeThatWasCut) {
  for (const Action::Kind how : {Action::Kind::half_close, Action::Kind::close, Action::Kind::reset}) {
    SCOPED_TRACE(static_cast<int>(how));
    TlsServer server({{await_request(), send(stream_head() + chunk(role_event() + kA)), Action{how, {}, {}}}});
    TlsClient client(server.url(), false);
    const RequestRecord r = client.stream();
    EXPECT_EQ(r.outcome, Outcome::reset) << r.error;
    if (how != Action::Kind::reset) {
      EXPECT_EQ(r.text, "a");
    }
    EXPECT_FALSE(client.open());
  }
}

TEST(Tls, TakesABodyThatEndsWithTheConnectionForWholeOnlyWhenTheEndIsAnnounced) {
  const std::string unlimited = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello";
  {
    TlsServer server({{await_request(), send(unlimited), close_connection()}});
    const RequestRecord r = TlsClient(server.url(), false).get();
    EXPECT_EQ(r.outcome, Outcome::ok) << r.error;
    EXPECT_EQ(r.body, "hello");
  }
  TlsServer server({{await_request(), send(unlimited), Action{Action::Kind::half_close, {}, {}}}});
  EXPECT_EQ(TlsClient(server.url(), false).get().outcome, Outcome::reset);
}

TEST(Tls, SendsOnceMoreWhenAKeptConnectionWasClosedWhileIdle) {
  for (const Action::Kind how : {Action::Kind::half_close, Action::Kind::close, Action::Kind::reset}) {
    for (const bool after_request : {false, true}) {
      Script first{await_request(), send(answer("1"))};
      if (after_request) first.push_back(await_request());
      first.push_back(Action{how, {}, {}});
      TlsServer server({first, {await_request(), send(answer("2"))}});
      TlsClient client(server.url(), false);
      // The bytes of the answer may be lost to a reset that follows at once.
      if (const RequestRecord one = client.get(); one.outcome != Outcome::ok) {
        EXPECT_TRUE(how == Action::Kind::reset && !after_request) << one.error;
        continue;
      }
      const RequestRecord second = client.get();
      EXPECT_EQ(second.outcome, Outcome::ok) << second.error;
      EXPECT_EQ(second.body, "2");
      EXPECT_EQ(server.connections(), 2);
    }
  }
}

TEST(Tls, SurvivesAServerThatHasGoneWhileARequestIsSent) {
  // An end, then a reset: a write after both raises SIGPIPE for who does not ask for it not to.
  const std::string large = "POST / HTTP/1.1\r\nContent-Length: 33554432\r\n\r\n" + std::string(33554432, 'x');
  TlsServer server({{Action{Action::Kind::half_close, {}, {}}, reset_connection(20ms)}});
  TlsClient client(server.url(), false);
  const RequestRecord r = client.get(large);
  EXPECT_EQ(r.outcome, Outcome::reset) << r.error;
  EXPECT_LT(r.bytes_sent, large.size());
}

TEST(Tls, AnnouncesTheEndOfItsConnections) {
  TlsServer server({{await_request(), send(answer("hello"))}});
  TlsClient client(server.url(), false);
  EXPECT_EQ(client.get().outcome, Outcome::ok);
  client.close();
  EXPECT_TRUE(server.first_client_said_goodbye());
}

/// A file that goes with the test.
class PemFile {
 public:
  explicit PemFile(const std::string& pem) {
    static int number = 0;
    path_ = testing::TempDir() + "sluice_pem_" + std::to_string(::getpid()) + "_" + std::to_string(number++);
    std::ofstream(path_) << pem;
  }
  ~PemFile() { ::unlink(path_.c_str()); }
  PemFile(const PemFile&) = delete;
  PemFile& operator=(const PemFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(Tls, TrustsTheAuthorityOfAFileAlone) {
  TlsServer server({{await_request(), send(answer("hello"))}});
  TlsServer other({{await_request(), send(answer("hello"))}});
  const PemFile ca(server.certificate());
  TlsClient client(server.url(), TlsOptions{.ca = ca.path()}, {});
  const RequestRecord good = client.get();
  EXPECT_EQ(good.outcome, Outcome::ok) << good.error;
  TlsClient stranger(other.url(), TlsOptions{.ca = ca.path()}, {});
  EXPECT_EQ(stranger.get().outcome, Outcome::connect_failed);
}

TEST(Tls, AsksForTheNameThatItIsTold) {
  TlsServerOptions options;
  options.names = "DNS:inside.example";
  TlsServer server({{await_request(), send(answer("hello"))}}, options);
  const PemFile ca(server.certificate());
  TlsClient client(server.url(), TlsOptions{.ca = ca.path()}, "inside.example");
  const RequestRecord good = client.get();
  EXPECT_EQ(good.outcome, Outcome::ok) << good.error;
  EXPECT_EQ(server.server_name(), "inside.example");
  client.close();
  TlsClient wrong(server.url(), TlsOptions{.ca = ca.path()}, "outside.example");
  EXPECT_THAT(wrong.get().error, HasSubstr("not trusted"));
}

TEST(Tls, ShowsItsCertificateToWhoAsks) {
  TlsServerOptions options;
  options.wants_client_certificate = true;
  TlsServer server({{await_request(), send(answer("hello"))}}, options);
  const PemFile certificate(server.client_certificate()), key(server.client_key());
  TlsOptions tls;
  tls.verify = false;
  TlsClient nobody(server.url(), tls, {});
  EXPECT_EQ(nobody.get().outcome, Outcome::connect_failed);
  tls.certificate = certificate.path();
  tls.key = key.path();
  TlsClient somebody(server.url(), tls, {});
  const RequestRecord good = somebody.get();
  EXPECT_EQ(good.outcome, Outcome::ok) << good.error;
}

TEST(Tls, RefusesAnOlderVersionThanItMayTake) {
  TlsServerOptions options;
  options.only_tls1_2 = true;
  TlsServer server({{await_request(), send(answer("hello"))}}, options);
  TlsOptions tls;
  tls.verify = false;
  tls.least = TlsOptions::Version::tls1_3;
  TlsClient strict(server.url(), tls, {});
  EXPECT_EQ(strict.get().outcome, Outcome::connect_failed);
  tls.least = TlsOptions::Version::tls1_2;
  TlsClient lenient(server.url(), tls, {});
  EXPECT_EQ(lenient.get().outcome, Outcome::ok);
}

TEST(Tls, NamesTheFileThatItCannotUse) {
  const PemFile garbage("no PEM");
  TlsServer server({{await_request(), send(answer("hello"))}});
  const PemFile certificate(server.client_certificate()), key(server.client_key()), other(server.certificate());
  const auto error_of = [](TlsOptions options) {
    const auto made = TlsContext::make(options);
    return made ? std::string() : made.error().message;
  };
  TlsOptions options;
  options.ca = garbage.path();
  EXPECT_THAT(error_of(options), AllOf(HasSubstr("tls: ca:"), HasSubstr(garbage.path())));
  options.ca = {};
  options.certificate = garbage.path();
  options.key = key.path();
  EXPECT_THAT(error_of(options), HasSubstr("tls: cert:"));
  options.certificate = other.path();  // of another key
  EXPECT_THAT(error_of(options), HasSubstr("tls: key:"));
  options.certificate = certificate.path();
  EXPECT_EQ(error_of(options), "");
}

}  // namespace
}  // namespace sluice
