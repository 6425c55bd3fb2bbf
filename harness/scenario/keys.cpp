#include "harness/scenario/keys.h"

#include <algorithm>
#include <array>

#include "harness/base/check.h"

namespace sluice {

namespace {

constexpr auto kFile = std::to_array<KeyInfo>({
    {"name", "text", "The run's name, as reports show it.", true},
    {"seed", "whole", "Every random choice follows from it; default 1."},
    {"threads", "whole", "Threads that drive the load; default 1."},
    {"env", "map:text", "Variables with their defaults. The environment overrides them, -e NAME=VALUE overrides both."},
    {"target", "section:target", "What is tested.", true},
    {"conformance", "section:conformance", "How streams are judged, and whether what is found fails the run."},
    {"warmup", "duration", "What is scheduled so soon after the start counts in no metric; default 0s."},
    {"data", "map:section:data", "Data by name; ${name.field} reads a row's field, one row an iteration."},
    {"setup", "list:section:step", "Steps that run once before the load; what they capture is there for all."},
    {"teardown", "list:section:step", "Steps that run once after the load, also when a threshold has ended it."},
    {"flows", "map:list:section:step", "Flows by name, for scenarios that share one."},
    {"scenarios", "map:section:scenario", "Who does what: each runs beside the others.", true},
    {"metrics", "map:section:metric", "Metrics of the file's own, by name; a flow's metric: adds samples."},
    {"thresholds", "map:section:threshold|text|list:section:threshold|list:text",
     "What must hold at the end, by metric: metric or metric{tag:value}."},
    {"until_decided", "duration",
     "Ends the run once every threshold is decided, this long after the measured time began at the earliest; durations "
     "remain the longest."},
    {"stable", "section:stable", "Ends the run once what it measures has become stable; durations remain the longest."},
    {"gates", "section:gates", "What fails a run though no threshold says so, to be turned off."},
    {"compare", "section:compare", "Two scenarios that ask the same in two ways: the report says which holds back."},
    {"large_chunk_chars", "whole",
     "A content event of at least so many characters counts for buffer_efficiency; default 20. Also a key of a "
     "scenario."},
    {"stall_factor", "number", "A gap over so many times its stream's median (and 100 ms) is a stall; default 10."},
});

constexpr auto kTarget = std::to_array<KeyInfo>({
    {"url", "text",
     "http(s)://host:port, with a path if the API lies under one, without /v1. When empty, engine: is used."},
    {"engine", "section:engine", "The engine that is started beside the run."},
    {"dialect", "words:openai vllm llamacpp sglang anthropic responses raw",
     "Whose streams it writes: what is known of them is only noted; default openai. Also a key of conformance:."},
    {"headers", "map:text", "Sent with every request."},
    {"auth", "section:auth", "Makes the Authorization header; none is sent when its values are empty."},
    {"model", "text", "Model of chat steps that name none; default: the server's first."},
    {"expect_models", "list:text", "Models that the server must offer, else the run does not begin."},
    {"expect_backend", "text",
     "What the server must run on (vllm, llamacpp, cuda ...), as it says itself, else the run does not begin."},
    {"tls_verify", "truth", "Whether the server's certificate is verified; default true."},
    {"tls", "section:tls", "Whom to trust, and what to show."},
    {"cookies", "words:reset keep off",
     "Each VU has its own: emptied with each iteration (reset, the default), kept for the whole run, or off."},
    {"redirects", "whole", "How many an http step follows; 0: none; default 10."},
    {"compression", "truth", "Whether http steps ask for gzip and deflate; default false."},
    {"http", "words:h1 h2", "HTTP/1.1 (h1, the default) or HTTP/2, for all steps but websocket."},
    {"connect_timeout", "duration", "Default 10s."},
    {"request_timeout", "duration", "Of a whole request, its stream included; default 120s."},
});

constexpr auto kConformance = std::to_array<KeyInfo>({
    {"dialect", "words:openai vllm llamacpp sglang anthropic responses raw",
     "Whose streams they are: what is known of them is only noted; default: the target's."},
    {"fail_on", "words:fatal error warning none",
     "Findings of this severity or a graver one fail the run; default none. Streams with a fatal one fail in any "
     "case."},
    {"allow",
     "list:words:http-status content-type truncated error-event invalid-json invalid-utf8 no-content "
     "event-too-large interleaved no-done done-not-last done-twice data-after-done no-finish finish-twice "
     "delta-after-finish id-changed model-changed created-changed object-wrong index-out-of-range "
     "usage-mismatch usage-not-last role-missing role-twice finish-with-content finish-empty-string "
     "null-missing keepalive-missing proxy-buffering whole-answer-in-one-chunk",
     "Rules that may be broken: they are only noted."},
    {"keepalive", "duration", "A silence in a stream that is longer is a finding; 0s: none is; default 15s."},
});

constexpr auto kEngine = std::to_array<KeyInfo>({
    {"model", "text", "A folder with a model, or the name of one under models/.", true},
    {"backend", "words:auto cpu cuda scripted", "Default auto."},
    {"kv_mib", "whole", "Memory of its KV cache in MiB; 0, the default: the engine chooses."},
    {"slots", "whole", "Requests it computes at the same time; 0, the default: the backend's."},
    {"context", "whole", "Tokens of one request, prompt and answer; 0, the default: the model's."},
    {"args", "list:text", "Further arguments for sluice-engine, as they are."},
    {"engine_cores", "text", "Cores the engine is pinned to: 0-3,6."},
    {"harness_cores", "text", "Cores the load threads are pinned to."},
    {"ready_timeout", "duration", "How long it may take until it is ready; default 60s."},
});

constexpr auto kAuth = std::to_array<KeyInfo>({
    {"bearer", "text", "Authorization: Bearer ..."},
    {"user", "text", "Authorization: Basic ..., when there is no bearer."},
    {"password", "text", "The user's."},
});

constexpr auto kTls = std::to_array<KeyInfo>({
    {"verify", "truth", "Whether the server's certificate is verified; default true."},
    {"ca", "text", "A PEM file of the authorities to trust, instead of the system's."},
    {"cert", "text", "A PEM file: the certificate to show to a server that asks, and those between."},
    {"key", "text", "A PEM file: that certificate's key, without a passphrase."},
    {"server_name", "text", "Whom the target's certificate names, when it is not the host of its URL."},
    {"min_version", "words:tls1.2 tls1.3", "Default tls1.2."},
});

constexpr auto kNetwork = std::to_array<KeyInfo>({
    {"download_kbps", "whole", "Kilobits a second that each connection reads at most."},
    {"upload_kbps", "whole", "Kilobits a second that each connection writes at most."},
    {"latency", "duration", "One way: each request and each answer is so much later."},
});

constexpr auto kData = std::to_array<KeyInfo>({
    {"file", "text", "Relative to the scenario file."},
    {"format", "words:jsonl json csv text sharegpt",
     "Default: by the file's ending (.jsonl, .ndjson, .json, .csv, else text: a row a line, its field is text)."},
    {"limit", "whole", "Only the first so many rows are read."},
    {"generate", "section:generate",
     "Prompts of a wanted length, instead of a file; their fields are text and tokens."},
    {"order", "words:sequential random unique",
     "Default sequential. unique: each row once in the whole run, whoever reads it."},
    {"at_end", "words:stop wrap",
     "unique: when the rows have run out, no further iteration begins (stop, the default), or they start again."},
    {"seed", "whole", "Of a random order; default: the run's."},
});

constexpr auto kGenerate = std::to_array<KeyInfo>({
    {"prompts", "whole", "How many.", true},
    {"tokens", "text", "Of each: 512, or 100..500 for a length between; about one a word.", true},
    {"prefix_tokens", "whole", "With how many of them all prompts begin alike; default 0."},
    {"seed", "whole", "Default: the run's."},
});

constexpr auto kScenario = std::to_array<KeyInfo>({
    {"executor",
     "words:constant-vus ramping-vus shared-iterations per-vu-iterations constant-arrival-rate ramping-arrival-rate "
     "poisson gamma externally-controlled find-max trace",
     "How iterations begin, and on how many virtual users.", true},
    {"vus", "whole", "How many virtual users; default 1. externally-controlled: at first; default 0."},
    {"duration", "duration", "For how long. externally-controlled: 0s, the default, is until it is stopped."},
    {"iterations", "whole", "shared-iterations: of all VUs together; per-vu-iterations: of each. Default 1."},
    {"max_duration", "duration", "shared- and per-vu-iterations: for how long at most; default 10m."},
    {"start_vus", "whole", "ramping-vus: how many there are at the start; default 0."},
    {"rate", "number", "Iterations that begin each time_unit, whether or not those before have ended."},
    {"start_rate", "number", "The rate at the start of the stages; default 0."},
    {"time_unit", "duration", "What rates count in; default 1s."},
    {"stages", "list:section:stage", "The ramps, one after the other, of VUs or of the rate."},
    {"burstiness", "number",
     "gamma: the shape of the gaps' distribution; 1 is poisson, below it arrivals come in bursts."},
    {"max_vus", "whole",
     "Arrival rates: an arrival that finds so many VUs busy is dropped; default: what open files allow. "
     "externally-controlled: how many there may be."},
    {"when_busy", "words:drop wait",
     "Arrival rates: what becomes of an arrival that finds max_vus busy: dropped, the default, as k6 does, or begun "
     "late; "
     "times from the schedule then include its wait."},
    {"pre_allocated_vus", "whole", "k6's; not needed here: VUs are made when they are needed."},
    {"file", "text", "trace: the recorded arrivals, relative to the scenario file."},
    {"format", "words:mooncake azure burstgpt sluice", "trace: of its file; default: by what is in it."},
    {"speed", "number", "trace: 2 replays it twice as fast; default 1."},
    {"from", "duration",
     "trace: where in its own time the replay begins; default: at its first request, which is then due at once."},
    {"to", "duration", "trace: where in its own time the replay ends; default: at its end."},
    {"limit", "whole", "trace: only the first so many requests, of those from `from` on."},
    {"block_tokens", "whole", "trace: tokens that each hash id of a mooncake file stands for; default 512."},
    {"find", "words:rate vus", "find-max: what is raised, iterations a second or VUs."},
    {"start", "number", "find-max: the first load that is tried."},
    {"max", "number", "find-max: the highest."},
    {"precision", "number",
     "find-max: how much the load that fails may be above the one that holds; default 0.05, 5 %."},
    {"trial", "duration", "find-max: how long each load is tried; default 10s."},
    {"graceful_ramp_down", "duration",
     "ramping-vus: how long a VU that is ramped down may finish its iteration; default 30s."},
    {"scale_to", "section:scale_to", "ramping-vus: stretches the stages to a total duration and a peak."},
    {"start_time", "duration", "When it starts, counted from the run's start; default 0s."},
    {"warmup", "duration", "What it schedules so soon after its start counts in no metric; default 0s."},
    {"graceful_stop", "duration", "How long iterations may go on after the end; default 30s."},
    {"tags", "map:text", "Tags of everything it measures, for selectors of thresholds."},
    {"objectives", "map:duration", "Limits by metric that a request must meet to count as good (goodput)."},
    {"env", "map:text", "Variables of this scenario's flow; they win over the file's, the environment's and -e."},
    {"conformance", "section:conformance", "How this scenario's streams are judged; what it leaves out is the file's."},
    {"cookies", "words:reset keep off", "As the target's, for this scenario."},
    {"http", "words:h1 h2", "As the target's, for this scenario."},
    {"network", "section:network", "A slower network than the real one."},
    {"url", "text",
     "The server of this scenario's paths and models, as the target's url; when empty, the target. What the target's "
     "headers: and auth: hold is not sent to another server."},
    {"headers", "map:text", "Sent to that server with every request of this scenario; they win over the target's."},
    {"auth", "section:auth", "Makes its Authorization header; none when its values are empty."},
    {"large_chunk_chars", "whole", "As the file's, for this scenario."},
    {"flow", "text|list:section:step", "What each iteration does: the steps, or the name of a flow.", true},
});

constexpr auto kCompare = std::to_array<KeyInfo>({
    {"direct", "text", "The scenario that asks the server itself.", true},
    {"via", "text", "The scenario that asks through what lies between.", true},
});

constexpr auto kScaleTo = std::to_array<KeyInfo>({
    {"duration", "duration", "All stages together; their shares stay."},
    {"vus", "whole", "The highest target; the others keep their shares, rounded up."},
});

constexpr auto kStage = std::to_array<KeyInfo>({
    {"duration", "duration", "How long the ramp takes.", true},
    {"target", "number", "How many VUs there are at its end, or what the rate is.", true},
});

constexpr auto kStep = std::to_array<KeyInfo>({
    {"chat", "section:chat", "Asks the model: POST /v1/chat/completions."},
    {"http", "section:http", "One HTTP request."},
    {"completion", "section:completion", "Asks the model: POST /v1/completions."},
    {"sse", "section:sse", "One request whose answer is a stream of server-sent events of any kind."},
    {"websocket", "section:websocket", "One session over WebSocket."},
    {"sleep", "range|section:sleep", "Waits: 1s, 1s..3s for a random time between, or {mean: 1s, distribution: ...}."},
    {"group", "text", "A name for some steps together, which stand under steps:."},
    {"steps", "list:section:step", "The steps of a group or of repeat."},
    {"if", "text", "A condition: then: or else: is done."},
    {"then", "list:section:step", "The steps when the condition of if: holds."},
    {"else", "list:section:step", "The steps when it does not."},
    {"repeat", "whole|section:repeat", "How often steps: are done: 3, or {times: 3, while: condition}."},
    {"choose", "list:section:way", "One of several lists of steps, by chance."},
    {"set", "map:text", "Variables of the iteration: names to expressions; a text with ${...} is a text."},
    {"fail", "text", "Ends the iteration as failed, with this message."},
    {"capture", "map:text|map:section:capture",
     "Variables from the answer: NAME: $.json.path, or how else to find it."},
    {"abandon", "section:abandon", "Drops the stream before its end, as a user does who has seen enough."},
    {"metric", "map:text", "Adds a sample to each of these metrics of the file's own: {name: number}."},
    {"check", "text|section:content_check|list:(text|section:content_check)",
     "What must hold of the answer: status == 200, text contains \"print(\", chunks in 50..100."},
    {"name", "text", "The step's name in reports, and its tag `name`."},
    {"tags", "map:text", "Tags of what the step measures."},
    {"timeout", "duration", "Of the whole request; default: the target's request_timeout."},
});

constexpr auto kSleep = std::to_array<KeyInfo>({
    {"mean", "duration", "The mean of the times.", true},
    {"distribution", "words:exponential normal", "Default exponential."},
    {"deviation", "duration", "normal: the standard deviation; default a quarter of the mean."},
    {"max", "duration", "No time is longer; default: none."},
});

constexpr auto kRepeat = std::to_array<KeyInfo>({
    {"times", "whole", "At most so often; default 1000000."},
    {"while", "text", "A condition, looked at before each round."},
});

constexpr auto kWay = std::to_array<KeyInfo>({
    {"weight", "number", "How likely, beside the others' weights; default 1."},
    {"steps", "list:section:step", "What is done.", true},
});

constexpr auto kCapture = std::to_array<KeyInfo>({
    {"json", "text", "Where it lies in the answer's JSON: $.a.b[0].c; [*] takes the first that fits."},
    {"regex", "text", "A pattern that is found in the answer."},
    {"group", "whole", "regex: which of its groups; default 1, or the whole match when there is none."},
    {"header", "text", "The name of a header of the answer."},
    {"text", "truth", "true: the whole answer."},
    {"default", "text", "The value when nothing is found; without it the iteration ends as failed."},
});

constexpr auto kContentCheck = std::to_array<KeyInfo>({
    {"code_parses", "words:python json",
     "The answer's code (its first fenced block, else all of it) has no syntax error."},
    {"same_text_as", "text", "The name of an earlier step of the flow: the answer is the same text as its last one."},
    {"deterministic", "truth", "true: the same request has the same answer, whenever and by whom it is sent."},
    {"no_crosstalk", "text",
     "A word of this request alone, such as ${names.name}: no answer has a word that is another request's."},
});

constexpr auto kAbandon = std::to_array<KeyInfo>({
    {"after_events", "whole", "After so many events."},
    {"after", "duration", "After this time, counted from the request's start."},
});

constexpr auto kChat = std::to_array<KeyInfo>({
    {"prompt", "text", "One message of the user."},
    {"conversation", "text",
     "The name of a conversation of the iteration: what was said and answered before is sent too."},
    {"messages", "list:section:message", "The whole conversation, instead of prompt."},
    {"system", "text", "A system message before the prompt or the messages."},
    {"model", "text", "Default: the target's."},
    {"stream", "truth", "Default true."},
    {"include_usage", "truth", "Asks for token counts at the stream's end; default true."},
    {"max_tokens", "whole", "At most so many tokens of answer."},
    {"temperature", "number", "0 to 2; 0 is greedy."},
    {"top_p", "number", "0 to 1."},
    {"top_k", "whole", "Not OpenAI's; vLLM and sluice-engine take it."},
    {"min_p", "number", "0 to 1. Not OpenAI's."},
    {"presence_penalty", "number", "-2 to 2."},
    {"frequency_penalty", "number", "-2 to 2."},
    {"repetition_penalty", "number", "Over 0. Not OpenAI's."},
    {"seed", "whole", "For repeatable sampling."},
    {"stop", "text|list:text", "Texts at which the answer ends."},
    {"body", "map:json", "Further members of the request's body, as they are."},
});

constexpr auto kCompletion = std::to_array<KeyInfo>({
    {"prompt", "text", "The text that is to be continued.", true},
    {"model", "text", "Default: the target's."},
    {"stream", "truth", "Default true."},
    {"include_usage", "truth", "Asks for token counts at the stream's end; default true."},
    {"max_tokens", "whole", "At most so many tokens of answer."},
    {"temperature", "number", "0 to 2; 0 is greedy."},
    {"top_p", "number", "0 to 1."},
    {"top_k", "whole", "Not OpenAI's; vLLM and sluice-engine take it."},
    {"min_p", "number", "0 to 1. Not OpenAI's."},
    {"presence_penalty", "number", "-2 to 2."},
    {"frequency_penalty", "number", "-2 to 2."},
    {"repetition_penalty", "number", "Over 0. Not OpenAI's."},
    {"seed", "whole", "For repeatable sampling."},
    {"stop", "text|list:text", "Texts at which the answer ends."},
    {"body", "map:json", "Further members of the request's body, as they are."},
});

constexpr auto kSse = std::to_array<KeyInfo>({
    {"get", "text", "A path on the target, or a whole URL."},
    {"post", "text", "A path on the target, or a whole URL."},
    {"json", "json", "The body as JSON."},
    {"body", "text", "The body as text."},
    {"headers", "map:text", "Beside the target's."},
    {"until", "text", "The data of the event that ends the stream, such as [DONE]; default: it ends with the answer."},
    {"api", "words:chat completions messages responses",
     "Reads and judges it as a stream of this API; default: that of the dialect, if it has one of its own."},
});

constexpr auto kMessage = std::to_array<KeyInfo>({
    {"role", "text", "system, user, assistant or tool.", true},
    {"content", "text", "What is said.", true},
});

constexpr auto kHttp = std::to_array<KeyInfo>({
    {"get", "text", "A path on the target, or a whole URL."},
    {"post", "text", "A path on the target, or a whole URL."},
    {"put", "text", "A path on the target, or a whole URL."},
    {"patch", "text", "A path on the target, or a whole URL."},
    {"delete", "text", "A path on the target, or a whole URL."},
    {"head", "text", "A path on the target, or a whole URL."},
    {"method", "text", "Any other method, in capitals; stands with url."},
    {"url", "text", "A path on the target, or a whole URL; stands with method."},
    {"query", "map:(text|list:text)", "Names and values behind the URL's ?, percent-encoded."},
    {"json", "json", "The body as JSON."},
    {"body", "text", "The body as text."},
    {"form", "map:(text|list:text)", "The body as a form, application/x-www-form-urlencoded."},
    {"multipart", "map:(text|section:part)",
     "The body as a form, multipart/form-data: texts, and files as {file: path}."},
    {"file", "text", "The body is this file, relative to the scenario's; read once."},
    {"compress", "words:gzip", "The body is sent compressed."},
    {"compression", "truth", "Whether it asks for a compressed answer; default: the target's."},
    {"redirects", "whole", "How many it follows; 0: none; default: the target's."},
    {"headers", "map:text", "Beside the target's."},
});

constexpr auto kPart = std::to_array<KeyInfo>({
    {"file", "text", "Relative to the scenario's; read once.", true},
    {"type", "text", "Its Content-Type; default: by the file's ending."},
    {"filename", "text", "What the server is told; default: the file's own name."},
});

constexpr auto kWebSocket = std::to_array<KeyInfo>({
    {"url", "text", "ws:// or wss://, or a path on the target.", true},
    {"headers", "map:text", "Of the upgrade, beside the target's."},
    {"send", "text|list:text", "Texts to send once it is open."},
    {"receive", "whole", "How many messages to wait for; default 1."},
    {"until", "text", "Instead: until a message contains this."},
    {"ping", "truth", "Whether it asks for a pong and measures it; default false."},
});

constexpr auto kThreshold = std::to_array<KeyInfo>({
    {"threshold", "text", "The expression: p(95) < 2s, rate < 1%.", true},
    {"abort_on_fail", "truth", "Whether the run stops as soon as it fails; default false."},
    {"delay_abort_eval", "duration", "From when on it may stop the run; default 0s."},
    {"over", "duration", "Every whole window of this length must hold, not only the whole time together."},
    {"min_samples", "whole", "With fewer samples it fails; default 1."},
});

constexpr auto kStable = std::to_array<KeyInfo>({
    {"metric", "text|list:text", "What is to be stable: ttft p(95), http_reqs rate; of several, all at once.", true},
    {"window", "duration", "The length of a window; default 10s."},
    {"windows", "whole", "How many windows in a row; default 3."},
    {"tolerance", "text", "How far each of their values may be from their mean: 5%, the default, or 0.05."},
    {"required", "truth", "Whether a run that never became stable fails; default false."},
});

constexpr auto kMetric = std::to_array<KeyInfo>({
    {"kind", "words:trend counter rate gauge", "k6's four: what thresholds and reports make of its samples.", true},
    {"unit", "words:none ms bytes characters tokens percent", "Of a trend, a counter or a gauge; default none."},
});

constexpr auto kGates = std::to_array<KeyInfo>({
    {"dropped_iterations", "words:on off", "Fails the run when an iteration was dropped; default on."},
    {"achieved_rate", "words:on off",
     "Fails the run when open models began less than 95 % of the iterations asked for; default on."},
});

constexpr auto kSections = std::to_array<SectionInfo>({
    {"file", "A scenario of Sluice.", kFile},
    {"target", "What is tested: url: or engine:.", kTarget},
    {"conformance", "How streams are judged.", kConformance},
    {"engine", "A sluice-engine started beside the run.", kEngine},
    {"auth", "Who asks.", kAuth},
    {"tls", "How https is spoken.", kTls},
    {"network", "A slower network than the real one.", kNetwork},
    {"data", "Rows for the flows to read.", kData},
    {"generate", "Prompts made of common words.", kGenerate},
    {"scenario", "Some virtual users and what they do.", kScenario},
    {"compare", "Two ways to the same.", kCompare},
    {"scale_to", "Stretches stages.", kScaleTo},
    {"stage", "One ramp.", kStage},
    {"step", "One step of a flow: one verb, and what belongs to it.", kStep},
    {"sleep", "Times of a distribution.", kSleep},
    {"repeat", "How often.", kRepeat},
    {"way", "One of the ways to choose from.", kWay},
    {"capture", "How to find a value in an answer.", kCapture},
    {"content_check", "What must hold of what was said; one key.", kContentCheck},
    {"abandon", "When a stream is dropped.", kAbandon},
    {"chat", "A question to the model.", kChat},
    {"completion", "A text for the model to continue.", kCompletion},
    {"sse", "A stream of server-sent events.", kSse},
    {"message", "One turn.", kMessage},
    {"http", "One request: get, post, put, patch, delete or head, or any other method and url.", kHttp},
    {"part", "A file in a form.", kPart},
    {"websocket", "One session: connect, send, receive, close.", kWebSocket},
    {"threshold", "A threshold with its options.", kThreshold},
    {"stable", "When the run has measured enough.", kStable},
    {"metric", "A metric of the file's own.", kMetric},
    {"gates", "Thresholds that every run has.", kGates},
});

}  // namespace

std::span<const SectionInfo> scenario_sections() { return kSections; }

const SectionInfo& section_named(std::string_view name) {
  const auto* found =
      std::find_if(kSections.begin(), kSections.end(), [name](const auto& section) { return section.name == name; });
  SLUICE_CHECK(found != kSections.end());
  return *found;
}

}  // namespace sluice
