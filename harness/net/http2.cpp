#include "harness/net/http2.h"

#include <fmt/format.h>
#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <boost/beast/http/field.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "harness/base/check.h"
#include "harness/base/duration.h"
#include "harness/net/header_text.h"
#include "harness/net/redirect.h"

namespace sluice {

namespace http = boost::beast::http;

namespace {

/// Reads without a wait after which the other coroutines have their turn.
constexpr int kReadsInARow = 16;
constexpr std::uint32_t kFrameHeaderBytes = 9;

/// What the server may send ahead of us: enough that no stream of events ever waits for us.
constexpr std::int32_t kStreamWindow = 1 << 20;
constexpr std::int32_t kConnectionWindow = 1 << 26;

bool is_of_connection(std::string_view name) {  // RFC 9113, 8.2.2
  for (const std::string_view each : {"connection", "host", "keep-alive", "proxy-connection", "transfer-encoding",
                                      "upgrade", "te", "http2-settings"}) {
    if (name == each) return true;
  }
  return false;
}

/// The head of an HTTP/1.1 request as fields of HTTP/2. Views into the request and into itself.
class RequestFields {
 public:
  RequestFields(std::string_view request, bool tls) {
    const std::size_t head_end = request.find("\r\n\r\n");
    SLUICE_CHECK(head_end != std::string_view::npos);
    body_ = request.substr(head_end + 4);
    names_.reserve(head_end);  // views into it stay where they are
    add(":method", method_of(request));
    add(":scheme", tls ? "https" : "http");
    if (const std::string_view host = find_header(request, "host").value; !host.empty()) add(":authority", host);
    add(":path", target_of(request));
    for_each_header(request, [&](std::string_view name, std::string_view value) {
      const std::size_t begin = names_.size();
      for (const char c : name) names_ += lower_letter(c);
      const std::string_view lower = std::string_view(names_).substr(begin);
      if (!is_of_connection(lower)) add(lower, value);
    });
  }
  const std::vector<nghttp2_nv>& fields() const { return fields_; }
  std::string_view body() const { return body_; }

 private:
  void add(std::string_view name, std::string_view value) {
    const auto bytes = [](std::string_view text) {  // nghttp2 does not write to them
      return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));
    };
    // What no other request has would only push what they share out of the compressor's table.
    const bool unique = name == "x-request-id";
    fields_.push_back({bytes(name), bytes(value), name.size(), value.size(),
                       static_cast<std::uint8_t>(unique ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE)});
  }

  std::vector<nghttp2_nv> fields_;
  std::string names_;
  std::string_view body_;
};

template <class T, void (*kDelete)(T*)>
struct Deleter {
  void operator()(T* object) const { kDelete(object); }
};
using Session = std::unique_ptr<nghttp2_session, Deleter<nghttp2_session, nghttp2_session_del>>;

}  // namespace

/// A request under way; lives in the frame of its coroutine.
struct Http2Client::Stream {
  explicit Stream(AnswerReader& answer_in) : answer(answer_in) {}
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream();

  AnswerReader& answer;
  Readiness news;  // its link has been opened, or it has ended
  Link* link = nullptr;
  std::size_t index = 0;  // among the link's
  std::int32_t id = -1;   // -1: not sent, or closed
  std::string_view unsent;
  std::uint64_t read = 0;   // the number of the last read that touched it
  bool head_ended = false;  // of the final answer: what follows are trailers
  bool finished = false;    // the server has said that this was all
  bool closed = false;      // by either side, with `code`
  bool lost = false;        // with its connection
  bool malformed = false;
  bool told = false;  // there is news that its coroutine has not seen
  std::uint32_t code = NGHTTP2_NO_ERROR;
};

/// A connection and its streams. Never destroyed before the client: its waiter may lie in the loop's wheel.
class Http2Client::Link {
 public:
  enum class Phase : std::uint8_t { opening, ready, draining, closed };

  explicit Link(Http2Client& client)
      : client_(client), waiter_(client.loop_), connection_(client.loop_, client.endpoint_, client.options_) {}

  ~Link() {
    for (Stream* const stream : streams_) stream->link = nullptr;
  }
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  Phase phase() const { return phase_; }
  /// It can be opened (again).
  bool is_free() const { return phase_ == Phase::closed && pump_.done() && streams_.empty(); }
  bool has_room() const {
    return phase_ == Phase::opening ||
           (phase_ == Phase::ready && !connection_.peer_closed() && streams_.size() < most_streams());
  }
  /// Opened, and no more streams attached to it than the server allows.
  bool takes_all() const { return phase_ == Phase::ready && streams_.size() <= most_streams(); }
  bool is_alone(const Stream& stream) const { return streams_.size() == 1 && streams_[0] == &stream; }
  const Connection::Opened& opened() const { return opened_; }
  Outcome outcome() const { return outcome_; }
  const std::string& why() const { return why_; }

  void open() {
    phase_ = Phase::opening;
    opened_ = {};
    out_.clear();
    pump_ = pump();
    pump_.start();
  }
  void attach(Stream& stream) {
    stream.link = this;
    stream.index = streams_.size();
    streams_.push_back(&stream);
  }
  void detach(Stream& stream) {
    cancel(stream);
    streams_.back()->index = stream.index;
    std::swap(streams_[stream.index], streams_.back());
    streams_.pop_back();
    std::replace(news_.begin(), news_.end(), &stream, static_cast<Stream*>(nullptr));
    stream.link = nullptr;
  }
  void send(Stream& stream);
  /// The server is told that nobody waits for the answer any more.
  void cancel(Stream& stream) {
    if (stream.id < 0) return;
    if (session_ != nullptr) {
      ::nghttp2_session_set_stream_user_data(session_.get(), stream.id, nullptr);
      ::nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, stream.id, NGHTTP2_CANCEL);
      flush();
    }
    stream.id = -1;
  }

 private:
  std::size_t most_streams() const {  // what waits for a server that allows none waits in nghttp2's queue
    return std::max(1U, ::nghttp2_session_get_remote_settings(session_.get(), NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS));
  }
  Task<> pump();
  void start_session();
  void read();
  void take(std::string_view bytes, const Connection::Read& got);
  void flush();
  void close(Outcome outcome, std::string why);
  void tell(Stream& stream) {
    if (!std::exchange(stream.told, true)) news_.push_back(&stream);
  }
  void deliver();
  /// The stream's answer is about to get something of the read that is being parsed.
  void touch(Stream& stream);

  static Stream* stream_of(nghttp2_session* session, std::int32_t id) {
    return static_cast<Stream*>(::nghttp2_session_get_stream_user_data(session, id));
  }
  static int on_header(nghttp2_session* session, const nghttp2_frame* frame, const std::uint8_t* name,
                       std::size_t name_bytes, const std::uint8_t* value, std::size_t value_bytes, std::uint8_t flags,
                       void* self);
  static int on_data(nghttp2_session* session, std::uint8_t flags, std::int32_t id, const std::uint8_t* bytes,
                     std::size_t size, void* self);
  static int on_frame(nghttp2_session* session, const nghttp2_frame* frame, void* self);
  static int on_bad_frame(nghttp2_session* session, const nghttp2_frame* frame, int error, void* self);
  static int on_sent(nghttp2_session* session, const nghttp2_frame* frame, void* self);
  static int on_close(nghttp2_session* session, std::int32_t id, std::uint32_t code, void* self);
  static ssize_t give_body(nghttp2_session* session, std::int32_t id, std::uint8_t* into, std::size_t size,
                           std::uint32_t* flags, nghttp2_data_source* source, void* self);

  Http2Client& client_;
  Waiter waiter_;
  Connection connection_;
  Session session_;
  Task<> pump_;
  Phase phase_ = Phase::closed;
  Connection::Opened opened_;
  Outcome outcome_ = Outcome::ok;  // why it was closed
  std::string why_;
  std::vector<Stream*> streams_;
  std::vector<Stream*> news_;     // to be told; null: has gone meanwhile
  std::vector<Stream*> touched_;  // by the read that is being parsed
  std::string out_;               // framed, but not yet taken by the system
  std::size_t out_gone_ = 0;      // of it
  bool pumping_ = false;          // what is to be sent goes out when the pump's round ends
  bool heard_ = false;            // anything at all

  // of the read that is being parsed
  Connection::Read got_;
  Instant read_at_ = kNever;
  std::uint64_t reads_ = 0;
};

Http2Client::Stream::~Stream() {
  if (link != nullptr) link->detach(*this);
}

// ---- the connection -----------------------------------------------------------------------------------------------

Task<> Http2Client::Link::pump() {
  Connection::Opened opened = co_await connection_.open(waiter_);
  opened_ = std::move(opened);
  if (!opened_.error.empty()) {
    close(Outcome::connect_failed, opened_.error);
    deliver();
    co_return;
  }
  start_session();
  flush();
  waiter_.set_deadline(now() + client_.options_.connect_timeout.count());
  int reads_in_a_row = 0;
  std::uint64_t waits = waiter_.waits();
  while (phase_ != Phase::closed) {
    if (waiter_.waits() != waits) {
      waits = waiter_.waits();
      reads_in_a_row = 0;
    } else if (++reads_in_a_row > kReadsInARow) {
      const Wake turn = co_await client_.loop_.sleep_until(waiter_, now());
      (void)turn;
    }
    const Wake wake = co_await client_.loop_.readable_or(out_.empty() ? Readiness::kNone : Readiness::kWrite, waiter_,
                                                         connection_.readiness());
    pumping_ = true;
    if (wake == Wake::deadline) {
      close(Outcome::connect_failed,
            "it does not speak HTTP/2: no SETTINGS within " + format_duration(client_.options_.connect_timeout));
    } else {
      read();
    }
    deliver();
    pumping_ = false;
    flush();
    const bool over = session_ != nullptr && ::nghttp2_session_want_read(session_.get()) == 0 &&
                      ::nghttp2_session_want_write(session_.get()) == 0 && out_.empty();
    if (over && phase_ != Phase::draining)  // nobody but nghttp2 has ended it
      close(Outcome::malformed, "not HTTP/2: the server breaks its rules");
    else if (over || (phase_ == Phase::draining && streams_.empty()))
      close(Outcome::reset, "closed by the server");
    deliver();
  }
}

void Http2Client::Link::start_session() {
  nghttp2_session_callbacks* callbacks = nullptr;
  SLUICE_CHECK(::nghttp2_session_callbacks_new(&callbacks) == 0);
  ::nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
  ::nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
  ::nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
  ::nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_bad_frame);
  ::nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
  ::nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
  nghttp2_session* session = nullptr;
  SLUICE_CHECK(::nghttp2_session_client_new(&session, callbacks, this) == 0);
  ::nghttp2_session_callbacks_del(callbacks);
  session_.reset(session);
  heard_ = false;
  const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                             {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow}};
  ::nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, std::size(settings));
  ::nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, kConnectionWindow);
}

void Http2Client::Link::read() {
  const Connection::Read got = connection_.read(client_.read_buffer_, client_.read_bytes_);
  if (got.io == Connection::Io::done) return take({client_.read_buffer_, got.bytes}, got);
  if (got.io != Connection::Io::end && got.io != Connection::Io::failed) return;  // nothing just now
  if (phase_ == Phase::opening)
    close(Outcome::connect_failed, "closed by the server before its SETTINGS: it may not speak HTTP/2");
  else
    close(Outcome::reset, got.io == Connection::Io::end ? "closed by the server" : "connection reset");
}

void Http2Client::Link::take(std::string_view bytes, const Connection::Read& got) {
  if (!std::exchange(heard_, true) && bytes.starts_with("HTTP/1"))
    return close(Outcome::connect_failed, "it does not speak HTTP/2, but answers in HTTP/1: leave out http: h2");
  got_ = got;
  read_at_ = now();
  ++reads_;
  touched_.clear();
  const ssize_t used =
      ::nghttp2_session_mem_recv(session_.get(), reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  for (Stream* const stream : touched_) {
    stream->answer.read_end(got.drained && stream == touched_.back());
    if (got.backlog) stream->answer.record().backlog = true;
    if (stream->answer.enough()) tell(*stream);
  }
  if (used < 0) close(Outcome::malformed, fmt::format("not HTTP/2: {}", ::nghttp2_strerror(static_cast<int>(used))));
}

void Http2Client::Link::flush() {
  if (pumping_) return;
  while (session_ != nullptr) {
    if (out_gone_ == out_.size()) {
      out_.clear();
      out_gone_ = 0;
      const std::uint8_t* bytes = nullptr;
      for (ssize_t size = 0; (size = ::nghttp2_session_mem_send(session_.get(), &bytes)) > 0;)
        out_.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
      if (out_.empty()) return;
    }
    const Connection::Written sent = connection_.write(out_.data() + out_gone_, out_.size() - out_gone_);
    out_gone_ += sent.bytes;
    if (sent.io == Connection::Io::done) continue;
    // A broken connection is found by reading it: what the server has said before it closed comes first.
    if (sent.io == Connection::Io::failed)
      out_gone_ = out_.size();
    else
      client_.loop_.also_writable(connection_.readiness());
    return;
  }
}

void Http2Client::Link::close(Outcome outcome, std::string why) {
  phase_ = Phase::closed;
  outcome_ = outcome;
  why_ = std::move(why);
  session_.reset();
  connection_.close();
  out_.clear();
  out_gone_ = 0;
  waiter_.set_deadline(kNever);
  for (Stream* const stream : streams_) {
    stream->id = -1;
    if (!stream->closed) stream->lost = true;
    tell(*stream);
  }
}

/// Lets the coroutines go on that have news. They may begin and end requests meanwhile.
void Http2Client::Link::deliver() {
  for (std::size_t i = 0; i < news_.size(); ++i) {
    Stream* const stream = std::exchange(news_[i], nullptr);
    if (stream == nullptr) continue;
    stream->told = false;
    EventLoop::signal(stream->news);
  }
  news_.clear();
}

void Http2Client::Link::touch(Stream& stream) {
  if (stream.read == reads_) {
    if (touched_.back() == &stream) return;
    touched_.erase(std::find(touched_.begin(), touched_.end(), &stream));  // the last is the one the read ends with
  } else {
    stream.read = reads_;
    stream.answer.read(0, got_.stamp, read_at_);
  }
  touched_.push_back(&stream);
}

// ---- what nghttp2 calls: nothing here may let a coroutine go on ---------------------------------------------------

int Http2Client::Link::on_header(nghttp2_session* session, const nghttp2_frame* frame, const std::uint8_t* name_begin,
                                 std::size_t name_bytes, const std::uint8_t* value_begin, std::size_t value_bytes,
                                 std::uint8_t /*flags*/, void* self) {
  Stream* const stream = stream_of(session, frame->hd.stream_id);
  if (stream == nullptr || stream->head_ended) return 0;
  static_cast<Link*>(self)->touch(*stream);
  const std::string_view name(reinterpret_cast<const char*>(name_begin), name_bytes);
  const std::string_view value(reinterpret_cast<const char*>(value_begin), value_bytes);
  if (name == ":status") {  // nghttp2 has seen to it that it has three digits
    stream->answer.status(static_cast<unsigned>((value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0')));
  } else {
    stream->answer.header(name, value, http::string_to_field({name.data(), name.size()}));
  }
  return 0;
}

int Http2Client::Link::on_data(nghttp2_session* session, std::uint8_t /*flags*/, std::int32_t id,
                               const std::uint8_t* bytes, std::size_t size, void* self) {
  Stream* const stream = stream_of(session, id);
  if (stream == nullptr || stream->answer.enough()) return 0;
  static_cast<Link*>(self)->touch(*stream);
  stream->answer.body({reinterpret_cast<const char*>(bytes), size});
  return 0;
}

int Http2Client::Link::on_frame(nghttp2_session* session, const nghttp2_frame* frame, void* self) {
  Link& link = *static_cast<Link*>(self);
  if (frame->hd.type == NGHTTP2_SETTINGS && link.phase_ == Phase::opening &&
      (frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) {
    link.phase_ = Phase::ready;
    link.waiter_.set_deadline(kNever);
    for (Stream* const stream : link.streams_) link.tell(*stream);
  }
  if (frame->hd.type == NGHTTP2_GOAWAY) link.phase_ = Phase::draining;
  Stream* const stream = stream_of(session, frame->hd.stream_id);
  if (stream == nullptr) return 0;
  stream->answer.record().bytes_received += frame->hd.length + kFrameHeaderBytes;
  if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
  link.touch(*stream);
  if (frame->hd.type == NGHTTP2_HEADERS && !stream->head_ended) {
    stream->answer.headers_end();
    stream->head_ended = !stream->answer.informational();
  }
  if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) stream->finished = true;
  return 0;
}

int Http2Client::Link::on_bad_frame(nghttp2_session* session, const nghttp2_frame* frame, int /*error*/,
                                    void* /*self*/) {
  Stream* const stream = stream_of(session, frame->hd.stream_id);
  if (stream != nullptr) stream->malformed = true;
  return 0;
}

int Http2Client::Link::on_sent(nghttp2_session* session, const nghttp2_frame* frame, void* /*self*/) {
  Stream* const stream = stream_of(session, frame->hd.stream_id);
  if (stream == nullptr) return 0;
  RequestRecord& record = stream->answer.record();
  record.bytes_sent += frame->hd.length + kFrameHeaderBytes;
  const bool of_request = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
  if (of_request && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) record.sent_at = now();
  return 0;
}

int Http2Client::Link::on_close(nghttp2_session* session, std::int32_t id, std::uint32_t code, void* self) {
  Stream* const stream = stream_of(session, id);
  if (stream == nullptr) return 0;
  stream->id = -1;
  stream->closed = true;
  stream->code = code;
  static_cast<Link*>(self)->tell(*stream);
  return 0;
}

ssize_t Http2Client::Link::give_body(nghttp2_session* session, std::int32_t id, std::uint8_t* into, std::size_t size,
                                     std::uint32_t* flags, nghttp2_data_source* /*source*/, void* /*self*/) {
  Stream* const stream = stream_of(session, id);
  if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;  // cancelled
  const std::size_t piece = std::min(size, stream->unsent.size());
  std::copy_n(stream->unsent.data(), piece, into);
  stream->unsent.remove_prefix(piece);
  if (stream->unsent.empty()) *flags |= NGHTTP2_DATA_FLAG_EOF;
  return static_cast<ssize_t>(piece);
}

void Http2Client::Link::send(Stream& stream) {
  const RequestFields request(stream.answer.request().bytes, client_.endpoint_.tls);
  stream.unsent = request.body();
  nghttp2_data_provider body{};
  body.read_callback = give_body;
  stream.id = ::nghttp2_submit_request(session_.get(), nullptr, request.fields().data(), request.fields().size(),
                                       stream.unsent.empty() ? nullptr : &body, &stream);
  if (stream.id < 0) {  // out of numbers, which a connection has a thousand million of, or closing
    stream.closed = true;
    stream.code = NGHTTP2_REFUSED_STREAM;
    phase_ = Phase::draining;
    EventLoop::signal(stream.news);
    return;
  }
  flush();
}

// ---- the client ---------------------------------------------------------------------------------------------------

Http2Client::Http2Client(EventLoop& loop, char* read_buffer, std::size_t read_bytes, const Endpoint& endpoint,
                         ConnectionOptions options)
    : loop_(loop), read_buffer_(read_buffer), read_bytes_(read_bytes), endpoint_(endpoint), options_([&] {
        options.http2 = true;
        return std::move(options);
      }()) {}

Http2Client::~Http2Client() = default;

std::size_t Http2Client::connections() const {
  return static_cast<std::size_t>(std::count_if(links_.begin(), links_.end(),
                                                [](const auto& link) { return link->phase() != Link::Phase::closed; }));
}

Http2Client::Link& Http2Client::link_with_room(bool& is_new) {
  is_new = false;
  for (const auto& link : links_) {
    if (link->has_room()) return *link;
  }
  is_new = true;
  for (const auto& link : links_) {
    if (link->is_free()) return *link;
  }
  links_.push_back(std::make_unique<Link>(*this));
  return *links_.back();
}

Task<> Http2Client::run(Waiter& waiter, AnswerReader& answer) {
  RequestRecord& record = answer.record();
  bool retried = false, turned_away = false;
  while (true) {
    Stream stream(answer);
    bool opens = false;
    Link& link = link_with_room(opens);
    link.attach(stream);
    if (opens) {
      record.new_connection = true;
      record.looked_up_at = now();
      link.open();
    }
    if (link.phase() == Link::Phase::opening) {
      const Wake wake = co_await loop_.readable(waiter, stream.news);
      if (wake != Wake::ready) {
        if (wake == Wake::deadline && !answer.may_abandon())
          answer.cut(Outcome::connect_failed, "no connection within the request's time");
        else
          answer.give_up(wake);
        co_return;
      }
      if (opens) {
        record.connected_at = link.opened().connected_at;
        record.tls_at = link.opened().tls_at;
      }
    }
    if (stream.lost) {
      answer.cut(link.outcome(), link.why());
      co_return;
    }
    if (link.phase() != Link::Phase::ready && std::exchange(turned_away, true)) {
      answer.cut(Outcome::reset, "the server closes each connection as soon as it is open");
      co_return;
    }
    if (!link.takes_all()) continue;  // more were waiting for it than the server allows: another connection

    stream.news.reset();
    record.send_began_at = now();
    const bool was_idle = !opens && link.is_alone(stream);
    link.send(stream);
    if (record.sent_at == kNever) record.sent_at = now();
    const Wake wake = co_await loop_.readable(waiter, stream.news);
    if (wake != Wake::ready) {
      answer.give_up(wake);
      co_return;
    }
    const bool nothing = record.first_byte_at == kNever;
    const bool unseen = nothing && (stream.code == NGHTTP2_REFUSED_STREAM || (stream.lost && was_idle));
    if (unseen && !retried) {
      retried = true;
      answer.begin_again();
      continue;
    }
    if (answer.enough()) {
      answer.cut_enough();
    } else if (stream.malformed) {
      answer.cut(Outcome::malformed, "not HTTP/2: the answer breaks its rules");
    } else if (stream.lost) {
      const bool reset = link.outcome() == Outcome::reset;
      answer.cut(link.outcome(), link.why() + (!reset    ? ""
                                               : nothing ? " before an answer"
                                                         : " in the middle of an answer"));
    } else if (!stream.finished) {
      answer.cut(Outcome::reset, fmt::format("the server reset the stream: {}", ::nghttp2_http2_strerror(stream.code)));
    }
    co_return;
  }
}

}  // namespace sluice
