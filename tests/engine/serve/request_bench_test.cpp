#include "engine/serve/request_bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/exec/scripted/scripted_executor.h"
#include "engine/text/chat_template.h"

namespace sluice::engine {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

struct Bench {
  explicit Bench(Script script, std::uint32_t context = 4096) {
    ScriptedOptions options;
    options.script = script;
    options.words = tokenizer.encode("abc", false);
    options.end = *tokenizer.id_of(kScriptedEnd);
    options.vocab_size = static_cast<std::uint32_t>(tokenizer.vocab_size());
    options.context_max = context;
    EngineOptions engine_options;
    engine_options.end_tokens = {options.end};
    engine.emplace(make_scripted_executor(options), tokenizer, engine_options);
    model.id = "scripted";
    model.tokenizer = &tokenizer;
    model.chat_template = &chat_template;
    model.vocab_size = options.vocab_size;
  }

  Tokenizer tokenizer = Tokenizer::parse(scripted_tokenizer_json(), "test").value();
  ChatTemplate chat_template = ChatTemplate::parse("{% for m in messages %}{{ m['content'] }}{% endfor %}").value();
  ModelText model;
  std::optional<Engine> engine;
};

TEST(RequestBench, MeasuresTheRequestsOfAFileThroughTheEngine) {
  Script script;
  script.ttft = 20ms;
  script.gap = 10ms;
  script.tokens = 4;
  Bench bench(script);
  const std::string file =
      "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"stream\":true}\n\n{\"prompt\":\"hello\"}\r\n"
      "{\"prompt\":\"x\",\"n\":2}";
  const auto requests = read_bench_requests(file, "f", bench.model);
  ASSERT_TRUE(requests) << requests.error().message;
  const auto one = run_requests(bench.model, *bench.engine, *requests, 1);
  EXPECT_EQ(one.requests, 3u);
  EXPECT_EQ(one.errors, 0u) << one.first_error;
  EXPECT_EQ(one.prompt_tokens, 2u + 5u + 1u);
  EXPECT_EQ(one.output_tokens, 16u);
  EXPECT_GE(one.ttft_ms.p50, 20);
  EXPECT_GE(one.e2e_ms.p50, 50);
  EXPECT_GE(one.e2e_ms.p95, one.e2e_ms.p50);
  EXPECT_GT(one.tpot_ms.p95, 0);
  EXPECT_NEAR(one.output_tokens_per_s, 16 / one.wall_s, 0.001);
  // How many run at a time changes no text; another text has another hash.
  EXPECT_EQ(run_requests(bench.model, *bench.engine, *requests, 3).text_hash, one.text_hash);
  const auto other = read_bench_requests("{\"prompt\":\"hello\"}", "f", bench.model).value();
  EXPECT_NE(run_requests(bench.model, *bench.engine, other, 1).text_hash, one.text_hash);
  EXPECT_THAT(json_of(one), HasSubstr("{\"layer\":\"service\",\"requests\":3,\"errors\":0,\"concurrency\":1,"));
}

TEST(RequestBench, NamesEveryLineThatIsNoRequest) {
  Bench bench({});
  const auto read =
      read_bench_requests("{\"prompt\":\"a\"}\n{\nnull\n{\"prompt\":\"a\",\"n\":0}\n", "file", bench.model);
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().message, HasSubstr("file:2: "));
  EXPECT_THAT(read.error().message, HasSubstr("\nfile:3: the body must be a JSON object, not null"));
  EXPECT_THAT(read.error().message, HasSubstr("\nfile:4: 'n' must be a whole number from 1 to 16, not 0"));
  EXPECT_THAT(read_bench_requests("\n \n", "file", bench.model).error().message, HasSubstr("no requests in it"));
}

TEST(RequestBench, CountsWhatTheEngineRefuses) {
  Bench bench({}, 100);
  const auto requests =
      read_bench_requests("{\"prompt\":\"a\",\"max_tokens\":1000}\n{\"prompt\":\"a\"}", "f", bench.model).value();
  const auto figures = run_requests(bench.model, *bench.engine, requests, 2);
  EXPECT_EQ(figures.errors, 1u);
  EXPECT_THAT(figures.first_error, HasSubstr("at most 100 fit together"));
  EXPECT_EQ(figures.output_tokens, 16u);
  EXPECT_THAT(text_of(figures), HasSubstr("errors: 1\nthe first error: the request needs"));
}

TEST(RequestBench, PercentilesAreValuesThatOccurred) {
  Bench bench({});
  const auto one = read_bench_requests("{\"prompt\":\"a\",\"max_tokens\":1}", "f", bench.model).value();
  const auto figures = run_requests(bench.model, *bench.engine, one, 8);
  EXPECT_EQ(figures.e2e_ms.p50, figures.e2e_ms.p95);
  EXPECT_EQ(figures.tpot_ms.p95, 0);  // of one token there is none
}

}  // namespace
}  // namespace sluice::engine
