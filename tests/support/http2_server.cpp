#include "tests/support/http2_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>

#include "tests/support/tls_server.h"

namespace sluice::testing_support {
namespace {

using Clock = std::chrono::steady_clock;

void require(bool condition, const char* what) {
  if (condition) return;
  std::perror(what);
  std::abort();
}

nghttp2_nv field(const std::string& name, const std::string& value) {
  const auto bytes = [](const std::string& text) {
    return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

int choose_h2(SSL* /*ssl*/, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
              unsigned in_size, void* /*self*/) {
  static constexpr std::array<unsigned char, 3> kH2 = {2, 'h', '2'};
  unsigned char* chosen = nullptr;
  const int found = ::SSL_select_next_proto(&chosen, out_size, kH2.data(), kH2.size(), in, in_size);
  *out = chosen;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

}  // namespace

class Http2Server::Connection {
 public:
  Connection(Http2Server& server, int socket, int number) : server_(server), socket_(socket), number_(number) {
    if (server.tls_ != nullptr) {
      ssl_ = ::SSL_new(static_cast<SSL_CTX*>(server.tls_));
      ::SSL_set_fd(ssl_, socket_);
    }
    nghttp2_session_callbacks* calls = nullptr;
    ::nghttp2_session_callbacks_new(&calls);
    ::nghttp2_session_callbacks_set_on_begin_headers_callback(
        calls, [](nghttp2_session*, const nghttp2_frame* frame, void* self) {
          auto& streams = static_cast<Connection*>(self)->streams_;
          streams[frame->hd.stream_id];
          std::atomic<std::size_t>& most = static_cast<Connection*>(self)->server_.most_open_;
          most = std::max(most.load(), streams.size());
          return 0;
        });
    ::nghttp2_session_callbacks_set_on_header_callback(
        calls, [](nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_size,
                  const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* self) {
          static_cast<Connection*>(self)->take_header(frame->hd.stream_id,
                                                      {reinterpret_cast<const char*>(name), name_size},
                                                      {reinterpret_cast<const char*>(value), value_size});
          return 0;
        });
    ::nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        calls,
        [](nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* bytes, std::size_t size, void* self) {
          static_cast<Connection*>(self)->streams_[id].request.body.append(reinterpret_cast<const char*>(bytes), size);
          return 0;
        });
    ::nghttp2_session_callbacks_set_on_frame_recv_callback(
        calls, [](nghttp2_session*, const nghttp2_frame* frame, void* self) {
          if (frame->hd.type == NGHTTP2_RST_STREAM) ++static_cast<Connection*>(self)->server_.cancelled_;
          const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 && frame->hd.stream_id > 0;
          if (ends) static_cast<Connection*>(self)->answer(frame->hd.stream_id);
          return 0;
        });
    ::nghttp2_session_callbacks_set_on_stream_close_callback(
        calls, [](nghttp2_session*, std::int32_t id, std::uint32_t, void* self) {
          static_cast<Connection*>(self)->streams_.erase(id);
          return 0;
        });
    ::nghttp2_session_server_new(&session_, calls, this);
    ::nghttp2_session_callbacks_del(calls);
  }
  ~Connection() {
    ::nghttp2_session_del(session_);
    ::SSL_free(ssl_);
    ::close(socket_);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void serve() {
    if (ssl_ != nullptr && ::SSL_accept(ssl_) != 1) return;
    const nghttp2_settings_entry streams{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, server_.options_.streams_max};
    ::nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, &streams, 1);
    while (say() && !over_) {
      std::array<pollfd, 2> waiting = {{{socket_, POLLIN, 0}, {server_.stop_, POLLIN, 0}}};
      const bool read_ahead = ssl_ != nullptr && ::SSL_pending(ssl_) > 0;
      if (!read_ahead) ::poll(waiting.data(), waiting.size(), until_next_piece());
      if (waiting[1].revents != 0) return;
      if ((read_ahead || waiting[0].revents != 0) && !hear()) return;
      for (auto& [id, stream] : streams_) {
        if (stream.deferred && stream.due <= Clock::now()) {
          stream.deferred = false;
          ::nghttp2_session_resume_data(session_, id);
        }
      }
    }
  }

 private:
  struct Stream {
    Http2Request request;
    Http2Answer answer;
    std::size_t piece = 0, offset = 0;
    Clock::time_point due = Clock::time_point::min();
    bool deferred = false;
  };

  void take_header(std::int32_t id, std::string name, std::string value) {
    Http2Request& request = streams_[id].request;
    if (name == ":method")
      request.method = value;
    else if (name == ":scheme")
      request.scheme = value;
    else if (name == ":authority")
      request.authority = value;
    else if (name == ":path")
      request.path = value;
    else
      request.headers.emplace_back(std::move(name), std::move(value));
  }

  void answer(std::int32_t id) {
    Stream& stream = streams_[id];
    stream.request.connection = number_;
    stream.request.open_streams = streams_.size();
    {
      const std::lock_guard lock(server_.mutex_);
      stream.answer = server_.handler_(stream.request);
    }
    const Http2Answer& wanted = stream.answer;
    if (wanted.end == Http2Answer::End::refuse) {
      ::nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
      return;
    }
    if (wanted.end == Http2Answer::End::go_away) {
      ::nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, id - 2 > 0 ? id - 2 : 0, NGHTTP2_NO_ERROR, nullptr, 0);
      over_ = true;
      return;
    }
    const std::string kStatus = ":status", kHints = "103";
    if (wanted.early_hints) {
      const nghttp2_nv hints = field(kStatus, kHints);
      ::nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, id, nullptr, &hints, 1, nullptr);
    }
    std::vector<nghttp2_nv> fields = {field(kStatus, wanted.status)};
    for (const auto& [name, value] : wanted.headers) fields.push_back(field(name, value));
    nghttp2_data_provider body{};
    body.read_callback = [](nghttp2_session*, std::int32_t of, std::uint8_t* into, std::size_t size,
                            std::uint32_t* flags, nghttp2_data_source*,
                            void* self) { return static_cast<Connection*>(self)->give(of, into, size, *flags); };
    const bool empty = wanted.pieces.empty() && wanted.end == Http2Answer::End::whole;
    ::nghttp2_submit_response(session_, id, fields.data(), fields.size(), empty ? nullptr : &body);
  }

  ssize_t give(std::int32_t id, std::uint8_t* into, std::size_t size, std::uint32_t& flags) {
    Stream& stream = streams_.at(id);
    const Http2Answer& wanted = stream.answer;
    if (stream.due > Clock::now()) {
      stream.deferred = true;
      return NGHTTP2_ERR_DEFERRED;
    }
    std::size_t given = 0;
    if (stream.piece < wanted.pieces.size()) {
      const std::string& piece = wanted.pieces[stream.piece];
      given = std::min(size, piece.size() - stream.offset);
      std::copy_n(piece.data() + stream.offset, given, into);
      stream.offset += given;
      if (stream.offset < piece.size()) return static_cast<ssize_t>(given);
      ++stream.piece;
      stream.offset = 0;
      if (wanted.gap.count() > 0) stream.due = Clock::now() + wanted.gap;
      if (stream.piece < wanted.pieces.size() || wanted.end != Http2Answer::End::whole)
        return static_cast<ssize_t>(given);
    }
    switch (wanted.end) {
      case Http2Answer::End::trailers: {
        flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        const std::string name = "x-trailer", value = "end";
        const nghttp2_nv trailer = field(name, value);
        ::nghttp2_submit_trailer(session_, id, &trailer, 1);
        break;
      }
      case Http2Answer::End::reset:
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
      case Http2Answer::End::close:
        over_ = true;
        return NGHTTP2_ERR_DEFERRED;
      case Http2Answer::End::hang:
        return NGHTTP2_ERR_DEFERRED;
      default:
        flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return static_cast<ssize_t>(given);
  }

  int until_next_piece() const {
    auto next = Clock::time_point::max();
    for (const auto& [id, stream] : streams_) {
      if (stream.deferred) next = std::min(next, stream.due);
    }
    if (next == Clock::time_point::max()) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now()).count();
    return static_cast<int>(std::max<std::int64_t>(left, 0));
  }

  bool hear() {
    std::array<std::uint8_t, 16384> bytes;
    const ssize_t got = ssl_ != nullptr ? ::SSL_read(ssl_, bytes.data(), static_cast<int>(bytes.size()))
                                        : ::recv(socket_, bytes.data(), bytes.size(), 0);
    return got > 0 && ::nghttp2_session_mem_recv(session_, bytes.data(), static_cast<std::size_t>(got)) >= 0;
  }

  bool say() {
    const std::uint8_t* bytes = nullptr;
    for (ssize_t size = 0; (size = ::nghttp2_session_mem_send(session_, &bytes)) > 0;) {
      while (size > 0) {
        const ssize_t sent = ssl_ != nullptr ? ::SSL_write(ssl_, bytes, static_cast<int>(size))
                                             : ::send(socket_, bytes, static_cast<std::size_t>(size), MSG_NOSIGNAL);
        if (sent <= 0) return false;
        bytes += sent;
        size -= sent;
      }
    }
    return true;
  }

  Http2Server& server_;
  int socket_;
  int number_;
  SSL* ssl_ = nullptr;
  nghttp2_session* session_ = nullptr;
  std::map<std::int32_t, Stream> streams_;
  bool over_ = false;
};

Http2Server::Http2Server(Handler handler, const Http2ServerOptions& options)
    : handler_(std::move(handler)), options_(options) {
  ::signal(SIGPIPE, SIG_IGN);  // OpenSSL's writes
  if (options.tls) {
    SSL_CTX* const context = static_cast<SSL_CTX*>(new_server_context());
    ::SSL_CTX_set_alpn_select_cb(context, choose_h2, nullptr);
    tls_ = context;
  }
  stop_ = ::eventfd(0, EFD_CLOEXEC);
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  require(listener_ >= 0 && stop_ >= 0, "socket");
  const int on = 1;
  ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in self{};
  self.sin_family = AF_INET;
  self.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  self.sin_port = htons(options.port);
  socklen_t length = sizeof self;
  require(::bind(listener_, reinterpret_cast<sockaddr*>(&self), length) == 0, "bind");
  require(::listen(listener_, 64) == 0, "listen");
  require(::getsockname(listener_, reinterpret_cast<sockaddr*>(&self), &length) == 0, "getsockname");
  port_ = ntohs(self.sin_port);
  acceptor_ = std::thread([this] { accept_all(); });
}

Http2Server::~Http2Server() {
  const std::uint64_t one = 1;
  require(::write(stop_, &one, sizeof one) == sizeof one, "eventfd");
  ::shutdown(listener_, SHUT_RDWR);  // wakes accept
  acceptor_.join();
  for (std::thread& thread : threads_) thread.join();
  ::close(listener_);
  ::close(stop_);
  ::SSL_CTX_free(static_cast<SSL_CTX*>(tls_));
}

void Http2Server::accept_all() {
  while (true) {
    const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) return;
    const int on = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const int number = ++connections_;
    threads_.emplace_back([this, socket, number] { Connection(*this, socket, number).serve(); });
  }
}

}  // namespace sluice::testing_support
