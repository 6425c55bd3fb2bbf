// A safetensors file, mapped and fully checked before anybody reads a weight.
//
// Format: 8 bytes little-endian header length, a JSON header {name: {dtype, shape, data_offsets}}, then the data.
// Checked: the length against the file and the bound, the JSON, dtypes, shapes (product without overflow), offsets (in
// order, in range, size = product x dtype), no overlap and no hole. Each error names the tensor.
// https://github.com/huggingface/safetensors
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"

namespace sluice::engine {

enum class Dtype : std::uint8_t { f32, f16, bf16, other };

struct TensorView {
  std::string name;
  Dtype dtype = Dtype::other;
  std::vector<std::uint64_t> shape;  // row-major
  std::span<const std::byte>
      data;  // into the mapping; aligned to the dtype only by luck: read with memcpy or unaligned loads
};

/// Checks `bytes` (a whole file) and lists its tensors, sorted by name. `name` is used in messages.
Result<std::vector<TensorView>> parse_safetensors(std::span<const std::byte> bytes, const std::string& name);

/// A read-only mapping of one file; views into it live as long as it does.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::span<const std::byte> bytes_;
};

}  // namespace sluice::engine
