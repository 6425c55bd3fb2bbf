// From a request's body to what the engine takes: JSON, the model's name, the chat template, tokens.
//
// Pure and safe from any thread: long prompts are prepared beside the thread that serves the sockets.
#pragma once

#include <boost/system/result.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "engine/serve/api.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"

namespace sluice::engine {

/// A model as requests see it. The pointers outlive whoever holds this.
struct ModelText {
  std::string id;
  const Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat_template = nullptr;  // null: no chat
  std::string bos, eos;                         // as the template may write them
  std::uint32_t vocab_size = 0;                 // of the executor
  bool faults = false;                          // requests may ask for faults: the scripted back end
};

struct Prepared {
  ApiRequest request;
  std::vector<TokenId> prompt;  // not empty, every id below vocab_size
};

/// What the engine is asked for one choice, which request.sampling.choice names.
Request engine_request(const Prepared& prepared);

boost::system::result<Prepared, ApiError> prepare(const ModelText& model, std::string_view body, Api api);

}  // namespace sluice::engine
