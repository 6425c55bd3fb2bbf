#include "engine/text/normalize.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

#include "engine/core/check.h"
#include "engine/text/unicode_additions.h"
#include "engine/text/utf8.h"

namespace sluice::engine {
namespace {

/// Below U+0300 every text is its own normal form; most texts are all below.
bool needs_no_work(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0xCC; });
}

int combining_class(std::int32_t point) { return utf8proc_get_property(point)->combining_class; }

/// Characters that tokenizers' tables do not know: they neither combine nor sort.
class NewCharacters {
 public:
  NewCharacters() {
    for (const UnicodeAddition& addition : unicode_additions) {
      if (addition.category != "Han") ranges_.emplace_back(addition.first, addition.last);  // those are Lo as well
    }
    std::sort(ranges_.begin(), ranges_.end());
  }
  bool contain(std::uint32_t point) const {
    const auto behind =
        std::partition_point(ranges_.begin(), ranges_.end(), [&](const auto& range) { return range.first <= point; });
    return behind != ranges_.begin() && point <= std::prev(behind)->second;
  }

 private:
  std::vector<std::pair<std::uint32_t, std::uint32_t>> ranges_;
};

/// Sorts the marks of `points` (decomposed), composes, appends to `out` and clears.
void flush(std::vector<utf8proc_int32_t>& points, std::string& out) {
  for (std::size_t i = 0; i < points.size();) {
    std::size_t end = i;
    while (end < points.size() && combining_class(points[end]) != 0) ++end;
    std::stable_sort(points.begin() + static_cast<std::ptrdiff_t>(i), points.begin() + static_cast<std::ptrdiff_t>(end),
                     [](std::int32_t a, std::int32_t b) { return combining_class(a) < combining_class(b); });
    i = end + 1;
  }
  const auto length = utf8proc_normalize_utf32(points.data(), static_cast<utf8proc_ssize_t>(points.size()),
                                               static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  SLUICE_ENGINE_CHECK(length >= 0);
  for (utf8proc_ssize_t i = 0; i < length; ++i)
    append_utf8(static_cast<std::uint32_t>(points[static_cast<std::size_t>(i)]), out);
  points.clear();
}

}  // namespace

std::string nfc(std::string_view text) {
  if (needs_no_work(text)) return std::string(text);
  static const NewCharacters new_characters;
  // utf8proc_map() sorts marks by insertion, quadratic in the length of a run of them: 8 MB of marks would take hours.
  // So decompose and sort here, and leave only the composition to it.
  std::string out;
  out.reserve(text.size());
  std::vector<utf8proc_int32_t> points;
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Part part = utf8_part(text, i);
    if (part.point >= 0x300 && new_characters.contain(part.point)) {
      flush(points, out);
      out += text.substr(i, part.length);
    } else {
      constexpr int kDecomposedMax = 32;  // canonical decompositions have at most 4
      utf8proc_int32_t decomposed[kDecomposedMax];
      const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(part.point), decomposed, kDecomposedMax,
                                                 UTF8PROC_DECOMPOSE, nullptr);
      SLUICE_ENGINE_CHECK(count >= 0 && count <= kDecomposedMax);
      points.insert(points.end(), decomposed, decomposed + count);
    }
    i += part.length;
  }
  flush(points, out);
  return out;
}

std::string normalize(const std::vector<NormalizeStep>& steps, std::string_view text) {
  std::string out(text);
  for (const NormalizeStep& step : steps) {
    if (step.kind == NormalizeStep::Kind::nfc) {
      out = nfc(out);
    } else if (step.kind == NormalizeStep::Kind::prepend) {
      if (!out.empty()) out.insert(0, step.content);
    } else {
      std::string replaced;
      std::size_t from = 0;
      for (std::size_t at = 0; (at = out.find(step.pattern, from)) != std::string::npos;
           from = at + step.pattern.size())
        replaced.append(out, from, at - from).append(step.content);
      out = std::move(replaced.append(out, from));
    }
  }
  return out;
}

}  // namespace sluice::engine
