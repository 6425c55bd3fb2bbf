#include "harness/metrics/tally_layout.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "harness/base/limits.h"
#include "harness/base/stream_rule.h"
#include "harness/scenario/timeline.h"

namespace sluice {
namespace {

constexpr double kReported[] = {50, 75, 90, 95, 99, 99.9};

constexpr Nanoseconds kTokenTime = std::chrono::milliseconds(100);  // some 450 words a minute: faster than one reads

Nanoseconds token_time_of(const ScenarioPlan& scenario) {
  for (const Objective& objective : scenario.objectives)
    if (objective.metric == Metric::tpot && objective.limit_ms > 0)
      return Nanoseconds(static_cast<std::int64_t>(objective.limit_ms * 1e6));
  return kTokenTime;
}

/// Metrics that belong to a scenario, not to a request.
bool of_scenario(Metric metric) {
  switch (metric) {
    case Metric::iterations:
    case Metric::iteration_duration:
    case Metric::iterations_failed:
    case Metric::dropped_iterations:
    case Metric::vus:
    case Metric::vus_max:
      return true;
    default:
      return false;
  }
}

/// Metrics of requests that a dropped iteration, which has none, counts in as well.
bool counts_dropped(Metric metric) { return metric == Metric::availability || metric == Metric::goodput_rate; }

/// `over` wins over `under`; sorted by key, as Tags are.
Tags merged(const Tags& under, const Tags& over) {
  Tags tags = over;
  for (const auto& tag : under)
    if (std::none_of(over.begin(), over.end(), [&](const auto& other) { return other.first == tag.first; }))
      tags.push_back(tag);
  std::sort(tags.begin(), tags.end());
  return tags;
}

bool has(const Tags& tags, const std::pair<std::string, std::string>& tag) {
  return std::find(tags.begin(), tags.end(), tag) != tags.end();
}

std::int32_t number_or_none(const std::string& text) {
  std::int32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size() && number >= 0 ? number : TallyLayout::kNone;
}

std::int32_t rule_or_none(const std::string& name) {
  for (const StreamRuleInfo& rule : kStreamRules)
    if (rule.name == name) return static_cast<std::int32_t>(rule.rule);
  return TallyLayout::kNone;
}

/// What is left of a selector for the moment of the sample, when the static tags agree; none when they do not.
std::optional<TallyLayout::Feed> feed_of(FigureId figure, const FigureInfo& wanted, const Tags& tags) {
  TallyLayout::Feed feed{.figure = figure};
  for (const auto& tag : wanted.selector) {
    const auto& [key, value] = tag;
    if (has(tags, tag)) continue;
    if (key == "status")
      feed.status = number_or_none(value);
    else if (key == "expected_response")
      feed.expected_response = value == "true" ? 1 : value == "false" ? 0 : TallyLayout::kNone;
    else if (key == "stage")
      feed.stage = number_or_none(value);
    else if (key == "rule" && wanted.metric == Metric::stream_findings)
      feed.rule = rule_or_none(value);
    else
      return std::nullopt;
  }
  return feed;
}

}  // namespace

std::string FigureInfo::name() const {
  std::string text = metric_name;
  if (selector.empty()) return text;
  text += '{';
  for (std::size_t i = 0; i < selector.size(); ++i)
    text.append(i == 0 ? "" : ",").append(selector[i].first).append(":").append(selector[i].second);
  return text + '}';
}

class LayoutBuilder {
 public:
  explicit LayoutBuilder(const Plan& plan) {
    for (const ScenarioPlan& scenario : plan.scenarios) {
      layout_.large_chunk_chars_.push_back(scenario.large_chunk_chars.value_or(plan.large_chunk_chars));
      layout_.token_times_.push_back(token_time_of(scenario));
    }
    layout_.stall_factor_ = plan.stall_factor;
    layout_.custom_ = plan.metrics;
    add_figures(plan);
    add_windows(plan);
    add_timelines(plan);
    for (std::uint32_t i = 0; i < plan.scenarios.size(); ++i) add_scenario(plan.scenarios[i], i);
  }

  std::shared_ptr<const TallyLayout> finish() { return std::make_shared<const TallyLayout>(std::move(layout_)); }

 private:
  void add_figures(const Plan& plan) {
    for (std::size_t i = 0; i < layout_.metrics(); ++i)
      layout_.figures_.push_back({static_cast<Metric>(i), {}, {std::begin(kReported), std::end(kReported)}});
    for (const Threshold& threshold : plan.thresholds)
      layout_.threshold_figures_.push_back(figure_of(threshold.metric, threshold.selector));
    for (const Threshold& threshold : plan.thresholds) {
      const bool of_gaps = threshold.metric == Metric::icl || threshold.metric == Metric::itl;
      if (of_gaps && (threshold.abort_on_fail || plan.until_decided)) layout_.judges_gaps_early_ = true;
    }
    if (plan.stable) {
      for (const StableMetric& metric : plan.stable->metrics)
        stable_figures_.push_back(figure_of(metric.metric, metric.selector));
    }
    for (const Threshold& threshold : plan.thresholds) {
      if (threshold.aggregation != Aggregation::percentile) continue;
      for (FigureInfo& figure : layout_.figures_) {
        auto& wanted = figure.percentiles;
        if (figure.metric != threshold.metric) continue;
        if (std::find(wanted.begin(), wanted.end(), threshold.percentile) != wanted.end()) continue;
        wanted.insert(std::upper_bound(wanted.begin(), wanted.end(), threshold.percentile), threshold.percentile);
      }
    }
  }

  FigureId figure_of(Metric metric, const Tags& selector) {
    auto& figures = layout_.figures_;
    const auto found = std::find_if(figures.begin(), figures.end(), [&](const FigureInfo& figure) {
      return figure.metric == metric && figure.selector == selector;
    });
    const auto id = static_cast<FigureId>(found - figures.begin());
    if (found == figures.end()) figures.push_back({metric, selector, {std::begin(kReported), std::end(kReported)}});
    return id;
  }

  void add_windows(const Plan& plan) {
    for (FigureInfo& figure : layout_.figures_) figure.metric_name = layout_.info(figure.metric).name;
    layout_.figure_windows_.resize(layout_.figures_.size());
    for (std::size_t i = 0; i < plan.thresholds.size(); ++i) {
      layout_.threshold_windows_.push_back(TallyLayout::kNoWindows);
      const Nanoseconds over = plan.thresholds[i].over;
      if (over.count() > 0) layout_.threshold_windows_.back() = windows_of(layout_.threshold_figures_[i], over);
    }
    for (const FigureId figure : stable_figures_)
      layout_.stable_windows_.push_back(windows_of(figure, plan.stable->window));
  }

  std::uint32_t windows_of(FigureId figure, Nanoseconds over) {
    auto& windows = layout_.windows_;
    const auto found = std::find_if(windows.begin(), windows.end(), [&](const WindowsInfo& known) {
      return known.figure == figure && known.over == over;
    });
    const auto number = static_cast<std::uint32_t>(found - windows.begin());
    if (found == windows.end()) {
      windows.push_back({figure, over});
      layout_.figure_windows_[figure].push_back(number);
    }
    return number;
  }

  void add_timelines(const Plan& plan) {
    layout_.measured_from_ = measured_from(plan);
    const Nanoseconds origin = layout_.measured_from_;
    std::size_t stages = 0;
    for (const ScenarioPlan& scenario : plan.scenarios) {
      TallyLayout::Timeline timeline;
      timeline.starts_at = scenario.start_time - origin;
      const Nanoseconds counted = measured_from(plan, scenario);
      timeline.counts_from = counted.count() == 0 ? Nanoseconds::min() : counted - origin;
      const Nanoseconds length = planned_duration(scenario.shape);
      if (length.count() > 0) timeline.load_ends = timeline.starts_at + length;
      Nanoseconds end = timeline.starts_at;
      for (const Nanoseconds stage : stage_lengths(scenario.shape)) timeline.stage_ends.push_back(end += stage);
      stages += std::max<std::size_t>(timeline.stage_ends.size(), 1);
      layout_.timelines_.push_back(std::move(timeline));
    }
    if (stages < 2) return;
    const bool by_stage = stages <= limits::stage_results_max;
    for (TallyLayout::Timeline& timeline : layout_.timelines_) {
      timeline.first_slot = static_cast<std::uint32_t>(layout_.stage_slots_);
      timeline.slots = by_stage ? static_cast<std::uint32_t>(std::max<std::size_t>(timeline.stage_ends.size(), 1)) : 1;
      layout_.stage_slots_ += timeline.slots;
    }
  }

  void add_scenario(const ScenarioPlan& scenario, std::uint32_t index) {
    const Tags tags = merged(scenario.tags, {{"scenario", scenario.name}});
    layout_.scenario_first_step_.push_back(static_cast<StepId>(layout_.steps_.size()));
    layout_.scenario_tags_.push_back(tags);
    layout_.objectives_.push_back(scenario.objectives);
    layout_.scenario_feeds_.resize(layout_.scenario_feeds_.size() + layout_.metrics());
    for (auto id = static_cast<FigureId>(layout_.metrics()); id < layout_.figures_.size(); ++id) {
      const FigureInfo& figure = layout_.figures_[id];
      if (!of_scenario(figure.metric) && !counts_dropped(figure.metric)) continue;
      const auto feed = feed_of(id, figure, tags);
      if (!feed || feed->status != TallyLayout::kAny || feed->expected_response != TallyLayout::kAny) continue;
      layout_.scenario_feeds_[index * layout_.metrics() + static_cast<std::size_t>(figure.metric)].push_back(*feed);
    }
    for (const Step& step : scenario.flow) add_step(step, index, tags, "");
  }

  void add_step(const Step& step, std::uint32_t scenario, const Tags& scenario_tags, const std::string& group) {
    const auto id = static_cast<StepId>(layout_.steps_.size());
    StepInfo info{.scenario = scenario, .group = group, .name = step.name};
    Tags own{{"name", step.name}};
    const auto* inner = std::get_if<GroupStep>(&step.verb);
    if (inner != nullptr) {
      info.is_group = true;
      info.group = group + "::" + inner->name;
    } else if (const auto* chat = std::get_if<ChatStep>(&step.verb)) {
      info.is_request = true;
      info.is_stream = chat->stream;
      own.emplace_back("method", "POST");
      own.emplace_back("url", "/v1/chat/completions");
    } else if (const auto* completion = std::get_if<CompletionStep>(&step.verb)) {
      info.is_request = true;
      info.is_stream = completion->stream;
      own.emplace_back("method", "POST");
      own.emplace_back("url", "/v1/completions");
    } else if (const auto* sse = std::get_if<SseStep>(&step.verb)) {
      info.is_request = true;
      info.is_stream = true;
      own.emplace_back("method", sse->request.method);
      own.emplace_back("url", sse->request.shown_url.empty() ? sse->request.url.text() : sse->request.shown_url);
    } else if (const auto* http = std::get_if<HttpStep>(&step.verb)) {
      info.is_request = true;
      own.emplace_back("method", http->method);
      own.emplace_back("url", http->shown_url.empty() ? http->url.text() : http->shown_url);
    } else if (const auto* socket = std::get_if<WebSocketStep>(&step.verb)) {
      info.is_request = true;
      own.emplace_back("method", "GET");
      own.emplace_back("url", socket->shown_url.empty() ? socket->url.text() : socket->shown_url);
    }
    own.emplace_back("group", info.group);
    std::sort(own.begin(), own.end());
    info.tags = merged(merged(scenario_tags, own), step.tags);
    info.first_check = static_cast<CheckId>(layout_.checks_.size());
    info.checks = static_cast<std::uint32_t>(step.checks.size());
    layout_.steps_.push_back(info);
    feed_step(info.tags);
    for (const Check& check : step.checks) add_check(check, id, info.tags);
    for_each_block(step, [&](const std::vector<Step>& block) {
      for (const Step& next : block) add_step(next, scenario, scenario_tags, info.group);
    });
  }

  void feed_step(const Tags& tags) {
    const std::size_t first = layout_.step_feeds_.size();
    layout_.step_feeds_.resize(first + layout_.metrics());
    for (auto id = static_cast<FigureId>(layout_.metrics()); id < layout_.figures_.size(); ++id) {
      const FigureInfo& figure = layout_.figures_[id];
      if (of_scenario(figure.metric) || figure.metric == Metric::checks) continue;
      if (const auto feed = feed_of(id, figure, tags))
        layout_.step_feeds_[first + static_cast<std::size_t>(figure.metric)].push_back(*feed);
    }
  }

  void add_check(const Check& check, StepId step, const Tags& step_tags) {
    layout_.checks_.push_back({step, check.text});
    layout_.check_feeds_.emplace_back();
    const Tags tags = merged(step_tags, {{"check", check.text}});
    for (auto id = static_cast<FigureId>(layout_.metrics()); id < layout_.figures_.size(); ++id) {
      const FigureInfo& figure = layout_.figures_[id];
      if (figure.metric != Metric::checks) continue;
      const auto feed = feed_of(id, figure, tags);
      if (!feed || feed->status != TallyLayout::kAny || feed->expected_response != TallyLayout::kAny) continue;
      layout_.check_feeds_.back().push_back(*feed);
    }
  }

  TallyLayout layout_;
  std::vector<FigureId> stable_figures_;  // of the plan's stable rule
};

std::shared_ptr<const TallyLayout> TallyLayout::from(const Plan& plan) { return LayoutBuilder(plan).finish(); }

}  // namespace sluice
