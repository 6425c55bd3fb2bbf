#include "engine/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <thread>

#include "engine/text/utf8.h"
#include "tests/engine/text/golden.h"

namespace sluice::engine {
namespace {

using testing::HasSubstr;

class GoldenTokenizer : public testing::TestWithParam<std::string> {
 protected:
  Tokenizer tokenizer_ = Tokenizer::load(tokenizer_path(GetParam())).value();
};

TEST_P(GoldenTokenizer, GivesHuggingFacesTokens) {
  const auto inputs = golden_inputs();
  const auto expected = golden_lines("ids." + GetParam() + ".jsonl");
  ASSERT_EQ(inputs.size(), expected.size());
  ASSERT_GT(inputs.size(), 500u);
  int shown_count = 0;
  for (std::size_t i = 0; i < inputs.size() && shown_count < 10; ++i) {
    const auto ids = tokenizer_.encode(inputs[i].text, inputs[i].special);
    if (ids != golden_ids(expected[i].root())) {
      ++shown_count;
      ADD_FAILURE() << "input " << i << ": " << testing::PrintToString(inputs[i].text.substr(0, 200)) << "\n  ours "
                    << testing::PrintToString(ids) << "\n  want "
                    << testing::PrintToString(golden_ids(expected[i].root()));
    }
  }
}

TEST_P(GoldenTokenizer, GivesHuggingFacesTexts) {
  for (const JsonDocument& line : golden_lines("decoded." + GetParam() + ".jsonl")) {
    const JsonObject object = fields(line.root());
    const auto ids = golden_ids(*member(object, "ids"));
    EXPECT_EQ(tokenizer_.decode(ids, false), *as_string(*member(object, "text")));
    EXPECT_EQ(tokenizer_.decode(ids, true), *as_string(*member(object, "without_special")));
  }
}

TEST_P(GoldenTokenizer, DetokenizerSaysInPartsWhatDecodeSaysAtOnce) {
  std::mt19937 random(7);
  for (int round = 0; round < 500; ++round) {
    std::vector<TokenId> ids(random() % 20);
    for (TokenId& id : ids) id = static_cast<TokenId>(random() % (tokenizer_.vocab_size() + 2));
    const bool skip_special = random() % 2 == 0;
    Detokenizer detokenizer(tokenizer_, skip_special);
    std::string text;
    for (const TokenId id : ids) {
      const std::string part = detokenizer.push(id);
      EXPECT_TRUE(is_valid_utf8(part)) << testing::PrintToString(part);
      text += part;
    }
    text += detokenizer.finish();
    EXPECT_EQ(text, tokenizer_.decode(ids, skip_special)) << testing::PrintToString(ids);
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTokenizer,
                         testing::Values("gpt2", "llama3", "qwen2", "o200k", "odd", "odd_fused", "odd_dropped",
                                         "tiny-coder", "llama2", "phi3", "mistral", "gemma", "metaspace",
                                         "metaspace_never", "some_bytes"),
                         [](const auto& each) {
                           std::string name = each.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Tokenizer, SplitsByEachBehaviourAsHuggingFaceDoes) {
  const std::string base = golden_file("behaviors.json");
  const auto begin = base.find("\"pre_tokenizer\":"), end = base.find("\"post_processor\":");
  ASSERT_NE(end, std::string::npos);
  int cases = 0;
  for (const JsonDocument& line : golden_lines("behaviors.jsonl")) {
    const JsonObject object = fields(line.root());
    const std::string pre_tokenizer = simdjson::minify(*member(object, "pre_tokenizer"));
    const std::string json = base.substr(0, begin) + "\"pre_tokenizer\": " + pre_tokenizer + ", " + base.substr(end);
    const auto tokenizer = Tokenizer::parse(json, "behaviors");
    ASSERT_TRUE(tokenizer) << tokenizer.error().message;
    for (const JsonElement each : items(*member(object, "cases"))) {
      const std::string_view text = *as_string(items(each).at(0).value());
      EXPECT_EQ(tokenizer->encode(text, false), golden_ids(items(each).at(1).value()))
          << pre_tokenizer << " of '" << text << "'";
      ++cases;
    }
  }
  EXPECT_EQ(cases, 80);
}

TEST(Tokenizer, GivesValidTextsBackByteForByte) {
  for (const std::string name :
       {"gpt2", "llama3", "o200k", "tiny-coder"}) {  // byte-level, no normalizer, every byte known
    const auto tokenizer = Tokenizer::load(tokenizer_path(name)).value();
    for (const GoldenInput& input : golden_inputs()) {
      std::string valid;
      append_valid_utf8(input.text, valid);
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(input.text, false), false), valid) << name;
    }
  }
}

TEST(Tokenizer, TakesLongWordsInLessThanQuadraticTime) {
  for (const std::string name : {"gpt2", "llama2"}) {  // to the second the whole text is one word
    const auto tokenizer = Tokenizer::load(tokenizer_path(name)).value();
    for (const std::string& unit :
         {std::string("a"), std::string("ab"), std::string("the"), std::string(" the"), std::string("\xCC\x81")}) {
      std::string word = "x";
      while (word.size() < 1'000'000) word += unit;
      const auto begin = std::chrono::steady_clock::now();
      const auto ids = tokenizer.encode(word, false);
      const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
      EXPECT_EQ(tokenizer.decode(ids, false), word);
      // A minute is generous, also under sanitizers on a busy machine; quadratic work would be 10^12 steps.
      EXPECT_LT(time.count(), 60.0);
    }
  }
}

TEST(Tokenizer, SortsLongRunsOfMarksInLessThanQuadraticTime) {
  const auto tokenizer = Tokenizer::load(tokenizer_path("qwen2")).value();
  std::string marks = "a";
  for (int i = 0; i < 300'000; ++i)
    marks += i % 2 ? "\xCC\x96" : "\xCC\x81";  // below and above: each must pass all before it
  const auto begin = std::chrono::steady_clock::now();
  tokenizer.encode(marks, false);
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
  EXPECT_LT(time.count(), 60.0);
}

TEST(Tokenizer, EncodesAlikeFromManyThreads) {
  const auto tokenizer = Tokenizer::load(tokenizer_path("llama3")).value();
  const auto inputs = golden_inputs();
  std::vector<std::vector<TokenId>> alone;
  for (const GoldenInput& input : inputs) alone.push_back(tokenizer.encode(input.text, input.special));
  std::vector<int> wrong(4);
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < wrong.size(); ++t) {
      threads.emplace_back([&, t] {
        for (std::size_t i = 0; i < inputs.size(); ++i) {
          const std::size_t at = (i * 7 + t * 131) % inputs.size();
          wrong[t] += tokenizer.encode(inputs[at].text, inputs[at].special) != alone[at];
        }
      });
    }
  }
  EXPECT_THAT(wrong, testing::Each(0));
}

TEST(Tokenizer, KnowsItsTokensByIdAndSpelling) {
  const auto tokenizer = Tokenizer::load(tokenizer_path("qwen2")).value();
  const auto end = tokenizer.id_of("<|im_end|>");
  ASSERT_TRUE(end);
  EXPECT_TRUE(tokenizer.is_special(*end));
  EXPECT_EQ(tokenizer.bytes(*end), "<|im_end|>");
  const auto call = tokenizer.id_of("<tool_call>");
  ASSERT_TRUE(call);
  EXPECT_FALSE(tokenizer.is_special(*call));
  EXPECT_EQ(tokenizer.bytes(tokenizer.id_of("\xC4\x8A").value()), "\n");
  EXPECT_EQ(tokenizer.id_of("no such token"), std::nullopt);
  EXPECT_EQ(tokenizer.bytes(-1), "");
  EXPECT_EQ(tokenizer.bytes(1 << 30), "");
  EXPECT_FALSE(tokenizer.is_special(-1));
  const std::vector<TokenId> ids{*end, *call};
  EXPECT_EQ(tokenizer.decode(ids, true), "<tool_call>");
}

TEST(Tokenizer, RefusesByNameWhatItDoesNotKnow) {
  const std::string good = R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":[{"id":3,"content":"<e>",
    "single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],"normalizer":null,
    "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},"post_processor":null,
    "decoder":{"type":"ByteLevel"},"model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,
    "end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"ignore_merges":false,"vocab":{"a":0,"b":1,"ab":2},
    "merges":["a b"]}})";
  const auto parsed = Tokenizer::parse(good, "t");
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_THAT(parsed->encode("abab<e>", false), testing::ElementsAre(2, 2, 3));

  struct Case {
    std::string from, to, message;
  };
  const Case cases[] = {
      {"\"type\":\"BPE\"", "\"type\":\"Unigram\"", "model type \"Unigram\" is not supported"},
      {"\"normalizer\":null", "\"normalizer\":{\"type\":\"Lowercase\"}", "normalizer 'Lowercase' is not supported"},
      {"\"normalizer\":null", "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" +\"},\"content\":\"_\"}",
       "normalizer: Replace: pattern {...} is not supported: must be {\"String\": ...}"},
      {"\"normalizer\":null",
       "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"123456\"}",
       "replacements that make a text more than 4 times as long"},
      {"\"normalizer\":null", "\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"123456789\"}",
       "normalizer: Prepend: prepend is not a string of up to 8"},
      {"\"normalizer\":null", "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"}]}", "'NFKC'"},
      {"{\"type\":\"ByteLevel\",\"add", "{\"type\":\"CharDelimiterSplit\",\"add",
       "pre_tokenizer 'CharDelimiterSplit' is not supported"},
      {"{\"type\":\"ByteLevel\",\"add", "{\"type\":\"Metaspace\",\"add",
       "pre_tokenizer: Metaspace: unknown key 'trim_offsets'"},
      {"{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}", "null",
       "decoder 'ByteLevel' is not supported with a pre_tokenizer that is not ByteLevel"},
      {"\"post_processor\":null", "\"post_processor\":{\"type\":\"BertProcessing\"}",
       "post_processor 'BertProcessing'"},
      {"\"decoder\":{\"type\":\"ByteLevel\"}", "\"decoder\":{\"type\":\"Metaspace\"}",
       "decoder 'Metaspace' is not supported with a pre_tokenizer that is ByteLevel"},
      {"\"decoder\":{\"type\":\"ByteLevel\"}", "\"decoder\":null", "decoder is missing"},
      {"\"dropout\":null", "\"dropout\":0.1", "dropout 0.1"},
      {"\"byte_fallback\":false", "\"byte_fallback\":true", "byte_fallback"},
      {"\"continuing_subword_prefix\":null", "\"continuing_subword_prefix\":\"##\"",
       "continuing_subword_prefix \"##\""},
      {"\"unk_token\":null", "\"unk_token\":\"?\"", "unk_token '?' is not in the vocabulary"},
      {"[\"a b\"]", "[\"a c\"]", "merge 0 needs the token 'c'"},
      {"[\"a b\"]", "[\"b a\"]", "merge 0 needs the token 'ba'"},
      {"[\"a b\"]", "[\"a b c\"]", "merge 0 is \"a b c\""},
      {"[\"a b\"]", "[[\"a\"]]", "merge 0 is [\"a\"]"},
      {"\"ab\":2", "\"ab\":1", "id 1 stands twice"},
      {"\"ab\":2", "\"a\":2", "'a' stands twice"},
      {"\"ab\":2", "\"ab\":-2", "'ab' has id -2"},
      {"\"ab\":2", "\"ab\":99999999999", "'ab' has id 99999999999"},
      {"\"id\":3", "\"id\":4", "tokenizers would give it 3"},
      {"\"fuse_unk\"", "\"fuse_unknown\"", "unknown key 'fuse_unknown'"},
      {"\"version\"", "\"versions\"", "unknown key 'versions'"},
      {"\"lstrip\":false", "\"lstrip\":1", "'<e>': lstrip is 1"},
      {"{\"version\"", "[\"version\"", "not valid JSON"},
  };
  for (const Case& each : cases) {
    std::string json = good;
    const auto at = json.find(each.from);
    ASSERT_NE(at, std::string::npos) << each.from;
    json.replace(at, each.from.size(), each.to);
    const auto result = Tokenizer::parse(json, "t.json");
    ASSERT_FALSE(result) << each.to;
    EXPECT_THAT(result.error().message, testing::StartsWith("t.json: "));
    EXPECT_THAT(result.error().message, HasSubstr(each.message));
  }
  EXPECT_THAT(Tokenizer::load("/nonexistent/tokenizer.json").error().message, HasSubstr("no such file"));
}

TEST(Tokenizer, RefusesByNameWhatItDoesNotKnowOfSentencePiecesKind) {
  const std::string good = R"({"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"Metaspace",
    "replacement":"_","prepend_scheme":"first","split":false},"post_processor":null,"decoder":{"type":"Sequence","decoders":[
    {"type":"Replace","pattern":{"String":"_"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},
    {"type":"Strip","content":" ","start":1,"stop":0}]},"model":{"type":"BPE","unk_token":"a","byte_fallback":true,
    "vocab":{"a":0,"_":1,"_a":2,"<0x0A>":3},"merges":["_ a"]}})";
  const auto parsed = Tokenizer::parse(good, "t");
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_THAT(parsed->encode("a a\n", false), testing::ElementsAre(2, 2, 3));
  EXPECT_EQ(parsed->decode(parsed->encode("a a\n", false), false), "a a\n");
  struct Case {
    std::string from, to, message;
  };
  const Case cases[] = {
      {"\"replacement\":\"_\"", "\"replacement\":\"__\"", "pre_tokenizer: Metaspace: replacement is not one character"},
      {"\"first\"", "\"last\"", "pre_tokenizer: Metaspace: prepend_scheme is \"last\": must be always, first or never"},
      {"\"split\":false", "\"add_prefix_space\":false", "add_prefix_space is false, and prepend_scheme is not never"},
      {"{\"type\":\"Fuse\"},", "", "decoder: Strip is supported behind Fuse only"},
      {"\"stop\":0", "\"stop\":1", "decoder: Strip is supported behind Fuse only, of up to 64 spaces at the start"},
      {"{\"type\":\"Fuse\"}", "{\"type\":\"CTC\"}",
       "decoder 'CTC' is not supported; these are: Metaspace, Replace, ByteFallback"},
      {"{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}", "{\"type\":\"Fuse\"},{\"type\":\"ByteFallback\"}",
       "decoder: ByteFallback behind Fuse is not supported"},
      {"\"content\":\" \"},", "\"content\":\" \",\"x\":1},", "decoder: Replace: unknown key 'x'"},
  };
  for (const Case& each : cases) {
    std::string json = good;
    const auto at = json.find(each.from);
    ASSERT_NE(at, std::string::npos) << each.from;
    json.replace(at, each.from.size(), each.to);
    const auto result = Tokenizer::parse(json, "t.json");
    ASSERT_FALSE(result) << each.to;
    EXPECT_THAT(result.error().message, HasSubstr(each.message));
  }
}

// tokenizers gives up a whole run of byte tokens when any of it is invalid; a stream would have to wait for its end.
TEST(Tokenizer, KeepsWhatIsValidOfARunOfByteTokens) {
  const auto tokenizer = Tokenizer::load(tokenizer_path("llama2")).value();
  std::vector<TokenId> ids;
  for (const char* byte : {"<0xC3>", "<0xA9>", "<0xE4>", "<0xB8>"}) ids.push_back(tokenizer.id_of(byte).value());
  EXPECT_EQ(tokenizer.decode(ids, false), "\u00e9\uFFFD");
  Detokenizer detokenizer(tokenizer, false);
  EXPECT_EQ(detokenizer.push(ids[0]), "");
  EXPECT_EQ(detokenizer.push(ids[1]), "\u00e9");  // at once: the client need not wait for what comes next
  EXPECT_EQ(detokenizer.push(ids[2]), "");
  EXPECT_EQ(detokenizer.push(ids[3]), "");
  EXPECT_EQ(detokenizer.finish(), "\uFFFD");
}

TEST(Tokenizer, ReadsInvalidBytesAsPythonReplacesThem) {
  const auto tokenizer = Tokenizer::load(tokenizer_path("gpt2")).value();
  struct Case {
    std::string bytes, text;
  };
  const Case cases[] = {{"\xFF", "\uFFFD"},
                        {"a\xE2\x82", "a\uFFFD"},
                        {"\xE2\x82(", "\uFFFD("},
                        {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
                        {"\xF0\x9F\x91\xC3", "\uFFFD\uFFFD"},
                        {"\xC0\xAF", "\uFFFD\uFFFD"}};
  for (const Case& each : cases) {
    EXPECT_EQ(tokenizer.encode(each.bytes, false), tokenizer.encode(each.text, false))
        << testing::PrintToString(each.bytes);
  }
}

}  // namespace
}  // namespace sluice::engine
