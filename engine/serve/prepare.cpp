#include "engine/serve/prepare.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace sluice::engine {
namespace {

boost::system::result<std::vector<TokenId>, ApiError> encode_prompt(const ModelText& model, const ApiRequest& request) {
  if (!request.prompt_tokens.empty()) return request.prompt_tokens;
  if (request.api == Api::completions) return model.tokenizer->encode(request.prompt, true);
  if (model.chat_template == nullptr) {
    return ApiError{.message = fmt::format("the model '{}' has no chat template: use /v1/completions", model.id),
                    .param = "messages",
                    .code = {}};
  }
  const auto text = model.chat_template->render(request.messages, true, model.bos, model.eos);
  if (!text) return ApiError{.message = text.error().message, .param = "messages", .code = {}};
  return model.tokenizer->encode(*text, false);  // the template has written the special tokens already
}

}  // namespace

Request engine_request(const Prepared& prepared) {
  const ApiRequest& asked = prepared.request;
  return {.prompt = prepared.prompt,
          .sampling = asked.sampling,
          .tokens_max = asked.tokens_max,
          .stop = asked.stop,
          .stop_tokens = asked.stop_tokens,
          .ignore_eos = asked.ignore_eos,
          .logprobs = asked.logprobs,
          .timeline = nullptr};
}

boost::system::result<Prepared, ApiError> prepare(const ModelText& model, std::string_view body, Api api) {
  auto request = parse_api_request(body, api);
  if (!request) return request.error();
  if (!request->model.empty() && request->model != model.id) {
    return ApiError{.status = 404,
                    .message = fmt::format("the model '{}' does not exist: this server has '{}'",
                                           request->model.substr(0, 100), model.id),
                    .param = "model",
                    .code = "model_not_found"};
  }
  if (request->fault && !model.faults) {
    return ApiError{.message = "'sluice_fault' is for --backend scripted: this server computes its answers",
                    .param = "sluice_fault",
                    .code = {}};
  }
  auto prompt = encode_prompt(model, *request);
  if (!prompt) return prompt.error();
  const char* prompt_name = api == Api::chat ? "messages" : "prompt";
  if (prompt->empty()) return ApiError{.message = "the prompt is empty", .param = prompt_name, .code = {}};
  const auto outside = [&](TokenId token) { return static_cast<std::uint32_t>(token) >= model.vocab_size; };
  const auto wrong = [&](const char* param, TokenId token) {
    return ApiError{.message = fmt::format("'{}' names the token {}, and the model's last is {}", param, token,
                                           model.vocab_size - 1),
                    .param = param,
                    .code = {}};
  };
  if (const auto found = std::ranges::find_if(*prompt, outside); found != prompt->end())
    return wrong(prompt_name, *found);
  for (const auto& [token, bias] : request->sampling.logit_bias) {
    if (outside(token)) return wrong("logit_bias", token);
  }
  return Prepared{std::move(*request), std::move(*prompt)};
}

}  // namespace sluice::engine
