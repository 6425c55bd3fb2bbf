#include "engine/sched/block_pool.h"

#include <algorithm>
#include <bit>

#include "engine/core/check.h"

namespace sluice::engine {
namespace {

std::uint64_t mix(std::uint64_t value) {
  value ^= value >> 32;
  value *= 0xd6e8feb86659fd93ull;
  value ^= value >> 32;
  return value;
}

std::uint64_t hash_of(PrefixId parent, BlockPool::BlockTokens tokens) {
  std::uint64_t hash = mix(parent + 0x9e3779b97f4a7c15ull);
  for (const TokenId token : tokens) hash = mix(hash ^ static_cast<std::uint32_t>(token)) + 0x9e3779b97f4a7c15ull;
  return hash;
}

}  // namespace

BlockPool::BlockPool(std::uint32_t blocks)
    : blocks_(blocks), buckets_(std::bit_ceil(std::max<std::size_t>(2, 2 * std::size_t{blocks})), kNone) {
  for (std::uint32_t i = blocks; i-- > 0;) {  // the lowest id is given out first
    blocks_[i].next = free_head_;
    free_head_ = static_cast<BlockId>(i);
  }
  free_count_ = blocks;
}

const BlockPool::Block& BlockPool::at(BlockId block) const {
  SLUICE_ENGINE_CHECK(block >= 0 && static_cast<std::size_t>(block) < blocks_.size());
  return blocks_[static_cast<std::size_t>(block)];
}

BlockPool::Block& BlockPool::at(BlockId block) { return const_cast<Block&>(std::as_const(*this).at(block)); }

BlockId BlockPool::find(std::uint64_t hash, PrefixId parent, BlockTokens tokens) const {
  for (BlockId id = buckets_[hash & (buckets_.size() - 1)]; id != kNone; id = at(id).bucket_next) {
    const Block& block = at(id);
    if (block.hash == hash && block.parent == parent && std::ranges::equal(block.tokens, tokens)) return id;
  }
  return kNone;
}

PrefixId BlockPool::match(std::span<const TokenId> tokens, std::size_t blocks_max, std::vector<BlockId>& table) {
  PrefixId prefix = kEmptyPrefix;
  for (std::size_t i = 0; i < blocks_max && (i + 1) * limits::block_tokens <= tokens.size(); ++i) {
    const auto part = tokens.subspan(i * limits::block_tokens).first<limits::block_tokens>();
    const BlockId id = find(hash_of(prefix, part), prefix, part);
    if (id == kNone) break;
    Block& block = at(id);
    if (block.references++ == 0) remove_idle(id);
    table.push_back(id);
    prefix = block.prefix;
  }
  return prefix;
}

std::optional<BlockId> BlockPool::allocate() {
  BlockId id = free_head_;
  if (id != kNone) {
    free_head_ = at(id).next;
    --free_count_;
  } else if (idle_oldest_ != kNone) {
    id = idle_oldest_;
    remove_idle(id);
    forget(id);
  } else {
    return std::nullopt;
  }
  Block& block = at(id);
  block.next = kNone;
  block.references = 1;
  return id;
}

void BlockPool::release(BlockId id) {
  Block& block = at(id);
  SLUICE_ENGINE_CHECK(block.references > 0);
  if (--block.references > 0) return;
  if (block.cached) {
    append_idle(id);
  } else {
    block.next = free_head_;
    free_head_ = id;
    ++free_count_;
  }
}

PrefixId BlockPool::publish(BlockId id, PrefixId parent, BlockTokens tokens) {
  Block& block = at(id);
  SLUICE_ENGINE_CHECK(block.references > 0);
  const auto hash = hash_of(parent, tokens);
  if (const BlockId known = find(hash, parent, tokens); known != kNone) return at(known).prefix;
  SLUICE_ENGINE_CHECK(!block.cached);
  block.cached = true;
  block.prefix = ++last_prefix_;
  block.parent = parent;
  block.hash = hash;
  std::ranges::copy(tokens, block.tokens.begin());
  BlockId& head = buckets_[hash & (buckets_.size() - 1)];
  block.bucket_next = head;
  head = id;
  return block.prefix;
}

void BlockPool::withdraw(BlockId id) {
  SLUICE_ENGINE_CHECK(at(id).references > 0);
  if (at(id).cached) forget(id);
}

void BlockPool::forget(BlockId id) {
  Block& block = at(id);
  BlockId* link = &buckets_[block.hash & (buckets_.size() - 1)];
  while (*link != id) link = &at(*link).bucket_next;
  *link = block.bucket_next;
  block.bucket_next = kNone;
  block.cached = false;
}

void BlockPool::append_idle(BlockId id) {
  Block& block = at(id);
  block.previous = idle_newest_;
  block.next = kNone;
  (idle_newest_ == kNone ? idle_oldest_ : at(idle_newest_).next) = id;
  idle_newest_ = id;
  ++idle_count_;
}

void BlockPool::remove_idle(BlockId id) {
  Block& block = at(id);
  (block.previous == kNone ? idle_oldest_ : at(block.previous).next) = block.next;
  (block.next == kNone ? idle_newest_ : at(block.next).previous) = block.previous;
  block.previous = block.next = kNone;
  --idle_count_;
}

void BlockPool::check_integrity() const {
  std::uint32_t free = 0, idle = 0, held = 0, cached = 0, in_buckets = 0;
  for (BlockId id = free_head_; id != kNone; id = at(id).next) {
    SLUICE_ENGINE_CHECK(at(id).references == 0 && !at(id).cached);
    SLUICE_ENGINE_CHECK(++free <= size());
  }
  BlockId before = kNone;
  for (BlockId id = idle_oldest_; id != kNone; id = at(id).next) {
    SLUICE_ENGINE_CHECK(at(id).references == 0 && at(id).cached && at(id).previous == before);
    SLUICE_ENGINE_CHECK(++idle <= size());
    before = id;
  }
  SLUICE_ENGINE_CHECK(before == idle_newest_);
  for (const Block& block : blocks_) {
    held += block.references > 0 ? 1 : 0;
    cached += block.cached ? 1 : 0;
  }
  for (const BlockId head : buckets_) {
    for (BlockId id = head; id != kNone; id = at(id).bucket_next) {
      SLUICE_ENGINE_CHECK(at(id).cached && buckets_[at(id).hash & (buckets_.size() - 1)] == head);
      SLUICE_ENGINE_CHECK(++in_buckets <= size());
    }
  }
  SLUICE_ENGINE_CHECK(free == free_count_ && idle == idle_count_);
  SLUICE_ENGINE_CHECK(free + idle + held == size());
  SLUICE_ENGINE_CHECK(cached == in_buckets);
}

}  // namespace sluice::engine
