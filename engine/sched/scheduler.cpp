#include "engine/sched/scheduler.h"

#include <algorithm>
#include <utility>

#include "engine/core/check.h"

namespace sluice::engine {
namespace {

constexpr std::size_t kBlock = limits::block_tokens;

std::size_t blocks_for(std::size_t tokens) { return (tokens + kBlock - 1) / kBlock; }

bool older(const Sequence* a, const Sequence* b) { return a->age < b->age; }

}  // namespace

Scheduler::Scheduler(const SchedulerLimits& limits) : limits_(limits), pool_(limits.blocks) {
  SLUICE_ENGINE_CHECK(limits.blocks > 0 && limits.rows_max > 0 && limits.slots_max > 0 && limits.context_max > 1);
  // Every running sequence must fit a step with one row, or the younger ones would starve.
  limits_.slots_max = std::min(limits.slots_max, limits.rows_max);
  slots_.resize(limits_.slots_max);
  for (SlotId slot = limits_.slots_max; slot-- > 0;) free_slots_.push_back(slot);
  for (auto* list : {&ready_, &prefilling_, &stepped_}) list->reserve(limits_.slots_max);
  next_.step.slices.reserve(limits_.slots_max);
  next_.bound.reserve(limits_.slots_max);
  next_.released.reserve(limits_.slots_max);
}

std::size_t Scheduler::tokens_max() const {
  return std::min<std::size_t>(limits_.context_max, std::size_t{limits_.blocks} * kBlock);
}

void Scheduler::add(RequestId id, std::vector<TokenId> prompt, SamplingParams sampling) {
  SLUICE_ENGINE_CHECK(!prompt.empty() && prompt.size() < tokens_max());
  auto sequence = std::make_unique<Sequence>();
  sequence->id = id;
  sequence->age = ++last_age_;
  sequence->sampling = std::move(sampling);
  sequence->prompt_tokens = prompt.size();
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
  SLUICE_ENGINE_CHECK(sequence != nullptr && sequence->awaiting);
  sequence->awaiting = false;
  sequence->tokens.push_back(token);
  ready_.push_back(sequence);
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
  prefill(rows);
  // Who was preempted just now would be admitted again and preempted again.
  if (next_.released.empty()) admit(rows);
  return next_;
}

void Scheduler::decode(std::size_t& rows) {
  std::sort(ready_.begin(), ready_.end(), older);
  for (Sequence* sequence : ready_) {
    // A victim of an older one, or nothing left: the youngest is the victim, so it has no slice in this step yet.
    if (!sequence->slot || !grow(*sequence)) continue;
    const std::size_t position = sequence->tokens.size() - 1;
    SLUICE_ENGINE_CHECK(sequence->computed == position && rows > 0);
    next_.step.slices.push_back({.slot = *sequence->slot,
                                 .position = static_cast<std::uint32_t>(position),
                                 .tokens = std::span(sequence->tokens).subspan(position),
                                 .blocks = sequence->blocks,
                                 .sample = true});
    sequence->computed = sequence->tokens.size();
    sequence->awaiting = true;
    stepped_.push_back(sequence);
    --rows;
  }
  ready_.clear();
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
  std::erase_if(prefilling_, [](const Sequence* sequence) { return sequence->awaiting; });
}

void Scheduler::prefill_chunk(Sequence& sequence, std::size_t& rows) {
  const std::size_t count = std::min(rows, sequence.tokens.size() - sequence.computed);
  const bool last = sequence.computed + count == sequence.tokens.size();
  next_.step.slices.push_back({.slot = *sequence.slot,
                               .position = static_cast<std::uint32_t>(sequence.computed),
                               .tokens = std::span(sequence.tokens).subspan(sequence.computed, count),
                               .blocks = sequence.blocks,
                               .sample = last});
  sequence.computed += count;
  sequence.awaiting = last;
  stepped_.push_back(&sequence);
  rows -= count;
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
    if (!sequence.awaiting) {
      prefilling_.insert(std::upper_bound(prefilling_.begin(), prefilling_.end(), &sequence, older), &sequence);
    }
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
  // A block still being written by a step on its way holds nothing to share; what was computed before it does.
  release_blocks(sequence, true);
  ++sequence.preemptions;
  ++counters_.preemptions;
  waiting_.emplace(sequence.age, &sequence);
}

void Scheduler::leave_slot(Sequence& sequence) {
  slots_[*sequence.slot] = nullptr;
  free_slots_.push_back(*sequence.slot);
  sequence.slot.reset();
  sequence.awaiting = false;
  --running_;
  std::erase(prefilling_, &sequence);
  std::erase(stepped_, &sequence);
}

void Scheduler::publish(Sequence& sequence) {
  for (; (sequence.published + 1) * kBlock <= sequence.computed; ++sequence.published) {
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
    std::erase(ready_, &sequence);
  } else {
    waiting_.erase(sequence.age);
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
