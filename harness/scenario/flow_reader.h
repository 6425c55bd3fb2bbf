// Flows: what each iteration does. Reads `flows:` and `flow:`; used by load_plan.cpp only.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "harness/scenario/http_reader.h"
#include "harness/scenario/plan.h"
#include "harness/scenario/plan_reader.h"

namespace sluice {

class FlowReader {
 public:
  /// All must outlive it.
  FlowReader(ScalarReader& scalars, ProblemList& problems, const ScenarioFiles& files)
      : scalars_(scalars), problems_(problems), http_(scalars, problems, files) {}

  void read_flows(const YamlMember& member);
  /// The flow of a scenario: its steps, or the name of one of the flows read before.
  std::vector<Step> read_flow(const YamlMember& member, const std::string& scenario);

 private:
  class StepNames;
  std::vector<Step> read_steps(const YamlNode& node, std::string_view what, StepNames& names);
  std::optional<Step> read_step(const YamlNode& node, StepNames& names);
  ChatStep read_chat(const YamlMember& member);
  void read_messages(const YamlMember& member, ChatStep& chat);
  void read_stop(const YamlMember& member, ChatStep& chat);
  void read_body_members(const YamlMember& member, ChatStep& chat);
  HttpStep read_http(const YamlMember& member);
  std::vector<Check> read_checks(const YamlMember& member);

  ScalarReader& scalars_;
  ProblemList& problems_;
  HttpReader http_;
  std::map<std::string, std::vector<Step>> flows_;
  std::size_t steps_ = 0;  // of the flow being read
};

}  // namespace sluice
