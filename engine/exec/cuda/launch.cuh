// Starting a kernel, with or without overlap with the one before it.
#pragma once

#include <cuda_runtime.h>

#include "engine/exec/cuda/device.h"
#include "engine/exec/cuda/kernels.h"

namespace sluice::engine::cuda {

template <class... Parameters, class... Arguments>
void start(const Launch& launch, const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
           std::size_t shared_bytes, const Arguments&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = launch.stream;
  cudaLaunchAttribute attributes[2] = {};
  unsigned count = 0;
  if (launch.overlap) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (launch.cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count].val.clusterDim.x = launch.cluster;
    attributes[count].val.clusterDim.y = 1;
    attributes[count++].val.clusterDim.z = 1;
  }
  config.attrs = attributes;
  config.numAttrs = count;
  check(cudaLaunchKernelEx(&config, kernel, arguments...), name);
}

}  // namespace sluice::engine::cuda
