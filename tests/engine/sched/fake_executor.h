// An executor whose "model" is a hash of what lies in the blocks of a sequence: a block that is shared, freed or placed
// wrongly changes the answer. Tokens are letters, so that texts can be compared too.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/core/limits.h"
#include "engine/exec/executor.h"

namespace sluice::engine {

/// The token after `tokens`: 'a' .. 'z'.
inline TokenId fake_next(std::span<const TokenId> tokens) {
  std::uint64_t hash = 14695981039346656037ull;
  for (const TokenId token : tokens) hash = (hash ^ static_cast<std::uint32_t>(token)) * 1099511628211ull;
  return 'a' + static_cast<TokenId>((hash >> 33) % 26);
}

inline std::vector<TokenId> fake_answer(std::vector<TokenId> prompt, std::size_t count) {
  const std::size_t from = prompt.size();
  while (prompt.size() < from + count) prompt.push_back(fake_next(prompt));
  return {prompt.begin() + static_cast<std::ptrdiff_t>(from), prompt.end()};
}

class FakeExecutor : public Executor {
 public:
  explicit FakeExecutor(ExecutorInfo info) : info_(std::move(info)), cache_(info_.blocks), bound_(info_.slots_max) {
    info_.vocab_size = 256;
  }

  const ExecutorInfo& info() const override { return info_; }

  void bind(SlotId slot, const SamplingParams&, std::span<const TokenId> prompt, std::uint64_t) override {
    EXPECT_FALSE(bound_[slot]) << "slot " << slot << " was bound twice";
    bound_[slot] = true;
    EXPECT_FALSE(prompt.empty());
  }
  void resume(SlotId slot, std::span<const TokenId> output) override {
    EXPECT_TRUE(bound_[slot]);
    EXPECT_FALSE(output.empty());
  }
  void release(SlotId slot) override {
    EXPECT_TRUE(bound_[slot]) << "slot " << slot << " was released twice";
    bound_[slot] = false;
    std::erase_if(results_, [slot](const Sampled& result) { return result.slot == slot; });
  }

  void submit(const StepPlan& plan) override {
    ++steps;
    std::size_t rows = 0;
    for (const Slice& slice : plan.slices) {
      EXPECT_TRUE(bound_[slice.slot]);
      rows += slice.tokens.size();
      // As on a device: everything is written before anything of a later step is read, and rows see what is before
      // them.
      for (std::size_t i = 0; i < slice.tokens.size(); ++i) at(slice.blocks, slice.position + i) = slice.tokens[i];
      if (!slice.sample) continue;
      std::vector<TokenId> seen;
      for (std::size_t i = 0; i < slice.position + slice.tokens.size(); ++i) seen.push_back(at(slice.blocks, i));
      results_.push_back({.slot = slice.slot,
                          .token = fake_next(seen),
                          .logprob = 0,
                          .logits_hash = static_cast<std::uint64_t>(seen.size()) * 0x9e3779b97f4a7c15ull + 1,
                          .finite = !poisoned || seen != *poisoned});
    }
    EXPECT_LE(rows, info_.rows_max);
    EXPECT_GT(rows, 0u);
    rows_total += rows;
    if (on_submit) on_submit(plan);
  }

  bool busy() const override { return false; }

  std::size_t poll(std::vector<Sampled>& out) override {
    const std::size_t count = results_.size();
    out.insert(out.end(), results_.begin(), results_.end());
    results_.clear();
    return count;
  }

  std::function<void(const StepPlan&)> on_submit;  // after the step is computed, before its results can be polled
  std::optional<std::vector<TokenId>> poisoned;    // the row after exactly these tokens is not finite
  std::uint64_t steps = 0, rows_total = 0;

 private:
  TokenId& at(std::span<const BlockId> blocks, std::size_t position) {
    const auto block = static_cast<std::size_t>(blocks[position / limits::block_tokens]);
    return cache_.at(block)[position % limits::block_tokens];
  }

  ExecutorInfo info_;
  std::vector<std::array<TokenId, limits::block_tokens>> cache_;
  std::vector<bool> bound_;
  std::vector<Sampled> results_;
};

/// The same model on a device that runs steps behind the engine's back: results come only once the test has let the
/// device finish a step, up to steps_ahead steps are under way, and a token may be named as drawn before.
/// All but allow(), fail() and the counts belong to the engine thread, or to the test that takes its place.
class PipelinedExecutor : public Executor {
 public:
  explicit PipelinedExecutor(ExecutorInfo info)
      : info_(std::move(info)), cache_(info_.blocks), slots_(info_.slots_max) {
    info_.vocab_size = 256;
  }

  // ---- the test's side
  /// So many further steps may finish.
  void allow(std::uint64_t count) { allowed_.fetch_add(count); }
  /// Steps handed over so far.
  std::uint64_t count_steps() const { return steps_.load(); }
  std::uint64_t count_polls() const { return polls_.load(); }
  /// From now on nothing runs any more.
  void fail(std::string sentence) {
    const std::lock_guard lock(mutex_);
    failure_ = std::move(sentence);
  }
  std::size_t in_flight() const { return flying_.size(); }

  std::function<void(const StepPlan&)> on_submit;
  std::optional<std::vector<TokenId>> poisoned;  // the row after exactly these tokens is not finite
  /// With one: of the steps that may finish each poll takes none or some, as chance has it.
  std::optional<std::mt19937> hesitation;
  std::uint64_t drawn_before = 0;  // rows whose token the plan did not name

  // ---- the engine's side
  const ExecutorInfo& info() const override { return info_; }

  void bind(SlotId slot, const SamplingParams&, std::span<const TokenId> prompt, std::uint64_t) override {
    EXPECT_FALSE(slots_[slot].bound) << "slot " << slot << " was bound twice";
    EXPECT_FALSE(prompt.empty());
    slots_[slot].bound = true;
    ++slots_[slot].generation;
  }
  void resume(SlotId slot, std::span<const TokenId> output) override {
    EXPECT_TRUE(slots_[slot].bound);
    EXPECT_FALSE(output.empty());
  }
  void release(SlotId slot) override {
    EXPECT_TRUE(slots_[slot].bound) << "slot " << slot << " was released twice";
    slots_[slot].bound = false;
    ++slots_[slot].generation;  // what is still due for it is dropped
  }

  void submit(const StepPlan& plan) override {
    EXPECT_FALSE(busy());
    Step step;
    std::size_t rows = 0;
    for (const Slice& slice : plan.slices) {
      EXPECT_TRUE(slots_[slice.slot].bound);
      EXPECT_FALSE(slice.tokens.empty());
      EXPECT_GE(slice.blocks.size() * limits::block_tokens, slice.position + slice.tokens.size());
      rows += slice.tokens.size();
      step.push_back({slice.slot, slots_[slice.slot].generation, slice.position,
                      std::vector(slice.tokens.begin(), slice.tokens.end()),
                      std::vector(slice.blocks.begin(), slice.blocks.end()), slice.sample});
    }
    EXPECT_GT(rows, 0u);
    EXPECT_LE(rows, info_.rows_max);
    flying_.push_back(std::move(step));
    steps_.fetch_add(1);
    if (on_submit) on_submit(plan);
  }

  bool busy() const override { return flying_.size() >= info_.steps_ahead; }

  std::size_t poll(std::vector<Sampled>& out) override {
    polls_.fetch_add(1);
    const std::size_t before = out.size();
    while (!flying_.empty() && allowed_.load() > 0 && failure().empty()) {
      if (hesitation && (*hesitation)() % 2 == 0) break;
      allowed_.fetch_sub(1);
      run(flying_.front(), out);
      flying_.pop_front();
    }
    return out.size() - before;
  }

  std::string failure() const override {
    const std::lock_guard lock(mutex_);
    return failure_;
  }

 private:
  struct Part {
    SlotId slot;
    std::uint64_t generation;
    std::uint32_t position;
    std::vector<TokenId> tokens;
    std::vector<BlockId> blocks;
    bool sample;
  };
  using Step = std::vector<Part>;
  struct Slot {
    bool bound = false;
    std::uint64_t generation = 0;
  };

  TokenId& at(const std::vector<BlockId>& blocks, std::size_t position) {
    const auto block = static_cast<std::size_t>(blocks.at(position / limits::block_tokens));
    return cache_.at(block)[position % limits::block_tokens];
  }

  void run(Step& step, std::vector<Sampled>& out) {
    std::map<std::pair<SlotId, std::uint64_t>, TokenId> drawn;
    for (Part& part : step) {
      for (TokenId& token : part.tokens) {
        if (token != kDrawnBefore) continue;
        // Strictly: by the step just before, for the same request.
        const auto found = drawn_.find({part.slot, part.generation});
        EXPECT_TRUE(found != drawn_.end()) << "nothing was drawn for slot " << part.slot << " in the step before";
        if (found != drawn_.end()) token = found->second;
        ++drawn_before;
      }
      for (std::size_t i = 0; i < part.tokens.size(); ++i) at(part.blocks, part.position + i) = part.tokens[i];
      if (!part.sample) continue;
      std::vector<TokenId> seen;
      for (std::size_t i = 0; i < part.position + part.tokens.size(); ++i) seen.push_back(at(part.blocks, i));
      const TokenId next = fake_next(seen);
      drawn[{part.slot, part.generation}] = next;
      if (slots_[part.slot].generation != part.generation) continue;
      out.push_back({.slot = part.slot,
                     .token = next,
                     .logits_hash = static_cast<std::uint64_t>(seen.size()) * 0x9e3779b97f4a7c15ull + 1,
                     .finite = !poisoned || seen != *poisoned});
    }
    drawn_ = std::move(drawn);
  }

  ExecutorInfo info_;
  std::vector<std::array<TokenId, limits::block_tokens>> cache_;
  std::vector<Slot> slots_;
  std::deque<Step> flying_;
  std::map<std::pair<SlotId, std::uint64_t>, TokenId> drawn_;  // by the step that ran last
  std::atomic<std::uint64_t> allowed_{0}, steps_{0}, polls_{0};
  mutable std::mutex mutex_;
  std::string failure_;
};

inline ExecutorInfo fake_info(std::uint32_t blocks, std::uint32_t slots, std::uint32_t rows,
                              std::uint32_t context = 4096) {
  ExecutorInfo info;
  info.backend = "fake";
  info.context_max = context;
  info.slots_max = slots;
  info.rows_max = rows;
  info.blocks = blocks;
  return info;
}

inline ExecutorInfo pipelined_info(std::uint32_t steps_ahead, std::uint32_t blocks, std::uint32_t slots,
                                   std::uint32_t rows, std::uint32_t context = 4096) {
  ExecutorInfo info = fake_info(blocks, slots, rows, context);
  info.steps_ahead = steps_ahead;
  return info;
}

}  // namespace sluice::engine
