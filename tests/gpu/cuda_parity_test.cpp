// The CUDA executor against logits that transformers computed in float32 (tests/support/golden, made by tools/golden),
// and against the CPU executor's texts.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>

#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"
#include "tests/engine/exec/golden_family.h"
#include "tests/gpu/cuda_model.h"

namespace sluice::engine {
namespace {

using namespace test;

const std::filesystem::path kSource = SLUICE_SOURCE_DIR;
const std::filesystem::path kTinyCoder = kSource / "models/tiny-coder";

/// Golden models that this backend does not run, with what its message says.
const std::map<std::string, std::string> kRefused = {};

void expect_parity(const std::string& name, const GoldenFamily& family) {
  CudaOptions options;
  options.slots_max = 1;
  options.rows_max = 128;
  options.context_max = family.context;
  options.kv_blocks = 4;
  options.own_products_only = true;  // cuBLASLt's have the same bits (CudaProducts), and choosing them takes time
  std::vector<float> row;
  options.logits_sink = [&](SlotId, std::uint32_t, std::span<const float> logits) {
    row.assign(logits.begin(), logits.end());
  };
  if (const auto refused = kRefused.find(name); refused != kRefused.end()) {
    const auto made = make_cuda_executor(family.config, &family.weights, options);
    ASSERT_FALSE(made.has_value()) << "it runs: take it from the list";
    EXPECT_NE(made.error().message.find(refused->second), std::string::npos) << made.error().message;
    std::printf("%s: refused: %s\n", name.c_str(), made.error().message.c_str());
    return;
  }
  const auto executor = make_gpu_executor(family.config, family.weights, options);
  const auto blocks = first_blocks(4);
  GoldenScore score(family);
  for (std::size_t s = 0; s < family.sequences.size(); ++s) {
    const GoldenSequence& sequence = family.sequences[s];
    std::uint64_t decoded = 0;  // hash of the prompt's last row
    for (std::uint32_t position = 0; position + 1 < sequence.tokens.size(); ++position) {
      const Sampled sampled = gpu_step(*executor, {{0, position, 1, &sequence.tokens, &blocks}}).at(0);
      score.add(s, position, row, sampled.token);
      if (position + 1 == sequence.prompt) decoded = sampled.logits_hash;
    }
    EXPECT_EQ(gpu_step(*executor, {{0, 0, sequence.prompt, &sequence.tokens, &blocks}}).at(0).logits_hash, decoded)
        << "prefilled whole, sequence " << s;
  }
  EXPECT_GT(score.rows(), 50u);
  EXPECT_LE(score.error(), GoldenScore::kErrorMax);
  EXPECT_EQ(score.wrong_tokens(), 0u);
  std::printf("%s: NMSE %.2e, of the worst position %.2e; %zu of %zu greedy tokens equal\n", name.c_str(),
              score.error(), score.worst_row(), score.same_tokens(), score.rows());
}

TEST(CudaParity, LogitsAndGreedyTokensOfEveryFamilyAreTransformers) {
  SLUICE_NEEDS_GPU();
  const auto families = golden_families();
  for (const std::string& name : families) {
    SCOPED_TRACE(name);
    expect_parity(name, load_golden_family(name));
  }
  for (const auto& [name, message] : kRefused)
    EXPECT_TRUE(std::count(families.begin(), families.end(), name)) << name << " is not there any more";
}

/// tiny-coder on the GPU, one sequence at a time; `row` receives each sampled row's logits.
std::unique_ptr<Executor> tiny_coder_on_gpu(const ModelConfig& config, const Weights& weights,
                                            std::vector<float>* row) {
  CudaOptions options;
  options.slots_max = 8;
  options.rows_max = options.context_max = 2048;
  options.kv_blocks = 64;
  if (row != nullptr)
    options.logits_sink = [row](SlotId, std::uint32_t, std::span<const float> logits) {
      row->assign(logits.begin(), logits.end());
    };
  return make_gpu_executor(config, weights, options);
}

// The model that ships: its prompts prefilled whole, transformers' greedy answers fed back token by token.
TEST(CudaParity, TinyCoderAnswersAsItDoesInTransformers) {
  SLUICE_NEEDS_GPU();
  const auto golden_folder = kSource / "tests/support/golden/tiny-coder";
  const ModelConfig config = must(load_config(kTinyCoder));
  const Weights weights = must(load_weights(kTinyCoder, config));
  const MappedFile file = must(MappedFile::open(golden_folder / "logits.safetensors"));
  const auto golden = must(parse_safetensors(file.bytes(), "logits.safetensors"));
  const auto document = read_json(golden_folder / "golden.json");
  std::vector<float> row, seen, expected;
  const auto executor = tiny_coder_on_gpu(config, weights, &row);
  const auto blocks = first_blocks(32);
  std::size_t exact = 0, all = 0;
  const auto& prompts = document.at("prompts").as_array();
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    std::vector<TokenId> tokens = token_ids(prompts[i].at("tokens"));
    const auto prompt_size = static_cast<std::uint32_t>(tokens.size());
    const std::vector<TokenId> greedy = token_ids(prompts[i].at("greedy"));
    const std::vector<float> first = floats_named(golden, "logits." + std::to_string(i));
    ASSERT_EQ(first.size(), config.vocab_size);
    tokens.insert(tokens.end(), greedy.begin(), greedy.end());
    Sampled sampled = gpu_step(*executor, {{0, 0, prompt_size, &tokens, &blocks}}).at(0);
    ASSERT_EQ(row.size(), first.size());
    EXPECT_LT(normalized_error(row, first), 1e-3) << "prompt " << i;
    seen.insert(seen.end(), row.begin(), row.end());
    expected.insert(expected.end(), first.begin(), first.end());
    for (std::uint32_t n = 0; n < greedy.size(); ++n) {
      if (n > 0) sampled = gpu_step(*executor, {{0, prompt_size + n - 1, 1, &tokens, &blocks}}).at(0);
      ++all;
      exact += sampled.token == greedy[n] ? 1 : 0;
      EXPECT_LE(row[static_cast<std::size_t>(sampled.token)] - row[static_cast<std::size_t>(greedy[n])],
                GoldenScore::kNearTieNats)
          << "prompt " << i << " token " << n;
    }
  }
  EXPECT_GE(all, 500u);
  const double overall = normalized_error(seen, expected);
  EXPECT_LE(overall, GoldenScore::kErrorMax);
  std::printf("tiny-coder: NMSE %.2e; %zu of %zu greedy tokens equal\n", overall, exact, all);
}

/// Prompts as tests/model/evaluate.py asks them, and those of the golden file.
std::vector<std::vector<TokenId>> evaluation_prompts() {
  const Tokenizer tokenizer = must(Tokenizer::load(kTinyCoder / "tokenizer.json"));
  const auto settings = read_json(kTinyCoder / "tokenizer_config.json");
  const ChatTemplate chat =
      must(ChatTemplate::parse(std::string_view(settings.at("chat_template").as_string())));  // renders bos itself
  const char* const wordings[] = {"Write Python code that prints \"{}\"",
                                  "Give me a Python script that outputs the text \"{}\".",
                                  "How can I print \"{}\" in Python?",
                                  "Please make a program in Python that says \"{}\".",
                                  "I would like a small Python program which displays \"{}\"",
                                  "Using Python, show \"{}\" on the screen.",
                                  "Create a Python file that writes \"{}\" to the terminal",
                                  "Could you write Python code printing \"{}\" for me?"};
  const char* const names[] = {"Jay", "Ximena", "k9 & co;", "Quentin 42", "~!@#$%^&*()", "strandai prouth"};
  std::vector<std::vector<ChatMessage>> talks = {
      {{"user", "My name is Jay."}, {"assistant", "Nice to meet you, Jay!"}, {"user", "What is my name?"}},
      {{"system", "Your name is Robin."}, {"user", "Who are you?"}},
      {{"user", "Count from 1 to 12"}},
      {{"user", "List three planets"}},
      {{"system", "You are a helpful assistant."}, {"user", "What is the capital of France?"}},
      {{"user", "Write ten Python functions"}}};
  for (std::size_t i = 0; i < std::size(wordings) * 3; ++i) {
    std::string text = wordings[i % std::size(wordings)];
    text.replace(text.find("{}"), 2, names[i % std::size(names)]);
    talks.push_back({{"user", std::move(text)}});
  }
  const auto special = [&](const char* key) {
    const auto& object = settings.as_object();
    const auto* found = object.if_contains(key);
    return found != nullptr && found->is_string() ? std::string(found->as_string()) : std::string();
  };
  std::vector<std::vector<TokenId>> prompts;
  for (const auto& talk : talks)
    prompts.push_back(
        tokenizer.encode(must(chat.render(talk, true, special("bos_token"), special("eos_token"))), false));
  const auto document = read_json(kSource / "tests/support/golden/tiny-coder/golden.json");
  for (const auto& prompt : document.at("prompts").as_array()) prompts.push_back(token_ids(prompt.at("tokens")));
  return prompts;
}

TEST(CudaParity, TinyCoderWritesWhatItWritesOnTheCpu) {
  SLUICE_NEEDS_GPU();
  const ModelConfig config = must(load_config(kTinyCoder));
  const Weights weights = must(load_weights(kTinyCoder, config));
  const auto gpu = tiny_coder_on_gpu(config, weights, nullptr);
  std::vector<float> row;
  CpuOptions options;
  options.slots_max = 1;
  options.rows_max = options.context_max = 2048;
  options.logits_sink = [&](SlotId, std::uint32_t, std::span<const float> logits) {
    row.assign(logits.begin(), logits.end());
  };
  const auto cpu = make_executor(config, weights, options);
  const auto blocks = first_blocks(32);
  constexpr std::size_t kTokens = 80;
  const auto ended = [&](TokenId token) {
    return std::find(config.eos.begin(), config.eos.end(), token) != config.eos.end();
  };
  const auto prompts = evaluation_prompts();
  std::size_t equal = 0, tokens_equal = 0;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const auto size = static_cast<std::uint32_t>(prompts[i].size());
    const std::size_t most = std::min<std::size_t>(kTokens, config.context_max - size);
    std::vector<TokenId> text = prompts[i];
    Sampled drawn = gpu_step(*gpu, {{0, 0, size, &text, &blocks}}).at(0);
    for (text.push_back(drawn.token); !ended(text.back()) && text.size() < size + most; text.push_back(drawn.token))
      drawn = gpu_step(*gpu, {{0, static_cast<std::uint32_t>(text.size() - 1), 1, &text, &blocks}}).at(0);
    bool same = true;
    for (std::uint32_t n = 0; size + n < text.size() && same; ++n) {
      const Sampled sampled = n == 0 ? step(*cpu, {{0, 0, size, &text, &blocks}}).at(0)
                                     : step(*cpu, {{0, size + n - 1, 1, &text, &blocks}}).at(0);
      const TokenId other = text[size + n];
      same = sampled.token == other;
      tokens_equal += same ? 1 : 0;
      if (same) continue;
      // From here on the texts differ, so this prompt ends.
      const float gap = row[static_cast<std::size_t>(sampled.token)] - row[static_cast<std::size_t>(other)];
      std::printf("prompt %zu, token %u: %d on the CPU, %d on the GPU, %.4f nat apart\n", i, n, sampled.token, other,
                  static_cast<double>(gap));
      EXPECT_LE(gap, GoldenScore::kNearTieNats) << "prompt " << i << " token " << n;
    }
    equal += same ? 1 : 0;
  }
  std::printf("tiny-coder: %zu of %zu texts equal, %zu tokens\n", equal, prompts.size(), tokens_equal);
  EXPECT_GE(equal * 10, prompts.size() * 9);
}

}  // namespace
}  // namespace sluice::engine
