// What a tokenizer.json says, read and checked; Tokenizer runs it.
#pragma once

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
#include "engine/text/pre_tokenizer.h"

namespace sluice::engine {

struct SpellingHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view spelling) const { return std::hash<std::string_view>{}(spelling); }
};

struct TokenizerFile {
  std::unordered_map<std::string, TokenId, SpellingHash, std::equal_to<>> ids;  // every token by its spelling
  std::vector<TokenId> special;
  bool nfc = false;
  AddedTokens raw_added;         // sought in the text as it came
  AddedTokens normalized_added;  // sought after normalizing
  std::vector<SplitStep> steps;
  std::unique_ptr<Bpe> bpe;
  std::vector<TokenId> prefix;  // what the post-processor puts before and behind the text's tokens
  std::vector<TokenId> suffix;
};

/// `json` is untrusted; `name` is used in messages.
Result<TokenizerFile> read_tokenizer_file(std::string_view json, const std::string& name);

}  // namespace sluice::engine
