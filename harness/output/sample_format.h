// Points as lines of text: k6's JSON points and k6's CSV rows.
//
// Tags that belong to a step, a check or a scenario are written once, when a format is made; a line is put together of
// such pieces. Nothing is allocated for a line once the buffers have grown.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "harness/base/metric_catalog.h"
#include "harness/metrics/tally_layout.h"
#include "harness/output/sample.h"

namespace sluice {

/// A threshold, for formats that name them.
struct SampleThreshold {
  Metric metric{};
  Tags selector;  // empty: of the metric as a whole
  std::string text;
};

namespace samples {

/// Tags that are known before the run, by number: steps, then checks, then scenarios, then none at all.
class StaticTags {
 public:
  explicit StaticTags(const TallyLayout& layout);
  const std::vector<Tags>& all() const { return all_; }
  std::size_t of_step(StepId step) const { return step; }
  std::size_t of_check(CheckId check) const { return first_check_ + check; }
  std::size_t of_scenario(std::uint32_t scenario) const { return first_scenario_ + scenario; }
  std::size_t none() const { return all_.size() - 1; }

 private:
  std::vector<Tags> all_;
  std::size_t first_check_ = 0, first_scenario_ = 0;
};

/// Tags that a request got.
struct AnswerTags {
  bool is_answer = false;  // false: of no request, and the rest is empty
  bool expected_response = false;
  bool http2 = false;
  std::uint32_t status = 0, error_code = 0;  // k6's codes; 0: none
  std::string_view error;
};

/// k6's error_code of an outcome; 0: none.
std::uint32_t error_code_of(Outcome outcome, std::uint32_t status);

class SampleFormat {
 public:
  virtual ~SampleFormat() = default;
  /// What stands before the first line.
  virtual void begin(std::string& out) = 0;
  /// The tags of the points that follow.
  virtual void set_tags(std::size_t static_tags, const AnswerTags& answer) = 0;
  /// Appends a line. `wall_ns`: the point's time since the epoch.
  virtual void add(const Point& point, std::int64_t wall_ns, std::string& out) = 0;
};

/// `layout`: whose metrics the points are of; must outlive it.
std::unique_ptr<SampleFormat> make_ndjson(const StaticTags& tags, const TallyLayout& layout,
                                          const std::vector<SampleThreshold>& thresholds);
std::unique_ptr<SampleFormat> make_csv(const StaticTags& tags, const TallyLayout& layout);

}  // namespace samples
}  // namespace sluice
