#include "harness/scenario/problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "harness/base/limits.h"

namespace sluice {

namespace {

// Names and values come from files: what they show on a terminal must not be able to steer it.
std::string printable(std::string_view text) {
  constexpr std::size_t kLongest = 600;
  std::string out;
  for (const char c : text.substr(0, kLongest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += c == '\n' ? std::string("\\n") : fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  if (text.size() > kLongest) out += "...";
  return out;
}

}  // namespace

std::string Problem::text() const {
  if (place.line == 0) return fmt::format("{}: {}", file, message);
  return fmt::format("{}:{}:{}: {}", file, place.line, place.column, message);
}

std::string Problems::text() const {
  std::string out;
  for (const auto& problem : list) out += problem.text() + "\n";
  return out;
}

void ProblemList::add(Place place, std::string_view message) { add_in(file_, place, message); }

void ProblemList::add_in(std::string file, Place place, std::string_view message) {
  if (list_.size() >= limits::problems_max) {
    ++left_out_;
    return;
  }
  list_.push_back({std::move(file), place, printable(message)});
}

Problems ProblemList::take() {
  // The scenario's own first, then those of its data files.
  std::stable_sort(list_.begin(), list_.end(), [this](const Problem& a, const Problem& b) {
    return std::tuple(a.file != file_, std::string_view(a.file), a.place.line, a.place.column) <
           std::tuple(b.file != file_, std::string_view(b.file), b.place.line, b.place.column);
  });
  // A flow that several scenarios share is read by each that has variables of its own.
  const auto same = [](const Problem& a, const Problem& b) {
    return a.file == b.file && a.place.line == b.place.line && a.place.column == b.place.column &&
           a.message == b.message;
  };
  for (std::size_t i = 0; i + 1 < list_.size();) {
    const auto later = std::find_if(list_.begin() + static_cast<std::ptrdiff_t>(i) + 1, list_.end(),
                                    [&](const Problem& other) { return same(list_[i], other); });
    if (later == list_.end()) {
      ++i;
    } else {
      list_.erase(later);
    }
  }
  if (left_out_ > 0) list_.push_back({file_, {}, fmt::format("and {} more problems", left_out_)});
  return Problems{std::move(list_)};
}

}  // namespace sluice
