// How numbers are written for people, alike in every report: k6's manner.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "reports/suite.h"
#include "reports/summary.h"

namespace sluice::reports {

std::string format_ms(double ms);               // "0s", "21.5µs", "148.21ms", "1.2s", "2m3s"
std::string format_bytes(double bytes);         // "711 B", "4.9 kB", "1.2 MB"
std::string format_number(double value);        // at most 5 significant digits where there are fractions
std::string format_count(std::uint64_t count);  // "1 234 567"
std::string format_share(double share);         // "3.21%"
std::string format_value(double value, std::string_view unit);  // by the unit of a metric or a threshold
std::string format_percentile(double percentile);               // "p(99.9)"; 50 is "med"
std::string format_seconds(double seconds);                     // a run's length: "9.8s", "13m0s"

/// Where a metric is shown: HTTP, Streaming, Execution, Network, Instrument, System; Custom: declared by the scenario.
std::string_view section_of(const MetricSummary& metric);

/// "ttft{kind:chat}": "ttft" and "{kind:chat}"; the second empty for a metric as a whole.
struct MetricName {
  std::string_view base, selector;
};
MetricName split_name(std::string_view name);

/// The value at one of the summary's percentiles; none when it has not got it.
const double* percentile_of(const MetricSummary& metric, double percentile);
bool is_unsure(const MetricSummary& metric, double percentile);

/// What an expression compares: "p(95)" of "p(95) < 2s".
std::string_view left_side(std::string_view expression);

/// "the likely cause; try: what may help": of what has not passed; empty where nothing is known.
std::string advice_of(const ThresholdResult& result);
std::string advice_of(const RequirementResult& result);

/// "in the worst of 6 windows, 10s to 20s; 2 failed"
std::string windows_text(const WindowsResult& windows);

/// "stream chatcmpl-7, byte 431": where the example of a finding lies; empty where that is not known.
std::string place_of(const FindingResult& finding);

/// Scenarios and their stages, one after the other; none where there is but one scenario with at most one stage.
struct LoadRow {
  std::string name;  // "chat"; "stage 0, 0s to 10s"
  bool is_stage = false;
  const LoadResult* load = nullptr;  // in the summary
};
std::vector<LoadRow> load_rows(const Summary& summary);

/// "tiny-coder on cpu (auto)": what ran on what; in brackets what the scenario asked for, where that is not the same.
std::string engine_name(const EngineResult& engine);

/// "180 iterations/s", "12 VUs".
std::string format_load(const SearchResult& search, double load);
/// What is to be said of its best load, or of there being none, after it.
std::string search_verdict(const SearchResult& search);
/// The trials of a search, the lowest load first.
std::vector<SearchTrial> by_load(const SearchResult& search);

/// "stable from 10 s to 40 s, ...": whether, when and over which windows.
std::string stability_verdict(const StabilityResult& stability);
/// "41.2ms ± 2.1 %", or that there were no samples.
std::string format_stable(const StableMetricResult& metric);

/// What two ways are compared by: a figure, and its value on either; empty where the summary has none to compare.
struct WaysRow {
  std::string name, direct, via;  // "TTFT median"
};
std::vector<WaysRow> ways_rows(const Summary& summary);

/// "Of 1884 streams; source: engine": whose word the split of the time to the first token is, and of how many.
std::string split_origin(const TtftSplitResult& split);
/// That the server's times do not fit into what was measured; empty where they all do.
std::string split_doubt(const TtftSplitResult& split);
/// The part's share of the whole, 0 to 1, by the means.
double share_of(const TtftSplitResult& split, const TtftPart& part);

/// Columns a terminal gives the text: code points, not bytes; every character we print is one wide.
std::size_t columns(std::string_view text);

}  // namespace sluice::reports
