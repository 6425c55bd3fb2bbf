// One figure cut into windows of equal length: for thresholds that every window must hold.
//
// A sample belongs to the window in which what it is of ended. At most limits::windows_max windows are kept; what comes
// later is counted in none of them. Merging adds window by window, so it is exact in any order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "harness/base/time.h"
#include "harness/metrics/figure.h"

namespace sluice {

class Windows {
 public:
  explicit Windows(Nanoseconds over) : over_(over) {}

  Nanoseconds over() const { return over_; }
  /// The window at that distance from the origin, to be added to; before the origin is the first. Good until the next
  /// call.
  WindowFigure& at(Nanoseconds since);
  /// The windows up to the last that was asked for.
  std::size_t size() const { return windows_.size(); }
  const WindowFigure& operator[](std::size_t index) const { return windows_[index].figure; }

  void merge(const Windows& other);
  /// Takes over `other`. Copying from the same again, in the same place, costs no more than what changed in between.
  void copy_from(const Windows& other);

 private:
  struct Window {
    WindowFigure figure;
    std::uint64_t changes = 0;
  };
  Nanoseconds over_;
  std::vector<Window> windows_;
  WindowFigure beyond_;                   // the ones too many, which nobody reads
  const Windows* copied_from_ = nullptr;  // and not added to since
};

}  // namespace sluice
