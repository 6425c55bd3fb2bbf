// Starting a kernel, with or without overlap with the one before it; and where a kernel finds the step's arrays.
#pragma once

#include <cuda_runtime.h>

#include "engine/exec/cuda/device.h"
#include "engine/exec/cuda/kernels.h"

namespace sluice::engine::cuda {

template <class T>
__device__ const T* array_at(const StepHeader* step, std::int32_t offset) {
  return reinterpret_cast<const T*>(reinterpret_cast<const char*>(step) + offset);
}

template <class... Parameters, class... Arguments>
void start(const Launch& launch, const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
           std::size_t shared_bytes, const Arguments&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = launch.stream;
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = launch.overlap ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, arguments...), name);
}

}  // namespace sluice::engine::cuda
