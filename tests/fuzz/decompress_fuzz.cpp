// Any bytes as a compressed body: no more comes out than was asked for.
#include <cstdint>
#include <string>
#include <string_view>

#include "harness/net/compression.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;
  if (size < 1) return 0;
  constexpr std::size_t kMost = 100'000;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::string out;
  decompress(data[0] % 2 == 0 ? Encoding::gzip : Encoding::deflate, bytes, kMost, out);
  if (out.size() > kMost) __builtin_trap();
  std::string packed, back;
  compress_gzip(bytes, packed);
  if (!decompress(Encoding::gzip, packed, size, back) || back != bytes) __builtin_trap();
  return 0;
}
