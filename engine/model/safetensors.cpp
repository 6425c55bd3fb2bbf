#include "engine/model/safetensors.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "engine/core/json.h"
#include "engine/core/limits.h"

namespace sluice::engine {
namespace {

struct DtypeName {
  std::string_view name;
  Dtype dtype;
  std::uint64_t size;  // bytes an element
};
constexpr std::array<DtypeName, 15> kDtypes{{{"F32", Dtype::f32, 4},
                                             {"F16", Dtype::f16, 2},
                                             {"BF16", Dtype::bf16, 2},
                                             {"F64", Dtype::other, 8},
                                             {"F8_E4M3", Dtype::other, 1},
                                             {"F8_E5M2", Dtype::other, 1},
                                             {"BOOL", Dtype::other, 1},
                                             {"U8", Dtype::other, 1},
                                             {"I8", Dtype::other, 1},
                                             {"U16", Dtype::other, 2},
                                             {"I16", Dtype::other, 2},
                                             {"U32", Dtype::other, 4},
                                             {"I32", Dtype::other, 4},
                                             {"U64", Dtype::other, 8},
                                             {"I64", Dtype::other, 8}}};

struct Placed {
  TensorView view;
  std::uint64_t begin = 0;  // in the data part
  std::uint64_t end = 0;
};

std::optional<std::uint64_t> as_unsigned(JsonElement element) {
  const auto value = element.get_uint64();
  if (value.error()) return std::nullopt;
  return value.value_unsafe();
}

/// One entry of the header, checked by itself and against the size of the data.
Result<Placed> read_tensor(std::string_view tensor, JsonElement entry, std::span<const std::byte> data,
                           const std::string& name) {
  const auto refuse = [&](const std::string& what) {
    return fail(fmt::format("{}: tensor '{}': {}", name, tensor, what));
  };
  const auto object = entry.get_object();
  if (object.error()) return refuse("is not an object with dtype, shape and data_offsets");
  std::optional<JsonElement> dtype, shape, offsets;
  for (const auto field : object.value_unsafe()) {
    if (field.key == "dtype") {
      dtype = field.value;
    } else if (field.key == "shape") {
      shape = field.value;
    } else if (field.key == "data_offsets") {
      offsets = field.value;
    } else {
      return refuse(fmt::format("unknown key '{}'", field.key));
    }
  }
  Placed placed;
  placed.view.name = tensor;

  if (!dtype) return refuse("dtype is missing");
  const auto dtype_name = as_string(*dtype);
  const auto known = std::find_if(kDtypes.begin(), kDtypes.end(),
                                  [&](const DtypeName& each) { return dtype_name && each.name == *dtype_name; });
  if (known == kDtypes.end()) return refuse(fmt::format("dtype {} is not one we know", shown(*dtype)));
  placed.view.dtype = known->dtype;

  if (!shape || !shape->is_array()) return refuse("shape is not a list");
  std::uint64_t bytes = known->size;
  bool overflows = false;
  for (const JsonElement dimension : items(*shape)) {
    const auto size = as_unsigned(dimension);
    if (!size) return refuse(fmt::format("shape holds {}, not a whole number", shown(dimension)));
    placed.view.shape.push_back(*size);
    overflows |= __builtin_mul_overflow(bytes, *size, &bytes);
  }
  if (overflows) return refuse(fmt::format("the product of shape [{}] overflows", fmt::join(placed.view.shape, ", ")));

  if (!offsets || !offsets->is_array() || items(*offsets).size() != 2) {
    return refuse("data_offsets is not a pair of numbers");
  }
  const auto begin = as_unsigned(items(*offsets).at(0).value_unsafe());
  const auto end = as_unsigned(items(*offsets).at(1).value_unsafe());
  if (!begin || !end) return refuse(fmt::format("data_offsets {} are not whole numbers", shown(*offsets)));
  if (*begin > *end) return refuse(fmt::format("data_offsets [{}, {}] run backwards", *begin, *end));
  if (*end > data.size()) {
    return refuse(
        fmt::format("data_offsets [{}, {}] reach beyond the {} bytes of data: the file is cut short or corrupt", *begin,
                    *end, data.size()));
  }
  if (*end - *begin != bytes) {
    return refuse(fmt::format("{} [{}] takes {} bytes, but data_offsets [{}, {}] hold {}", known->name,
                              fmt::join(placed.view.shape, ", "), bytes, *begin, *end, *end - *begin));
  }
  placed.begin = *begin;
  placed.end = *end;
  placed.view.data = data.subspan(*begin, bytes);
  return placed;
}

}  // namespace

Result<std::vector<TensorView>> parse_safetensors(std::span<const std::byte> bytes, const std::string& name) {
  std::uint64_t header_size = 0;
  if (bytes.size() < sizeof header_size) {
    return fail(fmt::format("{}: {} bytes are too few for a safetensors file", name, bytes.size()));
  }
  std::memcpy(&header_size, bytes.data(), sizeof header_size);
  if (header_size > limits::safetensors_header_bytes_max) {
    return fail(fmt::format("{}: header length {} is beyond the format's bound of {}: not a safetensors file?", name,
                            header_size, limits::safetensors_header_bytes_max));
  }
  if (header_size > bytes.size() - sizeof header_size) {
    return fail(fmt::format("{}: header length {} is more than the {} bytes that follow it: the file is cut short",
                            name, header_size, bytes.size() - sizeof header_size));
  }
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + sizeof header_size, header_size);
  if (header.empty() || header.front() != '{')
    return fail(fmt::format("{}: the header does not begin with '{{'", name));
  const auto document = JsonDocument::parse(header, name + ": header");
  if (!document) return document.error();
  const auto root = document->root().get_object();
  if (root.error()) return fail(fmt::format("{}: the header is not a JSON object", name));

  const auto data = bytes.subspan(sizeof header_size + header_size);
  std::vector<Placed> tensors;
  for (const auto field : root.value_unsafe()) {
    if (field.key == "__metadata__") {
      const auto metadata = field.value.get_object();
      if (metadata.error()) return fail(fmt::format("{}: __metadata__ is not an object", name));
      for (const auto entry : metadata.value_unsafe()) {
        if (!entry.value.is_string())
          return fail(fmt::format("{}: __metadata__: '{}' is not a string", name, entry.key));
      }
      continue;
    }
    auto tensor = read_tensor(field.key, field.value, data, name);
    if (!tensor) return tensor.error();
    tensors.push_back(std::move(*tensor));
  }

  // In order of place, each must begin where the one before ended: no overlap, no hole. Empty tensors come first at a
  // place.
  std::sort(tensors.begin(), tensors.end(), [](const Placed& a, const Placed& b) {
    return std::tie(a.begin, a.end, a.view.name) < std::tie(b.begin, b.end, b.view.name);
  });
  std::uint64_t covered = 0;
  const std::string* before = nullptr;
  for (const Placed& tensor : tensors) {
    if (tensor.begin < covered) {
      return fail(fmt::format("{}: tensor '{}': data_offsets [{}, {}] overlap tensor '{}', which ends at {}", name,
                              tensor.view.name, tensor.begin, tensor.end, *before, covered));
    }
    if (tensor.begin > covered) {
      return fail(fmt::format("{}: tensor '{}': {} bytes before its data_offsets [{}, {}] belong to no tensor", name,
                              tensor.view.name, tensor.begin - covered, tensor.begin, tensor.end));
    }
    covered = tensor.end;
    before = &tensor.view.name;
  }
  if (covered != data.size()) {
    return fail(fmt::format("{}: the last {} bytes belong to no tensor{}", name, data.size() - covered,
                            before ? fmt::format(" (the last is '{}')", *before) : ""));
  }

  std::vector<TensorView> views;
  views.reserve(tensors.size());
  for (Placed& tensor : tensors) views.push_back(std::move(tensor.view));
  std::sort(views.begin(), views.end(), [](const TensorView& a, const TensorView& b) { return a.name < b.name; });
  return views;
}

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return fail(fmt::format("{}: {}", path.string(), std::strerror(errno)));
  struct stat status {};
  if (::fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(file);
    return fail(fmt::format("{}: not a regular file", path.string()));
  }
  if (status.st_size == 0) {
    ::close(file);
    return fail(fmt::format("{}: the file is empty", path.string()));
  }
  const auto size = static_cast<std::size_t>(status.st_size);
  void* const memory = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
  const int error = errno;
  ::close(file);
  if (memory == MAP_FAILED) return fail(fmt::format("{}: cannot be mapped: {}", path.string(), std::strerror(error)));
  return MappedFile({static_cast<const std::byte*>(memory), size});
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace sluice::engine
