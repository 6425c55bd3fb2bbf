#include "harness/scenario/threshold.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "harness/base/duration.h"
#include "harness/base/nearest.h"

namespace sluice {

namespace {

constexpr std::size_t kLongest = 256;

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

struct ComparisonRow {
  std::string_view text;
  Comparison comparison;
};
constexpr std::array<ComparisonRow, 7> kComparisons{{{"===", Comparison::equal},  // k6's; longer ones first
                                                     {"==", Comparison::equal},
                                                     {"!=", Comparison::not_equal},
                                                     {"<=", Comparison::less_equal},
                                                     {">=", Comparison::greater_equal},
                                                     {"<", Comparison::less},
                                                     {">", Comparison::greater}}};

struct AggregationRow {
  std::string_view text;
  Aggregation aggregation;
};
constexpr std::array<AggregationRow, 7> kAggregations{{{"avg", Aggregation::avg},
                                                       {"min", Aggregation::min},
                                                       {"max", Aggregation::max},
                                                       {"med", Aggregation::med},
                                                       {"count", Aggregation::count},
                                                       {"rate", Aggregation::rate},
                                                       {"value", Aggregation::value}}};

struct KindRow {
  MetricKind kind;
  std::string_view name, allowed;
  bool fits(Aggregation aggregation) const {
    switch (kind) {
      case MetricKind::counter:
        return aggregation == Aggregation::count || aggregation == Aggregation::rate;
      case MetricKind::gauge:
        return aggregation == Aggregation::value;
      case MetricKind::rate:
        return aggregation == Aggregation::rate;
      case MetricKind::trend:
        return aggregation <= Aggregation::percentile;
    }
    return false;
  }
};
constexpr std::array<KindRow, 4> kKinds{{{MetricKind::counter, "counter", "count or rate"},
                                         {MetricKind::gauge, "gauge", "value"},
                                         {MetricKind::rate, "rate", "rate"},
                                         {MetricKind::trend, "trend", "avg, min, max, med or p(N)"}}};

const KindRow& row(MetricKind kind) {
  return *std::find_if(kKinds.begin(), kKinds.end(),
                       [kind](const KindRow& candidate) { return candidate.kind == kind; });
}

Result<void> read_aggregation(std::string_view text, Threshold& threshold) {
  for (const auto& [name, aggregation] : kAggregations) {
    if (text == name) {
      threshold.aggregation = aggregation;
      return {};
    }
  }
  if (text.starts_with("p(") && text.ends_with(")")) {
    const auto inside = trimmed(text.substr(2, text.size() - 3));
    if (!parse_decimal(inside, threshold.percentile) || threshold.percentile <= 0 || threshold.percentile > 100) {
      return fail(fmt::format("'{}' is not a percentile: write p(N) with N over 0 and up to 100", text));
    }
    threshold.aggregation = Aggregation::percentile;
    return {};
  }
  double number = 0;
  if (text.starts_with("p") && parse_decimal(text.substr(1), number)) {
    return fail(fmt::format("'{}' is written p({})", text, text.substr(1)));
  }
  std::vector<std::string_view> names;
  names.reserve(kAggregations.size() + 1);
  for (const auto& candidate : kAggregations) names.push_back(candidate.text);
  names.push_back("p(95)");
  return fail(fmt::format(
      "unknown aggregation '{}'{}", text,
      nearest(text, names) ? did_you_mean(text, names) : ": write avg, min, max, med, p(N), count, rate or value"));
}

// The limit in the unit in which the metric is kept.
Result<double> read_limit(std::string_view text, const MetricInfo& metric, Aggregation aggregation) {
  double value = 0;
  const bool is_share = metric.kind == MetricKind::rate;
  if (parse_decimal(text, value)) {
    if (is_share && (value < 0 || value > 1)) {
      return fail(fmt::format("a rate lies between 0 and 1: write {}% for {} in a hundred", text, text));
    }
    return value;
  }
  if (text.ends_with('%')) {
    if (!parse_decimal(trimmed(text.substr(0, text.size() - 1)), value))
      return fail(fmt::format("cannot read '{}' as a percentage", text));
    if (is_share && (value < 0 || value > 100)) return fail(fmt::format("'{}': a rate lies between 0% and 100%", text));
    if (is_share || (metric.kind == MetricKind::gauge && metric.unit == Unit::none)) return value / 100;
    if (metric.unit == Unit::percent) return value;
    return fail(fmt::format("'{}': {} is not a share, so it takes no '%'", text, metric.name));
  }
  if (aggregation == Aggregation::rate && text.ends_with("/s") &&
      parse_decimal(trimmed(text.substr(0, text.size() - 2)), value)) {
    if (metric.kind == MetricKind::counter) return value;
    return fail(fmt::format("'{}': {} is a share of tries, not a number per second", text, metric.name));
  }
  if (const auto duration = parse_duration(text)) {
    if (metric.unit == Unit::milliseconds) return static_cast<double>(duration->count()) / 1e6;
    return fail(fmt::format("'{}' is a time, and {} is not one", text, metric.name));
  }
  if (const auto size = parse_size(text)) {
    if (metric.unit == Unit::bytes) return *size;
    return fail(fmt::format("'{}' is a size, and {} is not one", text, metric.name));
  }
  const auto what = is_share                            ? "0.01 or 1%"
                    : metric.unit == Unit::milliseconds ? "1500 (milliseconds) or 1.5s"
                    : metric.unit == Unit::bytes        ? "1000 or 1MB"
                                                        : "1000";
  return fail(fmt::format("cannot read the limit '{}': write a number such as {}", text, what));
}

bool is_tag_text(std::string_view text, bool is_key) {
  return !text.empty() && std::none_of(text.begin(), text.end(), [is_key](char c) {
    return c == '{' || c == '}' || c == ',' || (is_key && c == ':') || static_cast<unsigned char>(c) < 0x20;
  });
}

}  // namespace

Result<Threshold> parse_threshold(std::string_view text, const MetricInfo& about) {
  text = trimmed(text);
  if (text.size() > kLongest) return fail(fmt::format("the threshold is longer than {} bytes", kLongest));
  Threshold threshold;
  threshold.text = text;
  threshold.metric = about.id;

  const auto operator_at = text.find_first_of("<>=!");
  if (operator_at == std::string_view::npos) {
    return fail(fmt::format("'{}' is not a threshold: write an aggregation, a comparison and a limit, as in {}", text,
                            about.kind == MetricKind::trend     ? "p(95) < 2s"
                            : about.kind == MetricKind::counter ? "count > 10"
                            : about.kind == MetricKind::gauge   ? "value > 1"
                                                                : "rate < 1%"));
  }
  const auto tail = text.substr(operator_at);
  const auto* comparison = std::find_if(kComparisons.begin(), kComparisons.end(),
                                        [tail](const auto& c) { return tail.starts_with(c.text); });
  if (comparison == kComparisons.end())
    return fail(fmt::format("'{}' is not a comparison: write <, <=, >, >=, == or !=", tail.substr(0, 1)));
  threshold.comparison = comparison->comparison;

  if (const auto read = read_aggregation(trimmed(text.substr(0, operator_at)), threshold); !read) return read.error();
  const auto& kind = row(about.kind);
  if (!kind.fits(threshold.aggregation)) {
    return fail(fmt::format("'{}' does not fit {}, a {}: write {}", trimmed(text.substr(0, operator_at)), about.name,
                            kind.name, kind.allowed));
  }
  const auto limit = read_limit(trimmed(tail.substr(comparison->text.size())), about, threshold.aggregation);
  if (!limit) return limit.error();
  threshold.limit = *limit;
  return threshold;
}

Result<StableMetric> parse_stable_metric(std::string_view text, const std::vector<CustomMetric>& own) {
  text = trimmed(text);
  if (text.size() > kLongest) return fail(fmt::format("longer than {} bytes", kLongest));
  const auto closed = text.rfind('}');
  const auto after = closed == std::string_view::npos ? text.find_first_of(" \t") : closed + 1;
  const auto wanted = after == std::string_view::npos ? std::string_view() : trimmed(text.substr(after));
  if (wanted.empty())
    return fail(fmt::format("'{}': a metric and an aggregation are wanted, as in ttft p(95) or http_reqs rate", text));
  auto selection = parse_selection(text.substr(0, after), own);
  if (!selection) return selection.error();
  const MetricInfo about = info(own, selection->metric);
  Threshold read;
  if (const auto good = read_aggregation(wanted, read); !good) return good.error();
  if (const auto& kind = row(about.kind); !kind.fits(read.aggregation))
    return fail(fmt::format("'{}' does not fit {}, a {}: write {}", wanted, about.name, kind.name, kind.allowed));
  return StableMetric{std::string(text), selection->metric, std::move(selection->tags), read.aggregation,
                      read.percentile};
}

Result<Selection> parse_selection(std::string_view text, const std::vector<CustomMetric>& own) {
  text = trimmed(text);
  const auto open = text.find('{');
  const auto name = trimmed(text.substr(0, open));
  Selection selection;
  auto metric = metric_named(name);
  for (std::size_t i = 0; i < own.size() && !metric; ++i)
    if (own[i].name == name) metric = custom_metric(i);
  if (!metric) {
    std::vector<std::string_view> names;
    for (const auto& known : own) names.push_back(known.name);
    for (const auto& known : metric_catalog()) names.push_back(known.name);
    return fail(fmt::format("unknown metric '{}'{}", name,
                            nearest(name, names) ? did_you_mean(name, names) : "; 'sluice metrics' lists them"));
  }
  selection.metric = *metric;
  if (open == std::string_view::npos) return selection;
  if (!text.ends_with('}')) return fail(fmt::format("'{}': the selector has no '}}'", text));
  auto inside = text.substr(open + 1, text.size() - open - 2);
  while (true) {
    const auto comma = inside.find(',');
    const auto pair = trimmed(inside.substr(0, comma));
    const auto colon = pair.find(':');
    const auto key = trimmed(pair.substr(0, colon));
    const auto value = colon == std::string_view::npos ? std::string_view() : trimmed(pair.substr(colon + 1));
    if (!is_tag_text(key, true) || !is_tag_text(value, false)) {
      return fail(fmt::format("'{}' is not a selector: write {}{{tag:value}}, or {}{{tag:value,tag2:value2}}", text,
                              name, name));
    }
    if (std::any_of(selection.tags.begin(), selection.tags.end(),
                    [key](const auto& tag) { return tag.first == key; })) {
      return fail(fmt::format("'{}': the tag '{}' stands twice", text, key));
    }
    selection.tags.emplace_back(key, value);
    if (comma == std::string_view::npos) break;
    inside.remove_prefix(comma + 1);
  }
  std::sort(selection.tags.begin(), selection.tags.end());
  return selection;
}

}  // namespace sluice
