#include "harness/load/preflight.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <chrono>
#include <string_view>

#include "harness/base/letters.h"
#include "harness/base/nearest.h"
#include "harness/load/program.h"
#include "harness/load/target_client.h"

namespace sluice {
namespace {

constexpr std::size_t kShownBytesMax = 80;  // of a name that a server gives
constexpr std::size_t kModelsMax = 10'000;

/// For messages: printable ASCII, and not too much of it.
std::string shown(std::string_view text) {
  std::string out(text.substr(0, kShownBytesMax));
  for (char& c : out) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return out;
}

/// {"data": [{"id": "name", "owned_by": "vllm"}, ...]}
void read_models(const std::string& body, Preflight& found) {
  simdjson::dom::parser parser;
  simdjson::dom::array models;
  if (parser.parse(body)["data"].get(models) != simdjson::SUCCESS) return;
  for (const auto model : models) {
    std::string_view id, owner;
    if (model["id"].get(id) == simdjson::SUCCESS && found.models.size() < kModelsMax) found.models.emplace_back(id);
    if (found.backend.empty() && model["owned_by"].get(owner) == simdjson::SUCCESS) found.backend = owner;
  }
}

struct About {
  std::string status, backend;
};

/// {"status": "ok", "backend": "vllm", "models": [...]}
About read_about(const std::string& body) {
  About about;
  simdjson::dom::parser parser;
  simdjson::dom::element document;
  std::string_view text;
  if (parser.parse(body).get(document) != simdjson::SUCCESS) return about;
  if (document["status"].get(text) == simdjson::SUCCESS) about.status = text;
  if (document["backend"].get(text) == simdjson::SUCCESS) about.backend = text;
  return about;
}

bool is_well(std::string_view status) {
  static constexpr std::string_view kWords[] = {"ok", "healthy", "ready", "up"};
  return std::any_of(std::begin(kWords), std::end(kWords),
                     [&](std::string_view word) { return same_letters(status, word); });
}

std::string what_came(const RequestRecord& record) {
  return record.status == 0 ? record.error : fmt::format("status {}", record.status);
}

}  // namespace

const PreflightCheck* Preflight::failed() const {
  const auto found = std::find_if(checks.begin(), checks.end(),
                                  [](const auto& check) { return check.verdict == PreflightCheck::Verdict::fail; });
  return found == checks.end() ? nullptr : &*found;
}

Preflight judge_preflight(const Target& wanted, const RequestRecord& health, const RequestRecord& models,
                          const RequestRecord& about) {
  using Verdict = PreflightCheck::Verdict;
  Preflight result;
  const auto add = [&](std::string name, Verdict verdict, std::string detail) {
    result.checks.push_back({std::move(name), verdict, std::move(detail)});
  };
  const auto answered = [](const RequestRecord& record) { return record.outcome == Outcome::ok; };
  const auto refused = [](const RequestRecord& record) { return record.status == 401 || record.status == 403; };
  const auto absent = [](const RequestRecord& record) { return record.status == 404 || record.status == 405; };

  result.reached = health.status != 0 || models.status != 0 || about.status != 0;
  if (answered(health)) {
    add("health", Verdict::pass, fmt::format("/health: {}", what_came(health)));
  } else if (absent(health) || refused(health)) {
    add("health", Verdict::skipped, "the server has no /health");
  } else {
    add("health", Verdict::fail, fmt::format("/health: {}", what_came(health)));
  }

  if (refused(models)) {
    add("authentication", Verdict::fail,
        fmt::format("/v1/models: status {}: set target.auth, or the variable that it reads", models.status));
  } else if (answered(models)) {
    add("authentication", Verdict::pass, "accepted");
    read_models(models.body, result);
  }

  if (wanted.expect_models.empty() && !answered(models)) {
    // A server that knows neither path is not one of these, or not there.
    if (!refused(models))
      add("models", answered(health) ? Verdict::skipped : Verdict::fail,
          fmt::format("/v1/models: {}{}", what_came(models), answered(health) ? "" : ": is the URL right?"));
  } else {
    std::string missing;
    std::vector<std::string> expected = wanted.expect_models;
    if (!wanted.model.empty() && !result.models.empty()) expected.push_back(wanted.model);
    for (const std::string& name : expected) {
      if (std::find(result.models.begin(), result.models.end(), name) != result.models.end()) continue;
      const std::vector<std::string_view> known(result.models.begin(), result.models.end());
      missing += fmt::format("{}'{}'{}", missing.empty() ? "" : ", ", name, did_you_mean(name, known));
    }
    std::string offered;
    for (std::size_t i = 0; i < std::min<std::size_t>(result.models.size(), 5); ++i)
      offered += fmt::format("{}{}", i == 0 ? "" : ", ", shown(result.models[i]));
    if (result.models.size() > 5) offered += fmt::format(" and {} more", result.models.size() - 5);
    if (offered.empty()) offered = "nothing";
    if (!answered(models)) {
      add("models", Verdict::fail, fmt::format("/v1/models: {}", what_came(models)));
    } else if (missing.empty()) {
      add("models", Verdict::pass, offered);
    } else {
      add("models", Verdict::fail, fmt::format("the server does not offer {}; it offers {}", missing, offered));
    }
  }

  const About said = answered(about) ? read_about(about.body) : About{};
  if (!said.backend.empty()) result.backend = said.backend;
  const std::string backend = shown(result.backend);
  if (!said.status.empty() && !is_well(said.status)) {
    add("backend", Verdict::fail,
        fmt::format("the server says that it is '{}'{}", shown(said.status),
                    backend.empty() ? "" : fmt::format(" on '{}'", backend)));
  } else if (wanted.expect_backend.empty()) {
    add("backend", backend.empty() ? Verdict::skipped : Verdict::pass,
        backend.empty() ? "the server does not say what it runs on" : backend);
  } else if (backend.empty()) {
    add("backend", Verdict::fail,
        fmt::format("'{}' is expected, and the server does not say what it runs on: neither /api/v1/health nor "
                    "owned_by in /v1/models",
                    wanted.expect_backend));
  } else if (!same_letters(result.backend, wanted.expect_backend)) {
    add("backend", Verdict::fail,
        fmt::format("the server runs on '{}', not on '{}': it has fallen back, or is another one", backend,
                    wanted.expect_backend));
  } else {
    add("backend", Verdict::pass, backend);
  }
  return result;
}

Result<Preflight> preflight(const Plan& plan, const std::string& url) {
  auto target = parse_endpoint(url);
  if (!target) return target.error();
  if (auto resolved = resolve(*target); !resolved) return resolved.error();
  target->tls_name = plan.target.tls.server_name;
  const auto tls = TlsContext::make(tls_options(plan.target));
  if (!tls) return tls.error();
  const auto ask = [&](const char* path) -> RequestRecord {
    TargetClient client(plan, *target, *tls);  // a connection each: one that breaks concerns no other
    return client.get(path, std::min<Nanoseconds>(plan.target.request_timeout, std::chrono::seconds(10)));
  };
  const RequestRecord health = ask("/health"), models = ask("/v1/models"), about = ask("/api/v1/health");
  return Result<Preflight>(boost::system::in_place_value, judge_preflight(plan.target, health, models, about));
}

}  // namespace sluice
