// Reads `thresholds:` and `stable:`; used by load_plan.cpp only.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "harness/scenario/plan.h"
#include "harness/scenario/plan_reader.h"
#include "harness/scenario/threshold.h"

namespace sluice {

class ThresholdReader {
 public:
  /// `plan`: whose scenarios have been read: selectors are checked against what they can select. All must outlive it.
  ThresholdReader(Plan& plan, ScalarReader& scalars, ProblemList& problems)
      : plan_(plan), scalars_(scalars), problems_(problems) {}

  void read_thresholds(const YamlMember& member);  // into plan.thresholds
  void read_stable(const YamlMember& member);      // into plan.stable

 private:
  void read_threshold(const YamlNode& node, const Selection& selection);
  void check_windows(std::string_view key, Metric metric, Nanoseconds over, std::uint64_t least, Place place);
  void check_selection(const Selection& selection, Place place, const std::string& text);
  std::optional<double> read_tolerance(const YamlMember* member);
  static void collect_tags(const std::vector<Step>& steps, const std::string& group,
                           std::map<std::string, std::set<std::string>>& values);

  Plan& plan_;
  ScalarReader& scalars_;
  ProblemList& problems_;
  std::uint64_t windows_ = 0;  // over all of them
};

}  // namespace sluice
