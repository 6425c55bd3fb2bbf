// The KV cache's blocks: who holds which, and which still contain a prefix worth keeping.
//
// A block is free (contents worthless), held (one or more sequences reference it) or idle (nobody references it, but
// its contents are a known prefix). Idle blocks are given out last, the one longest unused first. A cached block is
// found by the hash of its chain and confirmed by comparing its tokens and its parent, so a collision costs time, never
// an answer.
//
// Pure bookkeeping: no clock, no threads, no memory of the device. Nothing is allocated after the constructor.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/core/limits.h"
#include "engine/core/types.h"

namespace sluice::engine {

/// Names the contents of a cached block and, through its parent, everything before it. Never used twice.
using PrefixId = std::uint64_t;
inline constexpr PrefixId kEmptyPrefix = 0;

class BlockPool {
 public:
  using BlockTokens = std::span<const TokenId, limits::block_tokens>;

  explicit BlockPool(std::uint32_t blocks);

  std::uint32_t size() const { return static_cast<std::uint32_t>(blocks_.size()); }
  /// Blocks that allocate() can still give: free and idle ones.
  std::uint32_t available() const { return free_count_ + idle_count_; }
  std::uint32_t held() const { return size() - available(); }

  /// Takes a reference on each block of the longest cached prefix of `tokens`, at most `blocks_max` whole blocks, and
  /// appends them to `table`. Returns the prefix reached (kEmptyPrefix: nothing found).
  PrefixId match(std::span<const TokenId> tokens, std::size_t blocks_max, std::vector<BlockId>& table);

  /// A block with one reference and worthless contents; the idle block longest unused gives way when none is free.
  std::optional<BlockId> allocate();

  /// Gives one reference back. Give a sequence's last blocks back first: then a prefix goes idle before what it
  /// extends, and no cached block outlives its parent.
  void release(BlockId block);

  /// The held block now contains the keys and values of `tokens` after `parent`: later sequences may share it.
  /// Returns the prefix's name; when another block has the same contents already, that one stays the cached one.
  PrefixId publish(BlockId block, PrefixId parent, BlockTokens tokens);

  /// What the held block contains is not to be trusted: nobody will find it any more.
  void withdraw(BlockId block);

  std::uint32_t references(BlockId block) const { return at(block).references; }

  /// CHECKs that every list and count agrees with every block. Linear; for tests and for idle moments.
  void check_integrity() const;

 private:
  static constexpr BlockId kNone = -1;

  struct Block {
    std::uint32_t references = 0;
    bool cached = false;  // in a bucket: `prefix`, `parent`, `hash` and `tokens` describe the contents
    PrefixId prefix = kEmptyPrefix;
    PrefixId parent = kEmptyPrefix;
    std::uint64_t hash = 0;
    BlockId bucket_next = kNone;
    BlockId previous = kNone, next = kNone;  // in the idle list, or (next only) in the free list
    std::array<TokenId, limits::block_tokens> tokens{};
  };

  const Block& at(BlockId block) const;
  Block& at(BlockId block);
  BlockId find(std::uint64_t hash, PrefixId parent, BlockTokens tokens) const;
  void forget(BlockId block);
  void append_idle(BlockId block);
  void remove_idle(BlockId block);

  std::vector<Block> blocks_;
  std::vector<BlockId> buckets_;  // heads of chains; a power of two of them
  BlockId free_head_ = kNone;
  BlockId idle_oldest_ = kNone, idle_newest_ = kNone;
  std::uint32_t free_count_ = 0, idle_count_ = 0;
  PrefixId last_prefix_ = kEmptyPrefix;
};

}  // namespace sluice::engine
