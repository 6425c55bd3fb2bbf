#include "engine/timeline.h"

#include <algorithm>

#include "engine/core/limits.h"

namespace sluice::engine {

RequestTimeline::RequestTimeline(std::size_t steps_expected) {
  steps_.reserve(std::min(steps_expected, limits::timeline_steps_max));
}

void RequestTimeline::queued(Clock::time_point at, const Usage& usage) {
  const std::lock_guard lock(mutex_);
  marks_.queued = at;
  marks_.usage = usage;
}

void RequestTimeline::admitted(Clock::time_point at) {
  const std::lock_guard lock(mutex_);
  marks_.admitted = at;
}

void RequestTimeline::step(const TimelineStep& step) {
  const std::lock_guard lock(mutex_);
  add(step);
}

void RequestTimeline::drew(const TimelineStep& step, const Usage& usage) {
  const std::lock_guard lock(mutex_);
  add(step);
  if (marks_.drawn++ == 0) marks_.first_token = step.end;
  marks_.last_token = step.end;
  marks_.usage = usage;
}

void RequestTimeline::finished(Clock::time_point at, FinishReason reason, const Usage& usage) {
  const std::lock_guard lock(mutex_);
  marks_.finished = at;
  marks_.finish = reason;
  marks_.usage = usage;
}

TimelineMarks RequestTimeline::marks() const {
  const std::lock_guard lock(mutex_);
  return marks_;
}

std::vector<TimelineStep> RequestTimeline::steps() const {
  const std::lock_guard lock(mutex_);
  return steps_;
}

std::size_t RequestTimeline::settle() {
  const std::lock_guard lock(mutex_);
  steps_.shrink_to_fit();
  return steps_.size();
}

void RequestTimeline::add(const TimelineStep& step) {
  if (steps_.size() < limits::timeline_steps_max) {
    steps_.push_back(step);
  } else {
    ++marks_.steps_dropped;
  }
}

}  // namespace sluice::engine
