// What a load thread knows so far: every metric of every request, iteration and check it has seen.
//
// One a thread; nothing inside is locked or shared. Adding allocates only for a value of a size not seen before, a new
// error text or a new interval of the series, all bounded; a stream of 100 chunks costs a few microseconds. Merging is
// exact: any split of the same records over tallies, merged in any order, gives the same summary (as long as no more
// than kErrorsMax error texts differ). All tallies of a run share the layout and the origin.
//
// Which requests count for what is said by the metric's definition in the catalogue. An interrupted request counts in
// http_reqs, the data counters and the times of what it did receive, and in no failure rate and no whole-request time.
//
// What was scheduled before its scenario's warm-up ended counts in nothing but the number of such requests. A sample
// falls into the window and the second in which its request, iteration or group ended, and into the stage in which it
// was scheduled.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "harness/base/server_times.h"
#include "harness/base/system_sample.h"
#include "harness/base/time.h"
#include "harness/metrics/chunk_figures.h"
#include "harness/metrics/figure.h"
#include "harness/metrics/histogram.h"
#include "harness/metrics/record.h"
#include "harness/metrics/series.h"
#include "harness/metrics/tally_layout.h"
#include "harness/metrics/windows.h"

namespace sluice {

/// Ticks in one unit of a trend: a million (ns) a millisecond, a thousand a unit where fractions matter, else one. Of
/// the file's own metrics also of a counter: they may have fractions.
double ticks_per_unit(const MetricInfo& metric);
inline double ticks_per_unit(Metric metric) { return ticks_per_unit(info(metric)); }

class Tally {
 public:
  static constexpr std::size_t kErrorsMax = 200;
  static constexpr std::size_t kExampleMax = 200;  // bytes

  /// `origin`: the start of the measured window, the same for all tallies of a run.
  Tally(std::shared_ptr<const TallyLayout> layout, Instant origin);

  /// False when it belongs to the warm-up.
  bool add(const RequestRecord& record, StepId step);
  /// A session over WebSocket: no HTTP request in the figures, as in k6. False when it belongs to the warm-up.
  bool add_websocket(const RequestRecord& record, const WebSocketRecord& session, StepId step);
  void add_iteration(std::uint32_t scenario, Nanoseconds duration, Instant ended_at, bool interrupted);
  /// The flow ended an iteration, which add_iteration() counts as well. `message`: for people; no captured value.
  void add_failed_iteration(std::uint32_t scenario, std::string_view message, Instant began_at, Instant ended_at);
  /// Iterations that were wanted and not begun, at the instant they were due.
  void add_dropped(std::uint32_t scenario, std::uint64_t iterations, Instant at);
  /// The instants: of the request whose answer was checked.
  void add_check(CheckId check, bool passed, Instant scheduled_at, Instant ended_at);
  /// Does what was scheduled then count in nothing?
  bool is_warmup(std::uint32_t scenario, Instant scheduled_at) const {
    return scheduled_at - origin_ < layout_->counts_from(scenario).count();
  }
  /// A sample of a metric of the file's own, added by a metric step. What is no number (or below 0, where the kind has
  /// no such values: trends and counters) is rejected, and counted as such. False when it is not counted.
  bool add_custom(StepId step, Metric metric, double value, Instant at);
  void add_group(StepId group, Nanoseconds duration, Instant ended_at);
  /// VUs of the scenario that this thread runs now.
  void set_vus(std::uint32_t scenario, std::uint32_t active, Instant at);
  void add_loop_lag(Nanoseconds lag, Instant at);
  /// What was sampled beside the run: to be added once, to the tally of the whole run.
  void add_system(const SystemSamples& samples);
  /// Moves the end of the window; all the add functions that know an instant do so too.
  void advance_to(Instant at) {
    if (at > until_) until_ = at;
  }
  /// Of the whole run's tally: nothing is begun later, so counters need not hold in later windows.
  void set_load_end(Instant at) { load_end_ = at; }

  void merge(const Tally& other);
  /// Takes over everything but the results by stage, those of chunks and (unless gaps are judged meanwhile) the series,
  /// reusing memory: the copy that a load thread publishes once a second.
  void copy_figures(const Tally& other);

  // ---- reading ------------------------------------------------------------------------------------------------------

  const TallyLayout& layout() const { return *layout_; }
  Instant origin() const { return origin_; }
  double window_s() const;  // seconds from the origin to the end of the window
  const Figure& figure(FigureId id) const { return figures_[id]; }
  const Windows& windows(std::size_t number) const { return windows_[number]; }
  const Figure& figure(Metric metric) const { return figures_[static_cast<std::size_t>(metric)]; }

  /// One number in the metric's unit, as thresholds and the live line ask for; none without a sample.
  /// `percentile` in 0..100. An aggregation that the metric's kind does not have gives none.
  std::optional<double> aggregate(FigureId id, Aggregation aggregation, double percentile = 0) const;
  std::optional<double> aggregate(Metric metric, Aggregation aggregation, double percentile = 0) const {
    return aggregate(static_cast<FigureId>(metric), aggregation, percentile);
  }
  /// How many samples it is of.
  std::uint64_t samples(FigureId id) const;

  /// How many windows of the layout's windows number `number` have passed entirely, `slack` ago.
  std::size_t whole_windows(std::size_t number, Nanoseconds slack = {}) const;
  /// As aggregate(), of one of those windows. In a window in which nothing happened a counter is 0, once it has any
  /// sample in the run; after the load's end it has no value, since it can but fall.
  std::optional<double> aggregate_window(std::size_t number, std::size_t window, Aggregation aggregation,
                                         double percentile = 0) const;
  struct Vus {
    std::uint64_t now = 0, peak = 0;  // over threads: sums, so that the peak is exact when they ramp together
  };
  struct ScenarioCount {
    std::uint64_t iterations = 0, interrupted = 0, dropped = 0;
    std::uint64_t warmup_requests = 0;
    std::uint64_t streams = 0;                   // that were judged
    std::array<std::uint64_t, 3> findings = {};  // in them, by severity
    std::uint64_t begun_in_time = 0;  // iterations, interrupted ones too, that began before the end of the load
    Instant last_at = kNever;         // when the last of its requests ended
    Vus vus;
  };
  /// Of a scenario's stage, or of a scenario: what was scheduled in it.
  struct StageCount {
    std::uint64_t requests = 0, failures = 0;  // interrupted ones are in neither
    CompactHistogram duration, ttft;           // ns
  };
  /// Orders outcomes with their texts, so that one can be found without making a string.
  struct ErrorOrder {
    using is_transparent = void;
    template <class A, class B>
    bool operator()(const A& a, const B& b) const {
      return a.first != b.first ? a.first < b.first : std::string_view(a.second) < std::string_view(b.second);
    }
  };
  using Errors = std::map<std::pair<Outcome, std::string>, std::uint64_t, ErrorOrder>;
  struct CheckCount {
    std::uint64_t passes = 0, fails = 0;
  };
  struct StepCount {
    std::uint64_t requests = 0, failures = 0;  // interrupted ones are in neither
    Histogram duration;                        // http_req_duration, ns
  };
  /// Where a rule was broken first.
  struct Example {
    Instant at = kNever;  // the end of the stream
    std::string stream_id;
    Finding finding;
  };
  struct RuleCount {
    std::uint64_t found = 0, noted = 0;  // streams
    std::optional<Example> first = {};   // of those that were found; where there are none, of those that were noted
  };
  /// Event counts and lags behind the instrument's verdict.
  struct Trust {
    std::uint64_t events = 0, events_kernel_stamped = 0, gaps = 0, gaps_coalesced = 0;
    std::uint64_t backlogs = 0;  // streams whose receive buffer was half full
    Histogram own_send_lag;      // send_lag without the time the network took to connect, ns
  };
  /// What `vllm bench serve` measures, by its own definitions, ns.
  struct VllmFigures {
    std::uint64_t completed = 0, failed = 0, prompt_tokens = 0, output_tokens = 0;
    Histogram ttft, tpot, itl, e2el;
  };
  /// Requests whose server has said where the time to their first content went.
  struct TtftSplitCount {
    std::array<std::uint64_t, ServerTimes::kSources> requests = {};  // by who says it
    std::uint64_t exceeded = 0;  // of them: the server's times are longer than what was measured
    Histogram ttft;              // of all of them, ns
  };
  const std::vector<ScenarioCount>& scenarios() const { return scenarios_; }
  const std::vector<StepCount>& steps() const { return steps_; }
  const std::vector<StageCount>& stages() const { return stages_; }    // by the layout's slots
  const std::vector<ChunkFigures>& chunks() const { return chunks_; }  // by scenario
  const std::vector<CheckCount>& checks() const { return checks_; }
  std::uint64_t rejected(Metric custom) const { return rejected_[static_cast<std::size_t>(custom) - kMetricCount]; }
  const RuleCount& findings(StreamRule rule) const { return findings_[static_cast<std::size_t>(rule)]; }
  const Errors& errors() const { return errors_; }
  const Vus& vus() const { return vus_; }
  const Trust& trust() const { return trust_; }
  const VllmFigures& vllm() const { return vllm_; }
  const TtftSplitCount& ttft_split() const { return ttft_split_; }
  const Series& series() const { return series_; }

 private:
  struct Context;  // of one request while it is added
  template <class Apply>
  void apply_to(FigureId id, Instant at, Apply& apply);
  template <class Apply>
  void feed(const Context& context, Metric metric, Apply apply);
  void add_trend(const Context& context, Metric metric, std::int64_t ticks);
  void add_time(const Context& context, Metric metric, Instant from, Instant to);  // where both happened
  void add_count(const Context& context, Metric metric, std::uint64_t amount);
  void add_rate(const Context& context, Metric metric, bool passed);
  template <class Apply>
  void feed_scenario(std::uint32_t scenario, Metric metric, Instant scheduled_at, Instant at, Apply apply);
  std::int32_t stage_at(std::uint32_t scenario, Instant scheduled_at) const {
    return layout_->stage_at(scenario, Nanoseconds(scheduled_at - origin_));
  }
  template <class AnyFigure>
  std::optional<double> value_of(const AnyFigure& figure, FigureId id, Aggregation aggregation, double percentile,
                                 double window_s) const;
  void add_http(const Context& context);
  void add_tokens(const Context& context);
  void add_stream(const Context& context);
  void add_ttft_split(const Context& context);
  void add_content(const Context& context);
  void add_findings(const Context& context);
  void add_vllm(const Context& context);
  void add_to_stage(const Context& context);
  void add_to_series(const Context& context);
  void add_error(Outcome outcome, std::string_view error);

  std::shared_ptr<const TallyLayout> layout_;  // shared with the tallies of the other threads
  Instant origin_;
  Instant until_;
  Instant load_end_ = kNever;
  std::vector<Figure> figures_;
  std::vector<Windows> windows_;
  std::vector<StageCount> stages_;
  std::vector<ScenarioCount> scenarios_;
  std::vector<StepCount> steps_;
  std::vector<ChunkFigures> chunks_;
  std::vector<CheckCount> checks_;
  std::vector<std::uint64_t> rejected_;  // by custom metric
  std::array<RuleCount, kStreamRuleCount> findings_;
  Errors errors_;
  Vus vus_;
  Trust trust_;
  VllmFigures vllm_;
  TtftSplitCount ttft_split_;
  Series series_;
  std::vector<std::uint64_t> gaps_;  // scratch: the gaps of the stream being added
};

}  // namespace sluice
