// `sluice-engine bench --backend cuda`: how fast a GPU runs a model, beside what it could do at most.
//
// Prints a table, and writes JSON when asked. Both roofs (bytes read and bf16 products a second) are measured in the
// same run. Times are the device's own, by events around each step; the clock is noted with each
// row, and what slowed it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/model/config.h"
#include "engine/model/weights.h"

namespace sluice::engine {

struct CudaBenchOptions {
  std::string name;                                         // of the model or shape, for the table
  std::vector<std::uint32_t> prefills = {512, 2048, 8192};  // tokens of one prompt
  std::vector<std::uint32_t> batches = {1, 8, 32, 64, 128, 256};
  std::vector<std::uint32_t> contexts = {512, 1024};  // tokens in the cache when decoding
  double seconds = 1.0;                               // a measurement, about
  std::uint32_t rows_max = 2048;                      // of a prefill step
  std::filesystem::path json;                         // empty: nowhere
};

/// `weights` null: random ones, made on the device. The exit code: 0, or 1 with a message on stderr.
int run_cuda_bench(ModelConfig config, const Weights* weights, const CudaBenchOptions& options);

}  // namespace sluice::engine
