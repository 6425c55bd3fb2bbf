#include "engine/engine.h"

#include <fmt/format.h>
#include <sys/prctl.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <unordered_map>
#include <utility>

#include "engine/core/check.h"
#include "engine/stop_matcher.h"
#include "engine/timeline.h"

namespace sluice::engine {
namespace {

/// Written by one thread, read by any.
template <class Value>
class Shown {
 public:
  void add(Value value) { value_.store(value_.load(std::memory_order_relaxed) + value, std::memory_order_relaxed); }
  void set(Value value) { value_.store(value, std::memory_order_relaxed); }
  Value get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<Value> value_{};
};

class Histogram {
 public:
  void add(std::chrono::nanoseconds time) {
    const double seconds = std::chrono::duration<double>(time).count();
    const auto& bounds = HistogramCounts::bounds_s;
    counts_[static_cast<std::size_t>(std::lower_bound(bounds.begin(), bounds.end(), seconds) - bounds.begin())].add(1);
    sum_.add(seconds);
  }
  HistogramCounts get() const {
    HistogramCounts out;
    for (std::size_t i = 0; i < counts_.size(); ++i) out.counts[i] = counts_[i].get();
    out.sum_s = sum_.get();
    return out;
  }

 private:
  std::array<Shown<std::uint64_t>, HistogramCounts::bounds_s.size() + 1> counts_;
  Shown<double> sum_;
};

std::uint64_t chain(std::uint64_t hash, std::uint64_t next) {
  if (next == 0) return hash;  // the executor does not hash
  hash = (hash ^ next) * 0x9fb21c651e98df25ull;
  return hash ^ (hash >> 35);
}

/// A step in flight, as far as a timeline tells of it.
struct OpenStep {
  TimelineStep step;
  std::uint64_t number;  // of the steps handed over
};

/// One that only prefills a part of a prompt: no result will tell of its end.
struct OpenPrefill {
  std::shared_ptr<RequestTimeline> timeline;
  OpenStep open;
};

/// One accepted request, from submit() to its last chunk.
struct Live {
  Live(RequestId key, Request&& from, Sink&& to, const Tokenizer& tokenizer, Clock::time_point now)
      : id(key),
        request(std::move(from)),
        sink(std::move(to)),
        detokenizer(tokenizer, true),
        stop(std::move(request.stop)),
        arrived(now) {
    usage.prompt_tokens = static_cast<std::uint32_t>(request.prompt.size());
    if (request.logprobs) trail.emplace();
  }

  /// The oldest step whose token has not been taken yet, as of its end.
  OpenStep take_step(Clock::time_point now) {
    SLUICE_ENGINE_CHECK(!steps.empty());
    OpenStep open = steps.front();
    steps.erase(steps.begin());
    open.step.end = now;
    return open;
  }

  RequestId id;
  Request request;
  Sink sink;
  Detokenizer detokenizer;
  StopMatcher stop;
  std::optional<TokenTrail> trail;  // for a request with logprobs
  std::uint32_t tokens_max = 0;     // of the output
  std::uint32_t drawn = 0;
  Usage usage;
  bool admitted = false;
  Clock::time_point arrived, admitted_at, first_at, last_at;
  std::vector<OpenStep> steps;  // with a timeline: in flight, and a token of this request comes of each
};

}  // namespace

[[noreturn]] void throw_exception_from_error(const Refusal& refusal, const boost::source_location&) {
  throw std::logic_error("unchecked refusal: " + refusal.message);
}

struct Engine::Impl {
  Impl(std::unique_ptr<Executor> with, const Tokenizer& words, EngineOptions with_options)
      : executor(std::move(with)),
        tokenizer(words),
        options(std::move(with_options)),
        scheduler({.blocks = executor->info().blocks,
                   .slots_max = executor->info().slots_max,
                   .rows_max = executor->info().rows_max,
                   .context_max = executor->info().context_max,
                   .steps_ahead = executor->info().steps_ahead,
                   .step_limit_ns = static_cast<double>(options.step_limit.count()),
                   .step_base_ns = executor->info().step_base_ns,
                   .step_row_ns = executor->info().step_row_ns}),
        by_slot(executor->info().slots_max) {
    progress(Clock::now());
  }

  // ---- any thread ------------------------------------------------------------------------------------------------

  boost::system::result<RequestId, Refusal> submit(Request&& request, Sink&& sink) {
    SLUICE_ENGINE_CHECK(!request.prompt.empty());
    const std::size_t all = scheduler.tokens_max(), prompt = request.prompt.size();
    if (prompt >= all || (request.tokens_max && *request.tokens_max > all - prompt)) {
      refused.fetch_add(1, std::memory_order_relaxed);
      const auto output = request.tokens_max ? fmt::format(" and {} of output", *request.tokens_max) : std::string();
      return Refusal{Refusal::Reason::too_large,
                     fmt::format("the request needs {} tokens of prompt{}, and at most {} fit together: shorten the "
                                 "prompt or lower max_tokens",
                                 prompt, output.empty() ? std::string(" and at least one of output") : output, all)};
    }
    const auto tokens_max = request.tokens_max.value_or(static_cast<std::uint32_t>(all - prompt));
    const auto now = Clock::now();
    const std::lock_guard lock(mutex);
    if (failed) {
      refused.fetch_add(1, std::memory_order_relaxed);
      return Refusal{Refusal::Reason::failed, failure};
    }
    if (draining) {
      refused.fetch_add(1, std::memory_order_relaxed);
      return Refusal{Refusal::Reason::draining, "the server is shutting down"};
    }
    if (queued.load() >= options.queued_max) {
      refused.fetch_add(1, std::memory_order_relaxed);
      return Refusal{Refusal::Reason::queue_full,
                     fmt::format("{} requests are waiting already: try again later", options.queued_max)};
    }
    if (active.load() == 0) progress(now);  // the time without work was no standstill
    const RequestId id = ++last_id;
    auto live = std::make_unique<Live>(id, std::move(request), std::move(sink), tokenizer, now);
    live->tokens_max = tokens_max;
    if (live->request.timeline) live->request.timeline->queued(now, live->usage);
    queued.fetch_add(1);
    active.fetch_add(1);
    arrivals.push_back(std::move(live));
    wake.notify_one();
    return id;
  }

  void cancel(RequestId id) {
    const std::lock_guard lock(mutex);
    cancels.push_back(id);
    wake.notify_one();
  }

  bool ready(Clock::time_point now) const {
    if (draining.load() || failed.load()) return false;
    if (active.load() == 0) return true;
    const Clock::time_point moved(Clock::duration(progress_ns.load())), due(Clock::duration(expected_ns.load()));
    return now <= std::max(moved, due) + options.stall_limit;
  }

  // ---- the engine thread -----------------------------------------------------------------------------------------

  void run() {
    // Scripted instants are microseconds apart; the kernel's default slack of 50 us would be our own error.
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    const bool computes_in_submit = executor->info().steps_ahead == 1;
    while (take_messages()) {
      bool worked = take_results();
      if (computes_in_submit) flush();  // or the text would wait for the step
      if (!failed && !executor->busy()) {
        // Again: the results of what has just made room must be known, or their sequences would miss this step.
        if (!computes_in_submit) worked |= take_results();
        worked |= step();
      }
      flush();
      if (look_for_failure()) continue;
      show();
      if (!worked) wait();
    }
    end_all(FinishReason::cancelled, {});
    flush();
    show();
  }

  void progress(Clock::time_point now) { progress_ns.store(now.time_since_epoch().count()); }

  /// False when the engine is to end.
  bool take_messages() {
    bool everything = false;
    {
      const std::lock_guard lock(mutex);
      if (stopping) return false;
      arrived.swap(arrivals);
      cancelled.swap(cancels);
      everything = std::exchange(cancelling_all, false);
    }
    for (auto& live : arrived) {
      accepted.add(1);
      const auto tokens_max = live->tokens_max;
      auto sampling = live->request.sampling;
      if (live->request.ignore_eos) {
        sampling.banned.insert(sampling.banned.end(), options.end_tokens.begin(), options.end_tokens.end());
      }
      scheduler.add(live->id, std::move(live->request.prompt), std::move(sampling), tokens_max);
      lives.emplace(live->id, std::move(live));
    }
    arrived.clear();
    for (const RequestId id : cancelled) {
      const auto found = lives.find(id);
      if (found != lives.end()) end(*found->second, FinishReason::cancelled, {}, {});
    }
    cancelled.clear();
    if (everything) end_all(FinishReason::cancelled, {});
    if (failed) end_all(FinishReason::error, failure);  // accepted just before it was known
    return true;
  }

  bool take_results() {
    results.clear();
    if (failed) return false;
    const std::size_t count = executor->poll(results);
    const auto now = Clock::now();
    close_prefills(now);
    if (count == 0) return false;
    progress(now);
    results_interval = now - std::exchange(results_at, now);
    for (const Sampled& result : results) {
      const Sequence* sequence = scheduler.running(result.slot);
      if (sequence == nullptr || sequence->due == 0) continue;  // it has ended meanwhile
      take_token(*by_slot[result.slot], *sequence, result, now);
    }
    return true;
  }

  /// Of steps that are over as far as the executor lets see.
  void close_prefills(Clock::time_point now) {
    if (prefills.empty()) return;
    const std::uint64_t ahead = executor->info().steps_ahead;
    close_prefills(steps.get() - std::min(steps.get(), executor->busy() ? ahead : ahead - 1), now);
  }

  /// Steps end in order: this one is over, and so are those before it.
  void close_prefills(std::uint64_t number, Clock::time_point now) {
    std::size_t over = 0;
    for (; over < prefills.size() && prefills[over].open.number <= number; ++over) {
      TimelineStep& step = prefills[over].open.step;
      step.end = now;
      prefills[over].timeline->step(step);
    }
    prefills.erase(prefills.begin(), prefills.begin() + static_cast<std::ptrdiff_t>(over));
  }

  void take_token(Live& live, const Sequence& sequence, const Sampled& result, Clock::time_point now) {
    if (!result.finite) {
      return end(live, FinishReason::error, {}, "the model's output was not finite: this request cannot go on");
    }
    if (live.drawn++ == 0) {
      live.first_at = now;
      live.usage.cached_tokens = static_cast<std::uint32_t>(sequence.cached_tokens);
      ttft.add(now - live.arrived);
      prefill_time.add(now - live.admitted_at);
    } else {
      inter_token.add(now - live.last_at);
    }
    live.last_at = now;
    live.usage.logits_hash = chain(live.usage.logits_hash, result.logits_hash);

    const bool ends = is_end(live, result.token);
    if (!ends) ++live.usage.completion_tokens;
    if (live.request.timeline) {
      const OpenStep open = live.take_step(now);
      if (!prefills.empty()) close_prefills(open.number, now);
      live.request.timeline->drew(open.step, live.usage);
    }
    if (ends) return end(live, FinishReason::stop, last_text(live), {});
    generation_tokens.add(1);
    std::string whole = live.detokenizer.push(result.token);
    if (live.trail) {
      const std::size_t size = tokenizer.is_special(result.token) ? 0 : tokenizer.bytes(result.token).size();
      live.trail->push(result, size, whole, live.detokenizer.unfinished_bytes());
    }
    auto [text, stopped] = live.stop.push(std::move(whole));
    if (stopped) return end(live, FinishReason::stop, std::move(text), {});
    if (live.drawn == live.tokens_max) {
      text += last_text(live);
      return end(live, FinishReason::length, std::move(text), {});
    }
    scheduler.append(result.slot, result.token);
    if (!text.empty())
      send(live, {.text = std::move(text), .finish = {}, .usage = live.usage, .error = {}, .tokens = {}});
  }

  /// What code points and stop strings had held back.
  std::string last_text(Live& live) {
    std::string rest = live.detokenizer.finish();
    if (live.trail) live.trail->finish(rest);
    auto [text, stopped] = live.stop.push(std::move(rest));
    if (!stopped) text += live.stop.finish();
    return std::move(text);
  }

  bool is_end(const Live& live, TokenId token) const {
    const auto among = [token](const std::vector<TokenId>& list) {
      return std::find(list.begin(), list.end(), token) != list.end();
    };
    return (!live.request.ignore_eos && among(options.end_tokens)) || among(live.request.stop_tokens);
  }

  bool step() {
    const ScheduledStep& next = scheduler.next();
    for (const SlotId slot : next.released) {
      executor->release(slot);
      by_slot[slot]->steps.clear();  // their tokens will be drawn again
      by_slot[slot] = nullptr;
    }
    for (const Sequence* sequence : next.bound) {
      Live& live = *lives.at(sequence->id);
      by_slot[*sequence->slot] = &live;
      executor->bind(*sequence->slot, sequence->sampling, sequence->prompt(), sequence->id);
      if (!sequence->output().empty()) executor->resume(*sequence->slot, sequence->output());
      if (!std::exchange(live.admitted, true)) {
        queued.fetch_sub(1);
        live.admitted_at = Clock::now();
        queue_time.add(live.admitted_at - live.arrived);
        if (live.request.timeline) live.request.timeline->admitted(live.admitted_at);
        prompt_tokens.add(sequence->prompt_tokens);
      }
    }
    if (next.step.slices.empty()) return false;
    std::size_t count = 0;
    for (const Slice& slice : next.step.slices) count += slice.tokens.size();
    show();  // the CPU computes within submit(): what is shown must not be older than that
    note_start(next.step);
    executor->submit(next.step);
    steps.add(1);
    rows.add(count);
    progress(Clock::now());
    return true;
  }

  void note_start(const StepPlan& plan) {
    const auto now = Clock::now();
    for (const Slice& slice : plan.slices) {
      Live& live = *by_slot[slice.slot];
      if (!live.request.timeline) continue;
      const auto count = static_cast<std::uint32_t>(slice.tokens.size());
      const bool prefill = count > 1 || slice.position < live.usage.prompt_tokens;
      const OpenStep open{.step = {.start = now, .end = {}, .rows = count, .prefill = prefill},
                          .number = steps.get() + 1};
      if (slice.sample) {
        live.steps.push_back(open);
      } else {
        prefills.push_back({live.request.timeline, open});
      }
    }
  }

  void send(Live& live, Chunk&& chunk) {
    sent = true;
    if (live.trail) chunk.tokens = live.trail->take(chunk.text.size(), chunk.finish != FinishReason::none);
    live.sink(std::move(chunk));
  }

  void end(Live& live, FinishReason reason, std::string text, std::string error) {
    const auto now = Clock::now();
    if (const auto slot = scheduler.remove(live.id, reason != FinishReason::error)) {
      executor->release(*slot);
      by_slot[*slot] = nullptr;
    }
    if (!live.admitted) queued.fetch_sub(1);
    e2e.add(now - live.arrived);
    if (live.drawn > 0) decode_time.add(now - live.first_at);
    finished[static_cast<std::size_t>(reason)].add(1);
    if (live.request.timeline) {
      close_prefills(now);
      std::erase_if(prefills, [&](const OpenPrefill& open) { return open.timeline == live.request.timeline; });
      live.request.timeline->finished(now, reason, live.usage);
    }
    active.fetch_sub(1);  // before the sink: whoever has seen the last chunk finds the engine without the request
    show();
    send(live,
         {.text = std::move(text), .finish = reason, .usage = live.usage, .error = std::move(error), .tokens = {}});
    lives.erase(lives.find(live.id));
  }

  void end_all(FinishReason reason, const std::string& error) {
    while (!lives.empty()) end(*lives.begin()->second, reason, {}, error);
  }

  /// True when it has been found just now: everything that ran has ended.
  bool look_for_failure() {
    if (failed) return false;
    std::string sentence = executor->failure();
    if (sentence.empty()) return false;
    {
      const std::lock_guard lock(mutex);
      failure = std::move(sentence);
      failed = true;
    }
    end_all(FinishReason::error, failure);
    flush();
    show();
    if (options.failed) options.failed(failure);
    return true;
  }

  void flush() {
    if (std::exchange(sent, false) && options.flush) options.flush();
  }

  void show() {
    const auto& counters = scheduler.counters();
    prefix_queries.set(counters.prefix_queries);
    prefix_hits.set(counters.prefix_hits);
    preemptions.set(counters.preemptions);
    running.set(static_cast<std::uint32_t>(scheduler.running_count()));
    blocks_held.set(scheduler.blocks_held());
  }

  void wait() {
    const auto due = executor->next_ready();
    if (due) expected_ns.store(due->time_since_epoch().count());
    std::unique_lock lock(mutex);
    const auto called = [this] { return stopping || cancelling_all || !arrivals.empty() || !cancels.empty(); };
    if (due) {
      wake.wait_until(lock, *due, called);
    } else if (!lives.empty()) {
      // Results are on their way and the executor cannot say when. Steps last about as long as the one before, so the
      // time to look closely is towards the end of that; waking up costs microseconds of a core.
      constexpr auto kClose = std::chrono::microseconds(20), kFar = std::chrono::microseconds(200);
      const auto quiet = results_at + (results_interval - results_interval / 16) - Clock::now();
      wake.wait_for(lock, std::clamp<Clock::duration>(quiet, kClose, kFar), called);
    } else {
      wake.wait(lock, called);
      results_interval = {};  // the time without work says nothing about the next step's
      results_at = Clock::now();
    }
  }

  const std::unique_ptr<Executor> executor;
  const Tokenizer& tokenizer;
  const EngineOptions options;

  // Messages: under `mutex`.
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::unique_ptr<Live>> arrivals;  // at most queued_max
  std::vector<RequestId> cancels;
  bool cancelling_all = false, stopping = false;
  RequestId last_id = 0;

  // Of the engine thread.
  Scheduler scheduler;
  std::unordered_map<RequestId, std::unique_ptr<Live>> lives;
  std::vector<Live*> by_slot;
  std::vector<std::unique_ptr<Live>> arrived;
  std::vector<RequestId> cancelled;
  std::vector<Sampled> results;
  std::vector<OpenPrefill> prefills;   // in the order in which they were handed over
  bool sent = false;                   // to a sink, since the last flush
  Clock::time_point results_at{};      // when some last came
  Clock::duration results_interval{};  // between those and the ones before

  // Shown to everybody.
  std::atomic<std::uint32_t> queued{0}, active{0};
  std::atomic<bool> draining{false};  // set under `mutex`, so that no request slips in behind it
  std::atomic<bool> failed{false};    // likewise; by the engine thread
  std::string failure;                // written once, before `failed` is set
  std::atomic<Clock::rep> progress_ns{0}, expected_ns{0};
  std::atomic<std::uint64_t> refused{0};
  Shown<std::uint64_t> steps, rows, prompt_tokens, generation_tokens, prefix_queries, prefix_hits, preemptions,
      accepted;
  std::array<Shown<std::uint64_t>, 5> finished;
  Shown<std::uint32_t> running, blocks_held;
  Histogram ttft, inter_token, e2e, queue_time, prefill_time, decode_time;

  std::thread thread;
};

Engine::Engine(std::unique_ptr<Executor> executor, const Tokenizer& tokenizer, EngineOptions options)
    : impl_(std::make_unique<Impl>(std::move(executor), tokenizer, std::move(options))) {
  impl_->thread = std::thread([this] { impl_->run(); });
}

Engine::~Engine() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
    impl_->draining = true;
    impl_->wake.notify_one();
  }
  impl_->thread.join();
  // Accepted and never taken up: they too end with exactly one chunk.
  for (auto& live : impl_->arrivals) {
    live->sink({.text = {}, .finish = FinishReason::cancelled, .usage = live->usage, .error = {}, .tokens = {}});
  }
}

boost::system::result<RequestId, Refusal> Engine::submit(Request request, Sink sink) {
  return impl_->submit(std::move(request), std::move(sink));
}

void Engine::cancel(RequestId id) { impl_->cancel(id); }

void Engine::begin_drain() {
  const std::lock_guard lock(impl_->mutex);
  impl_->draining = true;
}

void Engine::cancel_all() {
  const std::lock_guard lock(impl_->mutex);
  impl_->cancelling_all = true;
  impl_->wake.notify_one();
}

std::uint32_t Engine::active() const { return impl_->active.load(); }

bool Engine::ready(Clock::time_point now) const { return impl_->ready(now); }

EngineStats Engine::stats() const {
  const Impl& from = *impl_;
  EngineStats out;
  out.steps = from.steps.get();
  out.rows = from.rows.get();
  out.prompt_tokens = from.prompt_tokens.get();
  out.generation_tokens = from.generation_tokens.get();
  out.prefix_queries = from.prefix_queries.get();
  out.prefix_hits = from.prefix_hits.get();
  out.preemptions = from.preemptions.get();
  out.accepted = from.accepted.get();
  out.refused = from.refused.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < out.finished.size(); ++i) out.finished[i] = from.finished[i].get();
  out.running = from.running.get();
  out.queued = from.queued.load();
  out.blocks_held = from.blocks_held.get();
  out.blocks = from.scheduler.blocks_total();
  out.ttft = from.ttft.get();
  out.inter_token = from.inter_token.get();
  out.e2e = from.e2e.get();
  out.queue = from.queue_time.get();
  out.prefill = from.prefill_time.get();
  out.decode = from.decode_time.get();
  return out;
}

const ExecutorInfo& Engine::info() const { return impl_->executor->info(); }

std::uint32_t Engine::tokens_max() const { return static_cast<std::uint32_t>(impl_->scheduler.tokens_max()); }

}  // namespace sluice::engine
