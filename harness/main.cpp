// sluice: options -> command -> exit code.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "harness/app/commands.h"
#include "harness/base/nearest.h"

namespace {

using namespace sluice;

// -e NAME=VALUE
using VariableMap = std::map<std::string, std::string>;

std::string add_variable(const std::string& pair, VariableMap& variables) {
  const auto equals = pair.find('=');
  if (equals == 0 || equals == std::string::npos) return fmt::format("-e {}: write NAME=VALUE", pair);
  variables[pair.substr(0, equals)] = pair.substr(equals + 1);
  return {};
}

void add_scenario_options(CLI::App& command, ScenarioOptions& options, std::vector<std::string>& variables) {
  command.add_option("FILE", options.file, "the scenario")->required();
  command.add_option("-e,--env", variables, "NAME=VALUE: a variable; overrides the environment and the file's default")
      ->allow_extra_args(false)
      ->check([&options](const std::string& pair) { return add_variable(pair, options.variables); });
}

int run_main(int argc, char** argv) {
  CLI::App app{"Sluice: load tests and validates streaming LLM servers", "sluice"};
  app.require_subcommand(1);
  app.set_version_flag("--version", fmt::format("sluice {}", SLUICE_VERSION));
  app.footer(
      "Exit codes: 0 passed, 98 client-limited and --require-trusted, 99 a threshold or a stream failed, 100 setup "
      "failed,\n"
      "101 teardown failed, 104 invalid scenario or options, 105 stopped by the user, 106 the target could not be\n"
      "reached or started, 107 internal error");

  RunCommandOptions run;
  ScenarioOptions validate;
  std::vector<std::string> variables;

  auto* run_app = app.add_subcommand("run", "drive a scenario's load and judge its thresholds");
  add_scenario_options(*run_app, run.scenario, variables);
  run_app->add_option("-o,--out-dir", run.out_dir, "where the reports go (default: out/<name>-<time>)");
  run_app
      ->add_option(
          "--out", run.out,
          "ndjson=FILE or csv=FILE: every sample, as k6 writes them; record=FILE: every stream, byte for byte; "
          "trace=FILE: the first requests, for ui.perfetto.dev; - is stdout; may stand more than once")
      ->allow_extra_args(false);
  run_app
      ->add_option("--inconclusive", run.inconclusive,
                   "a threshold that the samples leave open: pass (and say so), fail, or by its value")
      ->check(CLI::IsMember({"pass", "fail", "value"}))
      ->capture_default_str();
  run_app->add_flag("--require-trusted", run.require_trusted, "exit code 98 when the client limited what was measured");
  run_app->add_option("--summary-export", run.summary_export, "FILE: the summary with the keys of k6's");
  run_app
      ->add_option("--time-scale", run.scenario.time_scale,
                   "multiplies stages, durations and sleeps: 0.1 runs ten times shorter")
      ->check(CLI::Range(1e-6, 1e3));
  run_app->add_option("--seed", run.scenario.seed, "instead of the scenario's");
  run_app->add_option("--threads", run.scenario.threads, "that drive the load, instead of the scenario's")
      ->check(CLI::Range(1, 256));
  run_app->add_option("--control", run.control,
                      "HOST:PORT of the API that controls the run (default: 127.0.0.1:6565 with executor "
                      "externally-controlled, else none)");
  run_app->add_flag("--control-remote", run.control_remote, "lets --control listen on an address of other machines");
  run_app->add_flag("-q,--quiet", run.quiet, "no live line");
  bool no_color = false;
  run_app->add_flag("--no-color", no_color, "plain text");

  SuiteOptions suite;
  std::vector<std::string> suite_variables;
  auto* suite_app = app.add_subcommand("suite", "run a suite of scenarios, and tell which requirements hold");
  suite_app->add_option("SUITE", suite.suite, "quick, full, or a file")->required();
  suite_app->add_option("--url", suite.url,
                        "the target (default: BASE_URL or VLLM_SERVER_URL of the environment, else the engine is "
                        "started beside each case)");
  bool no_fallback = false;
  suite_app->add_flag("--no-fallback", no_fallback,
                      "exit code 106 when the target cannot be reached, instead of asking the scripted engine");
  suite_app->add_option("--only", suite.only, "TEXT: only cases whose names have it; may stand more than once")
      ->allow_extra_args(false);
  suite_app->add_option("-e,--env", suite_variables, "NAME=VALUE for the scenarios that have such a variable")
      ->allow_extra_args(false)
      ->check([&suite](const std::string& pair) { return add_variable(pair, suite.variables); });
  suite_app->add_option("-o,--out-dir", suite.out_dir, "where the reports go (default: out/suite-<name>-<UTC time>)");
  suite_app->add_option("--inconclusive", suite.inconclusive, "as of run")
      ->check(CLI::IsMember({"pass", "fail", "value"}));
  suite_app->add_flag("--require-trusted", suite.require_trusted, "as of run");
  suite_app->add_flag("-q,--quiet", suite.quiet, "no progress");
  bool suite_no_color = false;
  suite_app->add_flag("--no-color", suite_no_color, "plain text");

  CalibrateOptions calibrate;
  auto* calibrate_app = app.add_subcommand("calibrate", "measure this machine's own error against known instants");
  calibrate_app->add_option("--streams", calibrate.streams, "at a time, one row each (default: 1,100,1000,10000)")
      ->delimiter(',')
      ->check(CLI::Range(1, 60000));
  calibrate_app
      ->add_option("--rate", calibrate.rate, "events a second of each stream (default: 100, above 1000 streams 5)")
      ->check(CLI::Range(0.1, 1e6));
  calibrate_app->add_option("--seconds", calibrate.seconds, "of each row")
      ->check(CLI::Range(0.1, 600.0))
      ->capture_default_str();
  calibrate_app->add_option("--file", calibrate.file,
                            "where the figures go; reports name only those that are stored without it");

  auto* validate_app = app.add_subcommand("validate", "read a scenario and name every problem");
  add_scenario_options(*validate_app, validate, variables);
  CheckStreamOptions check;
  auto* check_app = app.add_subcommand("check-stream", "judge recorded streams, or that of one request, by the rules");
  check_app
      ->add_option("SOURCE", check.source,
                   "a file (the stream's bytes, a whole HTTP answer, or a recording), - for stdin, or a URL")
      ->required();
  check_app->add_option("--dialect", check.dialect,
                        "openai (default), vllm, llamacpp, sglang, anthropic, responses, raw");
  check_app->add_option("--api", check.api,
                        "chat, completions, messages or responses (default: the URL's or the dialect's)");
  check_app->add_option("--fail-on", check.fail_on, "fatal, error (default), warning or none: what gives exit code 99");
  check_app->add_option("--allow", check.allow, "a rule that is only noted; may stand more than once")
      ->allow_extra_args(false);
  check_app->add_option("--model", check.model, "of the request (default: the server's first)");
  check_app->add_option("--prompt", check.prompt, "of the request");
  check_app->add_option("--max-tokens", check.max_tokens, "of the request; default 200")
      ->check(CLI::Range(1, 1'000'000));
  check_app->add_option("--header", check.headers, "'Name: value' of the request; may stand more than once")
      ->allow_extra_args(false);
  check_app->add_option("--timeout", check.timeout, "of the request; default 60s");
  check_app->add_flag("--insecure", check.insecure, "do not verify the server's certificate");
  check_app->add_flag("--json", check.json, "print JSON");

  RecordOptions record;
  auto* record_app = app.add_subcommand("record", "keep a server's streams with their times, to judge or replay them");
  record_app->add_option("URL", record.url, "of the request, or of the server")->required();
  record_app->add_option("--file", record.file, "where the recording goes; - is stdout")->required();
  record_app->add_option("--count", record.count, "streams")->check(CLI::Range(1, 1'000'000))->capture_default_str();
  record_app->add_option("--concurrency", record.concurrency, "of them at a time")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  record_app->add_option("--api", record.api, "chat, completions, messages or responses (default: the URL's)");
  record_app->add_option("--model", record.model, "of the request (default: the server's first)");
  record_app->add_option("--prompt", record.prompt, "of the request");
  record_app->add_option("--max-tokens", record.max_tokens, "of the request; default 200")
      ->check(CLI::Range(1, 1'000'000));
  record_app->add_option("--header", record.headers, "'Name: value' of the request; may stand more than once")
      ->allow_extra_args(false);
  record_app->add_option("--timeout", record.timeout, "of each request; default 60s");
  record_app->add_flag("--insecure", record.insecure, "do not verify the server's certificate");
  record_app->add_flag("--with-request", record.with_request, "keep the request's body too");

  auto* metrics_app = app.add_subcommand("metrics", "list every metric with its definition");
  auto* schema_app = app.add_subcommand("schema", "print the JSON Schema of scenario files, for editors");
  auto* version_app = app.add_subcommand("version", "print the version");

  std::vector<std::string_view> commands;
  for (const CLI::App* const each : app.get_subcommands({})) commands.push_back(each->get_name());
  if (argc > 1 && argv[1][0] != '-' && std::find(commands.begin(), commands.end(), argv[1]) == commands.end()) {
    fmt::print(stderr, "sluice: there is no command '{}'{}\n", argv[1], did_you_mean(argv[1], commands));
    return kExitInvalid;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitInvalid;
  }
  run.color = !no_color;
  suite.color = !suite_no_color;
  suite.fallback = !no_fallback;
  if (*run_app) return run_command(run);
  if (*suite_app) return suite_command(suite);
  if (*calibrate_app) return calibrate_command(calibrate);
  if (*validate_app) return validate_command(validate);
  if (*check_app) return check_stream_command(check);
  if (*record_app) return record_command(record);
  if (*metrics_app) return metrics_command();
  if (*schema_app) return schema_command();
  if (*version_app) return version_command();
  return kExitInvalid;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run_main(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "sluice: internal error: {}\n", error.what());
    return kExitInternal;
  }
}
