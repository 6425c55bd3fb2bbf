// An executor whose "model" is a hash of what lies in the blocks of a sequence: a block that is shared, freed or placed
// wrongly changes the answer. Tokens are letters, so that texts can be compared too.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <functional>
#include <span>
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

}  // namespace sluice::engine
