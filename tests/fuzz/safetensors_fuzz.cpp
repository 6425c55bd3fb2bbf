// Any bytes as a safetensors file: refused, or tensors whose data lies within the file, does not overlap and fits their
// shapes.
#include <cstdint>
#include <cstdlib>

#include "engine/model/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice::engine;
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto tensors = parse_safetensors(bytes, "fuzz");
  if (!tensors) return 0;
  std::size_t covered = 0;
  for (const TensorView& tensor : *tensors) {
    covered += tensor.data.size();
    if (tensor.data.empty()) continue;
    if (tensor.data.data() < bytes.data() || tensor.data.data() + tensor.data.size() > bytes.data() + bytes.size())
      std::abort();
    std::uint64_t count = 1;
    for (const std::uint64_t each : tensor.shape) count *= each;
    if (count == 0 || tensor.data.size() % count != 0) std::abort();
    if (tensor.dtype == Dtype::f32 && tensor.data.size() != 4 * count) std::abort();
  }
  if (covered > size) std::abort();
  return 0;
}
