#include "engine/text/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <mutex>
#include <unordered_map>

#include "engine/core/check.h"
#include "engine/text/utf8.h"

namespace sluice::engine {
namespace {

constexpr std::size_t kShortSymbolsMax = 48;  // up to here scanning all pairs beats a heap
constexpr std::uint32_t kNoRank = std::numeric_limits<std::uint32_t>::max();

/// Bytes that GPT-2 spells as themselves; the other 68, in order, are U+0100 and up.
constexpr bool is_printable(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<std::int16_t, 0x144> make_alphabet() {
  std::array<std::int16_t, 0x144> byte_of{};
  for (auto& each : byte_of) each = -1;
  std::size_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte)
    byte_of[is_printable(byte) ? byte : next++] = static_cast<std::int16_t>(byte);
  return byte_of;
}
constexpr auto kByteOf = make_alphabet();

/// Of the spellings of one byte the one that is looked up: "<0x0A>", not "<0x0a>".
bool is_canonical(std::string_view spelling) {
  return std::none_of(spelling.begin() + 3, spelling.end(), [](char c) { return c >= 'a' && c <= 'f'; });
}

std::uint64_t mix(std::uint64_t value) {
  value *= 0x9E3779B97F4A7C15u;
  return value ^ (value >> 32);
}

std::uint64_t hash_bytes(std::string_view bytes) {
  std::uint64_t hash = bytes.size() * 0xD6E8FEB86659FD93u;
  std::size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    std::uint64_t eight = 0;
    std::memcpy(&eight, bytes.data() + i, 8);
    hash = mix(hash ^ eight);
  }
  std::uint64_t rest = 0;
  std::memcpy(&rest, bytes.data() + i, bytes.size() - i);
  return mix(mix(hash ^ rest));
}

/// Which pair becomes which token, and how early. Open addressing, at most half full.
class MergeTable {
 public:
  struct Merge {
    std::uint32_t rank = kNoRank;
    TokenId merged = -1;
  };

  explicit MergeTable(std::size_t count)
      : slots_(std::bit_ceil(std::max<std::size_t>(2 * count, 16))), shift_(64 - std::countr_zero(slots_.size())) {}

  void put(TokenId left, TokenId right, Merge merge) {
    Slot& slot = slots_[place(key(left, right))];
    slot.key = key(left, right);
    slot.merge = merge;
  }
  Merge find(TokenId left, TokenId right) const { return slots_[place(key(left, right))].merge; }

 private:
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};  // ids are not negative, so no pair has this key
  struct Slot {
    std::uint64_t key = kEmpty;
    Merge merge;
  };
  static std::uint64_t key(TokenId left, TokenId right) {
    return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) | static_cast<std::uint32_t>(right);
  }
  std::size_t place(std::uint64_t key) const {
    std::size_t at = (key * 0x9E3779B97F4A7C15u) >> shift_;
    while (slots_[at].key != key && slots_[at].key != kEmpty) at = (at + 1) & (slots_.size() - 1);
    return at;
  }
  std::vector<Slot> slots_;
  int shift_;
};

/// Tokens by their bytes. Open addressing, at most half full; the bytes lie in one block.
class WordTable {
 public:
  struct Word {
    std::uint64_t hash = 0;
    std::uint32_t offset = 0;
    std::uint32_t length = 0;  // 0: a free slot; no token is empty here
    TokenId id = -1;
    bool whole = false;  // encoding these bytes gives this one token
  };

  explicit WordTable(std::size_t count) : slots_(std::bit_ceil(std::max<std::size_t>(2 * count, 16))) {}

  void put(std::string_view bytes, TokenId id) {
    const std::uint64_t hash = hash_bytes(bytes);
    Word& word = slots_[place(bytes, hash)];
    word = {hash, static_cast<std::uint32_t>(block_.size()), static_cast<std::uint32_t>(bytes.size()), id, false};
    block_ += bytes;
  }
  const Word* find(std::string_view bytes, std::uint64_t hash) const {
    const Word& word = slots_[place(bytes, hash)];
    return word.length == 0 ? nullptr : &word;
  }
  std::vector<Word>& words() { return slots_; }
  std::string_view bytes_of(const Word& word) const {
    return std::string_view(block_).substr(word.offset, word.length);
  }

 private:
  std::size_t place(std::string_view bytes, std::uint64_t hash) const {
    std::size_t at = hash & (slots_.size() - 1);
    while (slots_[at].length != 0 && (slots_[at].hash != hash || bytes_of(slots_[at]) != bytes))
      at = (at + 1) & (slots_.size() - 1);
    return at;
  }
  std::vector<Word> slots_;
  std::string block_;
};

/// Recent words that are not one token. A fixed block of memory: a word takes the place that its hash names.
class WordCache {
 public:
  static constexpr std::size_t kBytesMax = 30;
  static constexpr std::size_t kTokensMax = 14;

  bool find(std::string_view word, std::uint64_t hash, std::vector<TokenId>& out) {
    const std::size_t at = hash % kEntries;
    const std::lock_guard lock(locks_[at % kLocks]);
    const Entry& entry = (*entries_)[at];
    if (entry.hash != hash || std::string_view(entry.bytes.data(), entry.length) != word) return false;
    out.insert(out.end(), entry.ids.begin(), entry.ids.begin() + entry.count);
    return true;
  }
  void put(std::string_view word, std::uint64_t hash, const TokenId* ids, std::size_t count) {
    if (word.size() > kBytesMax || count > kTokensMax) return;
    const std::size_t at = hash % kEntries;
    const std::lock_guard lock(locks_[at % kLocks]);
    Entry& entry = (*entries_)[at];
    entry.hash = hash;
    entry.length = static_cast<std::uint8_t>(word.size());
    entry.count = static_cast<std::uint8_t>(count);
    std::memcpy(entry.bytes.data(), word.data(), word.size());
    std::copy(ids, ids + count, entry.ids.begin());
  }

 private:
  static constexpr std::size_t kEntries = 1 << 14;  // 1.6 MB
  static constexpr std::size_t kLocks = 64;
  struct Entry {
    std::uint64_t hash = 0;
    std::uint8_t length = 0;
    std::uint8_t count = 0;
    std::array<char, kBytesMax> bytes{};
    std::array<TokenId, kTokensMax> ids{};
  };
  std::array<std::mutex, kLocks> locks_;
  std::unique_ptr<std::array<Entry, kEntries>> entries_ = std::make_unique<std::array<Entry, kEntries>>();
};

}  // namespace

bool spelled_bytes(std::string_view spelling, std::string& bytes) {
  bytes.clear();
  for (std::size_t i = 0; i < spelling.size();) {
    const Utf8Part part = utf8_part(spelling, i);
    if (!part.whole || part.point >= kByteOf.size() || kByteOf[part.point] < 0) return false;
    bytes.push_back(static_cast<char>(kByteOf[part.point]));
    i += part.length;
  }
  return true;
}

int fallback_byte(std::string_view spelling) {
  if (spelling.size() != 6 || !spelling.starts_with("<0x") || spelling[5] != '>') return -1;
  int byte = 0;
  for (const char c : spelling.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    byte = 16 * byte + digit;
  }
  return byte;
}

struct Bpe::Impl {
  explicit Impl(const BpeModel& model) : merges(model.merges.size()), words(model.vocab.size()) {
    byte_ids.fill(-1);
    fallback_ids.fill(-1);
  }

  std::array<TokenId, 256> byte_ids;      // -1: the vocabulary has no token for this byte
  std::array<TokenId, 256> fallback_ids;  // of "<0x00>" and so on; -1: none
  bool byte_level = true;
  MergeTable merges;
  WordTable words;
  TokenId unknown = -1;
  bool fuse_unknown = false;
  bool ignore_merges = false;
  mutable WordCache cache;

  /// The word as tokens of single bytes. A byte without a token is the unknown token, or left out when there is none.
  void start(std::string_view word, std::vector<TokenId>& ids) const {
    ids.clear();
    bool after_unknown = false;
    for (const char c : word) {
      const TokenId id = byte_ids[static_cast<unsigned char>(c)];
      if (id >= 0) {
        ids.push_back(id);
      } else if (unknown >= 0 && !(fuse_unknown && after_unknown)) {
        ids.push_back(unknown);
      }
      after_unknown = id < 0;
    }
  }

  /// The word as tokens of single characters. One that has none is the tokens of its bytes if all of them have one;
  /// else the unknown token, which, as in tokenizers, comes only before the next character that has a token.
  void start_characters(std::string_view word, std::vector<TokenId>& ids) const {
    ids.clear();
    bool unknown_waits = false;
    for (std::size_t i = 0; i < word.size();) {
      const std::string_view character = word.substr(i, utf8_part(word, i).length);
      i += character.size();
      const WordTable::Word* const found = words.find(character, hash_bytes(character));
      if (found != nullptr) {
        if (unknown_waits) ids.push_back(unknown);
        unknown_waits = false;
        ids.push_back(found->id);
        continue;
      }
      const auto fallback = [&](char c) { return fallback_ids[static_cast<unsigned char>(c)]; };
      if (std::all_of(character.begin(), character.end(), [&](char c) { return fallback(c) >= 0; })) {
        for (const char c : character) ids.push_back(fallback(c));
      } else if (unknown >= 0) {
        if (unknown_waits && !fuse_unknown) ids.push_back(unknown);
        unknown_waits = true;
      }
    }
    if (unknown_waits) ids.push_back(unknown);
  }

  void merge_short(std::vector<TokenId>& ids) const {
    std::array<MergeTable::Merge, kShortSymbolsMax> pairs;  // pairs[i] is of ids[i] and ids[i + 1]
    std::size_t count = ids.size();
    for (std::size_t i = 0; i + 1 < count; ++i) pairs[i] = merges.find(ids[i], ids[i + 1]);
    while (count > 1) {
      std::size_t best = 0;
      for (std::size_t i = 1; i + 1 < count; ++i) {
        if (pairs[i].rank < pairs[best].rank) best = i;
      }
      if (pairs[best].rank == kNoRank) break;
      ids[best] = pairs[best].merged;
      for (std::size_t i = best + 1; i + 1 < count; ++i) ids[i] = ids[i + 1];
      for (std::size_t i = best + 1; i + 2 < count; ++i) pairs[i] = pairs[i + 1];
      --count;
      if (best > 0) pairs[best - 1] = merges.find(ids[best - 1], ids[best]);
      if (best + 1 < count) pairs[best] = merges.find(ids[best], ids[best + 1]);
    }
    ids.resize(count);
  }

  void merge_long(BpeScratch& scratch) const {
    auto& symbols = scratch.symbols;
    auto& heap = scratch.heap;
    const auto later = [](const BpeScratch::Candidate& a, const BpeScratch::Candidate& b) { return a.key > b.key; };
    const auto consider = [&](std::int32_t at) {
      const std::int32_t next = symbols[static_cast<std::size_t>(at)].next;
      if (next < 0) return;
      const auto merge =
          merges.find(symbols[static_cast<std::size_t>(at)].id, symbols[static_cast<std::size_t>(next)].id);
      if (merge.rank == kNoRank) return;
      heap.push_back({(std::uint64_t{merge.rank} << 32) | static_cast<std::uint32_t>(at), merge.merged});
      std::push_heap(heap.begin(), heap.end(), later);
    };
    const auto count = static_cast<std::int32_t>(scratch.ids.size());
    symbols.clear();
    heap.clear();
    for (std::int32_t i = 0; i < count; ++i) {
      symbols.push_back({scratch.ids[static_cast<std::size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1});
    }
    for (std::int32_t i = 0; i < count; ++i) consider(i);
    while (!heap.empty()) {
      const BpeScratch::Candidate candidate = heap.front();
      std::pop_heap(heap.begin(), heap.end(), later);
      heap.pop_back();
      const auto at = static_cast<std::int32_t>(candidate.key & 0xFFFFFFFF);
      auto& left = symbols[static_cast<std::size_t>(at)];
      if (left.id < 0 || left.next < 0) continue;  // merged away since
      const std::int32_t next = left.next;
      auto& right = symbols[static_cast<std::size_t>(next)];
      const auto merge = merges.find(left.id, right.id);
      if (merge.rank != candidate.key >> 32 || merge.merged != candidate.merged) continue;  // another pair since
      left.id = merge.merged;
      left.next = right.next;
      right.id = -1;
      if (left.next >= 0) symbols[static_cast<std::size_t>(left.next)].previous = at;
      if (left.previous >= 0) consider(left.previous);
      consider(at);
    }
    scratch.ids.clear();
    for (std::int32_t i = count > 0 ? 0 : -1; i >= 0; i = symbols[static_cast<std::size_t>(i)].next) {
      scratch.ids.push_back(symbols[static_cast<std::size_t>(i)].id);
    }
  }

  /// Leaves the word's tokens in scratch.ids.
  void merge(std::string_view word, BpeScratch& scratch) const {
    if (byte_level) {
      start(word, scratch.ids);
    } else {
      start_characters(word, scratch.ids);
    }
    if (scratch.ids.size() <= kShortSymbolsMax) {
      merge_short(scratch.ids);
    } else {
      merge_long(scratch);
    }
  }
};

Bpe::Bpe(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Bpe::Bpe(Bpe&&) noexcept = default;
Bpe& Bpe::operator=(Bpe&&) noexcept = default;
Bpe::~Bpe() = default;

Result<Bpe> Bpe::make(const BpeModel& model) {
  auto impl = std::make_unique<Impl>(model);
  SLUICE_ENGINE_CHECK(!model.byte_level || !model.byte_fallback);
  impl->byte_level = model.byte_level;
  impl->fuse_unknown = model.fuse_unknown;
  impl->ignore_merges = model.ignore_merges;
  std::unordered_map<std::string_view, TokenId> ids;
  ids.reserve(model.vocab.size());
  std::string bytes;
  for (const auto& [spelling, id] : model.vocab) {
    SLUICE_ENGINE_CHECK(id >= 0);
    ids.emplace(spelling, id);
    if (!model.byte_level) {
      if (!spelling.empty()) impl->words.put(spelling, id);
      if (const int byte = fallback_byte(spelling); model.byte_fallback && byte >= 0 && is_canonical(spelling))
        impl->fallback_ids[static_cast<std::size_t>(byte)] = id;
      continue;
    }
    if (!spelled_bytes(spelling, bytes) || bytes.empty()) continue;  // an added token: no word of the text reaches it
    if (bytes.size() == 1) impl->byte_ids[static_cast<unsigned char>(bytes[0])] = id;
    impl->words.put(bytes, id);
  }
  if (!model.unknown.empty()) {
    const auto unknown = ids.find(model.unknown);
    if (unknown == ids.end())
      return fail(fmt::format("unk_token '{}' is not in the vocabulary", model.unknown.substr(0, 100)));
    impl->unknown = unknown->second;
  }
  std::string merged;
  for (std::size_t rank = 0; rank < model.merges.size(); ++rank) {
    const auto& [left, right] = model.merges[rank];
    merged.assign(left);
    merged += right;
    const auto left_id = ids.find(left), right_id = ids.find(right), merged_id = ids.find(merged);
    for (const auto& [found, spelling] :
         {std::pair{left_id, left}, {right_id, right}, {merged_id, std::string_view(merged)}}) {
      if (found == ids.end()) {
        return fail(fmt::format("merge {} needs the token '{}', which is not in the vocabulary", rank,
                                spelling.substr(0, 100)));
      }
    }
    impl->merges.put(left_id->second, right_id->second, {static_cast<std::uint32_t>(rank), merged_id->second});
  }
  BpeScratch scratch;
  for (WordTable::Word& word : impl->words.words()) {
    if (word.length == 0) continue;
    if (!impl->ignore_merges) impl->merge(impl->words.bytes_of(word), scratch);
    word.whole = impl->ignore_merges || (scratch.ids.size() == 1 && scratch.ids.front() == word.id);
  }
  return Bpe(std::move(impl));
}

void Bpe::encode(std::string_view word, BpeScratch& scratch, std::vector<TokenId>& out) const {
  const std::uint64_t hash = hash_bytes(word);
  if (const WordTable::Word* found = impl_->words.find(word, hash); found && found->whole) {
    out.push_back(found->id);
    return;
  }
  const bool cached = word.size() <= WordCache::kBytesMax;
  if (cached && impl_->cache.find(word, hash, out)) return;
  impl_->merge(word, scratch);
  out.insert(out.end(), scratch.ids.begin(), scratch.ids.end());
  if (cached) impl_->cache.put(word, hash, scratch.ids.data(), scratch.ids.size());
}

}  // namespace sluice::engine
