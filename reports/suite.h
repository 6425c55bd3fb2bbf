// What a suite of scenarios came to, as a value: its cases, and what each of them required.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "reports/summary.h"

namespace sluice::reports {

/// A threshold or a check of a case.
struct RequirementResult {
  std::string requirement = {};  // "ttft{kind:chat} p(95)", "check: text contains ..."
  std::string goal = {};         // "p(95) < 1s", "always"
  std::string actual = {};       // "412ms", "12 of 12"; empty: nothing was measured
  std::string verdict = {};      // pass, fail, inconclusive
  std::string cause = {}, suggestion = {};
  bool operator==(const RequirementResult&) const = default;
};

struct SuiteCase {
  std::string name = {}, file = {};
  std::string outcome = {};  // passed, failed, skipped, aborted, interrupted; error: it could not be run
  std::string reason = {};   // why it was skipped or could not be run
  std::string folder = {};   // of its own reports, relative to the suite's; empty: it has none
  double duration_s = 0;
  int exit_code = 0;
  std::vector<RequirementResult> requirements = {};
  bool operator==(const SuiteCase&) const = default;
};

struct PreflightResult {
  std::string name = {}, verdict = {}, detail = {};  // verdict: pass, fail, skipped
  bool operator==(const PreflightResult&) const = default;
};

struct SuiteSummary {
  int schema_version = kSchemaVersion;
  std::string sluice_version = {};
  std::string name = {};
  std::string started_at = {};  // ISO 8601, UTC
  double duration_s = 0;
  std::string target = {};     // as in Summary
  std::string simulated = {};  // why the built-in scripted engine answered instead of the target; empty: it did not
  std::string outcome = {};    // passed, failed, interrupted
  int exit_code = 0;
  std::vector<PreflightResult> preflight = {};
  std::vector<SuiteCase> cases = {};
  bool operator==(const SuiteSummary&) const = default;
};

/// The thresholds and checks of a run as requirements, in their order.
std::vector<RequirementResult> requirements_of(const Summary& summary);

}  // namespace sluice::reports
