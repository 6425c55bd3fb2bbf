#include "engine/text/tokenizer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "engine/core/check.h"
#include "engine/core/json.h"
#include "engine/core/limits.h"
#include "engine/text/normalize.h"
#include "engine/text/tokenizer_file.h"
#include "engine/text/utf8.h"

namespace sluice::engine {
namespace {

/// A token's bytes in Impl::block_.
struct TokenBytes {
  std::uint32_t offset = 0;
  std::uint32_t length = 0;
  bool special = false;
};

}  // namespace

struct Tokenizer::Impl {
  TokenizerFile file;
  std::vector<TokenBytes> tokens;  // by id; ids that the file leaves out are empty
  std::string block;

  struct Scratch {
    SplitScratch split;
    BpeScratch bpe;
    std::vector<std::string_view> words;
    std::vector<TextPart> raw_parts, parts;
    std::string normalized;
  };

  void encode_text(std::string_view text, Scratch& scratch, std::vector<TokenId>& out) const {
    split_words(file.steps, text, is_ascii(text), scratch.split, scratch.words);
    for (const std::string_view word : scratch.words) file.bpe->encode(word, scratch.bpe, out);
  }

  void encode(std::string_view text, Scratch& scratch, std::vector<TokenId>& out) const {
    file.raw_added.find(text, scratch.split.match, scratch.raw_parts);
    for (const TextPart& raw : scratch.raw_parts) {
      if (raw.token >= 0) {
        out.push_back(raw.token);
        continue;
      }
      std::string_view piece = text.substr(raw.range.begin, raw.range.end - raw.range.begin);
      if (file.nfc && !is_ascii(piece)) {
        scratch.normalized = nfc(piece);
        piece = scratch.normalized;
      }
      file.normalized_added.find(piece, scratch.split.match, scratch.parts);
      for (const TextPart& part : scratch.parts) {
        if (part.token >= 0) {
          out.push_back(part.token);
        } else {
          encode_text(piece.substr(part.range.begin, part.range.end - part.range.begin), scratch, out);
        }
      }
    }
  }

  const TokenBytes* find(TokenId token) const {
    if (token < 0 || static_cast<std::size_t>(token) >= tokens.size()) return nullptr;
    return &tokens[static_cast<std::size_t>(token)];
  }
  std::string_view bytes(const TokenBytes& token) const {
    return std::string_view(block).substr(token.offset, token.length);
  }
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::load(const std::filesystem::path& tokenizer_json) {
  const auto json = read_file(tokenizer_json, limits::json_file_bytes_max);
  if (!json) return json.error();
  return parse(*json, tokenizer_json.string());
}

Result<Tokenizer> Tokenizer::parse(std::string_view json, const std::string& name) {
  auto file = read_tokenizer_file(json, name);
  if (!file) return file.error();
  auto impl = std::make_unique<Impl>();
  impl->file = std::move(*file);
  TokenId highest = -1;
  for (const auto& [spelling, id] : impl->file.ids) highest = std::max(highest, id);
  impl->tokens.resize(static_cast<std::size_t>(highest) + 1);
  std::string bytes;
  for (const auto& [spelling, id] : impl->file.ids) {
    if (!spelled_bytes(spelling, bytes)) bytes = spelling;  // not in the alphabet: the token stands for itself
    auto& token = impl->tokens[static_cast<std::size_t>(id)];
    token.offset = static_cast<std::uint32_t>(impl->block.size());
    token.length = static_cast<std::uint32_t>(bytes.size());
    impl->block += bytes;
  }
  for (const TokenId id : impl->file.special) impl->tokens[static_cast<std::size_t>(id)].special = true;
  return Tokenizer(std::move(impl));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  SLUICE_ENGINE_CHECK(text.size() < std::size_t{std::numeric_limits<std::int32_t>::max()} / 4);
  Impl::Scratch scratch;
  std::vector<TokenId> out;
  out.reserve(text.size() / 3 + 8);
  if (add_special_tokens) out = impl_->file.prefix;
  if (is_valid_utf8(text)) {
    impl_->encode(text, scratch, out);
  } else {
    std::string valid;
    append_valid_utf8(text, valid);
    impl_->encode(valid, scratch, out);
  }
  if (add_special_tokens) out.insert(out.end(), impl_->file.suffix.begin(), impl_->file.suffix.end());
  return out;
}

std::string_view Tokenizer::bytes(TokenId token) const {
  const TokenBytes* const found = impl_->find(token);
  return found ? impl_->bytes(*found) : std::string_view();
}

bool Tokenizer::is_special(TokenId token) const {
  const TokenBytes* const found = impl_->find(token);
  return found && found->special;
}

std::optional<TokenId> Tokenizer::id_of(std::string_view token) const {
  const auto at = impl_->file.ids.find(token);
  if (at == impl_->file.ids.end()) return std::nullopt;
  return at->second;
}

std::size_t Tokenizer::vocab_size() const { return impl_->tokens.size(); }

std::string Tokenizer::decode(std::span<const TokenId> tokens, bool skip_special) const {
  std::string raw;
  for (const TokenId token : tokens) {
    if (!skip_special || !is_special(token)) raw += bytes(token);
  }
  std::string out;
  append_valid_utf8(raw, out);
  return out;
}

std::string Detokenizer::push(TokenId token) {
  if (skip_special_ && tokenizer_->is_special(token)) return {};
  pending_ += tokenizer_->bytes(token);
  // Only the last code point can be unfinished, so it begins within the last three bytes.
  std::size_t whole = pending_.size();
  for (std::size_t back = 1; back <= 3 && back <= pending_.size(); ++back) {
    const std::size_t at = pending_.size() - back;
    if ((static_cast<unsigned char>(pending_[at]) & 0xC0) == 0x80) continue;
    const Utf8Part part = utf8_part(pending_, at);
    if (part.unfinished && part.length == back) whole = at;
    break;
  }
  std::string out;
  append_valid_utf8(std::string_view(pending_).substr(0, whole), out);
  pending_.erase(0, whole);
  return out;
}

std::string Detokenizer::finish() {
  std::string out;
  append_valid_utf8(pending_, out);
  pending_.clear();
  return out;
}

}  // namespace sluice::engine
