#include "harness/output/k6_summary.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <iterator>
#include <map>
#include <string_view>
#include <vector>

#include "harness/output/text_pieces.h"
#include "reports/format.h"

namespace sluice {
namespace {

using reports::MetricSummary;
using samples::append_json_string;

/// An object being written, its members indented.
class Object {
 public:
  Object(std::string& out, int depth) : out_(out), depth_(depth) { out_ += '{'; }
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  ~Object() {
    if (any_) line(depth_);
    out_ += '}';
  }

  /// Whatever is appended next is the member's value.
  std::string& key(std::string_view name) {
    if (any_) out_ += ',';
    any_ = true;
    line(depth_ + 1);
    append_json_string(name, out_);
    out_ += ": ";
    return out_;
  }
  void number(std::string_view name, double value) { fmt::format_to(std::back_inserter(key(name)), "{}", value); }
  void count(std::string_view name, std::uint64_t value) { fmt::format_to(std::back_inserter(key(name)), "{}", value); }
  void text(std::string_view name, std::string_view value) { append_json_string(value, key(name)); }
  int depth() const { return depth_; }

 private:
  void line(int depth) {
    out_ += '\n';
    out_.append(static_cast<std::size_t>(depth) * 4, ' ');
  }

  std::string& out_;
  const int depth_;
  bool any_ = false;
};

/// k6's ids of groups and checks: the MD5 of their paths.
std::string id_of(std::string_view path) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  std::string text;
  if (EVP_Digest(path.data(), path.size(), digest.data(), &size, EVP_md5(), nullptr) != 1) return text;
  for (unsigned i = 0; i < size; ++i) fmt::format_to(std::back_inserter(text), "{:02x}", digest[i]);
  return text;
}

struct Check {
  std::uint64_t passes = 0, fails = 0;
};

struct Group {
  std::string name, path;
  std::map<std::string, Group> groups;
  std::map<std::string, Check> checks;

  /// The group with that path below this one: "::ask::again".
  Group& at(std::string_view below) {
    Group* group = this;
    while (below.starts_with("::")) {
      below.remove_prefix(2);
      const std::string_view next = below.substr(0, below.find("::"));
      below.remove_prefix(next.size());
      Group& inner = group->groups[std::string(next)];
      inner.name = next;
      inner.path = group->path + "::" + std::string(next);
      group = &inner;
    }
    return *group;
  }
};

Group groups_of(const reports::Summary& summary) {
  Group root;
  for (const reports::StepResult& step : summary.steps) root.at(step.group);
  for (const reports::CheckResult& result : summary.checks) {
    Check& check = root.at(result.group).checks[result.name];
    check.passes += result.passes;
    check.fails += result.fails;
  }
  return root;
}

void write_group(const Group& group, std::string& out, int depth) {
  Object object(out, depth);
  object.text("name", group.name);
  object.text("path", group.path);
  object.text("id", id_of(group.path));
  {
    Object groups(object.key("groups"), depth + 1);
    for (const auto& [name, inner] : group.groups) write_group(inner, groups.key(name), depth + 2);
  }
  Object checks(object.key("checks"), depth + 1);
  for (const auto& [name, check] : group.checks) {
    const std::string path = group.path + "::" + name;
    Object one(checks.key(name), depth + 2);
    one.text("name", name);
    one.text("path", path);
    one.text("id", id_of(path));
    one.count("passes", check.passes);
    one.count("fails", check.fails);
  }
}

void write_values(const MetricSummary& metric, Object& object) {
  if (metric.kind == "trend") {
    const auto value = [&](std::string_view name, const std::optional<double>& known) {
      object.number(name, known.value_or(0));
    };
    const auto percentile = [&](std::string_view name, double q) {
      const double* found = reports::percentile_of(metric, q);
      object.number(name, found != nullptr ? *found : 0);
    };
    value("avg", metric.avg);
    value("min", metric.min);
    percentile("med", 50);
    value("max", metric.max);
    percentile("p(90)", 90);
    percentile("p(95)", 95);
  } else if (metric.kind == "counter") {
    object.count("count", metric.count);
    object.number("rate", metric.rate.value_or(0));
  } else if (metric.kind == "rate") {
    object.number("value", metric.rate.value_or(0));
    object.count("passes", metric.passes);
    object.count("fails", metric.fails);
  } else {
    const double value = metric.value.value_or(0);
    object.number("value", value);
    object.number("min", metric.min.value_or(value));
    object.number("max", metric.max.value_or(value));
  }
}

void write_metrics(const reports::Summary& summary, std::string& out, int depth) {
  std::map<std::string, const MetricSummary*> metrics;  // in k6's order: by name
  std::map<std::string, std::vector<const reports::ThresholdResult*>> thresholds;
  for (const MetricSummary& metric : summary.metrics) metrics[metric.name] = &metric;
  for (const reports::ThresholdResult& threshold : summary.thresholds) {
    thresholds[threshold.metric].push_back(&threshold);
    metrics.try_emplace(threshold.metric, nullptr);  // one without samples has failed, and must be seen
  }
  Object object(out, depth);
  for (const auto& [name, metric] : metrics) {
    Object one(object.key(name), depth + 1);
    if (metric != nullptr) write_values(*metric, one);
    const auto found = thresholds.find(name);
    if (found == thresholds.end()) continue;
    Object judged(one.key("thresholds"), depth + 2);
    for (const reports::ThresholdResult* threshold : found->second)
      judged.key(threshold->expression) += threshold->verdict == "fail" ? "true" : "false";
  }
}

}  // namespace

std::string to_k6_summary(const reports::Summary& summary) {
  std::string out;
  {
    Object object(out, 0);
    write_group(groups_of(summary), object.key("root_group"), 1);
    write_metrics(summary, object.key("metrics"), 1);
  }
  return out + '\n';
}

}  // namespace sluice
