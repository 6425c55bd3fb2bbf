// `sluice-engine bench`: how fast this machine runs a model, beside what it could do at most.
//
// Prints a table, and writes JSON when asked. Roofs are measured in the same run, by the executor's own number of
// threads: reading the weights' bytes, and products of bf16 in registers.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace sluice::engine {

struct BenchOptions {
  std::string shape = "tiny-15m";  // tiny-15m, tiny-coder, llama3.2-1b: random weights of this shape
  std::filesystem::path model;     // a Hugging Face folder instead of a shape
  bool random_weights = false;     // with a shape they always are; with `model`, take its config.json only
  unsigned threads = 0;            // 0: one for each core that the process may run on
  std::string isa = "best";        // best, avx512bf16, avx2, portable
  std::uint32_t context = 256;     // tokens in the cache when decoding is measured
  double seconds = 1.0;            // a measurement, about
  unsigned repeats = 5;            // measurements of each row; the median is shown, and the best
  std::filesystem::path json;      // where to write the figures too; empty: nowhere
};

/// The exit code: 0, or 1 with a message on stderr.
int run_bench(const BenchOptions& options);

}  // namespace sluice::engine
