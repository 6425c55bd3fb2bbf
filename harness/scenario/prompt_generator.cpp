#include "harness/scenario/prompt_generator.h"

#include <array>
#include <string_view>

#include "harness/base/mix.h"

namespace sluice {
namespace {

// Each is one token, with the blank before it, in the vocabularies of GPT-2, GPT-4, Llama 2 and 3, Mistral and Qwen 2.
constexpr std::array<std::string_view, 128> kWords{
    "the",   "of",    "and",   "to",    "in",    "a",    "is",    "that",  "for",   "it",     "as",    "was",   "with",
    "be",    "by",    "on",    "not",   "he",    "his",  "but",   "at",    "are",   "this",   "have",  "from",  "or",
    "had",   "an",    "they",  "which", "one",   "you",  "were",  "all",   "her",   "she",    "there", "would", "their",
    "we",    "him",   "been",  "has",   "when",  "who",  "will",  "no",    "more",  "if",     "out",   "so",    "up",
    "said",  "what",  "its",   "about", "than",  "into", "them",  "can",   "only",  "other",  "time",  "new",   "some",
    "could", "these", "two",   "may",   "first", "then", "do",    "any",   "like",  "my",     "now",   "over",  "such",
    "our",   "man",   "me",    "even",  "most",  "made", "after", "also",  "did",   "many",   "off",   "must",  "well",
    "back",  "years", "where", "your",  "way",   "down", "day",   "water", "house", "people", "long",  "small", "great",
    "world", "life",  "part",  "place", "work",  "hand", "own",   "good",  "old",   "right",  "home",  "think", "say",
    "city",  "line",  "story", "road",  "book",  "war",  "light", "point", "night", "side",   "name"};
constexpr std::uint64_t kSentence = 14;  // every so many tokens there is a full stop

/// splitmix64.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t operator()() {
    const std::uint64_t number = mix(state_);
    state_ += kMixStep;
    return number;
  }

 private:
  std::uint64_t state_;
};

/// Tokens number `from` to `to` of a text.
void append_tokens(std::uint64_t from, std::uint64_t to, Random& random, std::string& text) {
  for (std::uint64_t i = from; i < to; ++i) {
    if (i % kSentence == kSentence - 1) {
      text += '.';
      continue;
    }
    if (!text.empty()) text += ' ';
    text += kWords[random() % kWords.size()];
  }
}

}  // namespace

std::vector<GeneratedPrompt> generate_prompts(const PromptSpec& spec) {
  std::string prefix;
  Random of_prefix(spec.seed);
  append_tokens(0, spec.prefix_tokens, of_prefix, prefix);
  std::vector<GeneratedPrompt> prompts(spec.prompts);
  for (std::uint64_t i = 0; i < spec.prompts; ++i) {
    // Each has its own stream, so that asking for more of them leaves the first as they are.
    Random random(Random(spec.seed ^ (i + 1) * 0xD1342543DE82EF95ULL)());
    GeneratedPrompt& prompt = prompts[i];
    prompt.tokens = spec.tokens_min + random() % (spec.tokens_max - spec.tokens_min + 1);
    prompt.text = prefix;
    append_tokens(spec.prefix_tokens, prompt.tokens, random, prompt.text);
  }
  return prompts;
}

void append_generated(std::uint64_t from, std::uint64_t to, std::uint64_t seed, std::string& text) {
  Random random(mix(seed));
  append_tokens(from, to, random, text);
}

}  // namespace sluice
