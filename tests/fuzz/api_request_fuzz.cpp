// Any bytes as a request's body: an error that is JSON again, or a request within its bounds.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/core/json.h"
#include "engine/core/limits.h"
#include "engine/serve/api.h"

using namespace sluice::engine;

namespace {

void must(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  for (const Api api : {Api::chat, Api::completions}) {
    const auto request = parse_api_request(body, api);
    if (!request) {
      must(request.error().status == 400 && !request.error().message.empty());
      // What it quotes of the body must not break the answer. A cut inside a code point would.
      must(bool(JsonDocument::parse(error_body(request.error()), "error")));
      continue;
    }
    must(request->choices >= 1 && request->choices <= 16);
    must(request->stop.size() <= limits::stop_strings_max && request->messages.size() <= limits::messages_max);
    must(request->sampling.top_p > 0 && request->sampling.top_p <= 1);
    must(request->sampling.temperature >= 0 && request->sampling.temperature <= 2);
    const auto top = request->sampling.top_logprobs;
    must(top >= 0 && top <= static_cast<int>(limits::top_logprobs_max) && (top == 0 || request->logprobs));
    must(request->sampling.logit_bias.size() <= limits::logit_bias_max);
    must(!request->chunking || (request->stream && problem_of(*request->chunking).empty()));
    must(api == Api::completions || !request->messages.empty());
    for (const TokenId token : request->prompt_tokens) must(token >= 0);
  }
  return 0;
}
