// What `sluice` can do, one function a command. Each returns the exit code; nothing but main() ends the program.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace sluice {

/// Exit codes besides those of a verdict (harness/verdict/judge.h).
inline constexpr int kExitSetup = 100;        // setup: failed, so that there was no load
inline constexpr int kExitTeardown = 101;     // teardown: failed, and nothing else did
inline constexpr int kExitInvalid = 104;      // the scenario or the command line is wrong
inline constexpr int kExitUnreachable = 106;  // the target could not be reached or started, or it ended in mid-run
inline constexpr int kExitInternal = 107;     // we failed ourselves; the report could not be written

struct ScenarioOptions {
  std::string file;
  std::map<std::string, std::string> variables;  // -e NAME=VALUE
  double time_scale = 1;
  std::optional<std::uint64_t> seed;
  std::optional<std::uint32_t> threads;
};

struct RunCommandOptions {
  ScenarioOptions scenario;
  std::string out_dir;  // empty: out/<name>-<UTC time>
  std::string control;  // address of the control API; empty: 127.0.0.1:6565 where the scenario needs one
  bool control_remote = false;
  std::vector<std::string> out;       // ndjson=FILE, csv=FILE: each sample; record=FILE: each stream; trace=FILE
  std::string summary_export;         // a file with the summary in k6's words; empty: none
  std::string inconclusive = "pass";  // what becomes of such thresholds: pass, fail, value
  bool require_trusted = false;       // a run that the client limited fails
  bool quiet = false;                 // no live line
  bool color = true;                  // where the terminal takes it
};

struct SuiteOptions {
  std::string suite;                             // a file, or the name of one under scenarios/suites
  std::optional<std::string> url;                // of the target; none: BASE_URL or VLLM_SERVER_URL, else the engine
  bool fallback = true;                          // the scripted engine answers for a target that cannot be reached
  std::vector<std::string> only;                 // cases whose names have one of these in them; empty: all
  std::map<std::string, std::string> variables;  // -e NAME=VALUE
  std::string out_dir;                           // empty: out/suite-<name>-<UTC time>
  std::string inconclusive = "pass";
  bool require_trusted = false;
  bool quiet = false;
  bool color = true;
};

struct CalibrateOptions {
  std::vector<std::uint32_t> streams = {1, 100, 1000, 10'000};
  double rate = 0;     // events a second of each; 0: 100, above 1,000 streams 5
  double seconds = 3;  // of each
  std::string file;    // where the figures go; empty: this user's state folder
};

struct CheckStreamOptions {
  std::string source;              // a file (a recording too), "-" for standard input, or a URL
  std::string dialect = "openai";  // names as in a scenario
  std::string api;  // chat, completions, messages, responses; empty: the URL's or the dialect's, else chat
  std::string fail_on = "error";   // a severity, or none
  std::vector<std::string> allow;  // names of rules
  std::string model;               // empty: the server's first
  std::string prompt = "Count from one to twenty in words.";
  std::uint32_t max_tokens = 200;
  std::vector<std::string> headers;  // "Name: value"; no value is ever shown
  std::string timeout = "60s";
  bool insecure = false;  // certificates are not verified
  bool json = false;
};

struct RecordOptions {
  std::string url;
  std::string file;  // "-": standard output
  std::string api;   // as in CheckStreamOptions, and so on
  std::string model;
  std::string prompt = "Count from one to twenty in words.";
  std::uint32_t max_tokens = 200;
  std::vector<std::string> headers;
  std::string timeout = "60s";
  bool insecure = false;
  std::uint64_t count = 1;        // streams
  std::uint32_t concurrency = 1;  // at a time
  bool with_request = false;      // the request's body too
};

int run_command(const RunCommandOptions& options);
int suite_command(const SuiteOptions& options);
int calibrate_command(const CalibrateOptions& options);
int validate_command(const ScenarioOptions& options);
int check_stream_command(const CheckStreamOptions& options);
int record_command(const RecordOptions& options);
int metrics_command();
int schema_command();
int version_command();

}  // namespace sluice
