// What a target says of itself before the load: whether it is well, what it offers, what it runs on.
//
// Blocks: some small requests, ten seconds each at most. A target that does not answer is data, not an error.
#pragma once

#include <string>
#include <vector>

#include "harness/base/result.h"
#include "harness/metrics/record.h"
#include "harness/scenario/plan.h"

namespace sluice {

struct PreflightCheck {
  enum class Verdict : std::uint8_t { pass, fail, skipped };
  std::string name;  // "health", "models", "authentication", "backend"
  Verdict verdict = Verdict::pass;
  std::string detail;  // for people
};

struct Preflight {
  bool reached = true;  // it has answered something
  std::vector<PreflightCheck> checks;
  std::vector<std::string> models;       // on offer
  std::string backend;                   // what it says it runs on; empty: it does not say
  const PreflightCheck* failed() const;  // the first; null: none has
};

/// What the answers say, and how that fits target.expect_models and target.expect_backend. Pure; each record is that
/// of GET /health, /v1/models and /api/v1/health.
Preflight judge_preflight(const Target& wanted, const RequestRecord& health, const RequestRecord& models,
                          const RequestRecord& about);

/// Asks and judges. Fails when the target's address cannot be read or resolved. `url`: where it listens.
Result<Preflight> preflight(const Plan& plan, const std::string& url);

}  // namespace sluice
