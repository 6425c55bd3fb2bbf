// What is wrong with a scenario file: all of it at once, each with its place.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "harness/scenario/plan.h"

namespace sluice {

struct Problem {
  std::string file;  // the scenario file, or a data file it names
  Place place;       // line 0: the whole file, or the command line
  std::string message;

  /// "file:line:column: message"
  std::string text() const;
};

/// Sorted by place, and never empty where it stands for a failure.
struct Problems {
  std::vector<Problem> list;

  /// One problem a line.
  std::string text() const;
};

/// Collects problems, at most limits::problems_max of them.
class ProblemList {
 public:
  explicit ProblemList(std::string file) : file_(std::move(file)) {}

  void add(Place place, std::string_view message);
  void add_in(std::string file, Place place, std::string_view message);
  bool empty() const { return list_.empty(); }

  /// Sorted; the last says how many were left out, if any were.
  Problems take();

 private:
  std::string file_;
  std::vector<Problem> list_;
  std::size_t left_out_ = 0;
};

}  // namespace sluice
