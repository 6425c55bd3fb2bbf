// Executors on the GPU for the tests, and a driver that feeds given tokens.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <thread>

#include "engine/exec/cuda/cuda_executor.h"
#include "tests/engine/exec/cpu_model.h"

#define SLUICE_NEEDS_GPU() \
  if (const auto device = cuda_device(); !device) GTEST_SKIP() << device.error().message

namespace sluice::engine::test {

inline std::unique_ptr<Executor> make_gpu_executor(const ModelConfig& config, const Weights& weights,
                                                   CudaOptions options) {
  options.hash_logits = true;
  auto made = make_cuda_executor(config, &weights, options);
  if (!made) throw std::runtime_error(made.error().message);
  SamplingParams greedy;
  greedy.temperature = 0;
  for (SlotId slot = 0; slot < options.slots_max; ++slot) (*made)->bind(slot, greedy, {}, slot);
  return std::move(*made);
}

/// Waits for everything in flight.
inline std::vector<Sampled> drain(Executor& executor, std::size_t expected) {
  std::vector<Sampled> results;
  while (results.size() < expected && executor.failure().empty())
    if (executor.poll(results) == 0) std::this_thread::yield();
  EXPECT_EQ(executor.failure(), "");
  return results;
}

inline std::vector<Sampled> gpu_step(Executor& executor, const std::vector<Feed>& feeds) {
  StepPlan plan;
  for (const Feed& feed : feeds)
    plan.slices.push_back(
        {feed.slot, feed.position, std::span(*feed.tokens).subspan(feed.position, feed.count), *feed.blocks, true});
  executor.submit(plan);
  return drain(executor, feeds.size());
}

}  // namespace sluice::engine::test
