#include "engine/sched/scheduler.h"

#include <algorithm>
#include <utility>

#include "engine/core/check.h"

namespace sluice::engine {
namespace {

constexpr std::size_t kBlock = limits::block_tokens;

std::size_t blocks_for(std::size_t tokens) { return (tokens + kBlock - 1) / kBlock; }

bool older(const Sequence* a, const Sequence* b) { return a->age < b->age; }

void insert_by_age(std::vector<Sequence*>& list, Sequence* sequence) {
  list.insert(std::upper_bound(list.begin(), list.end(), sequence, older), sequence);
}

}  // namespace

Scheduler::Scheduler(const SchedulerLimits& limits) : limits_(limits), pool_(limits.blocks) {
  SLUICE_ENGINE_CHECK(limits.blocks > 0 && limits.rows_max > 0 && limits.slots_max > 0 && limits.context_max > 1);
  SLUICE_ENGINE_CHECK(limits.steps_ahead > 0);
  // Every running sequence must fit a step with one row, or the younger ones would starve.
  limits_.slots_max = std::min(limits.slots_max, limits.rows_max);
  slots_.resize(limits_.slots_max);
  for (SlotId slot = limits_.slots_max; slot-- > 0;) free_slots_.push_back(slot);
  for (auto* list : {&decoding_, &prefilling_, &stepped_}) list->reserve(limits_.slots_max);
  next_.step.slices.reserve(limits_.slots_max);
  next_.bound.reserve(limits_.slots_max);
  next_.released.reserve(limits_.slots_max);
}

std::size_t Scheduler::tokens_max() const {
  return std::min<std::size_t>(limits_.context_max, std::size_t{limits_.blocks} * kBlock);
}

void Scheduler::add(RequestId id, std::vector<TokenId> prompt, SamplingParams sampling,
                    std::optional<std::size_t> output_max) {
  SLUICE_ENGINE_CHECK(!prompt.empty() && prompt.size() < tokens_max());
  SLUICE_ENGINE_CHECK(!output_max || (*output_max > 0 && *output_max <= tokens_max() - prompt.size()));
  auto sequence = std::make_unique<Sequence>();
  sequence->id = id;
  sequence->age = ++last_age_;
  sequence->sampling = std::move(sampling);
  sequence->prompt_tokens = prompt.size();
  sequence->tokens_max = output_max ? prompt.size() + *output_max : tokens_max();
  sequence->tokens = std::move(prompt);
  waiting_.emplace(sequence->age, sequence.get());
  const bool inserted = sequences_.emplace(id, std::move(sequence)).second;
  SLUICE_ENGINE_CHECK(inserted);
}

Sequence* Scheduler::running(SlotId slot) {
  SLUICE_ENGINE_CHECK(slot < slots_.size());
  return slots_[slot];
}

const Sequence* Scheduler::find(RequestId id) const {
  const auto found = sequences_.find(id);
  return found == sequences_.end() ? nullptr : found->second.get();
}

void Scheduler::append(SlotId slot, TokenId token) {
  Sequence* sequence = running(slot);
  SLUICE_ENGINE_CHECK(sequence != nullptr && sequence->due > 0);
  SLUICE_ENGINE_CHECK(sequence->tokens.size() < sequence->tokens_max);
  --sequence->due;
  sequence->tokens.push_back(token);
}

const ScheduledStep& Scheduler::next() {
  next_.released.clear();
  next_.bound.clear();
  next_.step.slices.clear();
  // Only now: a sequence admitted into the same step would have read blocks while they were being written.
  for (Sequence* sequence : stepped_) publish(*sequence);
  stepped_.clear();

  std::size_t rows = limits_.rows_max;
  decode(rows);
  rows = prompt_rows(rows);
  prefill(rows);
  // Who was preempted just now would be admitted again and preempted again.
  if (next_.released.empty()) admit(rows);
  if (!next_.step.slices.empty()) ++steps_;
  return next_;
}

bool Scheduler::may_decode(const Sequence& sequence) const {
  if (sequence.due >= limits_.steps_ahead) return false;
  if (sequence.tokens.size() + sequence.due >= sequence.tokens_max) return false;  // its last token is drawn already
  // kDrawnBefore means the step just before: who missed one waits until it knows.
  return sequence.due == 0 || sequence.last_step == steps_;
}

void Scheduler::decode(std::size_t& rows) {
  static constexpr TokenId kUnknown = kDrawnBefore;
  for (std::size_t i = 0; i < decoding_.size();) {
    Sequence& sequence = *decoding_[i];
    if (!may_decode(sequence)) {
      ++i;
      continue;
    }
    // Nothing left and itself the youngest: it has just left the list, of which it was the last.
    if (!grow(sequence)) continue;
    SLUICE_ENGINE_CHECK(sequence.computed + 1 == sequence.tokens.size() + sequence.due && rows > 0);
    next_.step.slices.push_back(
        {.slot = *sequence.slot,
         .position = static_cast<std::uint32_t>(sequence.computed),
         .tokens = sequence.due == 0 ? std::span<const TokenId>(sequence.tokens).last(1) : std::span(&kUnknown, 1),
         .blocks = sequence.blocks,
         .sample = true});
    ++sequence.computed;
    ++sequence.due;
    sequence.last_step = steps_ + 1;
    stepped_.push_back(&sequence);
    --rows;
    ++i;
  }
}

std::size_t Scheduler::prompt_rows(std::size_t rows) const {
  const bool decodes = !next_.step.slices.empty();
  if (!decodes || limits_.step_limit_ns <= 0 || limits_.step_row_ns <= 0) return rows;
  const double riding =
      std::max(static_cast<double>(kBlock), (limits_.step_limit_ns - limits_.step_base_ns) / limits_.step_row_ns);
  return riding < static_cast<double>(rows) ? static_cast<std::size_t>(riding) : rows;
}

bool Scheduler::grow(Sequence& sequence) {
  if (sequence.blocks.size() * kBlock > sequence.computed) return true;
  for (;;) {
    if (const auto block = pool_.allocate()) {
      sequence.blocks.push_back(*block);
      return true;
    }
    Sequence& victim = youngest();
    // The only one running holds every block in use and was checked to fit.
    SLUICE_ENGINE_CHECK(running_ > 1);
    preempt(victim);
    if (&victim == &sequence) return false;
  }
}

void Scheduler::prefill(std::size_t& rows) {
  for (Sequence* sequence : prefilling_) {
    if (rows == 0) break;
    prefill_chunk(*sequence, rows);
  }
  std::erase_if(prefilling_, [](const Sequence* sequence) { return sequence->due > 0; });
}

/// Takes from `rows`; with the prompt's last token the sequence begins to decode.
void Scheduler::prefill_chunk(Sequence& sequence, std::size_t& rows) {
  const std::size_t left = sequence.tokens.size() - sequence.computed;
  std::size_t count = std::min(rows, left);
  const bool last = count == left;
  // Whole blocks, so that later chunks begin where the kernels' tiles do; part of one where rows do not go so far.
  const std::size_t past_border = (sequence.computed + count) % kBlock;
  if (!last && past_border < count) count -= past_border;
  next_.step.slices.push_back({.slot = *sequence.slot,
                               .position = static_cast<std::uint32_t>(sequence.computed),
                               .tokens = std::span(sequence.tokens).subspan(sequence.computed, count),
                               .blocks = sequence.blocks,
                               .sample = last});
  sequence.computed += count;
  sequence.last_step = steps_ + 1;
  stepped_.push_back(&sequence);
  rows -= count;
  if (!last) return;
  sequence.due = 1;
  insert_by_age(decoding_, &sequence);
}

void Scheduler::admit(std::size_t& rows) {
  while (rows > 0 && !waiting_.empty() && !free_slots_.empty()) {
    // Strictly in order: whoever is passed over while small ones slip by might wait for ever.
    Sequence& sequence = *waiting_.begin()->second;
    if (!try_admit(sequence)) return;
    waiting_.erase(waiting_.begin());
    sequence.slot = free_slots_.back();
    free_slots_.pop_back();
    slots_[*sequence.slot] = &sequence;
    ++running_;
    next_.bound.push_back(&sequence);
    prefill_chunk(sequence, rows);
    if (sequence.due == 0) insert_by_age(prefilling_, &sequence);
  }
}

bool Scheduler::try_admit(Sequence& sequence) {
  const std::size_t needed = blocks_for(sequence.tokens.size());
  const PrefixId prefix = pool_.match(sequence.tokens, (sequence.tokens.size() - 1) / kBlock, sequence.blocks);
  const std::size_t found = sequence.blocks.size();
  // Each running sequence may want a block soon; admitting into those would mean preempting at once.
  if (pool_.available() < needed - found + running_) {
    release_blocks(sequence, false);
    return false;
  }
  while (sequence.blocks.size() < needed) sequence.blocks.push_back(*pool_.allocate());
  sequence.published = found;
  sequence.prefix = prefix;
  sequence.computed = found * kBlock;
  if (sequence.preemptions == 0) {
    sequence.cached_tokens = sequence.computed;
    counters_.prefix_queries += sequence.prompt_tokens;
    counters_.prefix_hits += sequence.cached_tokens;
  }
  return true;
}

Sequence& Scheduler::youngest() {
  Sequence* found = nullptr;
  for (Sequence* sequence : slots_) {
    if (sequence != nullptr && (found == nullptr || older(found, sequence))) found = sequence;
  }
  SLUICE_ENGINE_CHECK(found != nullptr);
  return *found;
}

void Scheduler::preempt(Sequence& sequence) {
  next_.released.push_back(*sequence.slot);
  leave_slot(sequence);
  // Its blocks may still be written by steps in flight; whoever is given one, or finds it by its prefix, comes after.
  release_blocks(sequence, true);
  ++sequence.preemptions;
  ++counters_.preemptions;
  waiting_.emplace(sequence.age, &sequence);
}

void Scheduler::leave_slot(Sequence& sequence) {
  slots_[*sequence.slot] = nullptr;
  free_slots_.push_back(*sequence.slot);
  sequence.slot.reset();
  sequence.due = 0;
  --running_;
  std::erase(decoding_, &sequence);
  std::erase(prefilling_, &sequence);
  std::erase(stepped_, &sequence);
}

void Scheduler::publish(Sequence& sequence) {
  // Of a block that holds a token which has not arrived nobody could say what is in it.
  const std::size_t known = std::min(sequence.computed, sequence.tokens.size());
  for (; (sequence.published + 1) * kBlock <= known; ++sequence.published) {
    const auto tokens = std::span<const TokenId>(sequence.tokens).subspan(sequence.published * kBlock).first<kBlock>();
    sequence.prefix = pool_.publish(sequence.blocks[sequence.published], sequence.prefix, tokens);
  }
}

void Scheduler::release_blocks(Sequence& sequence, bool keep_prefix) {
  if (keep_prefix) publish(sequence);
  while (!sequence.blocks.empty()) {
    pool_.release(sequence.blocks.back());
    sequence.blocks.pop_back();
  }
  sequence.computed = sequence.published = 0;
  sequence.prefix = kEmptyPrefix;
}

std::optional<SlotId> Scheduler::remove(RequestId id, bool keep_prefix) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) return std::nullopt;
  Sequence& sequence = *found->second;
  const auto slot = sequence.slot;
  if (slot) {
    leave_slot(sequence);
  } else {
    waiting_.erase(sequence.age);
  }
  if (!keep_prefix) {
    for (const BlockId block : sequence.blocks) pool_.withdraw(block);
  }
  release_blocks(sequence, keep_prefix);
  sequences_.erase(found);
  return slot;
}

void Scheduler::check_integrity() const {
  pool_.check_integrity();
  std::vector<std::uint32_t> named(pool_.size());
  std::size_t running = 0;
  for (const auto& [id, sequence] : sequences_) {
    for (const BlockId block : sequence->blocks) ++named[static_cast<std::size_t>(block)];
    if (sequence->slot) {
      ++running;
      SLUICE_ENGINE_CHECK(slots_[*sequence->slot] == sequence.get());
      SLUICE_ENGINE_CHECK(sequence->blocks.size() * kBlock >= sequence->computed);
    } else {
      SLUICE_ENGINE_CHECK(sequence->blocks.empty() && waiting_.contains(sequence->age));
    }
  }
  for (std::size_t block = 0; block < named.size(); ++block) {
    SLUICE_ENGINE_CHECK(named[block] == pool_.references(static_cast<BlockId>(block)));
  }
  SLUICE_ENGINE_CHECK(running == running_ && running + waiting_.size() == sequences_.size());
  SLUICE_ENGINE_CHECK(running + free_slots_.size() == slots_.size());
}

}  // namespace sluice::engine
