// Log probabilities through the API, against a softmax of the very logits that the CPU executor computed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "engine/core/json.h"
#include "engine/exec/cpu/cpu_executor.h"
#include "tests/engine/exec/cpu_model.h"
#include "tests/engine/serve/http_client.h"
#include "tests/engine/serve/test_server.h"

namespace sluice::engine::test {
namespace {

struct Told {
  std::string bytes;
  double logprob = 0;
  std::vector<std::pair<std::string, double>> top;
  bool operator==(const Told&) const = default;
};

std::string bytes_of(JsonElement token) {
  std::string out;
  for (const auto byte : items(*member(fields(token), "bytes"))) out += static_cast<char>(*as_integer(byte));
  return out;
}

double logprob_of(JsonElement token) { return *as_number(*member(fields(token), "logprob")); }

/// Appends what one `logprobs` object of a chat tells.
void read_told(JsonElement logprobs, std::vector<Told>& out) {
  for (const auto token : items(*member(fields(logprobs), "content"))) {
    Told& told = out.emplace_back(Told{.bytes = bytes_of(token), .logprob = logprob_of(token), .top = {}});
    for (const auto one : items(*member(fields(token), "top_logprobs")))
      told.top.emplace_back(bytes_of(one), logprob_of(one));
  }
}

struct Choice {
  std::string text;
  std::vector<Told> told;
};

class Logprobs : public testing::Test {
 protected:
  Logprobs() {
    const auto tokenizer = Tokenizer::parse(scripted_tokenizer_json(), "test").value();
    vocab_ = static_cast<std::uint32_t>(tokenizer.vocab_size());
    const auto config = odd_model(64, 4, 2, 16, 96, vocab_);
    CpuOptions cpu;
    cpu.threads = 1;
    cpu.kv_blocks = 64;
    cpu.logits_sink = [this](SlotId, std::uint32_t position, std::span<const float> logits) {
      seen_[position] = {logits.begin(), logits.end()};
    };
    server_ = std::make_unique<TestServer>(make_cpu_executor(config, lively_weights(config, 11), cpu).value(),
                                           TestServerOptions());
    client_ = std::make_unique<Client>(server_->port());
  }

  static std::string ask(const std::string& more) {
    return R"({"messages":[{"role":"user","content":"tell me of"}],"logprobs":true,"top_logprobs":6,"max_tokens":24,)"
           R"("ignore_eos":true,"seed":5,"temperature":0.9,"logit_bias":{"97":4,"98":-3},"presence_penalty":0.7,)"
           R"("frequency_penalty":0.9)" +
           more + "}";
  }
  static constexpr std::size_t kTokens = 24;

  std::vector<Choice> whole(const std::string& more) {
    client_->post("/v1/chat/completions", ask(more));
    const auto reply = client_->reply();
    EXPECT_EQ(reply.status, 200u) << reply.body;
    const auto document = JsonDocument::parse(reply.body, "answer").value();
    std::vector<Choice> out;
    for (const auto choice : items(*member(fields(document.root()), "choices"))) {
      Choice& one = out.emplace_back();
      one.text = *as_string(*member(fields(*member(fields(choice), "message")), "content"));
      read_told(*member(fields(choice), "logprobs"), one.told);
    }
    return out;
  }

  std::vector<Choice> streamed(const std::string& more, std::size_t choices) {
    client_->post("/v1/chat/completions", ask(R"(,"stream":true)" + more));
    const auto body = client_->reply().body;
    std::vector<Choice> out(choices);
    for (std::size_t at = 0; (at = body.find("data: {", at)) != std::string::npos; ++at) {
      const auto document = JsonDocument::parse(body.substr(at + 6, body.find('\n', at) - at - 6), "frame").value();
      for (const auto choice : items(*member(fields(document.root()), "choices"))) {
        Choice& one = out.at(static_cast<std::size_t>(*as_integer(*member(fields(choice), "index"))));
        if (const auto text = member(fields(*member(fields(choice), "delta")), "content"))
          one.text += *as_string(*text);
        if (const auto logprobs = member(fields(choice), "logprobs")) read_told(*logprobs, one.told);
      }
    }
    return out;
  }

  std::uint32_t vocab_ = 0;
  std::map<std::uint32_t, std::vector<float>> seen_;  // by position; engine thread, read once it is idle
  std::unique_ptr<TestServer> server_;
  std::unique_ptr<Client> client_;
};

TEST_F(Logprobs, AreThoseOfASoftmaxOverTheLogitsAfterBiasAndPenaltiesBeforeTemperature) {
  const auto answer = whole("");
  ASSERT_TRUE(server_->idle());
  ASSERT_EQ(answer.size(), 1u);
  ASSERT_EQ(answer[0].told.size(), kTokens);
  std::map<std::string, std::size_t> id_of;
  for (std::uint32_t id = 0; id < vocab_; ++id) {
    id_of.emplace(std::string(server_->tokenizer().bytes(static_cast<TokenId>(id))), id);
  }
  std::map<std::size_t, int> uses;
  const std::uint32_t last_of_prompt = seen_.begin()->first;
  for (std::uint32_t i = 0; i < kTokens; ++i) {
    auto logits = std::vector<double>(seen_.at(last_of_prompt + i).begin(), seen_.at(last_of_prompt + i).end());
    logits[97] += 4;
    logits[98] -= 3;
    logits[static_cast<std::size_t>(*server_->tokenizer().id_of(kScriptedEnd))] = -1e30;  // ignore_eos: never drawn
    for (const auto& [id, count] : uses) logits[id] -= 0.9 * count + 0.7;
    const double most = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const double logit : logits) sum += std::exp(logit - most);
    const auto expected = [&](std::size_t id) { return logits[id] - most - std::log(sum); };

    const Told& told = answer[0].told[i];
    const std::size_t drawn = id_of.at(told.bytes);
    EXPECT_NEAR(told.logprob, expected(drawn), 2e-4) << i;
    ++uses[drawn];
    std::vector<std::size_t> order(vocab_);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return logits[a] > logits[b]; });
    ASSERT_EQ(told.top.size(), 6u);
    for (std::size_t k = 0; k < 6; ++k) {
      EXPECT_NEAR(told.top[k].second, expected(order[k]), 2e-4) << i << " " << k;
      EXPECT_NEAR(told.top[k].second, expected(id_of.at(told.top[k].first)), 2e-4) << i << " " << k;
    }
  }
}

TEST_F(Logprobs, AStreamTellsWhatTheWholeAnswerTellsForEachOfSeveralChoices) {
  const auto one = whole("");
  const auto three = whole(R"(,"n":3)");
  const auto stream = streamed(R"(,"n":3)", 3);
  ASSERT_EQ(three.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(stream[i].text, three[i].text);
    EXPECT_EQ(stream[i].told, three[i].told);
    EXPECT_EQ(three[i].told.size(), kTokens);
  }
  // The seed counts, and the choice: the first of three is the only one of one, the others differ.
  EXPECT_EQ(one[0].told, three[0].told);
  EXPECT_NE(three[0].text, three[1].text);
  EXPECT_NE(three[1].text, three[2].text);
}

TEST_F(Logprobs, AskingForThemChangesNothingElse) {
  const auto with = whole("");
  std::string plain = ask("");
  const std::string fields_of_ours = R"("logprobs":true,"top_logprobs":6,)";
  plain.erase(plain.find(fields_of_ours), fields_of_ours.size());
  client_->post("/v1/chat/completions", plain);
  const auto reply = client_->reply();
  const auto document = JsonDocument::parse(reply.body, "answer").value();
  const auto choice = *items(*member(fields(document.root()), "choices")).begin();
  EXPECT_EQ(as_string(*member(fields(*member(fields(choice), "message")), "content")), with[0].text);
  EXPECT_THAT(reply.body, testing::HasSubstr("\"logprobs\":null"));
}

}  // namespace
}  // namespace sluice::engine::test
