#include "harness/metrics/windows.h"

#include <algorithm>

#include "harness/base/limits.h"

namespace sluice {

WindowFigure& Windows::at(Nanoseconds since) {
  copied_from_ = nullptr;
  const auto index = static_cast<std::size_t>(std::max<std::int64_t>(since / over_, 0));
  if (index >= limits::windows_max) return beyond_;
  if (index >= windows_.size()) windows_.resize(index + 1);
  ++windows_[index].changes;
  return windows_[index].figure;
}

void Windows::merge(const Windows& other) {
  copied_from_ = nullptr;
  if (windows_.size() < other.windows_.size()) windows_.resize(other.windows_.size());
  for (std::size_t i = 0; i < other.windows_.size(); ++i) {
    windows_[i].figure.merge(other.windows_[i].figure);
    ++windows_[i].changes;
  }
}

void Windows::copy_from(const Windows& other) {
  if (copied_from_ != &other) windows_.clear();
  windows_.resize(other.windows_.size());
  for (std::size_t i = 0; i < windows_.size(); ++i)
    if (windows_[i].changes != other.windows_[i].changes) windows_[i] = other.windows_[i];
  copied_from_ = &other;
}

}  // namespace sluice
