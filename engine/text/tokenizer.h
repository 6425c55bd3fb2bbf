// Text to tokens and back, as a Hugging Face tokenizer.json says: BPE, byte-level (GPT-2, Llama 3, Qwen) or of
// SentencePiece's kind with byte fallback (Llama 2, Mistral, Phi-3).
//
// Token for token equal to Hugging Face's `tokenizers`, and so is text, but where tokens of single bytes are not valid
// UTF-8: what is valid of them stays, where `tokenizers` gives up the whole run. Immutable after load, safe from any
// thread. What the file asks for and we do not know (a normalizer, a pre-tokenizer, a model type) is refused by name.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/types.h"

namespace sluice::engine {

class Tokenizer {
 public:
  static Result<Tokenizer> load(const std::filesystem::path& tokenizer_json);
  /// `json` is untrusted; `name` is used in messages.
  static Result<Tokenizer> parse(std::string_view json, const std::string& name);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Tokens of `text`. Added and special tokens written in the text become their ids, as in `tokenizers`;
  /// `add_special_tokens` runs the file's post-processor (a template's bos, for example). Any bytes are accepted:
  /// invalid UTF-8 is read as U+FFFD, as Python's decode(errors="replace") would hand it over.
  std::vector<TokenId> encode(std::string_view text, bool add_special_tokens) const;

  /// The raw bytes one token stands for; empty for an id that the file does not have.
  std::string_view bytes(TokenId token) const;
  /// The same for a text's first token, which some files (Metaspace) decode without its leading space.
  std::string_view first_bytes(TokenId token) const;
  /// Spaces at the begin of a text that decoding leaves out, at most (Llama 2: 1).
  std::uint32_t leading_spaces_left_out() const;
  bool is_special(TokenId token) const;
  std::optional<TokenId> id_of(std::string_view token) const;  // by its spelling in the file, "<|end|>"
  std::size_t vocab_size() const;                              // highest id + 1, added tokens included

  /// All bytes of `tokens`, special ones left out when `skip_special`; invalid UTF-8 becomes U+FFFD.
  std::string decode(std::span<const TokenId> tokens, bool skip_special) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Tokens in, text out as soon as it is whole: push() never returns part of a code point.
/// The tokenizer outlives it. One sequence, one thread.
class Detokenizer {
 public:
  Detokenizer(const Tokenizer& tokenizer, bool skip_special) : tokenizer_(&tokenizer), skip_special_(skip_special) {}
  /// Text that became whole with this token; may be empty.
  std::string push(TokenId token);
  /// What is left at the end: an unfinished code point as U+FFFD.
  std::string finish();
  /// Bytes at the end that push() has not given out yet.
  std::size_t unfinished_bytes() const { return pending_.size(); }

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  bool first_ = true;               // no token has come yet
  std::uint32_t spaces_taken_ = 0;  // of those that are left out at the begin
  bool at_begin_ = true;            // nothing but them has come yet
  std::string pending_;             // at most 3 bytes of an unfinished code point
};

}  // namespace sluice::engine
