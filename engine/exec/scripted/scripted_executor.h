// An executor that computes nothing: its tokens come at scripted instants. For calibration and for tests.
//
// Every token has an absolute due instant that is the sum of the script's delays since its request got the slot, so the
// time spent in serving one token does not shift the next. One heap of due instants serves thousands of slots.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/core/types.h"
#include "engine/exec/executor.h"
#include "engine/exec/scripted/script.h"

namespace sluice::engine {

struct ScriptedOptions {
  Script script;
  std::vector<TokenId> words;  // emitted in turn, over and over; not empty
  TokenId end = -1;            // emitted after script.tokens, unless the request bans it; -1: never
  std::uint32_t vocab_size = 0;
  std::uint32_t context_max = 131072;
  std::uint32_t slots_max = 4096;
  std::uint32_t rows_max = 65536;
  std::uint32_t blocks = 65536;
};

/// REQUIRES: options.words is not empty and its ids lie below options.vocab_size.
std::unique_ptr<Executor> make_scripted_executor(ScriptedOptions options);

/// A tokenizer.json for when no model is given: the 256 bytes, kScriptedEnd and a few dozen words of a token each;
/// then, up to `vocab_size` tokens, numbers: so that whatever random weights draw has a text.
std::string scripted_tokenizer_json(std::uint32_t vocab_size = 0);
inline constexpr const char* kScriptedEnd = "<|end|>";
/// A sentence of words of that vocabulary, one token a word.
std::string scripted_text();

}  // namespace sluice::engine
