// A run as a value: what load_plan() makes of a scenario file, and all that run() needs.
//
// Environment variables are resolved already; what still varies by VU and iteration are Templates. Durations are exact.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "harness/base/dialect.h"
#include "harness/base/metric_catalog.h"
#include "harness/base/time.h"
#include "harness/scenario/custom_metric.h"
#include "harness/scenario/expression.h"
#include "harness/scenario/json_path.h"
#include "harness/scenario/regex.h"
#include "harness/scenario/template.h"

namespace sluice {

struct Trace;  // trace.h

/// Where something stands in the scenario file, for messages.
struct Place {
  int line = 0;    // from 1
  int column = 0;  // from 1
};

using Tags = std::vector<std::pair<std::string, std::string>>;  // sorted by key, keys unique

// ---- target -------------------------------------------------------------------------------------------------------

/// `target: {engine: ...}`: the engine started beside the run.
struct EngineTarget {
  std::string model;                        // a folder, or a name under models/
  std::string backend = "auto";             // auto, cpu, cuda, scripted
  std::uint64_t kv_mib = 0;                 // of the KV cache; 0, here and below: the engine's own choice
  std::uint64_t slots = 0, context = 0;     // requests at the same time; tokens of one
  std::vector<std::string> args;            // handed to sluice-engine as they are
  std::string engine_cores, harness_cores;  // "0-3,6"; empty: not pinned
  Nanoseconds ready_timeout = std::chrono::seconds(60);
};

/// What happens to a VU's cookies between iterations.
enum class CookieKeeping : std::uint8_t { reset, keep, off };

struct TlsSettings {
  std::optional<bool> verify;        // none: target.tls_verify says
  std::string ca, certificate, key;  // PEM files; empty: the system's authorities, no certificate of our own
  std::string server_name;           // whom the target's certificate names; empty: the host of its URL
  bool only_tls1_3 = false;
};

/// A network slower than the real one; 0: as it is.
struct NetworkSettings {
  std::uint64_t download_kbps = 0, upload_kbps = 0;  // kilobits per second, of each connection
  Nanoseconds latency{};                             // one way
};

struct Target {
  std::optional<EngineTarget> engine;  // either this
  std::string url;                     // or this: http(s)://host:port[/path], without /v1
  std::vector<std::pair<std::string, Template>> headers;
  std::string model;                       // default of chat steps; empty: the server's first
  std::vector<std::string> expect_models;  // that it must offer; the run does not begin otherwise
  std::string expect_backend;              // what it must run on: vllm; empty: anything
  bool tls_verify = true;
  TlsSettings tls = {};
  CookieKeeping cookies = CookieKeeping::reset;
  std::uint32_t redirects = 10;  // that an http step follows; k6's
  bool compression = false;      // http steps ask for compressed answers
  bool http2 = false;            // all but websocket steps speak HTTP/2
  Nanoseconds connect_timeout = std::chrono::seconds(10);
  Nanoseconds request_timeout = std::chrono::seconds(120);
};

// ---- flow ---------------------------------------------------------------------------------------------------------

/// The answer's code (the first fenced block, else all of it) has no syntax error.
struct CodeParses {
  enum class Language : std::uint8_t { python, json } language = Language::python;
};
/// The answer is the one that the step of this name had last in the same iteration.
struct SameTextAs {
  std::string step;
};
/// Whenever the run sends the same request (line and body), the answer is the same text.
struct Deterministic {};
/// No word of the answer is a nonce of another request.
struct NoCrosstalk {
  Template nonce;  // renders to one word that stands in this request and in no other
};

struct Check {
  std::string text;  // as written; its name in results
  /// An expression is over the response: status, text, chunks, finish_reason, header, body, usage.*, ttft ...
  std::variant<Expression, CodeParses, SameTextAs, Deterministic, NoCrosstalk> condition;
  Place place;
};

struct ChatMessage {
  Template role;
  Template content;
};

/// What chat and completion steps have in common.
struct ModelRequest {
  Template model;  // empty: target.model
  bool stream = true;
  bool include_usage = true;  // stream_options.include_usage
  std::vector<std::pair<std::string, std::string>>
      options;  // further body members as JSON text: max_tokens, temperature ...
  std::vector<std::pair<std::string, Template>> live_options;  // those that change with each iteration
};

struct ChatStep : ModelRequest {
  std::vector<ChatMessage> messages;  // `prompt:` is one user message
  std::string conversation;           // its name: messages and answers are kept for the iteration; empty: none
};

struct CompletionStep : ModelRequest {
  Template prompt;
};

/// One part of a multipart form.
struct HttpPart {
  std::string name;
  Template value;              // of a file: its bytes
  std::string filename, type;  // of a file
};

struct HttpStep {
  std::string method = "GET";
  Template url;           // absolute, or a path on the target
  std::string shown_url;  // for reports: secrets stand there as they are written; empty: as `url`
  std::vector<std::pair<std::string, Template>> headers;
  Template body;  // of json:, body: and file: alike, rendered as text
  std::string content_type;
  std::vector<std::pair<std::string, Template>> query = {}, form = {};  // names may come again
  std::vector<HttpPart> parts = {};                                     // of multipart:
  std::string boundary = {};                                            // between the parts
  std::optional<std::uint32_t> redirects = std::nullopt;                // none: the target's
  std::optional<bool> compression = std::nullopt;                       // likewise
  bool compress = false;                                                // the body goes as gzip
};

struct WebSocketStep {
  Template url;                // ws:// or wss://, or a path on the target
  std::string shown_url = {};  // as of HttpStep
  std::vector<std::pair<std::string, Template>> headers = {};
  std::vector<Template> texts = {};  // sent once it is open
  std::uint64_t receive = 1;         // messages to wait for
  std::string until = {};            // not empty: instead, a message that contains this
  bool ping = false;                 // asks for a pong
};

/// Server-sent events of any kind.
struct SseStep {
  HttpStep request;
  std::string until;                            // data of the event that ends it; empty: it ends with the answer
  std::optional<StreamApi> api = std::nullopt;  // that they are read and judged by; none: the dialect's, if it has one
};

struct SleepStep {
  Nanoseconds from{}, to{};  // uniform in [from, to], seeded
  enum class Distribution : std::uint8_t { uniform, exponential, normal } distribution = Distribution::uniform;
  Nanoseconds mean{}, deviation{};  // not of uniform; deviation of normal only
  std::optional<Nanoseconds> max = std::nullopt;
};

/// Adds samples to metrics of the file's own.
struct MetricStep {
  std::vector<std::pair<Metric, Template>> samples;  // rendered, each is a number
};

struct Step;
struct GroupStep {
  std::string name;
  std::vector<Step> steps;
};

struct IfStep {
  Expression condition;
  std::vector<Step> then, otherwise;
};

/// Goes round while it has not gone `times` times and `condition` holds.
struct RepeatStep {
  std::optional<Template> times;  // none: as often as the condition says, at most limits::repeat_rounds_max
  std::optional<Expression> condition;
  std::vector<Step> steps;
};

struct ChooseStep {
  struct Way;
  std::vector<Way> ways;
};

struct SetStep {
  struct Assignment {
    std::string name;
    std::variant<Expression, Template> value;
  };
  std::vector<Assignment> assignments;
};

/// Ends the iteration as failed.
struct FailStep {
  std::string message;
};

/// Takes something out of an answer, into a variable of the iteration.
struct Capture {
  struct WholeText {};
  struct Pattern {
    Regex regex;
    std::uint32_t group = 0;
  };
  struct Header {
    std::string name;
  };
  std::string name;
  std::variant<WholeText, JsonPath, Pattern, Header> from;
  std::string text;                                     // as written, for messages
  std::optional<std::string> otherwise = std::nullopt;  // the value when nothing is found; none: the iteration fails
};

/// Drops a stream on purpose.
struct Abandon {
  std::uint64_t after_events = 0;  // 0: not by events
  std::optional<Nanoseconds> after = std::nullopt;
};

struct Step {
  std::string name;  // its `name` tag; default: the verb and what it addresses
  std::variant<ChatStep, HttpStep, SleepStep, GroupStep, IfStep, RepeatStep, ChooseStep, SetStep, FailStep,
               CompletionStep, SseStep, WebSocketStep, MetricStep>
      verb;
  std::vector<Check> checks;
  Tags tags;
  std::optional<Nanoseconds> timeout;  // of the whole request
  Place place;
  std::vector<Capture> captures = {};
  std::optional<Abandon> abandon = std::nullopt;
};

struct ChooseStep::Way {
  double weight = 1;
  std::vector<Step> steps;
};

/// The lists of steps inside a step, in the order of the file. The one place that knows which verbs have any: whoever
/// numbers or visits steps goes through here. `AnyStep` is Step or const Step.
template <class AnyStep, class Visit>
void for_each_block(AnyStep& step, Visit visit) {
  if (auto* group = std::get_if<GroupStep>(&step.verb)) visit(group->steps);
  if (auto* branch = std::get_if<IfStep>(&step.verb)) {
    visit(branch->then);
    visit(branch->otherwise);
  }
  if (auto* loop = std::get_if<RepeatStep>(&step.verb)) visit(loop->steps);
  if (auto* choice = std::get_if<ChooseStep>(&step.verb)) {
    for (auto& way : choice->ways) visit(way.steps);
  }
}

// ---- how streams are judged ---------------------------------------------------------------------------------------

struct Conformance {
  Dialect dialect = Dialect::openai;
  std::optional<Severity> fail_on = std::nullopt;    // findings of this severity fail the run; none: none do
  RuleSet allow = {};                                // only noted, as what is known of the dialect
  Nanoseconds keepalive = std::chrono::seconds(15);  // a longer silence is a finding; 0: none is
};

// ---- load ---------------------------------------------------------------------------------------------------------

struct Stage {
  Nanoseconds duration{};
  std::uint32_t target = 0;
};
struct ConstantVus {
  std::uint32_t vus = 1;
  Nanoseconds duration{};
};
struct RampingVus {
  std::uint32_t start_vus = 0;
  std::vector<Stage> stages;
  Nanoseconds graceful_ramp_down = std::chrono::seconds(30);
};
struct PerVuIterations {
  std::uint32_t vus = 1;
  std::uint64_t iterations = 1;  // of each VU
  Nanoseconds max_duration = std::chrono::minutes(10);
};
struct SharedIterations {
  std::uint32_t vus = 1;
  std::uint64_t iterations = 1;  // of all VUs together; whoever is free takes the next
  Nanoseconds max_duration = std::chrono::minutes(10);
};
/// Open models: iterations begin when they are due, whether or not those before have ended.
struct ArrivalRate {
  enum class Executor : std::uint8_t { constant, ramping, poisson, gamma };
  struct Stage {
    Nanoseconds duration{};
    std::uint64_t target_micro = 0;  // the rate at its end; in between it follows the straight line
  };
  Executor executor = Executor::constant;
  std::uint64_t start_micro = 0;  // rates: millionths of an arrival per time_unit, so that they stay exact
  Nanoseconds time_unit = std::chrono::seconds(1);
  std::vector<Stage> stages;
  double burstiness = 1;        // gamma: its shape, mean gap unchanged; 1 is poisson, below it arrivals come in bursts
  std::uint32_t max_vus = 0;    // 0: as many as the open files that a process may have allow
  bool wait_when_busy = false;  // an arrival that finds max_vus busy waits for one; else it is dropped
};
/// An open model whose arrivals were recorded: arrival k is that of the trace's row k.
struct TraceReplay {
  std::shared_ptr<const Trace> trace;  // shared by the copies of the plan, and never changed
  double speed = 1;                    // 2: twice as fast
  Nanoseconds duration{};              // at that speed, and a gap longer than until the last arrival
  std::uint32_t max_vus = 0;           // these two as of ArrivalRate
  bool wait_when_busy = false;
};
/// VUs are started and stopped while the run lasts, through the control API (harness/load/control.h).
struct ExternallyControlled {
  std::uint32_t vus = 0, max_vus = 1;
  Nanoseconds duration{};  // 0: until it is stopped
};
/// Searches for the highest load that holds the run's thresholds, trial after trial (harness/load/find_max.h).
struct FindMax {
  enum class Of : std::uint8_t { rate, vus };
  Of of = Of::rate;
  double start = 1, max = 1;  // iterations a second, or VUs
  double precision = 0.05;    // the search ends when the load that failed is at most so much above the one that held
  Nanoseconds trial = std::chrono::seconds(10);  // of one trial
  std::uint32_t max_vus = 0;                     // of a rate: as in ArrivalRate
};
using LoadShape = std::variant<ConstantVus, RampingVus, PerVuIterations, SharedIterations, ArrivalRate,
                               ExternallyControlled, FindMax, TraceReplay>;

/// What one request must meet to count as good (goodput).
struct Objective {
  Metric metric;
  double limit_ms = 0;
};

struct ScenarioPlan {
  std::string name;
  LoadShape shape;
  Nanoseconds start_time{};
  Nanoseconds warmup{};  // from its start: what is scheduled within counts in nothing
  Nanoseconds graceful_stop = std::chrono::seconds(30);
  Tags tags;  // `scenario: <name>` is added by the run
  std::vector<Objective> objectives;
  std::vector<Step> flow;
  Place place;
  std::optional<CookieKeeping> cookies = std::nullopt;  // none: the target's
  std::optional<bool> http2 = std::nullopt;             // likewise
  NetworkSettings network = {};
  Conformance conformance = {};                                // complete: what the scenario leaves out is the file's
  std::string url = {};                                        // of a server of its own; empty: the target's
  std::vector<std::pair<std::string, Template>> headers = {};  // sent there with every request
  std::optional<std::uint32_t> large_chunk_chars = std::nullopt;  // none: the file's
};

/// `compare:`: two scenarios that ask the same in two ways.
struct ComparePlan {
  std::uint32_t direct = 0, via = 0;  // scenarios
};

// ---- judgement ----------------------------------------------------------------------------------------------------

enum class Aggregation : std::uint8_t { avg, min, max, med, percentile, count, rate, value };
enum class Comparison : std::uint8_t { less, less_equal, greater, greater_equal, equal, not_equal };

struct Threshold {
  std::string text;  // as written, variables resolved: "p(95) < 2s"
  Metric metric;
  Tags selector;  // {kind:chat}; empty: all
  Aggregation aggregation;
  double percentile = 0;  // 0..100, of Aggregation::percentile
  Comparison comparison;
  double limit = 0;  // in the metric's unit (milliseconds for times, 0..1 for rates)
  bool abort_on_fail = false;
  Nanoseconds delay_abort_eval{};
  Nanoseconds over{};             // every whole window of this length must hold; 0: the whole time together
  std::uint64_t min_samples = 0;  // with fewer it fails
  Place place;
};

/// `stable:`: ends the run when each of the last windows' values lies within the tolerance of their mean, of every
/// metric.
struct StableMetric {
  std::string text;  // as written: "ttft{kind:chat} p(95)"
  Metric metric{};
  Tags selector = {};
  Aggregation aggregation{};
  double percentile = 0;  // 0..100, of Aggregation::percentile
};
struct Stability {
  std::vector<StableMetric> metrics;
  Nanoseconds window = std::chrono::seconds(10);
  std::uint32_t windows = 3;
  double tolerance = 0.05;  // a share of the mean
  bool required = false;    // a run that is never stable fails
};

/// What fails a run though no threshold says so; each can be turned off.
struct Gates {
  bool dropped_iterations = true;  // none may be dropped
  bool achieved_rate = true;       // open models: at least 95 % of the iterations asked for are begun
};

/// Rows of a data file, or generated ones; `${name.field}` reads the current row, one row an iteration.
struct DataSet {
  std::string name;
  std::vector<std::string> fields;
  std::vector<std::vector<std::string>> rows;
  enum class Order : std::uint8_t { sequential, random, unique } order = Order::sequential;
  std::uint64_t seed = 0;

  // of Order::unique: each row is read by one iteration of one VU in the whole run
  enum class AtEnd : std::uint8_t {
    stop,
    wrap
  } at_end = AtEnd::stop;               // stop: whoever finds no row begins no iteration
  std::vector<std::uint32_t> dealt_to;  // the scenarios that read it, ascending
};

struct Plan {
  std::string name;
  std::string file;  // as the user gave it
  std::uint64_t seed = 1;
  std::map<std::string, std::string> env;  // the variables the file declares, as resolved
  Target target;
  Conformance conformance = {};  // of scenarios that have none of their own, and of setup and teardown
  std::vector<DataSet> data;
  std::vector<Step> setup, teardown;  // each once, before and after the load
  Nanoseconds warmup{};               // from the run's start, of all scenarios
  std::vector<ScenarioPlan> scenarios;
  std::vector<CustomMetric> metrics;  // the file's own
  std::vector<Threshold> thresholds;
  Gates gates;
  std::optional<Stability> stable;  // none: the run lasts as long as its scenarios say
  std::optional<Nanoseconds>
      until_decided;                     // from so long on it ends once every threshold is decided; none: it does not
  std::uint32_t large_chunk_chars = 20;  // buffer_efficiency
  double stall_factor = 10;              // stalls
  std::optional<ComparePlan> compare = std::nullopt;
  std::uint32_t threads = 1;  // load threads
};

}  // namespace sluice
