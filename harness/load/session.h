// One VU's way through its scenario's flow: step after step, its connections, what its checks look at.
//
// Lives on one load thread. All randomness is a function of the plan's seed and the turn's number, so that it does not
// depend on how many threads or VUs there are.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "harness/load/answer_ledger.h"
#include "harness/load/browser.h"
#include "harness/load/program.h"
#include "harness/load/request_ids.h"
#include "harness/load/variables.h"
#include "harness/metrics/tally.h"
#include "harness/net/connection.h"
#include "harness/net/event_loop.h"
#include "harness/net/exchange.h"
#include "harness/net/http2.h"
#include "harness/net/kernel_clock.h"
#include "harness/net/task.h"
#include "harness/net/websocket.h"
#include "harness/output/request_trace.h"
#include "harness/output/sample_sink.h"
#include "harness/scenario/trace.h"

namespace sluice {

/// What the sessions of one thread share with it.
struct SessionSurroundings {
  const Plan& plan;
  const Program& program;
  EventLoop& loop;
  ExchangeBuffers& buffers;
  Tally& tally;
  const KernelClock* stamps = nullptr;                  // null: user-space time only
  std::shared_ptr<TlsContext> tls;                      // shared by all connections of the run
  std::function<void(const RequestRecord&)> on_record;  // may be empty
  const FlowVariables* setup = nullptr;                 // what setup has found, for all; null: nothing
  FoundServers found_servers = {};                      // by redirects
  JsonFinder json = {};
  SampleSink* samples = nullptr;    // this thread's; null: samples are not kept
  RecordSink* recorder = nullptr;   // likewise, of streams
  AnswerLedger* ledger = nullptr;   // of the run
  RequestTracer* tracer = nullptr;  // the run's; null: requests are not traced
  RequestIds ids = RequestIds();
  std::vector<std::unique_ptr<Http2Client>> http2 = {};  // by endpoint, of all VUs; made when first needed
};

/// Which iteration of a scenario this is.
struct Turn {
  std::uint64_t number = 0;     // among all of the scenario, from 0: picks the row of sequential data, seeds the chance
  std::uint64_t vu = 0;         // ${vu} is one more
  std::uint64_t iteration = 0;  // of that VU, from 0
  Instant scheduled_at = kNever;  // open models: when it was to begin; kNever: when it does
};

/// What chance in a scenario depends on: the same for every number of threads.
std::uint64_t seed_of(std::uint64_t plan_seed, std::uint32_t scenario);

class Session {
 public:
  Session(SessionSurroundings& surroundings, std::uint32_t scenario);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Goes through the flow once and tallies the iteration. Ends early when the waiter is interrupted.
  Task<> run(Turn turn);

  Waiter& waiter() { return waiter_; }
  const Waiter& waiter() const { return waiter_; }
  /// Of the last iteration.
  const FlowVariables& variables() const { return variables_; }
  const std::string& failure() const { return failure_; }  // why the flow ended it; empty: it did not
  void close_connections();

 private:
  class FlowScope;

  Task<> run_steps(const std::vector<StepProgram>& steps);
  Task<> run_repeat(const StepProgram& step);
  Task<> run_request(const StepProgram& step);
  Task<> browse(const StepProgram& step, ExchangeRequest request, std::string_view bytes);
  Task<> run_websocket(const StepProgram& step);
  Value of_trace(const TraceReplay& replay, std::string_view field);
  std::string_view render(const StepProgram& step);
  bool render_varying(const StepProgram& step);
  void render(const Template& pattern, std::string& out);
  void start_clock();
  void tally(const StepProgram& step);
  void take_answer(const StepProgram& step);
  void remember_answer(const StepProgram& step);
  void capture(const StepProgram& step);
  void give_out_nonce(const StepProgram& step, std::string_view request);
  void check(const StepProgram& step);
  bool holds(const StepProgram& step, const Check& check);
  void assign(const SetStep& set);
  const std::vector<StepProgram>& chosen(const StepProgram& step);
  Nanoseconds sleep_time(const SleepStep& sleep);
  void fail_iteration(std::string message);
  bool ended() const { return waiter_.interrupted() || !failure_.empty(); }  // the iteration is to go no further
  std::string_view answer_text(const StepProgram& step) const;
  std::uint64_t draw();
  double draw_unit();
  void add_samples(const StepProgram& step);
  std::uint64_t random(std::uint64_t stream) const;
  std::unique_ptr<Connection> make_connection(std::size_t endpoint);
  Connection& connection_to(std::size_t endpoint);
  Http2Client& http2_to(std::size_t endpoint);
  ConnectionOptions connection_options() const;
  /// Sends the request there, and fills record_.
  Task<> exchange(std::size_t endpoint, const ExchangeRequest& request);

  static constexpr std::uint64_t kSocketStream = 1ULL << 33U;  // of random(), apart from the other ones

  SessionSurroundings& around_;
  const std::uint32_t scenario_;
  Waiter waiter_;
  Exchange exchange_;
  std::vector<std::unique_ptr<Connection>> connections_;  // by endpoint; made when first needed
  RequestRecord record_;
  std::string request_, body_, messages_;    // of requests that vary, or have a name of their own
  const StepProgram* request_of_ = nullptr;  // the static step that request_ is of; null: it is of none
  std::string_view request_id_;              // in request_; empty: it has none
  bool own_id_ = false;                      // not the scenario's: another one each time
  Browser browser_;
  std::unique_ptr<WebSocketSession> web_socket_;                 // made when first needed
  std::vector<std::unique_ptr<Connection>> socket_connections_;  // by endpoint; likewise
  std::vector<std::string> texts_;                               // that a session sends
  Turn turn_;
  std::string trace_prompt_;
  const TraceRow* trace_prompt_of_ = nullptr;  // the row whose prompt that is; null: none's
  std::uint64_t draws_ = 0;                    // random numbers that this iteration has used
  const StepProgram* answered_ = nullptr;      // whose answer record_ holds; null: none of this iteration
  FlowVariables variables_;
  Conversations conversations_;
  std::vector<std::pair<const std::string*, std::uint64_t>> answers_;  // of the iteration: by step's name, their hash
  std::uint64_t request_hash_ = 0;                                     // of the last body, where its step asks for it
  std::string nonce_;                                                  // of the last request, likewise
  std::string failure_;
};

}  // namespace sluice
