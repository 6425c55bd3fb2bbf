// One client's connection: its requests, one after the other, and the bytes of their answers. Private to serve/.
//
// Everything here belongs to the thread of the io_context. A connection's coroutine reads requests and sees to their
// end; the chunks of a stream do not pass through it: they are rendered and sent where they are delivered, and only
// what the socket does not take at once waits.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "engine/serve/emit_log.h"
#include "engine/serve/fault.h"
#include "engine/serve/frames.h"
#include "engine/serve/metrics_text.h"
#include "engine/serve/playout.h"
#include "engine/serve/replay.h"
#include "engine/serve/server.h"
#include "engine/serve/timelines.h"

namespace sluice::engine {

class Connection;

/// One generation request between a connection and the engine. Owned by the connection's coroutine and by the engine's
/// sinks, whichever lives longer.
struct Exchange {
  /// `chunking`: the server's, for a request that says nothing.
  Exchange(AnswerHead answer, const ApiRequest& request, const Tokenizer* tokenizer, const ChunkPolicy& chunking);

  Connection* connection = nullptr;  // null before the start and after the connection has left
  AnswerHead head;
  const Tokenizer* tokenizer;  // for the spelling of tokens; null: no log probabilities were asked for
  Frames frames;
  bool stream, include_usage;
  std::vector<RequestId> ids;   // one a choice
  std::vector<Answer> choices;  // their text and tokens only where it is not streamed
  std::size_t open;             // choices that have not ended
  Usage usage;                  // summed over the ended choices
  std::optional<ApiError> failure;
  std::uint32_t events = 0, contents = 0;
  std::shared_ptr<ServedRequest> served;  // shared with the service's timelines

  struct Merged {
    ChunkMerger merger;
    Usage usage;  // as of its last piece
  };
  std::vector<Merged> merged;  // one a choice where a stream's pieces are merged; else none
  Clock::time_point held_until = Clock::time_point::max();  // Service::held has it by this
  std::optional<FaultyStream> faulty;                       // of a stream that is to go wrong
  bool ended() const { return open == 0 || failure.has_value(); }
};

/// Chunks on their way from the engine thread to the io thread.
class Outbox {
 public:
  struct Item {
    std::shared_ptr<Exchange> exchange;
    std::uint32_t choice;
    Chunk chunk;
  };
  /// Engine thread.
  void stage(std::shared_ptr<Exchange> exchange, std::uint32_t choice, Chunk&& chunk) {
    staged_.push_back({std::move(exchange), choice, std::move(chunk)});
  }
  /// Engine thread: true when the io thread is to be woken.
  bool hand_over();
  /// Io thread: what has been handed over, in order; `items` is empty before.
  void take(std::vector<Item>& items);

 private:
  std::vector<Item> staged_;
  std::mutex mutex_;
  std::vector<Item> ready_;
  bool waking_ = false;
};

/// What the connections of a server share.
struct Service {
  explicit Service(ServerOptions with) : options(std::move(with)), hold_timer(io), read_buffer(64u << 10) {}

  ServerOptions options;
  boost::asio::io_context io{1};
  boost::asio::thread_pool workers{1};  // prepares long prompts
  std::optional<ServedModel> model;     // empty until published
  std::optional<EmitLog> emit_log;
  std::optional<Replay> replay;  // instead of a model
  Playout playout{io};
  std::shared_ptr<Outbox> outbox = std::make_shared<Outbox>();
  std::unordered_map<Connection*, std::shared_ptr<Connection>> connections;
  ServerStats stats;
  Timelines timelines;
  std::set<std::pair<Clock::time_point, Exchange*>> held;  // streams with text that must leave by then
  boost::asio::steady_timer hold_timer;                    // one for all of them
  Clock::time_point hold_timer_at = Clock::time_point::max();
  std::vector<char> read_buffer;   // one for all: a read is copied on before the next
  std::vector<Connection*> dirty;  // connections with something to flush after a delivery
  std::uint64_t boot_seed = 0;     // for ids, and for requests without a seed
  std::uint64_t last_id = 0;
  bool draining = false;
  bool failed = false;  // the device: what is left is to say so
  std::function<void()> on_connection_closed;

  std::uint64_t draw();       // a new number each time
  const std::string& date();  // for the Date header, renewed each second
  /// The exchange's held text must leave by then; max(): there is none.
  void hold_until(Exchange& exchange, Clock::time_point until);

 private:
  void arm_hold_timer();

  std::int64_t date_second_ = -1;
  std::string date_;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(boost::asio::ip::tcp::socket socket, Service& service);

  void start();
  /// Ends what has run past its time limit.
  void sweep(Clock::time_point now);
  /// Closes at once when it stands between two requests; else after the one at hand.
  void drain();
  /// Closes at once.
  void abort();

  void deliver(Exchange& exchange, std::uint32_t choice, Chunk&& chunk);
  /// Sends what a chunk policy may hold no longer.
  void release_held(Exchange& exchange, Clock::time_point now);
  void flush();
  /// Sends what is due of the stream that is replayed, as far as the client takes it, and takes a place for what
  /// follows.
  void play();

 private:
  struct HttpRequest;
  struct Parser;
  enum class Parsed : std::uint8_t { whole, partly, refused };
  enum class Phase : std::uint8_t { idle, header, body, working, closing };

  boost::asio::awaitable<void> run();
  boost::asio::awaitable<bool> serve_one();
  boost::asio::awaitable<bool> read_request(HttpRequest& request);
  boost::asio::awaitable<bool> more_bytes();
  boost::asio::awaitable<void> replay(HttpRequest& request, const RecordedStream& stream);
  boost::asio::awaitable<void> generate(HttpRequest& request, Api api);
  boost::asio::awaitable<void> prepare_beside(const std::string& body, Api api,
                                              std::optional<boost::system::result<Prepared, ApiError>>& out);
  boost::asio::awaitable<void> written();
  boost::asio::awaitable<void> linger();
  boost::asio::awaitable<void> notified();

  Parsed parse_inbox(Parser& parser, HttpRequest& request);
  void take_request(Parser& parser, HttpRequest& request);
  void refuse_bytes(const HttpRequest& request, const boost::system::error_code& error);
  void refuse_bytes(const HttpRequest& request, unsigned status, std::string message, std::string code);
  void route(const HttpRequest& request, std::optional<Api>& generation, const RecordedStream*& replayed);
  bool route_replay(const HttpRequest& request, const std::string& path, const RecordedStream*& replayed);
  void respond(const HttpRequest& request, unsigned status, std::string_view content_type, std::string_view body,
               std::string_view more_headers = {});
  void respond_error(const HttpRequest& request, const ApiError& error, std::string_view more_headers = {});
  void respond_refusal(const HttpRequest& request, const Refusal& refusal, Api api);
  std::string health_body(const char* status) const;
  AnswerHead new_head(Api api);
  void begin_stream(const HttpRequest& request, Exchange& exchange);
  void put_content(Exchange& exchange, std::uint32_t choice, std::string_view text, std::span<const OutputToken> tokens,
                   const Usage& usage);
  void put_merged(Exchange& exchange, std::uint32_t choice, Clock::time_point now);
  std::string metrics_json(ServedRequest& served) const;
  void end_exchange(Exchange& exchange);
  void leave(Exchange& exchange);
  void end_served();
  void append_status(const HttpRequest& request, unsigned status);
  void put_event(Exchange& exchange, bool has_content, bool last);
  void put_event(Exchange& exchange, std::string_view bytes, bool has_content, bool last);
  bool pass_fault(Exchange& exchange, bool& last);
  static void gather(Exchange& exchange, std::uint32_t choice, Chunk& chunk);
  void hold(std::chrono::nanoseconds time);
  void end_hold();
  boost::asio::awaitable<void> held();
  void break_off();
  void play_head();
  void play_piece();
  bool play_end();
  std::optional<Refusal> submit(const std::shared_ptr<Exchange>& exchange, Prepared&& prepared);

  void forget_sent();
  void drop_slow_reader();
  void start_read();
  void notify();
  void enter(Phase phase);

  boost::asio::ip::tcp::socket socket_;
  Service& service_;
  boost::asio::steady_timer event_;  // never expires; cancelling it wakes the coroutine
  Phase phase_ = Phase::idle;
  Clock::time_point deadline_ = Clock::time_point::max();
  bool timed_out_ = false;    // the deadline has passed; the coroutine answers
  bool gone_ = false;         // the client has left, or we have closed
  bool at_end_ = false;       // the client will send no more
  bool reading_ = false;      // a wait for bytes is on its way
  bool close_after_ = false;  // no further request on this connection
  bool refused_ = false;      // what the client sent was no request, and more of it may be on its way
  bool worked_ = false;       // the worker is done

  std::int64_t read_at_ns_ = 0;  // when bytes last came
  std::string inbox_;            // received and not yet parsed; bounded by kReadAheadMax while a request is at work

  struct Mark {  // an event inside out_, with an emission log only
    std::size_t end;
    std::uint32_t event, content;
    std::int64_t before_ns = 0;
  };
  std::string out_;  // rendered and not yet sent, from out_sent_ on
  std::size_t out_sent_ = 0;
  // Of what waits in out_, as much as was put at once when the client had taken all before: no sign of a slow reader.
  std::size_t gathered_ = 0;
  std::shared_ptr<ServedRequest> served_;       // whose answer is being written
  std::uint32_t last_event_ = 0;                // put into out_, of that answer
  std::optional<std::uint32_t> first_content_;  // its event, until it is written
  std::deque<Mark> marks_;
  std::string marks_id_;
  std::optional<boost::asio::steady_timer> hold_;  // a fault: what is rendered waits for its end
  enum class BreakOff : std::uint8_t { no, close, reset } break_off_ = BreakOff::no;  // a fault: once all is sent
  struct Played {
    ReplayedStream stream;
    const HttpRequest* request;
    Clock::time_point began;
    std::optional<Playout::Place> place = {};  // of its next step; empty: it waits for the client, or nothing follows
    bool has_body;                             // false: HTTP has none, whatever was recorded
  };
  std::optional<Played> played_;
  bool waiting_writable_ = false;
  bool chunked_ = false;  // the stream at hand uses chunked encoding
  bool streaming_ = false;
  Clock::time_point write_progress_;
  std::string scratch_;
};

}  // namespace sluice::engine
