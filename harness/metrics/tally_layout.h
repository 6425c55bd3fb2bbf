// What a tally keeps: every step numbered, with its static tags, and for each the selections it feeds.
//
// Made once from a plan, then shared, immutable, by the tallies of all threads. Steps are numbered depth-first in the
// order of the file over all scenarios: a step first, then those inside it (for_each_block). Sleeps have numbers too,
// so that whoever walks the flow can count along. Checks are numbered in the same walk.
//
// Static tags of a step: scenario, group ("::outer::inner", empty at the top), name, method, url (the template as
// written), those of the step and those of its scenario (the step's win). Dynamic ones that a selector may name:
// status, expected_response, stage, and of stream_findings rule.
//
// Times here count from the start of the measured window, which lies measured_from() after the run's: where the first
// warm-up ends.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "harness/scenario/plan.h"

namespace sluice {

using StepId = std::uint32_t;
using CheckId = std::uint32_t;
using FigureId = std::uint32_t;  // first the metrics themselves, the file's own after the catalogue's; then selections

/// A metric, or a metric under a selector.
struct FigureInfo {
  Metric metric;
  Tags selector;                    // empty: all
  std::vector<double> percentiles;  // 0..100, those to report, ascending
  std::string metric_name = {};
  std::string name() const;  // "http_req_duration{kind:chat}"
};

struct StepInfo {
  std::uint32_t scenario = 0;
  std::string group;  // of a group step: its own
  std::string name;
  Tags tags = {};  // all static ones, sorted
  CheckId first_check = 0;
  std::uint32_t checks = 0;
  bool is_group = false, is_request = false, is_stream = false;
};

struct CheckInfo {
  StepId step = 0;
  std::string name;  // as written
};

/// A figure that is also kept for each window of `over`.
struct WindowsInfo {
  FigureId figure = 0;
  Nanoseconds over{};
};

class TallyLayout {
 public:
  static std::shared_ptr<const TallyLayout> from(const Plan& plan);

  const std::vector<StepInfo>& steps() const { return steps_; }
  const std::vector<CheckInfo>& checks() const { return checks_; }
  const std::vector<FigureInfo>& figures() const { return figures_; }
  std::uint32_t scenarios() const { return static_cast<std::uint32_t>(scenario_first_step_.size()); }
  StepId first_step(std::uint32_t scenario) const { return scenario_first_step_[scenario]; }
  /// The catalogue's metrics and the file's own: so many of the figures are metrics as a whole.
  std::size_t metrics() const { return kMetricCount + custom_.size(); }
  MetricInfo info(Metric metric) const { return sluice::info(custom_, metric); }
  /// Of what belongs to a scenario as a whole: its tags and its name.
  const Tags& scenario_tags(std::uint32_t scenario) const { return scenario_tags_[scenario]; }
  /// The figure that threshold number `index` of the plan reads.
  FigureId figure_of_threshold(std::size_t index) const { return threshold_figures_[index]; }
  const std::vector<WindowsInfo>& windows() const { return windows_; }
  /// Those that threshold number `index` reads; kNoWindows: it is judged over the whole time.
  static constexpr std::uint32_t kNoWindows = UINT32_MAX;
  std::uint32_t windows_of_threshold(std::size_t index) const { return threshold_windows_[index]; }
  /// Are gaps judged by their bounds while the run goes on? Then the seconds of the run are needed meanwhile.
  bool judges_gaps_early() const { return judges_gaps_early_; }
  /// Those of metric number `index` of the plan's stable rule.
  std::uint32_t windows_of_stable(std::size_t index) const { return stable_windows_[index]; }
  /// Those that a figure feeds.
  const std::vector<std::uint32_t>& windows_of(FigureId figure) const { return figure_windows_[figure]; }

  /// From the run's start to that of the measured window.
  Nanoseconds measured_from() const { return measured_from_; }
  /// What of the scenario was scheduled earlier is warm-up; long ago where there is none.
  Nanoseconds counts_from(std::uint32_t scenario) const { return timelines_[scenario].counts_from; }
  /// Until when its iterations are to begin; the end of time where nothing says.
  Nanoseconds load_ends(std::uint32_t scenario) const { return timelines_[scenario].load_ends; }
  Nanoseconds starts_at(std::uint32_t scenario) const { return timelines_[scenario].starts_at; }
  /// Where the stages of a ramping executor end; empty for the others.
  const std::vector<Nanoseconds>& stage_ends(std::uint32_t scenario) const { return timelines_[scenario].stage_ends; }
  /// The stage in which something scheduled then lies: what comes after the last belongs to it. -1: it has no stages.
  std::int32_t stage_at(std::uint32_t scenario, Nanoseconds at) const {
    const auto& ends = timelines_[scenario].stage_ends;
    if (ends.empty()) return -1;
    const auto after = std::upper_bound(ends.begin(), ends.end() - 1, at);
    return static_cast<std::int32_t>(after - ends.begin());
  }
  /// Slots for results by scenario and stage: a scenario's first, and how many are its own (1: not by stage). There are
  /// none when the plan has one scenario without stages: its results are the run's.
  std::size_t stage_slots() const { return stage_slots_; }
  std::uint32_t first_slot(std::uint32_t scenario) const { return timelines_[scenario].first_slot; }
  std::uint32_t slots_of(std::uint32_t scenario) const { return timelines_[scenario].slots; }

  // What the tally asks for each sample.

  /// A selection fed by a step, when the dynamic tags agree.
  struct Feed {
    FigureId figure = 0;
    std::int32_t status = kAny;
    std::int32_t expected_response = kAny;  // 0 or 1
    std::int32_t rule = kAny;               // StreamRule
    std::int32_t stage = kAny;
  };
  static constexpr std::int32_t kAny = -1, kNone = -2;  // kNone: the selector's value is none that can occur
  /// Feeds of one metric from one step, and from what belongs to a scenario only (iterations, VUs).
  const std::vector<Feed>& feeds(StepId step, Metric metric) const {
    return step_feeds_[step * metrics() + static_cast<std::size_t>(metric)];
  }
  const std::vector<Feed>& scenario_feeds(std::uint32_t scenario, Metric metric) const {
    return scenario_feeds_[scenario * metrics() + static_cast<std::size_t>(metric)];
  }
  const std::vector<Feed>& check_feeds(CheckId check) const { return check_feeds_[check]; }

  const std::vector<Objective>& objectives(std::uint32_t scenario) const { return objectives_[scenario]; }
  std::uint32_t large_chunk_chars(std::uint32_t scenario) const { return large_chunk_chars_[scenario]; }
  /// What a reader takes for a token: the deadlines of fluidity.
  Nanoseconds token_time(std::uint32_t scenario) const { return token_times_[scenario]; }
  double stall_factor() const { return stall_factor_; }

 private:
  friend class LayoutBuilder;
  std::vector<StepInfo> steps_;
  std::vector<CheckInfo> checks_;
  std::vector<FigureInfo> figures_;
  std::vector<CustomMetric> custom_;
  std::vector<StepId> scenario_first_step_;
  std::vector<Tags> scenario_tags_;
  std::vector<FigureId> threshold_figures_;
  std::vector<std::vector<Feed>> step_feeds_, scenario_feeds_;
  std::vector<std::vector<Feed>> check_feeds_;
  std::vector<std::vector<Objective>> objectives_;
  std::vector<WindowsInfo> windows_;
  std::vector<std::uint32_t> threshold_windows_, stable_windows_;
  bool judges_gaps_early_ = false;
  std::vector<std::vector<std::uint32_t>> figure_windows_;
  struct Timeline {
    Nanoseconds starts_at{}, counts_from{}, load_ends = Nanoseconds::max();
    std::vector<Nanoseconds> stage_ends;
    std::uint32_t first_slot = 0, slots = 0;
  };
  std::vector<Timeline> timelines_;  // by scenario
  std::size_t stage_slots_ = 0;
  Nanoseconds measured_from_{};
  std::vector<std::uint32_t> large_chunk_chars_;
  std::vector<Nanoseconds> token_times_;
  double stall_factor_ = 10;
};

}  // namespace sluice
