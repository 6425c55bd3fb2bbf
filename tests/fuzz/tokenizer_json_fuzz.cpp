// Any bytes as a tokenizer.json: read or refused; what was read encodes and decodes a few texts.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/text/tokenizer.h"
#include "engine/text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice::engine;
  const auto tokenizer = Tokenizer::parse({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (!tokenizer) {
    if (tokenizer.error().message.empty()) std::abort();
    return 0;
  }
  for (const std::string_view text :
       {"", "Hello, w\xC3\xB6rld! 123\n\n  <|end|> it's", " \xE4\xB8\xAD\xCC\x81\xF0\x9F\x91\x8D\r\n\t--aab"}) {
    const auto ids = tokenizer->encode(text, true);
    for (const TokenId id : ids) {
      if (id < 0) std::abort();
    }
    if (!is_valid_utf8(tokenizer->decode(ids, false))) std::abort();
  }
  return 0;
}
