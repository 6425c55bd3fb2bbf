#include "engine/sched/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "tests/engine/sched/fake_executor.h"

namespace sluice::engine {
namespace {

constexpr std::size_t kBlock = limits::block_tokens;

std::vector<TokenId> prompt_of(std::size_t length, TokenId first = 1) {
  std::vector<TokenId> tokens(length);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

/// Carries out what the scheduler says, as the engine does.
struct Driver {
  explicit Driver(const ExecutorInfo& info)
      : scheduler({.blocks = info.blocks,
                   .slots_max = info.slots_max,
                   .rows_max = info.rows_max,
                   .context_max = info.context_max}),
        executor(info) {}

  /// Returns the slices' (request, rows).
  std::vector<std::pair<RequestId, std::size_t>> step() {
    const ScheduledStep& next = scheduler.next();
    for (const SlotId slot : next.released) executor.release(slot);
    for (const Sequence* sequence : next.bound) {
      executor.bind(*sequence->slot, sequence->sampling, sequence->prompt(), sequence->id);
      if (!sequence->output().empty()) executor.resume(*sequence->slot, sequence->output());
    }
    std::vector<std::pair<RequestId, std::size_t>> shape;
    for (const Slice& slice : next.step.slices) {
      shape.emplace_back(scheduler.running(slice.slot)->id, slice.tokens.size());
    }
    if (!next.step.slices.empty()) executor.submit(next.step);
    return shape;
  }

  /// Takes the results; sequences that have `count_of` tokens of output end.
  template <class CountOf>
  void take(const CountOf& count_of) {
    results.clear();
    executor.poll(results);
    for (const Sampled& result : results) {
      Sequence* sequence = scheduler.running(result.slot);
      ASSERT_NE(sequence, nullptr);
      const RequestId id = sequence->id;
      if (sequence->output().size() + 1 == count_of(id)) {
        auto output = std::vector(sequence->output().begin(), sequence->output().end());
        output.push_back(result.token);
        EXPECT_TRUE(finished.emplace(id, std::move(output)).second);
        executor.release(*scheduler.remove(id));
      } else {
        scheduler.append(result.slot, result.token);
      }
    }
  }

  Scheduler scheduler;
  FakeExecutor executor;
  std::vector<Sampled> results;
  std::map<RequestId, std::vector<TokenId>> finished;
};

using Shape = std::vector<std::pair<RequestId, std::size_t>>;

TEST(Scheduler, DecodesFirstThenFillsTheStepWithPromptChunks) {
  Driver driver(fake_info(64, 8, 100));
  driver.scheduler.add(1, prompt_of(30), {});
  EXPECT_EQ(driver.step(), (Shape{{1, 30}}));
  driver.take([](RequestId) { return std::size_t{100}; });
  driver.scheduler.add(2, prompt_of(150, 1000), {});
  driver.scheduler.add(3, prompt_of(80, 2000), {});
  EXPECT_EQ(driver.step(), (Shape{{1, 1}, {2, 64}, {3, 35}}));  // whole blocks where the rows go so far
  driver.take([](RequestId) { return std::size_t{100}; });
  EXPECT_EQ(driver.step(), (Shape{{1, 1}, {2, 86}, {3, 13}}));
  driver.take([](RequestId) { return std::size_t{100}; });
  EXPECT_EQ(driver.step(), (Shape{{1, 1}, {2, 1}, {3, 32}}));
}

TEST(Scheduler, PromptChunksEndWithABlockWhereTheRowsGoSoFar) {
  // At most 100 rows a step, so without the rule the chunks would be 100, 100, 100, 20.
  Driver driver(fake_info(64, 8, 100));
  driver.scheduler.add(1, prompt_of(320), {});
  for (const std::size_t rows : {64, 64, 64, 64, 64}) EXPECT_EQ(driver.step(), (Shape{{1, rows}}));
  EXPECT_TRUE(driver.step().empty());

  Driver small(fake_info(64, 8, 50));  // never a whole block: then up to the border
  small.scheduler.add(1, prompt_of(150), {});
  for (const std::size_t rows : {50, 14, 50, 36}) EXPECT_EQ(small.step(), (Shape{{1, rows}}));
}

TEST(Scheduler, BoundsThePromptRowsThatRideAlongWithDecodesByTheStepsTime) {
  struct Case {
    const char* name;
    double limit, base, row;
    std::size_t expected;  // rows of the prompt in a step with two decodes
  };
  for (const auto& [name, limit, base, row, expected] : {
           Case{"no limit", 0, 1e6, 1e3, 958},
           {"not measured", 5e6, 0, 0, 958},
           {"room for 300 rows, in whole blocks", 1.3e6, 1e6, 1e3, 256},
           {"room for 320 rows, whatever decodes beside them", 1.3201e6, 1e6, 1e3, 320},
           {"room for 10 rows: a block all the same", 1.01e6, 1e6, 1e3, 64},
           {"the step alone is over the limit", 0.5e6, 1e6, 1e3, 64},
           {"more than the step takes", 1e9, 1e6, 1e3, 958},
       }) {
    SchedulerLimits limits{.blocks = 64, .slots_max = 4, .rows_max = 960, .context_max = 2000};
    limits.step_limit_ns = limit;
    limits.step_base_ns = base;
    limits.step_row_ns = row;
    Scheduler scheduler(limits);
    scheduler.add(1, prompt_of(900), {});
    scheduler.add(2, prompt_of(60, 3000), {});
    // Nothing decodes yet: nobody is delayed.
    EXPECT_EQ(scheduler.next().step.slices.at(0).tokens.size(), 900u) << name;
    for (const RequestId id : {1, 2}) scheduler.append(*scheduler.find(id)->slot, 'x');
    scheduler.add(3, prompt_of(1023, 5000), {});
    const auto& slices = scheduler.next().step.slices;
    ASSERT_EQ(slices.size(), 3u) << name;
    for (const std::size_t decode : {0, 1}) EXPECT_EQ(slices[decode].tokens.size(), 1u) << name;
    EXPECT_EQ(slices[2].tokens.size(), expected / kBlock * kBlock) << name;
  }
}

TEST(Scheduler, ASequenceWaitsForItsTokenWhileOthersGoOn) {
  Driver driver(fake_info(64, 8, 100));
  driver.scheduler.add(1, prompt_of(10), {});
  driver.scheduler.add(2, prompt_of(10, 500), {});
  driver.step();
  EXPECT_TRUE(driver.step().empty());
  driver.scheduler.append(driver.scheduler.find(2)->slot.value(), 'x');
  EXPECT_EQ(driver.step(), (Shape{{2, 1}}));
}

TEST(Scheduler, SharesAPromptsWholeBlocksButAlwaysComputesItsLastToken) {
  struct Case {
    std::size_t length, cached;
  };
  for (const auto& [length, cached] : {Case{1, 0}, {64, 0}, {65, 64}, {127, 64}, {128, 64}, {129, 128}, {200, 192}}) {
    Driver driver(fake_info(64, 8, 1000));
    driver.scheduler.add(1, prompt_of(length), {});
    driver.step();
    driver.take([](RequestId) { return std::size_t{1}; });
    driver.scheduler.add(2, prompt_of(length), {});
    EXPECT_EQ(driver.step(), (Shape{{2, length - cached}})) << length;
    EXPECT_EQ(driver.scheduler.find(2)->cached_tokens, cached) << length;
    driver.take([](RequestId) { return std::size_t{1}; });
    EXPECT_EQ(driver.finished[1], driver.finished[2]);
  }
}

TEST(Scheduler, DoesNotShareWithinTheStepThatIsStillWriting) {
  Driver driver(fake_info(64, 8, 1000));
  driver.scheduler.add(1, prompt_of(200), {});
  driver.scheduler.add(2, prompt_of(200), {});
  EXPECT_EQ(driver.step(), (Shape{{1, 200}, {2, 200}}));
}

TEST(Scheduler, PreemptsTheYoungestAndGivesTheSameAnswer) {
  // Three sequences of up to 3 blocks in a pool of 5.
  Driver driver(fake_info(5, 8, 1000));
  for (RequestId id = 1; id <= 3; ++id) driver.scheduler.add(id, prompt_of(50, static_cast<TokenId>(1000 * id)), {});
  const auto count = [](RequestId) { return std::size_t{120}; };
  for (int i = 0; i < 2000 && driver.finished.size() < 3; ++i) {
    driver.step();
    driver.scheduler.check_integrity();
    if (const auto* first = driver.scheduler.find(1); first != nullptr && i > 0) {
      EXPECT_EQ(first->preemptions, 0u);
    }
    driver.take(count);
  }
  ASSERT_EQ(driver.finished.size(), 3u);
  EXPECT_GT(driver.scheduler.counters().preemptions, 0u);
  for (RequestId id = 1; id <= 3; ++id) {
    EXPECT_EQ(driver.finished[id], fake_answer(prompt_of(50, static_cast<TokenId>(1000 * id)), 120)) << id;
  }
  EXPECT_EQ(driver.scheduler.blocks_held(), 0u);
}

TEST(Scheduler, AdmitsInOrderOfArrivalEvenWhenASmallOneWouldFit) {
  Driver driver(fake_info(4, 8, 1000));
  driver.scheduler.add(1, prompt_of(100), {});
  driver.step();
  driver.take([](RequestId) { return std::size_t{100}; });
  driver.scheduler.add(2, prompt_of(190, 1000), {});  // 3 blocks: has to wait
  driver.scheduler.add(3, prompt_of(10, 3000), {});
  EXPECT_EQ(driver.step(), (Shape{{1, 1}}));
  EXPECT_EQ(driver.scheduler.waiting_count(), 2u);
}

TEST(Scheduler, KeepsNoPrefixOfASequenceThatWasNotFinite) {
  Driver driver(fake_info(16, 8, 1000));
  driver.scheduler.add(1, prompt_of(200), {});
  driver.step();
  driver.step();  // what the first one wrote has been offered by now
  driver.executor.release(*driver.scheduler.remove(1, false));
  driver.scheduler.add(2, prompt_of(200), {});
  driver.step();
  EXPECT_EQ(driver.scheduler.find(2)->cached_tokens, 0u);
}

// Random arrivals, ends and cancels over small pools: no block is lost or shared wrongly, every request ends once, and
// each answer is the one it gives when it runs alone.
TEST(Scheduler, AnswersAsIfEachRanAloneWhateverRunsBeside) {
  std::uint64_t preemptions = 0, hits = 0;
  for (std::uint32_t seed = 1; seed <= 60; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](std::uint32_t n) { return std::uniform_int_distribution<std::uint32_t>(0, n - 1)(random); };
    const std::uint32_t blocks = 4 + below(8), rows = 1 + below(seed % 3 == 0 ? 8 : 200);
    Driver driver(fake_info(blocks, 1 + below(8), rows, 500));
    struct Asked {
      std::vector<TokenId> prompt;
      std::size_t count;
    };
    std::map<RequestId, Asked> asked;
    std::set<RequestId> open, cancelled;
    RequestId last = 0;
    for (int step = 0; step < 600; ++step) {
      if (step < 400 && open.size() < 12 && below(4) == 0) {
        // Few different beginnings, so that prefixes are shared; never more than the pool can hold.
        const std::size_t most = driver.scheduler.tokens_max() - 2;
        auto prompt = prompt_of(1 + below(static_cast<std::uint32_t>(std::min<std::size_t>(most, 120))),
                                static_cast<TokenId>(1000 * (1 + below(3))));
        const std::size_t count =
            1 + below(static_cast<std::uint32_t>(std::min<std::size_t>(most - prompt.size() + 1, 250)));
        asked[++last] = {prompt, count};
        open.insert(last);
        driver.scheduler.add(last, std::move(prompt), {});
      }
      if (!open.empty() && below(40) == 0) {
        const RequestId victim = *std::next(open.begin(), below(static_cast<std::uint32_t>(open.size())));
        if (const auto slot = driver.scheduler.remove(victim)) driver.executor.release(*slot);
        EXPECT_EQ(driver.scheduler.find(victim), nullptr);
        open.erase(victim);
        cancelled.insert(victim);
      }
      driver.step();
      driver.scheduler.check_integrity();
      if (below(5) != 0) driver.take([&](RequestId id) { return asked.at(id).count; });
      for (const auto& [id, output] : driver.finished) open.erase(id);
    }
    for (int step = 0; step < 60'000 && !open.empty(); ++step) {
      driver.step();
      driver.take([&](RequestId id) { return asked.at(id).count; });
      for (const auto& [id, output] : driver.finished) open.erase(id);
    }
    ASSERT_TRUE(open.empty()) << "seed " << seed << ": " << open.size() << " never ended";
    EXPECT_EQ(driver.finished.size() + cancelled.size(), asked.size());
    for (const auto& [id, output] : driver.finished) {
      ASSERT_EQ(output, fake_answer(asked.at(id).prompt, asked.at(id).count)) << "seed " << seed << " request " << id;
    }
    driver.scheduler.check_integrity();
    EXPECT_EQ(driver.scheduler.blocks_held(), 0u);
    preemptions += driver.scheduler.counters().preemptions;
    hits += driver.scheduler.counters().prefix_hits;
  }
  EXPECT_GT(preemptions, 100u) << "the pools were too large for this test to mean anything";
  EXPECT_GT(hits, 10 * kBlock);
}

// ---- steps in flight
// ------------------------------------------------------------------------------------------------------

/// The engine's part with steps in flight: the caller says when a step is handed over and when one finishes.
struct AheadDriver {
  explicit AheadDriver(const ExecutorInfo& info)
      : scheduler({.blocks = info.blocks,
                   .slots_max = info.slots_max,
                   .rows_max = info.rows_max,
                   .context_max = info.context_max,
                   .steps_ahead = info.steps_ahead}),
        executor(info) {}

  void add(RequestId id, std::vector<TokenId> prompt, std::size_t output_max, std::optional<std::size_t> stop_at = {}) {
    asked[id] = {prompt, output_max, stop_at};
    scheduler.add(id, std::move(prompt), {}, output_max);
  }

  /// Hands over a step. False when there was nothing to hand over.
  bool step() {
    const ScheduledStep& next = scheduler.next();
    for (const SlotId slot : next.released) executor.release(slot);
    for (const Sequence* sequence : next.bound) {
      executor.bind(*sequence->slot, sequence->sampling, sequence->prompt(), sequence->id);
      if (!sequence->output().empty()) executor.resume(*sequence->slot, sequence->output());
    }
    for (const Slice& slice : next.step.slices) {
      const Sequence* sequence = scheduler.running(slice.slot);
      // The last token of its limit is drawn and never computed.
      EXPECT_LT(slice.position + slice.tokens.size(), sequence->tokens_max);
      EXPECT_LE(sequence->tokens_max, scheduler.tokens_max());
      EXPECT_LE(sequence->due, executor.info().steps_ahead);
    }
    if (next.step.slices.empty()) return false;
    executor.submit(next.step);
    return true;
  }

  void cancel(RequestId id) {
    if (const auto slot = scheduler.remove(id)) executor.release(*slot);
    asked.erase(id);
  }

  /// Lets up to `count` steps finish and takes their results.
  void take(std::uint64_t count) {
    executor.allow(count);
    results.clear();
    executor.poll(results);
    for (const Sampled& result : results) {
      const Sequence* sequence = scheduler.running(result.slot);
      if (sequence == nullptr) continue;  // ended by a result before this one
      const RequestId id = sequence->id;
      const auto& wanted = asked.at(id);
      const std::size_t count_now = sequence->output().size() + 1;
      if (count_now < std::min(wanted.output_max, wanted.stop_at.value_or(wanted.output_max))) {
        scheduler.append(result.slot, result.token);
        continue;
      }
      auto output = std::vector(sequence->output().begin(), sequence->output().end());
      output.push_back(result.token);
      EXPECT_TRUE(finished.emplace(id, std::move(output)).second);
      executor.release(*scheduler.remove(id));
    }
  }

  struct Asked {
    std::vector<TokenId> prompt;
    std::size_t output_max;
    std::optional<std::size_t> stop_at;  // ends after so many, which the scheduler cannot know
  };
  std::map<RequestId, Asked> asked;
  Scheduler scheduler;
  PipelinedExecutor executor;
  std::vector<Sampled> results;
  std::map<RequestId, std::vector<TokenId>> finished;
};

TEST(StepsAhead, ASequenceDecodesBeforeItsTokensHaveArrived) {
  AheadDriver driver(pipelined_info(3, 64, 8, 100));
  driver.add(1, prompt_of(10), 20);
  ASSERT_TRUE(driver.step());  // the prompt
  ASSERT_TRUE(driver.step());  // after the token that the prompt will give
  ASSERT_TRUE(driver.step());
  EXPECT_EQ(driver.scheduler.find(1)->due, 3u);
  EXPECT_EQ(driver.scheduler.find(1)->computed, 12u);
  EXPECT_EQ(driver.scheduler.find(1)->tokens.size(), 10u);
  EXPECT_FALSE(driver.step()) << "three are under way";
  driver.take(3);
  EXPECT_EQ(driver.executor.drawn_before, 2u);
  EXPECT_THAT(driver.scheduler.find(1)->output(), testing::ElementsAreArray(fake_answer(prompt_of(10), 3)));
}

TEST(StepsAhead, WhoMissedAStepWaitsUntilItsTokensHaveArrived) {
  Scheduler scheduler({.blocks = 64, .slots_max = 4, .rows_max = 100, .context_max = 500, .steps_ahead = 2});
  const auto shape = [&] {
    Shape out;
    for (const Slice& slice : scheduler.next().step.slices) {
      out.emplace_back(scheduler.running(slice.slot)->id, slice.tokens.size());
    }
    return out;
  };
  scheduler.add(1, prompt_of(10), {});
  EXPECT_EQ(shape(), (Shape{{1, 10}}));
  EXPECT_EQ(shape(), (Shape{{1, 1}}));
  scheduler.add(2, prompt_of(80, 500), {});
  EXPECT_EQ(shape(), (Shape{{2, 80}})) << "two of its draws are under way";
  const SlotId slot = *scheduler.find(1)->slot;
  scheduler.append(slot, 'x');
  EXPECT_EQ(shape(), (Shape{{2, 1}})) << "the step just before drew nothing for it";
  scheduler.append(slot, 'y');
  const auto& slices = scheduler.next().step.slices;
  ASSERT_EQ(slices.size(), 1u);
  EXPECT_EQ(slices[0].slot, slot);
  EXPECT_EQ(slices[0].tokens[0], 'y');
}

TEST(StepsAhead, NothingIsComputedBeyondTheLimitOfTheRequestOrTheContext) {
  for (const std::uint32_t ahead : {1u, 2u, 3u}) {
    for (const std::size_t limit : {1, 2, 3, 7}) {
      AheadDriver driver(pipelined_info(ahead, 64, 8, 100, 20));
      driver.add(1, prompt_of(20 - limit), limit);  // up to the end of the context
      std::uint64_t steps = 0;
      while (driver.finished.empty() && steps < 100) {
        while (!driver.executor.busy() && driver.step()) ++steps;
        driver.take(1);
      }
      EXPECT_EQ(steps, limit) << "one for the prompt and one for each token but the last";
      EXPECT_EQ(driver.finished[1], fake_answer(prompt_of(20 - limit), limit));
    }
  }
}

TEST(StepsAhead, ACancelFreesItsBlocksAtOnceAndTheyMayServeTheNextStep) {
  AheadDriver driver(pipelined_info(3, 4, 8, 300));
  driver.add(1, prompt_of(150), 100);
  while (!driver.executor.busy()) ASSERT_TRUE(driver.step());
  EXPECT_EQ(driver.scheduler.blocks_held(), 3u);
  driver.cancel(1);  // its steps are still to run, and will write into blocks that are no longer its own
  EXPECT_EQ(driver.scheduler.blocks_held(), 0u);
  driver.take(1);
  driver.add(2, prompt_of(180, 3000), 50);
  ASSERT_TRUE(driver.step());
  while (driver.finished.empty()) {
    driver.take(1);
    while (!driver.executor.busy() && driver.step()) {
    }
  }
  EXPECT_EQ(driver.finished[2], fake_answer(prompt_of(180, 3000), 50));
}

TEST(StepsAhead, OnlyBlocksOfKnownTokensAreShared) {
  AheadDriver driver(pipelined_info(3, 64, 8, 300));
  driver.add(1, prompt_of(62), 100);
  while (!driver.executor.busy()) driver.step();
  EXPECT_EQ(driver.scheduler.find(1)->computed, 64u) << "a whole block, two of its tokens still unknown";
  EXPECT_EQ(driver.scheduler.find(1)->published, 0u);
  driver.take(1);
  driver.step();
  EXPECT_EQ(driver.scheduler.find(1)->published, 0u);
  driver.take(1);
  driver.step();
  EXPECT_EQ(driver.scheduler.find(1)->published, 1u);
  driver.scheduler.check_integrity();
}

TEST(StepsAhead, APreemptedSequenceResumesFromWhatHasArrived) {
  AheadDriver driver(pipelined_info(2, 3, 8, 300));
  driver.add(1, prompt_of(60), 100);
  driver.add(2, prompt_of(60, 1000), 60);
  bool seen = false;
  for (int i = 0; i < 2000 && driver.finished.size() < 2; ++i) {
    const auto* second = driver.scheduler.find(2);
    const std::size_t known = second == nullptr ? 0 : second->tokens.size();
    driver.step();
    driver.scheduler.check_integrity();
    if (second != nullptr && !second->slot && second->preemptions > 0) {
      seen = true;
      EXPECT_EQ(second->tokens.size(), known);
      EXPECT_EQ(second->due, 0u);
    }
    while (driver.executor.busy()) driver.take(1);
    if (driver.executor.in_flight() > 0 && i % 3 == 0) driver.take(1);
  }
  EXPECT_TRUE(seen);
  EXPECT_EQ(driver.finished[1], fake_answer(prompt_of(60), 100));
  EXPECT_EQ(driver.finished[2], fake_answer(prompt_of(60, 1000), 60));
}

// As AnswersAsIfEachRanAlone, with one, two and three steps in flight, results that come late and in bunches, and
// requests that end where the scheduler could not know it.
TEST(StepsAhead, EachAnswersAsIfItRanAloneHoweverManyStepsAreInFlight) {
  for (const std::uint32_t ahead : {1u, 2u, 3u}) {
    std::uint64_t preemptions = 0, hits = 0, drawn_before = 0;
    for (std::uint32_t seed = 1; seed <= 40; ++seed) {
      std::mt19937 random(seed);
      const auto below = [&](std::uint32_t n) {
        return std::uniform_int_distribution<std::uint32_t>(0, n - 1)(random);
      };
      const std::uint32_t blocks = 4 + below(8), rows = 1 + below(seed % 3 == 0 ? 8 : 200);
      AheadDriver driver(pipelined_info(ahead, blocks, 1 + below(8), rows, 500));
      std::map<RequestId, AheadDriver::Asked> asked;
      std::set<RequestId> open;
      std::size_t cancelled = 0;
      RequestId last = 0;
      const auto advance = [&](bool all) {
        if (!driver.executor.busy()) driver.step();
        driver.scheduler.check_integrity();
        driver.take(all ? 1 : below(3));
        driver.scheduler.check_integrity();
        for (const auto& [id, output] : driver.finished) open.erase(id);
      };
      for (int step = 0; step < 500; ++step) {
        if (step < 400 && open.size() < 12 && below(4) == 0) {
          const std::size_t most = driver.scheduler.tokens_max() - 2;
          auto prompt = prompt_of(1 + below(static_cast<std::uint32_t>(std::min<std::size_t>(most, 120))),
                                  static_cast<TokenId>(1000 * (1 + below(3))));
          const std::size_t count =
              1 + below(static_cast<std::uint32_t>(std::min<std::size_t>(most - prompt.size() + 1, 250)));
          std::optional<std::size_t> stop_at;
          if (below(2) == 0) stop_at = 1 + below(static_cast<std::uint32_t>(count));
          asked[++last] = {prompt, stop_at.value_or(count), {}};
          open.insert(last);
          driver.add(last, std::move(prompt), count, stop_at);
        }
        if (!open.empty() && below(40) == 0) {
          const RequestId victim = *std::next(open.begin(), below(static_cast<std::uint32_t>(open.size())));
          driver.cancel(victim);
          open.erase(victim);
          ++cancelled;
        }
        advance(false);
      }
      for (int step = 0; step < 60'000 && !open.empty(); ++step) advance(true);
      ASSERT_TRUE(open.empty()) << "seed " << seed << ": " << open.size() << " never ended";
      EXPECT_EQ(driver.finished.size() + cancelled, asked.size());
      for (const auto& [id, output] : driver.finished) {
        ASSERT_EQ(output, fake_answer(asked.at(id).prompt, asked.at(id).output_max))
            << ahead << " steps ahead, seed " << seed << ", request " << id;
      }
      EXPECT_EQ(driver.scheduler.blocks_held(), 0u);
      preemptions += driver.scheduler.counters().preemptions;
      hits += driver.scheduler.counters().prefix_hits;
      drawn_before += driver.executor.drawn_before;
    }
    EXPECT_GT(preemptions, 50u);
    EXPECT_GT(hits, 10 * kBlock);
    EXPECT_EQ(drawn_before > 1000, ahead > 1) << drawn_before;
  }
}

}  // namespace
}  // namespace sluice::engine
