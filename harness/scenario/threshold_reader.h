// Reads `thresholds:`; used by load_plan.cpp only.
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

 private:
  void read_threshold(const YamlNode& node, const Selection& selection);
  void check_windows(const Selection& selection, Nanoseconds over, Place place);
  void check_selection(const Selection& selection, const YamlMember& entry);
  static void collect_tags(const std::vector<Step>& steps, const std::string& group,
                           std::map<std::string, std::set<std::string>>& values);

  Plan& plan_;
  ScalarReader& scalars_;
  ProblemList& problems_;
  std::uint64_t windows_ = 0;  // over all thresholds
};

}  // namespace sluice
