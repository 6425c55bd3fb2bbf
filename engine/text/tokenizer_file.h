// What a tokenizer.json says, read and checked; Tokenizer runs it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/types.h"
#include "engine/text/added_tokens.h"
#include "engine/text/bpe.h"
#include "engine/text/normalize.h"
#include "engine/text/pre_tokenizer.h"

namespace sluice::engine {

struct SpellingHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view spelling) const { return std::hash<std::string_view>{}(spelling); }
};

/// How a token's spelling becomes text. With a byte-level vocabulary GPT-2's alphabet is undone, and nothing else.
struct TokenDecoder {
  bool byte_level = true;
  std::string replaced, replacement;  // in every token, first; empty: nothing is
  bool byte_fallback = false;         // "<0x0A>" is a byte
  std::uint32_t strip = 0;            // so many spaces at most are left out at the begin of the whole text
  bool drop_in_first = false;         // Metaspace: `replaced` is left out of the first token
};

struct TokenizerFile {
  std::unordered_map<std::string, TokenId, SpellingHash, std::equal_to<>> ids;  // every token by its spelling
  std::unordered_map<TokenId, std::string> normalized_spellings;  // of added tokens: what they decode to, if not `ids`'
  std::vector<TokenId> special;
  std::vector<NormalizeStep> normalizer;
  AddedTokens raw_added;         // sought in the text as it came
  AddedTokens normalized_added;  // sought after normalizing
  std::vector<SplitStep> steps;
  std::unique_ptr<Bpe> bpe;
  TokenDecoder decoder;
  std::vector<TokenId> prefix;  // what the post-processor puts before and behind the text's tokens
  std::vector<TokenId> suffix;
};

/// `json` is untrusted; `name` is used in messages.
Result<TokenizerFile> read_tokenizer_file(std::string_view json, const std::string& name);

}  // namespace sluice::engine
