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
  EXPECT_EQ(driver.step(), (Shape{{1, 1}, {2, 99}}));
  driver.take([](RequestId) { return std::size_t{100}; });
  EXPECT_EQ(driver.step(), (Shape{{1, 1}, {2, 51}, {3, 48}}));
  driver.take([](RequestId) { return std::size_t{100}; });
  EXPECT_EQ(driver.step(), (Shape{{1, 1}, {2, 1}, {3, 32}}));
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

}  // namespace
}  // namespace sluice::engine
