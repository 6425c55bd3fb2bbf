// Stands in for the CUDA executor where the build had no CUDA compiler.
#include <cstdio>

#include "engine/exec/cuda/bench.h"
#include "engine/exec/cuda/cuda_executor.h"

namespace sluice::engine {
namespace {
Error absent() {
  return fail("this build has no CUDA backend: use --backend cpu, or build where nvcc is found (docs/engine.md)");
}
}  // namespace

Result<std::string> cuda_device() { return absent(); }
Result<std::unique_ptr<Executor>> make_cuda_executor(const ModelConfig&, const Weights*, const CudaOptions&) {
  return absent();
}
Result<CudaRoofs> measure_cuda_roofs() { return absent(); }
CudaBusy take_cuda_busy(Executor&) { return {}; }
int run_cuda_bench(ModelConfig, const Weights*, const CudaBenchOptions&) {
  std::fprintf(stderr, "sluice-engine bench: %s\n", absent().message.c_str());
  return 1;
}

}  // namespace sluice::engine
