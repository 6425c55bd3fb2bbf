// Byte pair encoding of one word: merges by rank, lowest first, ties to the left.
//
// A byte-level vocabulary: words are raw bytes; the file spells each byte as one printable character (GPT-2's
// alphabet), which is undone at load. Any other: words are characters, spelled as they are; one that the vocabulary
// lacks becomes the tokens of its bytes, "<0x0A>", where there are such (SentencePiece's byte fallback), and else the
// unknown token. Time is O(n log n) in the word. Immutable but for a bounded cache of words, which is locked: safe from
// any thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/types.h"

namespace sluice::engine {

/// What the file's "model" says; the views are needed during Bpe::make() only.
struct BpeModel {
  std::vector<std::pair<std::string_view, TokenId>> vocab;            // spelling in the file's alphabet, id
  std::vector<std::pair<std::string_view, std::string_view>> merges;  // in order of rank
  std::string_view unknown;                                           // spelling of the unknown token; empty: none
  bool byte_level = true;                                             // spelled in GPT-2's alphabet
  bool byte_fallback = false;                                         // REQUIRES: !byte_level
  bool fuse_unknown = false;
  bool ignore_merges = false;  // a word that is a token is that token
};

/// Memory that encoding needs; one a thread, used again from word to word.
struct BpeScratch {
  struct Symbol {
    TokenId id;
    std::int32_t previous;  // index, -1: none
    std::int32_t next;      // index, -1: none
  };
  struct Candidate {
    std::uint64_t key;  // rank, then position: what comes first
    TokenId merged;
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
  std::vector<TokenId> ids;
};

class Bpe {
 public:
  static Result<Bpe> make(const BpeModel& model);

  Bpe(Bpe&&) noexcept;
  Bpe& operator=(Bpe&&) noexcept;
  ~Bpe();

  /// Appends the tokens of `word`.
  void encode(std::string_view word, BpeScratch& scratch, std::vector<TokenId>& out) const;

 private:
  struct Impl;
  explicit Bpe(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// GPT-2's alphabet undone: the bytes that a spelling stands for, or nothing when a character of it is not in the
/// alphabet.
bool spelled_bytes(std::string_view spelling, std::string& bytes);

/// The byte that "<0x0A>" stands for, as byte fallback spells it; -1: the spelling is not of this form.
int fallback_byte(std::string_view spelling);

}  // namespace sluice::engine
