// Prompts of a wanted length, made of common English words: about one token a word, whatever the tokenizer.
//
// The same spec gives the same prompts, on every machine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sluice {

struct PromptSpec {
  std::uint64_t prompts = 1;
  std::uint64_t tokens_min = 1, tokens_max = 1;  // of each, drawn evenly; the prefix belongs to it
  std::uint64_t prefix_tokens = 0;               // with which all begin alike
  std::uint64_t seed = 0;
};

struct GeneratedPrompt {
  std::string text;
  std::uint64_t tokens = 0;  // words and full stops
};

/// REQUIRES: 1 <= tokens_min <= tokens_max, prefix_tokens < tokens_min or equal.
std::vector<GeneratedPrompt> generate_prompts(const PromptSpec& spec);

/// Appends tokens number `from` to `to` of a text that is put together of such pieces. The same seed, `from` and a
/// smaller `to` append the beginning of it.
void append_generated(std::uint64_t from, std::uint64_t to, std::uint64_t seed, std::string& text);

}  // namespace sluice
