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
  std::uint32_t first_offset = 0;  // the same for the first token of a text
  std::uint32_t first_length = 0;
  bool special = false;
};

/// Every `from` in `text` by `to`.
std::string replaced(std::string_view text, const std::string& from, const std::string& to) {
  return normalize({{NormalizeStep::Kind::replace, from, to}}, text);
}

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

  void encode_text(std::string_view text, bool first, Scratch& scratch, std::vector<TokenId>& out) const {
    split_words(file.steps, text, is_ascii(text), first, scratch.split, scratch.words);
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
      if (!file.normalizer.empty()) {
        scratch.normalized = normalize(file.normalizer, piece);
        piece = scratch.normalized;
      }
      file.normalized_added.find(piece, scratch.split.match, scratch.parts);
      for (const TextPart& part : scratch.parts) {
        if (part.token >= 0) {
          out.push_back(part.token);
        } else {
          const bool first = raw.range.begin == 0 && part.range.begin == 0;
          encode_text(piece.substr(part.range.begin, part.range.end - part.range.begin), first, scratch, out);
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
  const TokenDecoder& decoder = impl->file.decoder;
  const auto store = [&](const std::string& bytes, std::uint32_t& offset, std::uint32_t& length) {
    offset = static_cast<std::uint32_t>(impl->block.size());
    length = static_cast<std::uint32_t>(bytes.size());
    impl->block += bytes;
  };
  std::string bytes;
  for (const auto& [spelling_in_file, id] : impl->file.ids) {
    const auto normalized = impl->file.normalized_spellings.find(id);
    const std::string& spelling =
        normalized == impl->file.normalized_spellings.end() ? spelling_in_file : normalized->second;
    auto& token = impl->tokens[static_cast<std::size_t>(id)];
    if (decoder.byte_level) {
      if (!spelled_bytes(spelling, bytes)) bytes = spelling;  // not in the alphabet: the token stands for itself
    } else {
      bytes = decoder.replaced.empty() ? spelling : replaced(spelling, decoder.replaced, decoder.replacement);
      if (const int byte = decoder.byte_fallback ? fallback_byte(bytes) : -1; byte >= 0)
        bytes.assign(1, static_cast<char>(byte));
    }
    store(bytes, token.offset, token.length);
    token.first_offset = token.offset;
    token.first_length = token.length;
    if (decoder.drop_in_first && spelling.find(decoder.replaced) != std::string::npos)
      store(replaced(spelling, decoder.replaced, ""), token.first_offset, token.first_length);
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

std::string_view Tokenizer::first_bytes(TokenId token) const {
  const TokenBytes* const found = impl_->find(token);
  return found ? std::string_view(impl_->block).substr(found->first_offset, found->first_length) : std::string_view();
}

std::uint32_t Tokenizer::leading_spaces_left_out() const { return impl_->file.decoder.strip; }

std::string Tokenizer::decode(std::span<const TokenId> tokens, bool skip_special) const {
  Detokenizer detokenizer(*this, skip_special);
  std::string out;
  for (const TokenId token : tokens) out += detokenizer.push(token);
  return out += detokenizer.finish();
}

std::string Detokenizer::push(TokenId token) {
  if (skip_special_ && tokenizer_->is_special(token)) return {};
  pending_ += first_ ? tokenizer_->first_bytes(token) : tokenizer_->bytes(token);
  // An id that the file does not have is no token: tokenizers leaves it out before it counts.
  first_ = first_ && tokenizer_->bytes(token).empty();
  while (at_begin_ && !pending_.empty()) {
    at_begin_ = pending_.front() == ' ' && spaces_taken_ < tokenizer_->leading_spaces_left_out();
    if (!at_begin_) break;
    pending_.erase(0, 1);
    ++spaces_taken_;
  }
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
