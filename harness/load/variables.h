// What a flow remembers: variables that it has set or captured, and conversations.
//
// One of each a VU, cleared at the start of an iteration; their memory stays. Values come from answers and may be
// secrets: they go into requests and comparisons and nowhere else.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "harness/metrics/record.h"
#include "harness/scenario/expression.h"
#include "harness/scenario/json_path.h"
#include "harness/scenario/plan.h"

namespace sluice {

class FlowVariables {
 public:
  void clear();
  /// False when the value is longer than limits::flow_variable_bytes_max: then it is not set.
  bool set(std::string_view name, OwnValue value);
  Value find(std::string_view name) const;  // a view of the value, good until the name is set again

 private:
  std::vector<std::pair<std::string, OwnValue>> values_;  // few: looked through in order
};

OwnValue own(const Value& value);

/// What a capture finds in an answer, `text` being the part of it that is read; monostate: nothing.
OwnValue captured(const Capture& capture, const RequestRecord& record, std::string_view text, JsonFinder& json);

/// The messages of each conversation, as JSON without the brackets around.
class Conversations {
 public:
  void clear();
  std::string& messages(std::string_view name);

 private:
  std::vector<std::pair<std::string, std::string>> told_;
};

}  // namespace sluice
