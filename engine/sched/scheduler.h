// Which tokens of which sequences the next step computes.
//
// Continuous batching: every sequence whose prompt is computed decodes; then prompts are prefilled, oldest first, in
// chunks as far as the step's rows go; then waiting sequences are admitted in order of arrival. A prompt's cached
// prefix is shared, except its last token, which is always computed. When blocks run out the youngest running sequence
// is preempted: it waits again and is computed anew, prompt and output, which by the numerics contract gives the same
// bits. The oldest is never preempted, so there is always progress.
//
// Steps in flight (docs/decisions/0003-steps-in-flight.md): with steps_ahead over 1 a sequence decodes before its last
// token has arrived; the plan says kDrawnBefore and the executor knows which. Never beyond the sequence's own limit.
// Tokens still due when it is preempted or removed are forgotten: they will be drawn again, the same.
//
// A value that is stepped from outside: no clock, no threads, no executor. The engine carries out what a plan says.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/core/types.h"
#include "engine/exec/executor.h"
#include "engine/sched/block_pool.h"

namespace sluice::engine {

using RequestId = std::uint64_t;

struct SchedulerLimits {
  std::uint32_t blocks = 0;       // of the KV cache
  std::uint32_t slots_max = 0;    // sequences running at once
  std::uint32_t rows_max = 0;     // tokens of one step; at least 1
  std::uint32_t context_max = 0;  // tokens of one sequence, prompt and output
  std::uint32_t steps_ahead = 1;  // ExecutorInfo's: draws of one sequence that may be under way at once

  // How long a step of one decode with prompts may last: prompt rows ride along while base + rows * row stays below,
  // but a block's worth always, so that prompts make progress. Further decodes do not take from them: where many
  // decode, many end, and the prompts that follow would starve. No bound when one of step_limit_ns and step_row_ns is
  // 0.
  double step_limit_ns = 0, step_base_ns = 0, step_row_ns = 0;
};

struct Sequence {
  RequestId id = 0;
  std::uint64_t age = 0;  // order of arrival; lower is older
  SamplingParams sampling;
  std::vector<TokenId> tokens;  // prompt, then output as far as it has arrived
  std::size_t prompt_tokens = 0;
  std::size_t tokens_max = 0;  // never more, prompt and output
  // Positions whose keys and values are in the cache once the steps handed out have run. While it decodes:
  // tokens.size() + due - 1, so one or more of them may belong to tokens that have not arrived yet.
  std::size_t computed = 0;
  std::uint32_t due = 0;          // drawn by steps handed out, not yet arrived
  std::uint64_t last_step = 0;    // the last that it was in
  std::size_t cached_tokens = 0;  // of the prompt, found in the cache when first admitted
  std::optional<SlotId> slot;     // empty while it waits
  std::uint32_t preemptions = 0;
  std::vector<BlockId> blocks;     // table, in order of position
  std::size_t published = 0;       // leading blocks offered to the prefix cache
  PrefixId prefix = kEmptyPrefix;  // of the published blocks

  std::span<const TokenId> prompt() const { return {tokens.data(), prompt_tokens}; }
  std::span<const TokenId> output() const { return std::span(tokens).subspan(prompt_tokens); }
};

/// What to do, in this order: release, bind (and resume where there is output already), submit the step unless empty.
struct ScheduledStep {
  std::vector<SlotId> released;        // preempted
  std::vector<const Sequence*> bound;  // newly running
  StepPlan step;                       // its spans are good until the scheduler is next called
};

struct SchedulerCounters {
  std::uint64_t prefix_queries = 0;  // prompt tokens looked up
  std::uint64_t prefix_hits = 0;     // of those, found
  std::uint64_t preemptions = 0;
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerLimits& limits);

  /// Tokens, prompt and output, that one sequence may have here: the context, or the whole pool where that is smaller.
  std::size_t tokens_max() const;

  /// `output_max` tokens of output are all it wants: so far and no further is computed ahead.
  /// REQUIRES: `id` is new, the prompt is not empty, and prompt and output fit into tokens_max(); no `output_max`: as
  /// much as fits.
  void add(RequestId id, std::vector<TokenId> prompt, SamplingParams sampling,
           std::optional<std::size_t> output_max = {});

  /// The next step. The sequences in it count as computed from here on.
  const ScheduledStep& next();

  /// The sequence running in `slot`; null when none is (a late result of one that has ended).
  Sequence* running(SlotId slot);
  const Sequence* find(RequestId id) const;

  /// A sampled token has arrived, the oldest that is due. REQUIRES: running(slot) has one due.
  void append(SlotId slot, TokenId token);

  /// Ends a sequence in whatever phase it is and frees what it held. Returns the slot to release, if it was running.
  /// `keep_prefix` false: its cache contents are not to be trusted (non-finite logits). An unknown id is ignored.
  std::optional<SlotId> remove(RequestId id, bool keep_prefix = true);

  std::size_t running_count() const { return running_; }
  std::size_t waiting_count() const { return waiting_.size(); }
  std::uint32_t blocks_held() const { return pool_.held(); }
  std::uint32_t blocks_total() const { return pool_.size(); }
  const SchedulerCounters& counters() const { return counters_; }

  /// CHECKs that each block is referenced exactly by the tables that name it. Linear; for tests and idle moments.
  void check_integrity() const;

 private:
  void decode(std::size_t& rows);
  bool may_decode(const Sequence& sequence) const;
  std::size_t prompt_rows(std::size_t rows) const;
  void prefill(std::size_t& rows);
  void admit(std::size_t& rows);
  bool try_admit(Sequence& sequence);
  void prefill_chunk(Sequence& sequence, std::size_t& rows);
  bool grow(Sequence& sequence);
  void preempt(Sequence& sequence);
  void publish(Sequence& sequence);
  void release_blocks(Sequence& sequence, bool keep_prefix);
  void leave_slot(Sequence& sequence);
  Sequence& youngest();

  SchedulerLimits limits_;
  BlockPool pool_;
  std::unordered_map<RequestId, std::unique_ptr<Sequence>> sequences_;
  std::map<std::uint64_t, Sequence*> waiting_;  // by age
  std::vector<Sequence*> slots_;                // by slot; null: free
  std::vector<SlotId> free_slots_;
  std::vector<Sequence*> decoding_;    // whose prompt is computed; by age
  std::vector<Sequence*> prefilling_;  // the other running ones; by age
  std::vector<Sequence*> stepped_;     // in the last step: their full blocks can be shared from now on
  std::size_t running_ = 0;
  std::uint64_t last_age_ = 0;
  std::uint64_t steps_ = 0;  // handed out and not empty
  SchedulerCounters counters_;
  ScheduledStep next_;
};

}  // namespace sluice::engine
