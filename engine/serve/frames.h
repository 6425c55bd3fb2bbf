// The bytes of an answer: OpenAI's JSON, and the event stream made of it.
//
// Stream contract: a role frame (chat), content deltas, per choice a finish frame with an empty delta, with
// include_usage a frame with no choices and the usage, then [DONE]. What stays the same in every frame is rendered
// once.
//
// Log probabilities as OpenAI writes them. A chat's token that is no whole UTF-8 is shown with U+FFFD, and its bytes
// are exact; a completion's is written bytes:\xf0\x9f, as its alternatives are keys. What is below -9999 is said as
// that.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "engine/serve/api.h"
#include "engine/text/tokenizer.h"

namespace sluice::engine {

struct AnswerHead {
  Api api = Api::chat;
  std::string id;  // "chatcmpl-..." or "cmpl-..."
  std::string model;
  std::int64_t created_s = 0;  // seconds since 1970
};

/// Renders one answer's events; each call appends one whole event, "data: ...\n\n".
class Frames {
 public:
  /// `tokenizer` gives the spelling of tokens, for events that carry some; it outlives this.
  Frames(const AnswerHead& head, bool include_usage, bool continuous_usage, const Tokenizer* tokenizer = nullptr);

  void role(std::string& out, std::uint32_t choice) const;
  void content(std::string& out, std::uint32_t choice, std::string_view text, std::span<const OutputToken> tokens,
               const Usage& usage) const;
  void finish(std::string& out, std::uint32_t choice, FinishReason reason, const Usage& usage) const;
  /// `metrics`, a JSON object, stands beside the usage; empty: none does.
  void usage(std::string& out, const Usage& usage, std::string_view metrics = {}) const;
  static void done(std::string& out);
  static void error(std::string& out, const ApiError& error);

 private:
  void close(std::string& out, const Usage& usage) const;

  Api api_;
  bool continuous_usage_;
  const Tokenizer* tokenizer_;
  std::string head_;  // data: {"id":...,"choices":[
  std::string tail_;  // of frames with choices
};

struct Answer {
  std::string text;
  FinishReason finish = FinishReason::none;
  std::vector<OutputToken> tokens;
};

/// The whole answer at once. `tokenizer`: where log probabilities were asked for; else null.
/// `metrics`: as for Frames::usage().
std::string answer_body(const AnswerHead& head, std::span<const Answer> choices, const Usage& usage,
                        const Tokenizer* tokenizer = nullptr, std::string_view metrics = {});

/// "stop" or "length"; "error" for what ended otherwise.
const char* name_of(FinishReason reason);

}  // namespace sluice::engine
