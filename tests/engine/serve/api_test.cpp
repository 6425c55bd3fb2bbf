#include "engine/serve/api.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "engine/core/limits.h"
#include "engine/exec/scripted/scripted_executor.h"
#include "engine/serve/frames.h"
#include "engine/serve/target.h"

namespace sluice::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(ApiRequest, ReadsEveryParameterOfAChat) {
  const auto request = parse_api_request(R"({"model":"m","messages":[{"role":"developer","content":"be brief"},
      {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"assistant","content":null}],
      "temperature":0.5,"top_p":0.9,"top_k":40,"min_p":0.05,"repetition_penalty":1.1,"presence_penalty":-1,"frequency_penalty":2,
      "seed":-5,"stop":["x","yz"],"max_tokens":3,"max_completion_tokens":17,"logit_bias":{"50":-100,"7":1.5},"ignore_eos":true,
      "n":2,"stream":true,"stream_options":{"include_usage":true},"stop_token_ids":[3,4],"user":"u","metadata":{"a":"b"},
      "tools":[],"response_format":{"type":"text"},"logprobs":false})",
                                         Api::chat)
                           .value();
  EXPECT_EQ(request.model, "m");
  ASSERT_EQ(request.messages.size(), 3u);
  EXPECT_EQ(request.messages[0].role, "system");
  EXPECT_EQ(request.messages[1].content, "ab");
  EXPECT_EQ(request.messages[2].content, "");
  EXPECT_FLOAT_EQ(request.sampling.temperature, 0.5f);
  EXPECT_FLOAT_EQ(request.sampling.top_p, 0.9f);
  EXPECT_EQ(request.sampling.top_k, 40);
  EXPECT_FLOAT_EQ(request.sampling.min_p, 0.05f);
  EXPECT_FLOAT_EQ(request.sampling.repetition_penalty, 1.1f);
  EXPECT_FLOAT_EQ(request.sampling.presence_penalty, -1.0f);
  EXPECT_FLOAT_EQ(request.sampling.frequency_penalty, 2.0f);
  EXPECT_TRUE(request.has_seed);
  EXPECT_EQ(request.sampling.seed, static_cast<std::uint64_t>(-5));
  EXPECT_THAT(request.stop, ElementsAre("x", "yz"));
  EXPECT_EQ(request.tokens_max, 17u);
  EXPECT_THAT(request.sampling.logit_bias, ElementsAre(std::pair(50, -100.0f), std::pair(7, 1.5f)));
  EXPECT_TRUE(request.ignore_eos);
  EXPECT_EQ(request.choices, 2u);
  EXPECT_TRUE(request.stream);
  EXPECT_TRUE(request.include_usage);
  EXPECT_THAT(request.stop_tokens, ElementsAre(3, 4));
}

TEST(ApiRequest, HasOpenAiDefaults) {
  const auto chat =
      parse_api_request(R"({"messages":[{"role":"user","content":"a"}],"temperature":null})", Api::chat).value();
  EXPECT_FLOAT_EQ(chat.sampling.temperature, 1.0f);
  EXPECT_EQ(chat.tokens_max, std::nullopt);
  EXPECT_FALSE(chat.stream);
  EXPECT_FALSE(chat.has_seed);
  EXPECT_EQ(chat.choices, 1u);
  EXPECT_EQ(parse_api_request(R"({"prompt":"a"})", Api::completions)->tokens_max, 16u);
}

TEST(ApiRequest, TakesAPromptInEachForm) {
  const auto read = [](const char* prompt) {
    return parse_api_request(std::string(R"({"prompt":)") + prompt + "}", Api::completions).value();
  };
  EXPECT_EQ(read(R"("text")").prompt, "text");
  EXPECT_EQ(read(R"(["text"])").prompt, "text");
  EXPECT_THAT(read("[1,2,3]").prompt_tokens, ElementsAre(1, 2, 3));
  EXPECT_THAT(read("[[4,5]]").prompt_tokens, ElementsAre(4, 5));
  EXPECT_THAT(read("[7]").prompt_tokens, ElementsAre(7));
}

TEST(ApiRequest, RefusesWhatIsWrongByName) {
  struct Case {
    const char* body;
    const char* param;
    const char* message;
  };
  const Case cases[] = {
      {"", "", "request body"},
      {"{", "", "not valid JSON"},
      {"[]", "", "must be a JSON object"},
      {R"({"messages":[],"messages":[]})", "", "'messages' stands twice"},
      {"{}", "messages", "'messages' is missing"},
      {R"({"messages":"hi"})", "messages", "must be a list, not \"hi\""},
      {R"({"messages":[]})", "messages", "is empty"},
      {R"({"messages":[1]})", "messages", "messages[0] must be an object"},
      {R"({"messages":[{"content":"a"}]})", "messages", "messages[0].role"},
      {R"({"messages":[{"role":"user"}]})", "messages", "messages[0].content is missing"},
      {R"({"messages":[{"role":"user","content":3}]})", "messages", "messages[0].content must be a string"},
      {R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]})", "messages",
       "reads only text"},
      {R"({"messages":[{"role":"user","content":[{"type":"text"}]}]})", "messages", "messages[0].content[0].text"},
#define ALSO(rest) R"({"messages":[{"role":"user","content":"a"}],)" rest "}"
      {ALSO(R"("temperature":"hot")"), "temperature", "not \"hot\""},
      {ALSO(R"("temperature":2.1)"), "temperature", "at most 2"},
      {ALSO(R"("temperature":-0.1)"), "temperature", "at least 0"},
      {ALSO(R"("top_p":0)"), "top_p", "above 0"},
      {ALSO(R"("top_p":1.5)"), "top_p", "at most 1"},
      {ALSO(R"("top_k":1.5)"), "top_k", "whole number"},
      {ALSO(R"("min_p":2)"), "min_p", "at most 1"},
      {ALSO(R"("repetition_penalty":0)"), "repetition_penalty", "above 0"},
      {ALSO(R"("presence_penalty":3)"), "presence_penalty", "at most 2"},
      {ALSO(R"("frequency_penalty":true)"), "frequency_penalty", "number"},
      {ALSO(R"("seed":"x")"), "seed", "whole number"},
      {ALSO(R"("stop":"")"), "stop", "1 to 1024 bytes"},
      {ALSO(R"("stop":[1])"), "stop", "strings"},
      {ALSO(R"("max_tokens":0)"), "max_tokens", "from 1"},
      {ALSO(R"("max_tokens":-3)"), "max_tokens", "not -3"},
      {ALSO(R"("max_completion_tokens":"5")"), "max_completion_tokens", "whole number"},
      {ALSO(R"("logit_bias":[])"), "logit_bias", "object"},
      {ALSO(R"("logit_bias":{"a":1})"), "logit_bias", "not 'a'"},
      {ALSO(R"("logit_bias":{"1":101})"), "logit_bias", "-100 to 100"},
      {ALSO(R"("n":0)"), "n", "from 1 to 16"},
      {ALSO(R"("n":17)"), "n", "from 1 to 16"},
      {ALSO(R"("stream":"yes")"), "stream", "true or false"},
      {ALSO(R"("stream_options":{"include_usage":true})"), "stream_options", "only be given with 'stream'"},
      {ALSO(R"("stream":true,"stream_options":3)"), "stream_options", "must be an object"},
      {ALSO(R"("stream":true,"stream_options":{"include_usage":1})"), "include_usage", "true or false"},
      {ALSO(R"("chunking":{"min_chars":2})"), "chunking", "only be given with 'stream'"},
      {ALSO(R"("stream":true,"chunking":20)"), "chunking", "must be an object"},
      {ALSO(R"("stream":true,"chunking":{"min_char":2})"), "chunking", "has no 'min_char': there are min_chars"},
      {ALSO(R"("stream":true,"chunking":{"min_chars":0})"), "chunking", "'min_chars' must be a whole number from 1 to"},
      {ALSO(R"("stream":true,"chunking":{"min_chars":9,"max_chars":8})"), "chunking", "lower min_chars"},
      {ALSO(R"("stream":true,"chunking":{"max_delay_ms":60001})"), "chunking", "from 1 to 60000, not 60001"},
      {ALSO(R"("model":5)"), "model", "must be a string"},
      {ALSO(R"("tools":[{"type":"function"}])"), "tools", "not supported"},
      {ALSO(R"("response_format":{"type":"json_object"})"), "response_format", "not supported"},
      {ALSO(R"("logprobs":2)"), "logprobs", "true or false"},
      {ALSO(R"("logprobs":true,"top_logprobs":21)"), "top_logprobs", "from 0 to 20"},
      {ALSO(R"("logprobs":true,"top_logprobs":-1)"), "top_logprobs", "from 0 to 20"},
      {ALSO(R"("logprobs":true,"top_logprobs":"3")"), "top_logprobs", "whole number"},
      {ALSO(R"("top_logprobs":3)"), "top_logprobs", "only be given with 'logprobs'"},
      {ALSO(R"("logprobs":false,"top_logprobs":1)"), "top_logprobs", "only be given with 'logprobs'"},
      {ALSO(R"("ignore_eos":0)"), "ignore_eos", "true or false"},
      {ALSO(R"("best_of":2)"), "best_of", "not supported"},
      {ALSO(R"("stop_token_ids":["a"])"), "stop_token_ids", "token ids"},
#undef ALSO
  };
  for (const auto& [body, param, message] : cases) {
    const auto request = parse_api_request(body, Api::chat);
    ASSERT_FALSE(request) << body;
    EXPECT_EQ(request.error().status, 400u);
    EXPECT_EQ(request.error().param, param) << body;
    EXPECT_THAT(request.error().message, HasSubstr(message)) << body;
  }
  for (const char* prompt : {"{}", "[]", "[[]]", "[1,\"a\"]", "[\"a\",\"b\"]", "[-1]", "3", "[1.5]"}) {
    const auto request = parse_api_request(std::string(R"({"prompt":)") + prompt + "}", Api::completions);
    ASSERT_FALSE(request) << prompt;
    EXPECT_EQ(request.error().param, "prompt");
  }
}

TEST(ApiRequest, ReadsLogprobsAsEachApiSaysThem) {
  struct Case {
    Api api;
    const char* fields;
    bool logprobs;
    std::int32_t top;
  };
  const Case cases[] = {
      {Api::chat, R"("user":"u")", false, 0},
      {Api::chat, R"("logprobs":null,"top_logprobs":null)", false, 0},
      {Api::chat, R"("logprobs":false,"top_logprobs":0)", false, 0},
      {Api::chat, R"("logprobs":true)", true, 0},
      {Api::chat, R"("logprobs":true,"top_logprobs":20)", true, 20},
      {Api::completions, R"("user":"u")", false, 0},
      {Api::completions, R"("logprobs":null)", false, 0},
      {Api::completions, R"("logprobs":false)", false, 0},
      {Api::completions, R"("logprobs":0)", true, 0},
      {Api::completions, R"("logprobs":5)", true, 5},
      {Api::completions, R"("logprobs":20)", true, 20},
  };
  for (const auto& [api, fields, logprobs, top] : cases) {
    const auto request = parse_api_request(
        std::string(R"({"prompt":"a","messages":[{"role":"user","content":"a"}],)") + fields + "}", api);
    ASSERT_TRUE(request) << fields;
    EXPECT_EQ(request->logprobs, logprobs) << fields;
    EXPECT_EQ(request->sampling.top_logprobs, top) << fields;
  }
  for (const char* wrong : {R"("logprobs":true)", R"("logprobs":21)", R"("logprobs":-1)", R"("logprobs":1.5)",
                            R"("logprobs":"1")", R"("top_logprobs":2)"}) {
    const auto request = parse_api_request(std::string(R"({"prompt":"a",)") + wrong + "}", Api::completions);
    ASSERT_FALSE(request) << wrong;
    EXPECT_THAT(request.error().param, HasSubstr("logprobs"));
  }
}

TEST(ApiRequest, TooManyOfAnythingIsRefused) {
  std::string messages = R"({"messages":[)";
  for (std::size_t i = 0; i <= limits::messages_max; ++i)
    messages += std::string(i == 0 ? "" : ",") + R"({"role":"user","content":""})";
  EXPECT_EQ(parse_api_request(messages + "]}", Api::chat).error().param, "messages");
  std::string stop;
  for (std::size_t i = 0; i <= limits::stop_strings_max; ++i) stop += std::string(i == 0 ? "" : ",") + "\"a\"";
  EXPECT_EQ(parse_api_request(R"({"prompt":"a","stop":[)" + stop + "]}", Api::completions).error().param, "stop");
  EXPECT_EQ(
      parse_api_request(R"({"prompt":"a","stop":")" + std::string(1025, 'x') + "\"}", Api::completions).error().param,
      "stop");
}

TEST(ApiError, HasOpenAiShapeAndEscapesWhatItQuotes) {
  EXPECT_EQ(error_body({.status = 400, .message = "say \"no\"\n\x01", .param = "", .code = "c"}),
            R"({"error":{"message":"say \"no\"\n\u0001","type":"invalid_request_error","param":null,"code":"c"}})");
  EXPECT_EQ(error_body({.status = 404, .message = "no \xc3 here", .param = "p", .code = ""}),
            "{\"error\":{\"message\":\"no \xef\xbf\xbd "
            "here\",\"type\":\"invalid_request_error\",\"param\":\"p\",\"code\":null}}");
}

TEST(Frames, AreByteForByteTheContract) {
  const AnswerHead head{.api = Api::chat, .id = "chatcmpl-1", .model = "m\"x", .created_s = 5};
  const Usage usage{.prompt_tokens = 3, .completion_tokens = 2, .cached_tokens = 1, .logits_hash = 0};
  const std::string start =
      R"(data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":5,"model":"m\"x","choices":[)";
  struct Case {
    const char* name;
    bool include_usage, continuous;
    std::string expected;
  };
  const Frames plain(head, false, false), with(head, true, false), continuous(head, true, true);
  std::string out;
  plain.role(out, 0);
  EXPECT_EQ(out, start +
                     R"({"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]})"
                     "\n\n");
  out.clear();
  plain.content(out, 1, "a\"b\n\xc3\xa9", {}, usage);
  EXPECT_EQ(
      out,
      start +
          "{\"index\":1,\"delta\":{\"content\":\"a\\\"b\\n\xc3\xa9\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n");
  out.clear();
  plain.finish(out, 0, FinishReason::length, usage);
  EXPECT_EQ(out, start + R"({"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}]})"
                         "\n\n");
  out.clear();
  with.content(out, 0, "x", {}, usage);
  EXPECT_EQ(out, start + R"({"index":0,"delta":{"content":"x"},"logprobs":null,"finish_reason":null}],"usage":null})"
                         "\n\n");
  out.clear();
  with.usage(out, usage);
  const std::string figures =
      R"({"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":1}})";
  EXPECT_EQ(out, start + R"(],"usage":)" + figures + "}\n\n");
  out.clear();
  continuous.content(out, 0, "x", {}, usage);
  EXPECT_EQ(out, start + R"({"index":0,"delta":{"content":"x"},"logprobs":null,"finish_reason":null}],"usage":)" +
                     figures + "}\n\n");
  out.clear();
  Frames::done(out);
  EXPECT_EQ(out, "data: [DONE]\n\n");
}

/// Tokens are bytes: "é" is two of them.
std::vector<OutputToken> some_tokens() {
  return {{.token = 'a', .logprob = -0.25f, .text_offset = 0, .top = {{'a', -0.25f}, {'"', -1.5f}}},
          {.token = 0xc3, .logprob = -1e30f, .text_offset = 1, .top = {{'b', 0.0f}, {0xc3, -2.0f}}},
          {.token = 0xa9, .logprob = -3.0f, .text_offset = 1, .top = {}}};
}

constexpr const char* kChatLogprobs =
    R"({"content":[{"token":"a","logprob":-0.25,"bytes":[97],"top_logprobs":[)"
    R"({"token":"a","logprob":-0.25,"bytes":[97]},{"token":"\"","logprob":-1.5,"bytes":[34]}]},)"
    "{\"token\":\"\xef\xbf\xbd\",\"logprob\":-9999,\"bytes\":[195],\"top_logprobs\":["
    R"({"token":"b","logprob":0,"bytes":[98]},)"
    "{\"token\":\"\xef\xbf\xbd\",\"logprob\":-2,\"bytes\":[195]}]},"
    "{\"token\":\"\xef\xbf\xbd\",\"logprob\":-3,\"bytes\":[169],\"top_logprobs\":[]}],\"refusal\":null}";

// The drawn one stands beside the most probable ones unless it is among them, and no key twice.
constexpr const char* kCompletionLogprobs =
    R"({"tokens":["a","bytes:\\xc3","bytes:\\xa9"],"token_logprobs":[-0.25,-9999,-3],)"
    R"("top_logprobs":[{"a":-0.25,"\"":-1.5},{"b":0,"bytes:\\xc3":-2},{"bytes:\\xa9":-3}],"text_offset":[0,1,1]})";

TEST(Frames, CarryLogprobsInOpenAiShape) {
  const auto tokenizer = Tokenizer::parse(scripted_tokenizer_json(), "test").value();
  const auto tokens = some_tokens();
  const auto frame = [&](Api api) {
    const AnswerHead head{.api = api, .id = "ID", .model = "m", .created_s = 5};
    std::string out;
    Frames(head, false, false, &tokenizer).content(out, 1, "a\xc3\xa9", tokens, {});
    const auto at = out.find("\"logprobs\":") + 11;
    return out.substr(at, out.find(",\"finish_reason\"") - at);
  };
  EXPECT_EQ(frame(Api::chat), kChatLogprobs);
  EXPECT_EQ(frame(Api::completions), kCompletionLogprobs);
  // A whole answer has the same; who did not ask has null, and so has a finish frame.
  const Answer answer{.text = "a\xc3\xa9", .finish = FinishReason::stop, .tokens = tokens};
  const AnswerHead head{.api = Api::chat, .id = "ID", .model = "m", .created_s = 5};
  EXPECT_THAT(answer_body(head, {&answer, 1}, {}, &tokenizer),
              HasSubstr(std::string("\"logprobs\":") + kChatLogprobs + ",\"finish_reason\":\"stop\""));
  EXPECT_THAT(answer_body(head, {&answer, 1}, {}), HasSubstr("\"logprobs\":null"));
  std::string finish;
  Frames(head, false, false, &tokenizer).finish(finish, 0, FinishReason::stop, {});
  EXPECT_THAT(finish, HasSubstr("\"logprobs\":null"));
}

TEST(Target, IsADecodedPathOrNothing) {
  struct Case {
    const char* target;
    std::optional<std::string> path;
  };
  const Case cases[] = {
      {"/v1/models", "/v1/models"},
      {"/v1/models?a=b#c", "/v1/models"},
      {"/v1%2Fmodels%20x", "/v1/models x"},
      {"http://host:1/health", "/health"},
      {"https://host", "/"},
      {"", std::nullopt},
      {"*", std::nullopt},
      {"v1", std::nullopt},
      {"?x", std::nullopt},
      {"/a%", std::nullopt},
      {"/a%2", std::nullopt},
      {"/a%zz", std::nullopt},
      {"/a%00", std::nullopt},
  };
  for (const auto& [target, path] : cases) EXPECT_EQ(path_of(target), path) << target;
}

}  // namespace
}  // namespace sluice::engine
