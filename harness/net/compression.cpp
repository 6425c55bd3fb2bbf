#include "harness/net/compression.h"

#include <zlib.h>

#include <algorithm>
#include <array>

#include "harness/base/check.h"
#include "harness/net/header_text.h"

namespace sluice {
namespace {

constexpr int kWindow = MAX_WBITS, kGzip = 16;  // how zlib is told of the wrapper

/// zlib counts in 32 bits.
constexpr std::size_t kStepMax = std::size_t{1} << 30;

// zlib reads through a pointer to non-const, and never writes there.
Bytef* input(const char* bytes) { return reinterpret_cast<Bytef*>(const_cast<char*>(bytes)); }

bool has_zlib_header(std::string_view bytes) {
  if (bytes.size() < 2) return true;
  const auto first = static_cast<unsigned char>(bytes[0]), second = static_cast<unsigned char>(bytes[1]);
  return (first & 0x0FU) == 8 && (first * 256U + second) % 31 == 0;
}

}  // namespace

Encoding encoding_named(std::string_view content_encoding) {
  if (content_encoding.empty() || same_header(content_encoding, "identity")) return Encoding::identity;
  if (same_header(content_encoding, "gzip") || same_header(content_encoding, "x-gzip")) return Encoding::gzip;
  if (same_header(content_encoding, "deflate")) return Encoding::deflate;
  return Encoding::unknown;
}

bool decompress(Encoding encoding, std::string_view bytes, std::size_t bytes_max, std::string& out) {
  SLUICE_CHECK(encoding == Encoding::gzip || encoding == Encoding::deflate);
  out.clear();
  z_stream stream{};
  // RFC 9110 means zlib's wrapper by deflate; servers that leave it out are as many.
  const int window = encoding == Encoding::gzip ? kWindow + kGzip : has_zlib_header(bytes) ? kWindow : -kWindow;
  if (::inflateInit2(&stream, window) != Z_OK) return false;
  std::array<char, 16384> block;
  bool good = true;
  std::size_t used = 0;
  while (used < bytes.size() && out.size() < bytes_max) {
    const std::size_t given = std::min(bytes.size() - used, kStepMax);
    stream.next_in = input(bytes.data() + used);
    stream.avail_in = static_cast<uInt>(given);
    stream.next_out = reinterpret_cast<Bytef*>(block.data());
    stream.avail_out = static_cast<uInt>(block.size());
    const int result = ::inflate(&stream, Z_NO_FLUSH);
    const std::size_t taken = given - stream.avail_in, made = block.size() - stream.avail_out;
    used += taken;
    out.append(block.data(), std::min(made, bytes_max - out.size()));
    if (result == Z_STREAM_END) {
      // Files of gzip may follow each other; anything else behind the end is ignored, as gzip itself does.
      if (encoding != Encoding::gzip || ::inflateReset(&stream) != Z_OK) break;
      if (bytes.size() - used < 2 || bytes.substr(used, 2) != "\x1f\x8b") break;
      continue;
    }
    if (result != Z_OK && result != Z_BUF_ERROR) {
      good = false;
      break;
    }
    if (taken == 0 && made == 0) break;
  }
  ::inflateEnd(&stream);
  return good;
}

void compress_gzip(std::string_view bytes, std::string& out) {
  z_stream stream{};
  constexpr int kMemory = 8;  // zlib's default
  SLUICE_CHECK(
      ::deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kWindow + kGzip, kMemory, Z_DEFAULT_STRATEGY) == Z_OK);
  SLUICE_CHECK(bytes.size() < kStepMax);  // of a body, which is bounded
  out.resize(::deflateBound(&stream, static_cast<uLong>(bytes.size())));
  stream.next_in = input(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  SLUICE_CHECK(::deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
}

}  // namespace sluice
