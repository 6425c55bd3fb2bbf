// Any bytes as a text, by tokenizers of every family: no crash, and the text comes back, by decode and piece by piece.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "engine/text/tokenizer.h"
#include "engine/text/utf8.h"

namespace {

using namespace sluice::engine;

constexpr std::size_t kExact = 3;  // the first so many give every text back; the others normalize it, or its spaces

std::vector<Tokenizer> load_all() {
  std::vector<Tokenizer> tokenizers;
  for (const char* name : {"gpt2", "llama3", "o200k", "qwen2", "llama2", "mistral", "metaspace"}) {
    tokenizers.push_back(
        Tokenizer::load(std::string(SLUICE_SOURCE_DIR "/tests/support/golden_text/") + name + ".json").value());
  }
  return tokenizers;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<Tokenizer> tokenizers = load_all();
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  std::string valid;
  append_valid_utf8(bytes, valid);
  for (const Tokenizer& tokenizer : tokenizers) {
    const auto ids = tokenizer.encode(bytes, false);
    const std::string text = tokenizer.decode(ids, false);
    if (&tokenizer < tokenizers.data() + kExact && text != valid) std::abort();
    if (!is_valid_utf8(text)) std::abort();
    Detokenizer detokenizer(tokenizer, false);
    std::string parts;
    for (const TokenId id : ids) parts += detokenizer.push(id);
    parts += detokenizer.finish();
    if (parts != text) std::abort();
  }
  return 0;
}
