// What the CUDA back end refuses, and with which sentence. Those named CudaRefusal need no GPU.
#include <string>

#include "engine/exec/cuda/device_model.h"
#include "tests/gpu/cuda_model.h"

namespace sluice::engine {
namespace {

using namespace test;

testing::AssertionResult names(const std::string& message, const std::vector<std::string>& parts) {
  for (const std::string& part : parts)
    if (message.find(part) == std::string::npos)
      return testing::AssertionFailure() << "no '" << part << "' in: " << message;
  return testing::AssertionSuccess();
}

struct Refused {
  const char* name;
  ModelConfig config;
  const char* message;
};

std::vector<Refused> refused_models() {
  return {{"wide heads", odd_model(512, 2, 1, 256, 96, 320), "head_dim is 256"},
          {"odd heads that are turned", odd_model(60, 4, 2, 15, 96, 320), "head_dim is 15"},
          {"heads not shared evenly", odd_model(80, 5, 2, 16, 96, 320), "5 query heads"},
          {"too many share a head", odd_model(64, 130, 1, 16, 96, 320), "130 query heads"}};
}

TEST(CudaRefusal, NamesWhatTheGraphCannotRun) {
  for (const Refused& each : refused_models()) {
    const auto shape = cuda::ModelShape::of(each.config);
    ASSERT_FALSE(shape.has_value()) << each.name;
    EXPECT_TRUE(names(shape.error().message, {each.message})) << each.name;
  }
  EXPECT_TRUE(cuda::ModelShape::of(odd_model(64, 4, 2, 16, 96, 320)).has_value());
}

TEST(CudaRefusal, SaysWhyThereIsNoUsableGpu) {
  const auto device = cuda_device();
  if (device) GTEST_SKIP() << "there is one: " << *device;
  const std::string& message = device.error().message;
  EXPECT_TRUE(message.find("driver") != std::string::npos || message.find("GPU") != std::string::npos) << message;
  const auto made = make_cuda_executor(odd_model(64, 4, 2, 16, 96, 320), nullptr, {});
  ASSERT_FALSE(made.has_value());
  EXPECT_EQ(made.error().message, "backend cuda: " + message);
}

class CudaFailure : public testing::Test {
 protected:
  static CudaOptions small() {
    CudaOptions options;
    options.slots_max = 4;
    options.rows_max = 128;
    options.kv_blocks = 20;
    options.own_products_only = true;
    return options;
  }
  std::string message_of(const CudaOptions& options) const {
    const auto made = make_cuda_executor(config_, &weights_, options);
    return made ? std::string("it was made") : made.error().message;
  }

  const ModelConfig config_ = odd_model(64, 4, 2, 16, 96, 320);
  const Weights weights_ = lively_weights(config_, 1);
};

TEST_F(CudaFailure, MemoryThatDoesNotSufficeIsSaidWithItsArithmetic) {
  SLUICE_NEEDS_GPU();
  CudaOptions options = small();
  options.kv_blocks = 100'000'000;
  const std::vector<std::string> parts = {"not enough memory", "weights ", "steps of 128 rows", "KV cache", "reserve",
                                          "64 tokens",         "are free", "would fit",         "lower"};
  std::string message = message_of(options);
  std::printf("%s\n", message.c_str());
  EXPECT_TRUE(names(message, parts));
  EXPECT_TRUE(names(message, {"100000000 blocks"}));
  options.kv_blocks = 0;
  options.kv_bytes = std::uint64_t{1} << 46;
  EXPECT_TRUE(names(message_of(options), parts));
  // Logits of so many slots alone would be terabytes: refused before the weights are looked at.
  options = small();
  options.slots_max = options.rows_max = 65'535;
  ModelConfig wide = config_;
  wide.vocab_size = 1u << 24;
  const auto made = make_cuda_executor(wide, nullptr, options);
  ASSERT_FALSE(made.has_value());
  EXPECT_TRUE(names(made.error().message, {"not enough memory", "not even one block fits"}));
  // And nothing is left behind that would be in the way.
  const auto executor = make_gpu_executor(config_, weights_, small());
  const auto tokens = random_tokens(10, config_.vocab_size, 1);
  const auto blocks = first_blocks(1);
  EXPECT_TRUE(gpu_step(*executor, {{0, 0, 10, &tokens, &blocks}}).at(0).finite);
}

TEST_F(CudaFailure, LimitsAreThoseThatWereAskedFor) {
  SLUICE_NEEDS_GPU();
  CudaOptions options = small();
  options.slots_max = 8;
  options.rows_max = 7;
  EXPECT_TRUE(names(message_of(options), {"rows_max is 7", "slots_max 8"}));
  options.slots_max = 0;
  EXPECT_TRUE(names(message_of(options), {"slots_max 0"}));
  options.slots_max = options.rows_max = 1u << 30;
  EXPECT_TRUE(names(message_of(options), {"rows_max is 1073741824", "65535 tokens"}));
  const auto context_of = [&](std::uint32_t context, std::uint32_t blocks) {
    CudaOptions asked = small();
    asked.context_max = context;
    asked.kv_blocks = blocks;
    const auto executor = make_gpu_executor(config_, weights_, asked);
    EXPECT_EQ(executor->info().blocks, blocks);
    EXPECT_EQ(executor->info().slots_max, asked.slots_max);
    EXPECT_EQ(executor->info().rows_max, asked.rows_max);
    EXPECT_EQ(executor->info().backend, "cuda");
    EXPECT_FALSE(executor->info().device.empty());
    return executor->info().context_max;
  };
  EXPECT_EQ(context_of(100, 20), 100u);
  EXPECT_EQ(context_of(0, 20), config_.context_max);
  EXPECT_EQ(context_of(100'000, 20), config_.context_max);
  EXPECT_EQ(context_of(0, 2), 128u);
}

TEST_F(CudaFailure, ModelsThatCannotRunAreRefused) {
  SLUICE_NEEDS_GPU();
  for (const Refused& each : refused_models()) {
    const auto made = make_cuda_executor(each.config, nullptr, small());
    ASSERT_FALSE(made.has_value()) << each.name;
    EXPECT_TRUE(names(made.error().message, {each.message})) << each.name;
  }
  ModelConfig deeper = config_;
  deeper.layers = 3;
  const auto made = make_cuda_executor(deeper, &weights_, small());
  ASSERT_FALSE(made.has_value());
  EXPECT_TRUE(names(made.error().message, {"2 layers of weights", "model of 3"}));
}

// The benchmark's and the server's --random-weights.
TEST_F(CudaFailure, RandomWeightsAreMadeOnTheDevice) {
  SLUICE_NEEDS_GPU();
  auto made = make_cuda_executor(config_, nullptr, small());
  ASSERT_TRUE(made.has_value()) << made.error().message;
  SamplingParams greedy;
  greedy.temperature = 0;
  (*made)->bind(0, greedy, {}, 0);
  const auto tokens = random_tokens(70, config_.vocab_size, 1);
  const auto blocks = first_blocks(2);
  EXPECT_TRUE(gpu_step(**made, {{0, 0, 70, &tokens, &blocks}}).at(0).finite);
}

}  // namespace
}  // namespace sluice::engine
