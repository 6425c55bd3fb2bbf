// Pieces of JSON and CSV text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::samples {

/// Appends `text` as a JSON string; what is no UTF-8 becomes U+FFFD.
void append_json_string(std::string_view text, std::string& out);
/// Whether append_json_string() keeps every byte.
bool is_utf8(std::string_view text);
/// Appends `text` as a CSV cell, in quotes where it needs them.
void append_csv_cell(std::string_view text, std::string& out);
/// "2026-11-22T03:19:55.000000001Z"
void append_rfc3339(std::int64_t wall_ns, std::string& out);

}  // namespace sluice::samples
