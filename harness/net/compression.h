// Bodies as gzip and deflate: what comes back is untrusted, and what it grows to is bounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice {

enum class Encoding : std::uint8_t { identity, gzip, deflate, unknown };

/// Of a Content-Encoding header; several at once are unknown.
Encoding encoding_named(std::string_view content_encoding);

/// Replaces `out` by what `bytes` hold, of which no more than `bytes_max`; bytes that end too early give what there is.
/// False: they are not of that encoding. REQUIRES: gzip or deflate (with zlib's wrapper or without).
bool decompress(Encoding encoding, std::string_view bytes, std::size_t bytes_max, std::string& out);

/// Replaces `out`.
void compress_gzip(std::string_view bytes, std::string& out);

}  // namespace sluice
