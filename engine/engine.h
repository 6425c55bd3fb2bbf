// The engine: requests in, chunks of text out.
//
// One thread owns the scheduler, the executor and every sequence. Other threads send it messages: submit() and cancel()
// put them into a bounded queue, and what comes of a request goes to its sink, on the engine thread. The thread takes
// the messages, takes what the executor has ready, and hands it the next step; so a cancel frees its blocks before the
// second step after it.
//
// Every accepted request ends with exactly one chunk whose `finish` is not none; nothing reaches its sink afterwards.
// That holds when the device fails too: each then ends with the device's sentence, and no further one is accepted.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/types.h"
#include "engine/exec/executor.h"
#include "engine/sched/scheduler.h"
#include "engine/text/tokenizer.h"
#include "engine/token_trail.h"

namespace sluice::engine {

class RequestTimeline;

struct Request {
  std::vector<TokenId> prompt;  // not empty
  SamplingParams sampling;
  std::optional<std::uint32_t> tokens_max;    // of the output; empty: as far as the context goes
  std::vector<std::string> stop;              // not part of the output
  std::vector<TokenId> stop_tokens;           // beside the model's end tokens
  bool ignore_eos = false;                    // end tokens are never drawn
  bool logprobs = false;                      // chunks carry their tokens
  std::shared_ptr<RequestTimeline> timeline;  // written to until the last chunk, then left to whoever else owns it
};

struct Usage {
  std::uint32_t prompt_tokens = 0;
  std::uint32_t completion_tokens = 0;  // without an end token: that stands for no text
  std::uint32_t cached_tokens = 0;      // of the prompt, found in the prefix cache
  std::uint64_t logits_hash = 0;  // over the logits of every position drawn from; 0 when the executor does not hash
};

struct Chunk {
  std::string text;                          // whole code points; empty only in the last chunk
  FinishReason finish = FinishReason::none;  // not none: this is the last chunk
  Usage usage;                               // of the request so far
  std::string error;                         // a sentence, when finish is error
  std::vector<OutputToken> tokens;           // with Request::logprobs: those whose text ends in this chunk (TokenTrail)
};

/// Called on the engine thread; must not block.
using Sink = std::function<void(Chunk&&)>;

struct Refusal {
  enum class Reason : std::uint8_t { too_large, queue_full, draining, failed };
  Reason reason;
  std::string message;
};

/// Counts of values by upper bound, as Prometheus wants them: `counts[i]` fell into (bounds[i-1], bounds[i]].
struct HistogramCounts {
  static constexpr std::array<double, 22> bounds_s = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
                                                      0.05,   0.075,   0.1,    0.15,  0.2,    0.3,   0.5,  0.75,
                                                      1.0,    2.5,     5.0,    10.0,  30.0,   60.0};
  std::array<std::uint64_t, bounds_s.size() + 1> counts{};  // the last one: above every bound
  double sum_s = 0;
};

struct EngineStats {
  std::uint64_t steps = 0;
  std::uint64_t rows = 0;           // tokens computed over all steps
  std::uint64_t prompt_tokens = 0;  // of admitted requests
  std::uint64_t generation_tokens = 0;
  std::uint64_t prefix_queries = 0, prefix_hits = 0;  // prompt tokens
  std::uint64_t preemptions = 0;
  std::uint64_t accepted = 0, refused = 0;
  std::array<std::uint64_t, 5> finished{};  // by FinishReason
  std::uint32_t running = 0, queued = 0;
  std::uint32_t blocks_held = 0, blocks = 0;
  HistogramCounts ttft, inter_token, e2e, queue, prefill, decode;
};

struct EngineOptions {
  std::uint32_t queued_max = 1024;  // accepted requests without a slot; one more is refused
  std::vector<TokenId> end_tokens;  // the model's
  std::chrono::nanoseconds stall_limit =
      std::chrono::seconds(20);  // no progress for so long with work at hand: not ready
  // How long a step of one decode with prompts may last, by the executor's own measure; 0: as long as it takes. Bounds
  // the prompt rows that ride along, and so how much a long prompt delays everybody's next token.
  std::chrono::nanoseconds step_limit{0};
  std::function<void()> flush;  // after the chunks of one step have gone to their sinks; engine thread
  /// Once, when the executor has failed, with its sentence; after flush() has been called for the requests that this
  /// ended. Engine thread.
  std::function<void(const std::string&)> failed;
};

class Engine {
 public:
  /// The tokenizer outlives the engine.
  Engine(std::unique_ptr<Executor> executor, const Tokenizer& tokenizer, EngineOptions options);
  /// Ends what still runs as cancelled and joins the thread.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Any thread. REQUIRES: the prompt's ids lie in the vocabulary.
  boost::system::result<RequestId, Refusal> submit(Request request, Sink sink);
  /// Any thread. The request ends as cancelled, unless it has ended already; an unknown id is ignored.
  void cancel(RequestId id);

  /// From now on submit() refuses; what was accepted goes on.
  void begin_drain();
  /// Ends everything that is still there as cancelled.
  void cancel_all();
  /// Requests accepted and not yet ended.
  std::uint32_t active() const;

  /// False when steps stand still with work at hand (a scripted or known waiting time is no standstill), when
  /// draining, or when the device has failed.
  bool ready(Clock::time_point now) const;
  EngineStats stats() const;
  const ExecutorInfo& info() const;
  /// Prompt and output of one request together, at most.
  std::uint32_t tokens_max() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// For boost::system::result: asking a refusal for its id is a bug of the caller.
[[noreturn]] void throw_exception_from_error(const Refusal& refusal, const boost::source_location&);

}  // namespace sluice::engine
