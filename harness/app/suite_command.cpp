#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "harness/app/commands.h"
#include "harness/app/run_plan.h"
#include "harness/app/suite_file.h"
#include "harness/base/letters.h"
#include "harness/cohost/probe.h"
#include "harness/load/preflight.h"
#include "harness/metrics/summarize.h"
#include "harness/net/endpoint.h"
#include "harness/scenario/load_plan.h"
#include "harness/verdict/judge.h"
#include "reports/html.h"
#include "reports/json.h"
#include "reports/junit.h"
#include "reports/suite.h"
#include "reports/text.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

/// What the scripted engine says for a target that is not there: an answer to "print Jay", so that cases which look at
/// the code find some.
constexpr std::string_view kScript =
    "ttft=20ms,gap=4ms,tokens=110,text=Here is a small Python program that prints Jay:\n\n```python\nname = \"Jay\"\n"
    "print(\"Jay\")\n```\n\nRun it with python3. ";

void complain(std::string_view message) { fmt::print(stderr, "sluice: {}\n", message); }

std::optional<std::string> environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value != nullptr && *value != '\0' ? std::optional<std::string>(value) : std::nullopt;
}

struct LoadedCase {
  std::string file;
  bool needs_model = false;
  Plan plan;
};

/// The plans of all cases, or every problem that they have, said on stderr.
std::optional<std::vector<LoadedCase>> load_cases(const SuiteFile& suite, const fs::path& folder,
                                                  const std::map<std::string, std::string>& variables) {
  std::vector<LoadedCase> cases;
  std::set<std::string> used;
  bool good = true;
  for (const SuiteFile::Case& each : suite.cases) {
    LoadOptions load;
    // As variables of the environment: a case that does not declare one is not concerned.
    load.environment = [&](const std::string& name) {
      const auto found = variables.find(name);
      if (found == variables.end()) return environment(name);
      used.insert(name);
      return std::optional(found->second);
    };
    const std::string file = (folder / each.run).lexically_normal().string();
    auto plan = load_plan(file, load);
    if (plan) {
      cases.push_back({file, each.needs_model, std::move(*plan)});
    } else {
      fmt::print(stderr, "{}", plan.error().text());
      good = false;
    }
  }
  for (const auto& [name, value] : variables) {
    if (name == "BASE_URL" || used.contains(name)) continue;
    complain(fmt::format("-e {}: no case of the suite has such a variable", name));
    good = false;
  }
  return good ? std::optional(std::move(cases)) : std::nullopt;
}

/// Is anybody there at all? One who listens and does not answer is there.
Result<void> reach(const Target& target) {
  const auto endpoint = parse_endpoint(target.url);
  if (!endpoint) return endpoint.error();
  return can_connect(endpoint->host, endpoint->port, target.connect_timeout);
}

/// The suite's target is asked before the cases are: all of them would fail alike.
Result<std::vector<reports::PreflightResult>> ask(const Plan& plan) {
  const auto found = preflight(plan, plan.target.url);
  if (!found) return found.error();
  std::vector<reports::PreflightResult> checks;
  for (const PreflightCheck& check : found->checks) {
    using Verdict = PreflightCheck::Verdict;
    checks.push_back({check.name,
                      check.verdict == Verdict::pass   ? "pass"
                      : check.verdict == Verdict::fail ? "fail"
                                                       : "skipped",
                      check.detail});
  }
  return Result<std::vector<reports::PreflightResult>>(boost::system::in_place_value, std::move(checks));
}

/// The scripted engine answers in place of the server at `url`.
void stand_in(Plan& plan, const std::string& url, EngineTarget engine) {
  if (plan.target.url != url) return;
  plan.target.url.clear();
  plan.target.model.clear();
  plan.target.http2 = false;
  plan.target.expect_models.clear();
  plan.target.expect_backend.clear();
  plan.target.engine = std::move(engine);
  for (ScenarioPlan& scenario : plan.scenarios) {
    scenario.http2.reset();
    scenario.url.clear();
    scenario.headers.clear();
  }
}

EngineTarget scripted_engine() {
  EngineTarget engine;
  engine.model = "tiny-coder";
  engine.backend = "scripted";
  engine.slots = 256;
  engine.args = {"--script", std::string(kScript), "--chunking", "min_chars=2"};
  return engine;
}

/// Of several runs, the first of these that any of them has.
int gravest(const std::vector<reports::SuiteCase>& cases) {
  constexpr std::array kOrder = {kExitInternal,    kExitSetup,     kExitUnreachable, kExitInvalid,
                                 kExitInterrupted, kExitUntrusted, kExitFailed,      kExitTeardown};
  for (const int code : kOrder) {
    if (std::any_of(cases.begin(), cases.end(), [&](const auto& each) { return each.exit_code == code; })) return code;
  }
  return kExitPassed;
}

bool is_wanted(const std::string& name, const std::vector<std::string>& only) {
  const auto has = [&name](const std::string& part) {
    return std::search(name.begin(), name.end(), part.begin(), part.end(), [](char a, char b) {
             return same_letters({&a, 1}, {&b, 1});
           }) != name.end();
  };
  return only.empty() || std::any_of(only.begin(), only.end(), has);
}

bool write_reports(const reports::SuiteSummary& suite, const fs::path& folder) {
  const bool json = write_file(folder / "suite.json", reports::to_json(suite));
  const bool html = write_file(folder / "report.html", reports::to_html(suite));
  const bool junit = write_file(folder / "junit.xml", reports::to_junit(suite));
  return json && html && junit;
}

}  // namespace

int suite_command(const SuiteOptions& options) {
  if (options.url && options.url->empty())
    return complain("--url is empty: name the target, or leave it out"), kExitInvalid;
  const auto file = find_suite(options.suite);
  if (!file) return complain(file.error().message), kExitInvalid;
  std::ifstream stream(*file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  if (!stream) return complain(fmt::format("cannot read {}", *file)), kExitInvalid;
  ProblemList problems(*file);
  const auto suite = read_suite(text, problems);
  if (!suite) return fmt::print(stderr, "{}", problems.take().text()), kExitInvalid;

  auto variables = options.variables;
  if (options.url) {
    variables["BASE_URL"] = *options.url;
  } else if (!variables.contains("BASE_URL") && !environment("BASE_URL")) {
    if (const auto url = environment("VLLM_SERVER_URL")) variables["BASE_URL"] = *url;
  }
  auto cases = load_cases(*suite, fs::path(*file).parent_path(), variables);
  if (!cases) return kExitInvalid;
  std::string names;
  for (const LoadedCase& each : *cases) names += fmt::format("{}{}", names.empty() ? "" : ", ", each.plan.name);
  std::erase_if(*cases, [&](const LoadedCase& each) { return !is_wanted(each.plan.name, options.only); });
  if (cases->empty())
    return complain(fmt::format("--only: no case has that in its name; there are {}", names)), kExitInvalid;
  const auto folder = make_out_dir(options.out_dir, "suite-" + suite->name);
  if (!folder) return complain(folder.error().message), kExitInvalid;

  const auto began = std::chrono::steady_clock::now();
  reports::SuiteSummary summary;
  summary.sluice_version = SLUICE_VERSION;
  summary.name = suite->name;
  summary.started_at = utc_text(std::chrono::system_clock::now());
  summary.target = "the engine, started beside each case";

  const auto by_url =
      std::find_if(cases->begin(), cases->end(), [](const LoadedCase& each) { return !each.plan.target.url.empty(); });
  if (by_url != cases->end()) {
    const std::string url = by_url->plan.target.url;
    summary.target = url;
    const auto leave_no_folder = [&] {
      std::error_code ignored;
      if (options.out_dir.empty()) fs::remove(*folder, ignored);
    };
    if (const auto reached = reach(by_url->plan.target); reached) {
      auto checks = ask(by_url->plan);
      if (!checks) {
        leave_no_folder();
        return complain(checks.error().message), kExitUnreachable;
      }
      summary.preflight = std::move(*checks);
    } else if (!options.fallback) {
      complain(fmt::format("the target {} cannot be reached: {}", url, reached.error().message));
      leave_no_folder();
      return kExitUnreachable;
    } else {
      summary.simulated = fmt::format(
          "{} cannot be reached ({}): the built-in scripted engine answered instead, and nothing here tells anything "
          "of "
          "that server",
          url, reached.error().message);
      complain("simulated: " + summary.simulated);
      for (LoadedCase& each : *cases) stand_in(each.plan, url, scripted_engine());
    }
  }
  const bool refused = std::any_of(summary.preflight.begin(), summary.preflight.end(),
                                   [](const auto& check) { return check.verdict == "fail"; });

  std::size_t number = 0;
  for (const LoadedCase& each : *cases) {
    reports::SuiteCase& result = summary.cases.emplace_back();
    result.name = each.plan.name;
    result.file = each.file;
    ++number;
    if (refused && each.plan.target.engine == std::nullopt) {
      result.outcome = "skipped";
      result.reason = "the preflight failed";
      result.exit_code = kExitUnreachable;
      continue;
    }
    if (each.needs_model && !summary.simulated.empty()) {
      result.outcome = "skipped";
      result.reason = "it needs a model, and the scripted engine has none";
      continue;
    }
    result.folder = fmt::format("{:02}-{}", number, file_name_of(each.plan.name));
    const fs::path inside = *folder / result.folder;
    std::error_code error;
    fs::create_directories(inside, error);
    if (!options.quiet) fmt::print(stderr, "{}/{} {}\n", number, cases->size(), each.plan.name);
    RunCommandOptions run;
    run.inconclusive = options.inconclusive;
    run.require_trusted = options.require_trusted;
    run.quiet = options.quiet;
    run.color = options.color;
    run.out_dir = inside.string();
    const RunEnding ending = run_plan(each.plan, run, inside, false, summary.simulated);
    result.exit_code = ending.exit_code;
    if (ending.summary) {
      result.outcome = ending.summary->outcome;
      result.duration_s = ending.summary->duration_s;
      result.requirements = reports::requirements_of(*ending.summary);
      // What a check asks for is required here, also where no threshold reads it.
      const bool missed = std::any_of(result.requirements.begin(), result.requirements.end(),
                                      [](const auto& requirement) { return requirement.verdict == "fail"; });
      if (missed && result.exit_code == kExitPassed) {
        result.outcome = "failed";
        result.exit_code = kExitFailed;
      }
    } else {
      result.outcome = "error";
      result.reason = ending.problem;
      result.folder.clear();
      fs::remove(inside, error);
    }
    if (ending.interrupted) {
      result.exit_code = kExitInterrupted;
      break;
    }
  }
  summary.duration_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  summary.exit_code = gravest(summary.cases);
  summary.outcome = summary.exit_code == kExitInterrupted ? "interrupted"
                    : summary.exit_code == 0              ? "passed"
                                                          : "failed";
  const bool written = write_reports(summary, *folder);
  fmt::print("{}", reports::to_text(summary, text_options(options.color, stdout)));
  if (written) {
    for (const char* name : {"suite.json", "report.html", "junit.xml"}) fmt::print("  {}\n", (*folder / name).string());
  }
  std::fflush(stdout);
  return written ? summary.exit_code : kExitInternal;
}

}  // namespace sluice
