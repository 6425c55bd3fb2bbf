// What the engine did for one request, and when: for whoever joins a client's times with the server's.
//
// The engine writes while it runs, any thread reads. Room for the steps is taken once, for as many as are expected;
// past limits::timeline_steps_max they are only counted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "engine/engine.h"

namespace sluice::engine {

/// A step that a request had a part in: from handing it over to when its end was seen.
struct TimelineStep {
  Clock::time_point start, end;
  std::uint32_t rows = 0;  // tokens of this request
  bool prefill = false;    // of the prompt, or of what a preemption made it compute anew
};

/// Instants that have not come are the clock's epoch.
struct TimelineMarks {
  Clock::time_point queued;                   // submit() accepted it
  Clock::time_point admitted;                 // to a slot, where its prefill begins
  Clock::time_point first_token, last_token;  // drawn
  Clock::time_point finished;
  FinishReason finish = FinishReason::none;
  std::uint32_t drawn = 0;  // tokens, end tokens too
  Usage usage;              // so far
  std::uint64_t steps_dropped = 0;
};

class RequestTimeline {
 public:
  explicit RequestTimeline(std::size_t steps_expected);

  // For the engine:
  void queued(Clock::time_point at, const Usage& usage);
  void admitted(Clock::time_point at);
  /// One that drew no token for it.
  void step(const TimelineStep& step);
  /// One that drew a token, at its end.
  void drew(const TimelineStep& step, const Usage& usage);
  void finished(Clock::time_point at, FinishReason reason, const Usage& usage);

  // For readers:
  TimelineMarks marks() const;
  std::vector<TimelineStep> steps() const;
  /// Gives back the room that was not needed; how many steps are held.
  std::size_t settle();

 private:
  void add(const TimelineStep& step);

  mutable std::mutex mutex_;
  TimelineMarks marks_;
  std::vector<TimelineStep> steps_;
};

}  // namespace sluice::engine
