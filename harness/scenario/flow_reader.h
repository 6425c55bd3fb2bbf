// Flows: what each iteration does. Reads `flows:` and `flow:`; used by load_plan.cpp only.
#pragma once

#include <map>
#include <memory>
#include <set>
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

  /// Those that metric steps may add to.
  void set_metrics(const std::vector<CustomMetric>& metrics) { metrics_ = &metrics; }
  void read_flows(const YamlMember& member);
  void read_unused_flows();
  /// The flow of a scenario: its steps, or the name of one of the flows. `has_own_variables`: its env: or its trace is
  /// in force, so that a named flow is read anew.
  std::vector<Step> read_flow(const YamlMember& member, const std::string& scenario, bool has_own_variables = false);
  /// `setup:`, whose names are there for all that is read after it, or `teardown:`.
  std::vector<Step> read_setup(const YamlMember& member);
  std::vector<Step> read_teardown(const YamlMember& member);

 private:
  class StepNames;
  std::vector<Step> read_whole(const YamlNode& node, std::string_view what);
  std::vector<Step> read_steps(const YamlNode& node, std::string_view what, StepNames& names);
  std::optional<Step> read_step(const YamlNode& node, StepNames& names);
  ChatStep read_chat(const YamlMember& member);
  CompletionStep read_completion(const YamlMember& member);
  void read_model_request(Section& section, ModelRequest& request);
  void read_messages(const YamlMember& member, ChatStep& chat);
  void read_stop(const YamlMember& member, ModelRequest& request);
  void read_body_members(const YamlMember& member, ModelRequest& request);
  MetricStep read_metric(const YamlMember& member);
  HttpStep read_http(const YamlMember& member);
  SseStep read_sse(const YamlMember& member);
  std::vector<Check> read_checks(const YamlMember& member);
  std::optional<Check> read_content_check(const YamlNode& node);

  // steering_reader.cpp
  SleepStep read_sleep(const YamlMember& member);
  IfStep read_if(const YamlMember& member, const YamlMember* then, const YamlMember* otherwise, StepNames& names);
  RepeatStep read_repeat(const YamlMember& member, const YamlMember* steps, StepNames& names);
  ChooseStep read_choose(const YamlMember& member, StepNames& names);
  SetStep read_set(const YamlMember& member);
  std::vector<Capture> read_captures(const YamlMember& member);
  std::optional<Capture> read_capture(const YamlMember& entry);
  std::optional<Abandon> read_abandon(const YamlMember& member);
  bool is_free_name(const YamlMember& entry);

  ScalarReader& scalars_;
  ProblemList& problems_;
  const std::vector<CustomMetric>* metrics_ = nullptr;
  HttpReader http_;
  std::map<std::string, const YamlNode*> flow_nodes_;  // of the file's tree
  std::set<std::string> used_flows_;
  std::map<std::string, std::vector<Step>> flows_;  // those read so far, with the file's variables
  std::size_t steps_ = 0;                           // of the flow being read
  std::vector<std::string> asked_names_;            // likewise, so far: of steps that send a request
};

/// The verb and what it addresses; a second one alike gets a number, so that each step has its own row in a report.
class FlowReader::StepNames {
 public:
  std::string unique(const std::string& name);

 private:
  std::map<std::string, int> counts_;
};

}  // namespace sluice
