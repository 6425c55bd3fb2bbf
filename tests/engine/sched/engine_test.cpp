#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <map>
#include <mutex>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "engine/exec/scripted/scripted_executor.h"
#include "engine/timeline.h"
#include "tests/engine/sched/fake_executor.h"

namespace sluice::engine {
namespace {

using namespace std::chrono_literals;
constexpr auto kLong = 20s;  // no test waits so long unless it fails

const Tokenizer& bytes() {
  static const Tokenizer tokenizer = Tokenizer::parse(scripted_tokenizer_json(), "test").value();
  return tokenizer;
}

/// Collects what one request is given, from whatever thread.
class Collector {
 public:
  Sink sink() {
    return [this](Chunk&& chunk) {
      const std::lock_guard lock(mutex_);
      EXPECT_FALSE(ended_) << "a chunk after the last one";
      text += chunk.text;
      ++chunks;
      if (chunk.finish == FinishReason::none) {
        EXPECT_FALSE(chunk.text.empty());
        return changed_.notify_all();
      }
      finish = chunk.finish;
      usage = chunk.usage;
      error = chunk.error;
      ended_ = true;
      changed_.notify_all();
    };
  }
  void wait() {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, kLong, [this] { return ended_; }));
  }
  void wait_for_chunks(std::size_t count) {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, kLong, [&] { return chunks >= count; }));
  }

  std::string text, error;
  std::size_t chunks = 0;
  FinishReason finish = FinishReason::none;
  Usage usage;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
};

std::vector<TokenId> prompt_of(std::size_t length, TokenId first = 1) {
  std::vector<TokenId> tokens(length);
  std::iota(tokens.begin(), tokens.end(), first);
  for (auto& token : tokens) token %= 200;
  return tokens;
}

std::string text_of(const std::vector<TokenId>& tokens) {
  std::string text;
  for (const TokenId token : tokens) text += bytes().bytes(token);
  return text;
}

/// The byte-level vocabulary gives byte b the id b.
std::string answer_text(std::size_t prompt_length, std::size_t count, TokenId first = 1) {
  return text_of(fake_answer(prompt_of(prompt_length, first), count));
}

Request request_of(std::size_t prompt_length, std::optional<std::uint32_t> tokens_max, TokenId first = 1) {
  Request request;
  request.prompt = prompt_of(prompt_length, first);
  request.tokens_max = tokens_max;
  return request;
}

/// An engine over a FakeExecutor that stands at a gate in each step until it is let through.
struct Gated {
  explicit Gated(const ExecutorInfo& info, EngineOptions options = {}) {
    auto owned = std::make_unique<FakeExecutor>(info);
    executor = owned.get();
    executor->on_submit = [this](const StepPlan& plan) {
      std::unique_lock lock(mutex);
      ++arrived;
      last_rows = 0;
      for (const auto& slice : plan.slices) last_rows += slice.tokens.size();
      changed.notify_all();
      changed.wait(lock, [this] { return allowed >= arrived; });
    };
    engine = std::make_unique<Engine>(std::move(owned), bytes(), std::move(options));
  }
  ~Gated() { open(); }

  void open() { allow(1'000'000'000); }
  void allow(std::uint64_t count) {
    const std::lock_guard lock(mutex);
    allowed += count;
    changed.notify_all();
  }
  /// Waits until the engine stands in step `count`, counted from 1.
  void reach(std::uint64_t count) {
    std::unique_lock lock(mutex);
    ASSERT_TRUE(changed.wait_for(lock, kLong, [&] { return arrived >= count; }));
  }

  std::mutex mutex;
  std::condition_variable changed;
  std::uint64_t arrived = 0, allowed = 0, last_rows = 0;
  FakeExecutor* executor = nullptr;
  std::unique_ptr<Engine> engine;
};

TEST(Engine, AnswersOneRequestTokenByToken) {
  Engine engine(std::make_unique<FakeExecutor>(fake_info(64, 8, 100)), bytes(), {});
  Collector got;
  ASSERT_TRUE(engine.submit(request_of(20, 30), got.sink()));
  got.wait();
  EXPECT_EQ(got.text, answer_text(20, 30));
  EXPECT_EQ(got.finish, FinishReason::length);
  EXPECT_EQ(got.chunks, 30u);
  EXPECT_EQ(got.usage.prompt_tokens, 20u);
  EXPECT_EQ(got.usage.completion_tokens, 30u);
  EXPECT_NE(got.usage.logits_hash, 0u);
  EXPECT_EQ(engine.active(), 0u);
}

TEST(Engine, EndsForEachReasonOnce) {
  const std::string all = answer_text(20, 60);
  const TokenId sixth = static_cast<unsigned char>(all[5]);
  const std::size_t first_sixth = all.find(all[5]);
  EngineOptions options;
  options.end_tokens = {sixth};
  auto owned = std::make_unique<FakeExecutor>(fake_info(64, 8, 100));
  auto poison = prompt_of(20, 90);
  poison.push_back(fake_next(poison));
  owned->poisoned = poison;
  Engine engine(std::move(owned), bytes(), options);

  const auto run = [&](Request request) {
    Collector got;
    EXPECT_TRUE(engine.submit(std::move(request), got.sink()));
    got.wait();
    return std::tuple(got.finish, got.text, got.usage.completion_tokens);
  };
  EXPECT_EQ(run(request_of(20, 60)), std::tuple(FinishReason::stop, all.substr(0, first_sixth), first_sixth));
  auto ignoring = request_of(20, 60);
  ignoring.ignore_eos = true;
  EXPECT_EQ(run(std::move(ignoring)), std::tuple(FinishReason::length, all, 60u));
  EXPECT_EQ(run(request_of(20, 3)), std::tuple(FinishReason::length, all.substr(0, 3), 3u));
  auto stopping = request_of(20, 60);
  stopping.stop = {all.substr(1, 3)};  // over three tokens
  EXPECT_EQ(run(std::move(stopping)), std::tuple(FinishReason::stop, all.substr(0, 1), 4u));
  auto stop_token = request_of(20, 60);
  stop_token.stop_tokens = {static_cast<unsigned char>(all[2])};
  EXPECT_EQ(std::get<1>(run(std::move(stop_token))), all.substr(0, all.find(all[2])));
  auto poisoned = request_of(20, 60, 90);
  EXPECT_EQ(std::get<0>(run(std::move(poisoned))), FinishReason::error);

  const EngineStats stats = engine.stats();
  EXPECT_EQ(stats.accepted, 6u);
  EXPECT_EQ(std::accumulate(stats.finished.begin(), stats.finished.end(), std::uint64_t{0}), 6u);
  EXPECT_EQ(stats.blocks_held, 0u);
}

TEST(Engine, WithoutALimitARequestGoesToTheEndOfTheContext) {
  Engine engine(std::make_unique<FakeExecutor>(fake_info(64, 8, 100, 200)), bytes(), {});
  Collector got;
  ASSERT_TRUE(engine.submit(request_of(20, std::nullopt), got.sink()));
  got.wait();
  EXPECT_EQ(got.finish, FinishReason::length);
  EXPECT_EQ(got.text, answer_text(20, 180));
}

TEST(Engine, RefusesAtOnceWhatCanNeverFit) {
  // 2 blocks hold 128 tokens, fewer than the context's 200.
  Engine engine(std::make_unique<FakeExecutor>(fake_info(2, 8, 100, 200)), bytes(), {});
  EXPECT_EQ(engine.tokens_max(), 128u);
  for (auto& [prompt, output] :
       {std::pair<std::size_t, std::optional<std::uint32_t>>{128, std::nullopt}, {127, 2}, {20, 109}, {300, 1}}) {
    const auto refused = engine.submit(request_of(prompt, output), [](Chunk&&) { FAIL(); });
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().reason, Refusal::Reason::too_large);
    EXPECT_THAT(refused.error().message, testing::HasSubstr("128"));
  }
  Collector got;
  ASSERT_TRUE(engine.submit(request_of(20, 108), got.sink()));
  got.wait();
  EXPECT_EQ(got.text, answer_text(20, 108));
}

TEST(Engine, RefusesWhenTheQueueIsFullAndTakesAgainWhenItIsNot) {
  EngineOptions options;
  options.queued_max = 2;
  Gated gated(fake_info(64, 1, 100), options);
  Collector running, first, second, again;
  ASSERT_TRUE(gated.engine->submit(request_of(10, 2), running.sink()));
  gated.reach(1);  // it has the only slot
  ASSERT_TRUE(gated.engine->submit(request_of(10, 1), first.sink()));
  ASSERT_TRUE(gated.engine->submit(request_of(10, 1), second.sink()));
  const auto refused = gated.engine->submit(request_of(10, 1), [](Chunk&&) { FAIL(); });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, Refusal::Reason::queue_full);
  EXPECT_EQ(gated.engine->stats().queued, 2u);
  gated.open();
  second.wait();
  ASSERT_TRUE(gated.engine->submit(request_of(10, 1), again.sink()));
  again.wait();
  EXPECT_EQ(gated.engine->stats().refused, 1u);
}

TEST(Engine, ACancelFreesItsBlocksBeforeTheSecondStepAfterIt) {
  struct Case {
    const char* phase;
    std::size_t prompt;
    std::uint64_t step;  // the step in which it is cancelled
  };
  for (const auto& [phase, prompt, step] : {Case{"prefill", 500, 2}, {"last chunk", 300, 3}, {"decode", 20, 5}}) {
    Gated gated(fake_info(64, 8, 100));
    Collector got;
    const auto id = gated.engine->submit(request_of(prompt, 200), got.sink());
    ASSERT_TRUE(id);
    for (std::uint64_t i = 1; i < step; ++i) {
      gated.reach(i);
      gated.allow(1);
    }
    gated.reach(step);
    EXPECT_GT(gated.engine->stats().blocks_held, 0u) << phase;
    gated.engine->cancel(*id);
    gated.engine->cancel(*id);  // idempotent
    gated.allow(2);
    got.wait();
    EXPECT_EQ(got.finish, FinishReason::cancelled) << phase;
    EXPECT_EQ(gated.engine->stats().blocks_held, 0u) << phase;
    EXPECT_LE(gated.arrived, step + 1) << phase;
    EXPECT_EQ(gated.engine->stats().finished[static_cast<std::size_t>(FinishReason::cancelled)], 1u);
  }
}

TEST(Engine, ACancelledQueuedRequestNeverTouchesTheRunningOne) {
  Gated gated(fake_info(64, 1, 100));
  Collector running, queued;
  ASSERT_TRUE(gated.engine->submit(request_of(10, 5), running.sink()));
  gated.reach(1);
  const auto id = gated.engine->submit(request_of(10, 5, 7), queued.sink());
  ASSERT_TRUE(id);
  gated.engine->cancel(*id);
  gated.engine->cancel(*id + 100);  // unknown: ignored
  gated.open();
  queued.wait();
  running.wait();
  EXPECT_EQ(queued.finish, FinishReason::cancelled);
  EXPECT_EQ(queued.text, "");
  EXPECT_EQ(running.finish, FinishReason::length);
  EXPECT_EQ(running.text, answer_text(10, 5));
  EXPECT_EQ(gated.engine->stats().queued, 0u);
}

TEST(Engine, IsNotReadyWhenStepsStandStillWithWorkAtHand) {
  EngineOptions options;
  options.stall_limit = 5s;
  Gated gated(fake_info(64, 8, 100), options);
  EXPECT_TRUE(gated.engine->ready(Clock::now() + 1h)) << "without work there is no standstill";
  Collector got;
  ASSERT_TRUE(gated.engine->submit(request_of(10, 3), got.sink()));
  gated.reach(1);
  EXPECT_TRUE(gated.engine->ready(Clock::now()));
  EXPECT_FALSE(gated.engine->ready(Clock::now() + 6s));
  gated.open();
  got.wait();
  EXPECT_TRUE(gated.engine->ready(Clock::now() + 6s));
}

TEST(Engine, AKnownWaitIsNoStandstill) {
  ScriptedOptions scripted;
  scripted.script.ttft = 1h;
  scripted.words = {'a'};
  scripted.vocab_size = 256;
  EngineOptions options;
  options.stall_limit = 5s;
  Engine engine(make_scripted_executor(scripted), bytes(), options);
  Collector got;
  const auto id = engine.submit(request_of(10, 3), got.sink());
  while (engine.stats().steps == 0) std::this_thread::yield();
  // The engine thread notes until when it sleeps just after the step.
  const auto deadline = Clock::now() + kLong;
  while (!engine.ready(Clock::now() + 30min) && Clock::now() < deadline) std::this_thread::yield();
  EXPECT_TRUE(engine.ready(Clock::now() + 30min));
  EXPECT_FALSE(engine.ready(Clock::now() + 2h));
  engine.cancel(*id);
  got.wait();
}

TEST(Engine, DrainingRefusesTheNewAndFinishesTheOld) {
  Gated gated(fake_info(64, 1, 100));
  Collector running, queued;
  ASSERT_TRUE(gated.engine->submit(request_of(10, 4), running.sink()));
  ASSERT_TRUE(gated.engine->submit(request_of(10, 4, 5), queued.sink()));
  gated.reach(1);
  gated.engine->begin_drain();
  EXPECT_FALSE(gated.engine->ready(Clock::now()));
  const auto refused = gated.engine->submit(request_of(10, 4), [](Chunk&&) { FAIL(); });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, Refusal::Reason::draining);
  gated.open();
  running.wait();
  queued.wait();
  EXPECT_EQ(running.finish, FinishReason::length);
  EXPECT_EQ(queued.finish, FinishReason::length);
}

TEST(Engine, ItsEndEndsEveryRequestAsCancelled) {
  std::vector<std::unique_ptr<Collector>> got;
  {
    Gated gated(fake_info(64, 2, 100));
    for (int i = 0; i < 10; ++i) {
      got.push_back(std::make_unique<Collector>());
      ASSERT_TRUE(gated.engine->submit(request_of(10, 1'000), got.back()->sink()));
    }
    gated.reach(1);
    std::thread letting([&] {
      // Only once the engine has been told to end may its step go on.
      gated.allow(3);
      gated.open();
    });
    gated.engine->cancel_all();
    letting.join();
    gated.engine.reset();
  }
  for (const auto& one : got) EXPECT_EQ(one->finish, FinishReason::cancelled);
}

TEST(Engine, NeverSendsPartOfACodePoint) {
  // The scripted executor says the four bytes of a code point one token at a time, then breaks off inside one.
  ScriptedOptions scripted;
  scripted.words = {0xf0, 0x9f, 0x98, 0x80, 'a'};
  scripted.vocab_size = 256;
  Engine engine(make_scripted_executor(scripted), bytes(), {});
  Collector got;
  ASSERT_TRUE(engine.submit(request_of(10, 7), got.sink()));
  got.wait();
  EXPECT_EQ(got.text,
            "\xf0\x9f\x98\x80"
            "a"
            "\xef\xbf\xbd");
  EXPECT_EQ(got.chunks, 3u);
  EXPECT_EQ(got.usage.completion_tokens, 7u);
}

TEST(Engine, FlushComesAfterTheChunksOfAStepAndOnceForAll) {
  std::atomic<int> chunks{0}, flushes{0};
  EngineOptions options;
  options.flush = [&] { ++flushes; };
  {
    Gated gated(fake_info(64, 8, 1000), options);
    std::vector<std::unique_ptr<Collector>> got;
    for (int i = 0; i < 8; ++i) {
      got.push_back(std::make_unique<Collector>());
      ASSERT_TRUE(gated.engine->submit(request_of(10, 20, i * 3), [&chunks, to = got.back()->sink()](Chunk&& chunk) {
        ++chunks;
        to(std::move(chunk));
      }));
    }
    gated.open();
    for (auto& one : got) one->wait();
  }
  EXPECT_EQ(chunks, 160);
  EXPECT_LE(flushes, 30) << "eight sequences that step together need one wake-up a step";
  EXPECT_GE(flushes, 20);
}

TEST(Engine, ManyThreadsMayAskAndCancelAtOnce) {
  Engine engine(std::make_unique<FakeExecutor>(fake_info(24, 6, 64, 500)), bytes(), {});
  std::atomic<int> ended{0}, accepted{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 60; ++i) {
        const auto id = engine.submit(request_of(5 + static_cast<std::size_t>(i) % 90, 20, t), [&](Chunk&& chunk) {
          if (chunk.finish != FinishReason::none) ++ended;
        });
        if (!id) continue;
        ++accepted;
        if (i % 3 == 0) engine.cancel(*id);
      }
    });
  }
  threads.clear();
  const auto deadline = Clock::now() + kLong;
  while (engine.active() > 0 && Clock::now() < deadline) std::this_thread::yield();
  // active() falls just before the last chunk goes out; the counts agree once the sinks have been called.
  while (ended < accepted && Clock::now() < deadline) std::this_thread::yield();
  EXPECT_EQ(ended, accepted);
  EXPECT_EQ(engine.stats().blocks_held, 0u);
}

// ---- steps in flight
// ------------------------------------------------------------------------------------------------------

/// An engine over a device that finishes a step when the test says so.
struct Pipelined {
  explicit Pipelined(const ExecutorInfo& info, EngineOptions options = {},
                     const std::function<void(PipelinedExecutor&)>& prepare = {}) {
    auto owned = std::make_unique<PipelinedExecutor>(info);
    executor = owned.get();
    if (prepare) prepare(*owned);
    engine = std::make_unique<Engine>(std::move(owned), bytes(), std::move(options));
  }
  void open() { executor->allow(std::uint64_t{1} << 60); }
  /// Waits until so many steps have been handed over.
  void reach(std::uint64_t count) {
    const auto deadline = Clock::now() + kLong;
    while (executor->count_steps() < count && Clock::now() < deadline) std::this_thread::yield();
    ASSERT_GE(executor->count_steps(), count);
  }

  PipelinedExecutor* executor = nullptr;
  std::unique_ptr<Engine> engine;
};

TEST(EngineAhead, HandsOverAsManyStepsAsFitBeforeAnyTokenHasArrived) {
  Pipelined pipelined(pipelined_info(3, 64, 8, 100));
  Collector got;
  ASSERT_TRUE(pipelined.engine->submit(request_of(20, 30), got.sink()));
  pipelined.reach(3);
  EXPECT_EQ(got.chunks, 0u);
  pipelined.executor->allow(1);
  pipelined.reach(4);
  pipelined.open();
  got.wait();
  EXPECT_EQ(got.text, answer_text(20, 30));
  EXPECT_EQ(got.usage.completion_tokens, 30u);
  EXPECT_EQ(pipelined.executor->count_steps(), 30u);
}

// Each request is asked for once with one step in flight, two and three: texts, reasons and counts are the same.
TEST(EngineAhead, SaysTheSameAsWithOneStepAtATime) {
  struct Asked {
    Request request;
    bool cancelled = false;
  };
  struct Said {
    std::string text;
    FinishReason finish;
    std::uint32_t tokens;
    std::uint64_t hash;
    bool operator==(const Said&) const = default;
  };
  std::uint64_t preemptions = 0;
  for (std::uint32_t seed = 1; seed <= 10; ++seed) {
    std::mt19937 random(seed);
    std::vector<Asked> asked;
    for (int i = 0; i < 60; ++i) {
      Asked one{.request = request_of(1 + random() % 110, 1 + random() % 90, static_cast<TokenId>(random() % 3 * 40))};
      const auto answer = answer_text(one.request.prompt.size(), 90, one.request.prompt.front());
      if (random() % 3 == 0) one.request.stop = {answer.substr(random() % 80, 1 + random() % 4)};
      if (random() % 5 == 0) one.request.stop_tokens = {'a' + static_cast<TokenId>(random() % 26)};
      if (random() % 6 == 0) one.request.tokens_max.reset();
      one.request.ignore_eos = random() % 4 != 0;
      one.cancelled = random() % 8 == 0;
      asked.push_back(std::move(one));
    }
    std::vector<std::vector<Said>> by_depth;
    for (const std::uint32_t ahead : {1u, 2u, 3u}) {
      EngineOptions options;
      options.end_tokens = {'q'};
      // So few blocks that sequences are preempted.
      Pipelined pipelined(pipelined_info(ahead, 6, 5, 70, 220), options,
                          [&](PipelinedExecutor& executor) { executor.hesitation.emplace(seed); });
      pipelined.open();
      std::vector<std::unique_ptr<Collector>> got;
      for (const auto& one : asked) {
        got.push_back(std::make_unique<Collector>());
        const auto id = pipelined.engine->submit(one.request, got.back()->sink());
        ASSERT_TRUE(id);
        if (one.cancelled) pipelined.engine->cancel(*id);
      }
      for (auto& one : got) one->wait();
      EXPECT_EQ(pipelined.engine->stats().blocks_held, 0u);
      preemptions += pipelined.engine->stats().preemptions;
      auto& said = by_depth.emplace_back();
      for (std::size_t i = 0; i < asked.size(); ++i) {
        // How far one comes that is given up is chance; that it ends is not.
        if (asked[i].cancelled) continue;
        said.push_back({got[i]->text, got[i]->finish, got[i]->usage.completion_tokens, got[i]->usage.logits_hash});
      }
    }
    EXPECT_EQ(by_depth[0], by_depth[1]) << "seed " << seed;
    EXPECT_EQ(by_depth[0], by_depth[2]) << "seed " << seed;
  }
  EXPECT_GT(preemptions, 30u);
}

void expect_in_order(const RequestTimeline& timeline) {
  const TimelineMarks marks = timeline.marks();
  Clock::time_point last = marks.admitted;
  for (const TimelineStep& step : timeline.steps()) {
    EXPECT_LE(marks.admitted, step.start);
    EXPECT_LE(step.start, step.end);
    EXPECT_LE(last, step.end);
    last = step.end;
  }
  EXPECT_LT(Clock::time_point(), marks.queued);
  EXPECT_LE(marks.queued, marks.admitted);
  EXPECT_LE(marks.admitted, marks.first_token);
  EXPECT_LE(marks.first_token, marks.last_token);
  EXPECT_LE(marks.last_token, marks.finished);
}

TEST(EngineTimeline, HasEachStepOfThePromptAndOfEveryToken) {
  for (const std::uint32_t ahead : {1u, 2u, 3u}) {
    Pipelined pipelined(pipelined_info(ahead, 64, 8, 70));
    pipelined.open();
    Collector got;
    auto request = request_of(150, 5);
    const auto timeline = request.timeline = std::make_shared<RequestTimeline>(10);
    ASSERT_TRUE(pipelined.engine->submit(std::move(request), got.sink()));
    got.wait();
    std::vector<std::pair<bool, std::uint32_t>> steps;
    for (const TimelineStep& step : timeline->steps()) steps.emplace_back(step.prefill, step.rows);
    EXPECT_THAT(steps, testing::ElementsAre(std::pair(true, 64u), std::pair(true, 64u), std::pair(true, 22u),
                                            std::pair(false, 1u), std::pair(false, 1u), std::pair(false, 1u),
                                            std::pair(false, 1u)))
        << ahead;
    expect_in_order(*timeline);
    EXPECT_EQ(timeline->marks().finish, FinishReason::length);
    EXPECT_EQ(timeline->marks().drawn, 5u);
    EXPECT_EQ(timeline->marks().usage.completion_tokens, 5u);
    EXPECT_EQ(timeline->marks().usage.prompt_tokens, 150u);
  }
}

TEST(EngineTimeline, HasWhatAPreemptionMadeItComputeAnew) {
  Pipelined pipelined(pipelined_info(2, 6, 5, 70, 220), {},
                      [](PipelinedExecutor& executor) { executor.hesitation.emplace(1); });
  pipelined.open();
  std::vector<std::unique_ptr<Collector>> got;
  std::vector<std::shared_ptr<RequestTimeline>> timelines;
  for (int i = 0; i < 20; ++i) {
    auto request = request_of(60, 90, static_cast<TokenId>(i));
    timelines.push_back(request.timeline = std::make_shared<RequestTimeline>(200));
    got.push_back(std::make_unique<Collector>());
    ASSERT_TRUE(pipelined.engine->submit(std::move(request), got.back()->sink()));
  }
  for (auto& one : got) one->wait();
  std::uint64_t rows = 0;
  for (const auto& timeline : timelines) {
    expect_in_order(*timeline);
    EXPECT_EQ(timeline->marks().drawn, 90u);
    for (const TimelineStep& step : timeline->steps()) rows += step.rows;
  }
  EXPECT_GT(pipelined.engine->stats().preemptions, 0u);
  EXPECT_GT(rows, 20u * (60 + 89));
}

TEST(EngineTimeline, HasNothingOfStepsThatItsRequestDidNotSeeTheEndOf) {
  Pipelined pipelined(pipelined_info(2, 64, 8, 70));
  Collector got, other;
  auto request = request_of(150, 5);
  const auto timeline = request.timeline = std::make_shared<RequestTimeline>(10);
  const auto id = pipelined.engine->submit(std::move(request), got.sink());
  ASSERT_TRUE(id);
  pipelined.reach(2);
  pipelined.executor->allow(1);
  pipelined.reach(3);
  pipelined.engine->cancel(*id);  // its second step and its third are on their way
  got.wait();
  ASSERT_TRUE(pipelined.engine->submit(request_of(20, 5, 7), other.sink()));
  pipelined.open();
  other.wait();
  const auto steps = timeline->steps();
  ASSERT_EQ(steps.size(), 1u);
  EXPECT_LE(steps[0].end, timeline->marks().finished);
}

TEST(EngineTimeline, CountsTheStepsThatItHasNoRoomFor) {
  RequestTimeline timeline(1u << 30);
  for (int i = 0; i < 5000; ++i) timeline.drew({.start = {}, .end = {}, .rows = 1}, {});
  EXPECT_EQ(timeline.steps().size(), limits::timeline_steps_max);
  EXPECT_EQ(timeline.marks().steps_dropped, 5000 - limits::timeline_steps_max);
  EXPECT_EQ(timeline.marks().drawn, 5000u);
  EXPECT_EQ(timeline.settle(), limits::timeline_steps_max);
}

TEST(EngineAhead, ACancelFreesItsBlocksBeforeTheSecondStepAfterIt) {
  for (const std::uint32_t ahead : {2u, 3u}) {
    Pipelined pipelined(pipelined_info(ahead, 64, 8, 100));
    Collector got, other;
    const auto id = pipelined.engine->submit(request_of(20, 200), got.sink());
    ASSERT_TRUE(id);
    ASSERT_TRUE(pipelined.engine->submit(request_of(20, 60, 7), other.sink()));
    pipelined.reach(ahead);
    pipelined.executor->allow(5);
    pipelined.reach(ahead + 5);
    // The device stands still with all its steps in flight; the blocks are free all the same.
    pipelined.engine->cancel(*id);
    got.wait();
    EXPECT_EQ(got.finish, FinishReason::cancelled);
    EXPECT_EQ(pipelined.engine->stats().blocks_held, 1u);
    EXPECT_EQ(pipelined.executor->count_steps(), ahead + 5);
    pipelined.open();
    other.wait();
    EXPECT_EQ(other.text, answer_text(20, 60, 7));
  }
}

TEST(EngineAhead, AResultThatIsNotFiniteEndsOnlyItsRequest) {
  auto poison = prompt_of(20, 90);
  for (int i = 0; i < 3; ++i) poison.push_back(fake_next(poison));
  Pipelined pipelined(pipelined_info(2, 64, 8, 100), {},
                      [&](PipelinedExecutor& executor) { executor.poisoned = poison; });
  pipelined.open();
  Collector bad, good;
  ASSERT_TRUE(pipelined.engine->submit(request_of(20, 30, 90), bad.sink()));
  ASSERT_TRUE(pipelined.engine->submit(request_of(20, 30), good.sink()));
  bad.wait();
  good.wait();
  EXPECT_EQ(bad.finish, FinishReason::error);
  EXPECT_EQ(bad.text, answer_text(20, 3, 90));
  EXPECT_EQ(good.text, answer_text(20, 30));
}

TEST(EngineAhead, IsNotReadyWhenTheDeviceDoesNotFinishItsSteps) {
  EngineOptions options;
  options.stall_limit = 5s;
  Pipelined pipelined(pipelined_info(2, 64, 8, 100), options);
  Collector got;
  ASSERT_TRUE(pipelined.engine->submit(request_of(20, 30), got.sink()));
  pipelined.reach(2);
  EXPECT_TRUE(pipelined.engine->ready(Clock::now()));
  EXPECT_FALSE(pipelined.engine->ready(Clock::now() + 6s));
  pipelined.open();
  got.wait();
  EXPECT_TRUE(pipelined.engine->ready(Clock::now() + 6s));
}

TEST(EngineAhead, ARequestThatComesWhileOnlyForgottenStepsRunIsServed) {
  Pipelined pipelined(pipelined_info(2, 64, 8, 100));
  Collector first, second;
  const auto id = pipelined.engine->submit(request_of(20, 200), first.sink());
  ASSERT_TRUE(id);
  pipelined.reach(2);
  pipelined.engine->cancel(*id);
  first.wait();
  ASSERT_TRUE(pipelined.engine->submit(request_of(20, 5, 3), second.sink()));
  const auto deadline = Clock::now() + kLong;
  while (pipelined.engine->stats().accepted < 2 && Clock::now() < deadline) std::this_thread::yield();
  // Taken up, and there is no room for its step: the engine must look again by itself.
  const auto polls = pipelined.executor->count_polls();
  while (pipelined.executor->count_polls() < polls + 3 && Clock::now() < deadline) std::this_thread::yield();
  EXPECT_GE(pipelined.executor->count_polls(), polls + 3);
  pipelined.open();
  second.wait();
  EXPECT_EQ(second.text, answer_text(20, 5, 3));
}

TEST(EngineFailure, EndsEveryRequestWithTheDevicesSentenceOnceAndTakesNoMore) {
  for (const std::uint32_t ahead : {1u, 2u}) {
    std::atomic<int> calls{0}, flushes{0};
    std::promise<std::pair<std::string, int>> told;  // the sentence, and the flushes before it
    EngineOptions options;
    options.flush = [&] { ++flushes; };
    options.failed = [&](const std::string& sentence) {
      if (++calls == 1) told.set_value({sentence, flushes.load()});
    };
    Pipelined pipelined(pipelined_info(ahead, 64, 2, 100), options);
    std::vector<std::unique_ptr<Collector>> got;
    for (int i = 0; i < 6; ++i) {  // two of them run, the others wait
      got.push_back(std::make_unique<Collector>());
      ASSERT_TRUE(pipelined.engine->submit(request_of(20, 200), got.back()->sink()));
    }
    pipelined.executor->allow(4);
    pipelined.reach(4 + ahead);
    EXPECT_TRUE(pipelined.engine->ready(Clock::now()));
    pipelined.executor->fail("the GPU has fallen off the bus");
    for (auto& one : got) {
      one->wait();
      EXPECT_EQ(one->finish, FinishReason::error);
      EXPECT_EQ(one->error, "the GPU has fallen off the bus");
    }
    auto future = told.get_future();
    ASSERT_EQ(future.wait_for(kLong), std::future_status::ready);
    const auto [sentence, flushes_before] = future.get();
    EXPECT_EQ(sentence, "the GPU has fallen off the bus");
    EXPECT_GT(flushes_before, 0);
    EXPECT_FALSE(pipelined.engine->ready(Clock::now()));
    const auto refused = pipelined.engine->submit(request_of(20, 5), [](Chunk&&) { FAIL(); });
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().reason, Refusal::Reason::failed);
    EXPECT_THAT(refused.error().message, testing::HasSubstr("fallen off the bus"));
    EXPECT_EQ(pipelined.engine->active(), 0u);
    EXPECT_EQ(pipelined.engine->stats().blocks_held, 0u);
    pipelined.engine.reset();
    EXPECT_EQ(calls, 1);
  }
}

// Requests that arrive just as it is found out: refused, or ended with the sentence; none is forgotten.
TEST(EngineFailure, LosesNoRequestThatArrivesMeanwhile) {
  for (int round = 0; round < 20; ++round) {
    Pipelined pipelined(pipelined_info(2, 64, 4, 100));
    pipelined.open();
    std::atomic<int> accepted{0}, ended{0};
    std::jthread asking([&] {
      for (;;) {
        const auto id = pipelined.engine->submit(request_of(20, 50), [&](Chunk&& chunk) {
          if (chunk.finish != FinishReason::none) ++ended;
        });
        if (id) {
          ++accepted;
        } else if (id.error().reason == Refusal::Reason::failed) {
          return;
        }
      }
    });
    pipelined.reach(static_cast<std::uint64_t>(round) * 3);
    pipelined.executor->fail("gone");
    asking.join();
    const auto deadline = Clock::now() + kLong;
    while (ended < accepted && Clock::now() < deadline) std::this_thread::yield();
    EXPECT_EQ(ended, accepted);
  }
}

}  // namespace
}  // namespace sluice::engine
