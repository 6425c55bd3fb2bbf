// sluice-engine: options, load, serve.
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/core/json.h"
#include "engine/core/limits.h"
#include "engine/core/result.h"
#include "engine/engine.h"
#include "engine/exec/cpu/bench.h"
#include "engine/exec/cpu/cpu_executor.h"
#include "engine/exec/cuda/bench.h"
#include "engine/exec/cuda/cuda_executor.h"
#include "engine/exec/scripted/scripted_executor.h"
#include "engine/model/config.h"
#include "engine/model/shapes.h"
#include "engine/model/weights.h"
#include "engine/serve/request_bench.h"
#include "engine/serve/server.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"

namespace {

using namespace sluice::engine;
namespace fs = std::filesystem;

struct Options {
  std::string model;
  std::string model_id;
  std::string backend = "auto";
  ServerOptions server;
  unsigned threads = 0;
  std::uint64_t kv_mib = 0;
  std::uint32_t slots = 0;
  std::uint32_t context = 0;
  std::uint32_t rows = 0;
  std::uint32_t step_ms = 0;
  std::string shape;  // random weights of this shape instead of a model
  std::uint32_t queue = 1024;
  std::string script;
  std::string chunking;
  bool hash_logits = false;
  std::string log_level = "info";
  bool die_with_parent = false;
  int parent_pid = 0;
  unsigned drain_seconds = 30;
};

enum class Level { debug, info, warn, error, off };

class Log {
 public:
  explicit Log(Level least) : least_(least) {}
  void operator()(Level level, const std::string& line) const {
    if (level >= least_) fmt::print(stderr, "sluice-engine: {}\n", line);
  }

 private:
  Level least_;
};

Level level_of(const std::string& name) {
  for (const auto& [known, level] :
       {std::pair{"debug", Level::debug}, {"info", Level::info}, {"warn", Level::warn}, {"error", Level::error}}) {
    if (name == known) return level;
  }
  return Level::off;
}

/// A folder as given, or a name looked up in $SLUICE_MODELS, ./models and the models of the source tree.
Result<fs::path> find_model(const std::string& name) {
  std::vector<fs::path> places = {name};
  if (const char* models = std::getenv("SLUICE_MODELS"); models != nullptr && *models != '\0') {
    places.push_back(fs::path(models) / name);
  }
  places.push_back(fs::path("models") / name);
  std::error_code error;
  const auto self = fs::read_symlink("/proc/self/exe", error);
  if (!error) places.push_back(self.parent_path() / "../../../models" / name);  // from build/<preset>/bin
  std::string tried;
  for (const auto& place : places) {
    if (fs::is_regular_file(place / "config.json", error)) return fs::weakly_canonical(place);
    tried += (tried.empty() ? "" : ", ") + (place.is_absolute() ? place.lexically_normal() : place).string();
  }
  return fail(fmt::format("there is no model '{}': looked for a config.json in {}", name, tried));
}

/// The chat template and the special tokens' spellings of a Hugging Face folder.
struct ChatText {
  std::optional<ChatTemplate> chat_template;
  std::string bos, eos;
};

std::string token_text(JsonObject object, const char* key) {
  auto value = member(object, key);
  if (value && value->is_object()) value = member(fields(*value), "content");  // an AddedToken written out
  const auto text = value ? as_string(*value) : std::nullopt;
  return text ? std::string(*text) : std::string();
}

Result<ChatText> load_chat(const fs::path& folder) {
  ChatText out;
  std::optional<std::string> jinja;
  std::error_code ignored;
  const auto config_path = folder / "tokenizer_config.json";
  if (fs::exists(config_path, ignored)) {
    const auto text = read_file(config_path, limits::json_file_bytes_max);
    if (!text) return text.error();
    const auto document = JsonDocument::parse(*text, config_path.string());
    if (!document) return document.error();
    if (!document->root().is_object()) return fail(config_path.string() + ": not a JSON object");
    const JsonObject object = fields(document->root());
    out.bos = token_text(object, "bos_token");
    out.eos = token_text(object, "eos_token");
    const auto value = member(object, "chat_template");
    const auto template_text = value ? as_string(*value) : std::nullopt;
    if (template_text) jinja = std::string(*template_text);
  }
  const auto jinja_path = folder / "chat_template.jinja";  // where newer folders keep it
  if (fs::exists(jinja_path, ignored)) {
    auto text = read_file(jinja_path, limits::json_file_bytes_max);
    if (!text) return text.error();
    jinja = std::move(*text);
  }
  if (!jinja) return out;
  auto parsed = ChatTemplate::parse(*jinja);
  if (!parsed) return fail(fmt::format("{}: the chat template: {}", folder.string(), parsed.error().message));
  out.chat_template.emplace(std::move(*parsed));
  return out;
}

/// Everything behind the server. Members are destroyed in reverse: the engine first.
struct Loaded {
  std::unique_ptr<Tokenizer> tokenizer;
  ChatText chat;
  std::unique_ptr<Engine> engine;
};

/// A model of this name is random weights of a shape: shape:llama3-8b.
constexpr const char* kShapePrefix = "shape:";

/// What is said when no model is given: the conversation as it stands, a line a message.
constexpr const char* kScriptedTemplate =
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n' }}{% endfor %}";

Result<std::unique_ptr<Executor>> make_scripted(const Options& options, const Tokenizer& tokenizer,
                                                const ModelConfig* config, std::vector<TokenId>& end_tokens) {
  const auto script = parse_script(options.script);
  if (!script) return script.error();
  ScriptedOptions scripted;
  scripted.script = *script;
  scripted.words = tokenizer.encode(script->text.empty() ? scripted_text() : script->text, false);
  if (scripted.words.empty()) return fail("script: text: there are no tokens in it");
  scripted.vocab_size = static_cast<std::uint32_t>(tokenizer.vocab_size());
  if (config != nullptr) {
    scripted.vocab_size = std::max(scripted.vocab_size, config->vocab_size);
    end_tokens = config->eos;
  } else {
    end_tokens = {*tokenizer.id_of(kScriptedEnd)};
  }
  if (!end_tokens.empty()) scripted.end = end_tokens.front();
  if (options.slots != 0) scripted.slots_max = options.slots;
  if (options.context != 0) scripted.context_max = options.context;
  return make_scripted_executor(std::move(scripted));
}

/// Memory is touched before the first request, so it is not taken for contexts that hardly anybody fills: room for half
/// a thousand tokens a slot, for one whole context at least, and not over 1 GiB unless told.
std::uint64_t default_kv_bytes(const ModelConfig& config, std::uint32_t slots, std::uint32_t context) {
  constexpr std::uint64_t kTokensPerSlot = 512, kMost = 1u << 30;
  const std::uint64_t token_bytes =
      std::uint64_t{config.layers} * config.kv_heads * config.head_dim * 2 * 2;  // K, V; bf16
  const std::uint64_t whole = context != 0 ? std::min(context, config.context_max) : config.context_max;
  return std::min(kMost, token_bytes * std::max<std::uint64_t>(whole + limits::block_tokens, slots * kTokensPerSlot));
}

Result<std::unique_ptr<Executor>> make_cuda(const Options& options, const std::optional<fs::path>& folder,
                                            const ModelConfig& config, const Log& log) {
  std::optional<Weights> weights;
  if (folder) {
    auto read = load_weights(*folder, config);
    if (!read) return read.error();
    weights = std::move(*read);
  }
  CudaOptions cuda;
  cuda.context_max = options.context;
  cuda.hash_logits = options.hash_logits;
  if (options.slots != 0) cuda.slots_max = options.slots;
  cuda.rows_max = std::max(options.rows != 0 ? options.rows : cuda.rows_max, cuda.slots_max);
  cuda.kv_bytes = options.kv_mib << 20;
  cuda.log = [&log](const std::string& line) { log(Level::info, line); };
  return make_cuda_executor(config, weights ? &*weights : nullptr, cuda);
}

Result<std::unique_ptr<Executor>> make_cpu(const Options& options, const std::optional<fs::path>& folder,
                                           const ModelConfig& config) {
  const auto weights = folder ? load_weights(*folder, config) : Result<Weights>(random_weights(config, 1));
  if (!weights) return weights.error();
  CpuOptions cpu;
  cpu.threads = options.threads;
  cpu.context_max = options.context;
  cpu.hash_logits = options.hash_logits;
  if (options.slots != 0) {
    cpu.slots_max = options.slots;
    cpu.rows_max = std::max(cpu.rows_max, options.slots);
  }
  if (options.rows != 0) cpu.rows_max = std::max(options.rows, cpu.slots_max);
  cpu.kv_bytes = options.kv_mib != 0 ? options.kv_mib << 20 : default_kv_bytes(config, cpu.slots_max, options.context);
  return make_cpu_executor(config, *weights, cpu);
}

/// `auto` takes the GPU where there is one that can run the model, and says why not otherwise.
Result<std::unique_ptr<Executor>> make_computing(const Options& options, const std::optional<fs::path>& folder,
                                                 const ModelConfig& config, const Log& log) {
  if (options.backend == "cuda") return make_cuda(options, folder, config, log);
  if (options.backend == "auto") {
    const auto device = cuda_device();
    if (device) {
      auto made = make_cuda(options, folder, config, log);
      if (made) {
        log(Level::info, "backend: cuda (auto)");
        return made;
      }
      log(Level::warn, made.error().message);
      log(Level::info, "backend: cpu (auto): the GPU cannot run this");
    } else {
      log(Level::info, "backend: cpu (auto): " + device.error().message);
    }
  }
  return make_cpu(options, folder, config);
}

/// `engine_options`: with the hooks of whoever drives the engine.
Result<ServedModel> load(const Options& options, EngineOptions engine_options, const Log& log, Loaded& into) {
  const auto began = Clock::now();
  const bool scripted = options.backend == "scripted";
  std::optional<fs::path> folder;
  std::optional<ModelConfig> config;
  std::string id = "scripted";
  if (!options.model.empty()) {
    const auto found = find_model(options.model);
    if (!found) return found.error();
    folder = *found;
    id = folder->filename().string();
    auto read = load_config(*folder);
    if (!read) return read.error();
    config = std::move(*read);
  }
  if (!options.shape.empty()) {
    auto shape = shape_named(options.shape);
    if (!shape) return shape.error();
    config = std::move(*shape);
    id = options.shape;
  }
  if (!options.model_id.empty()) id = options.model_id;

  auto tokenizer =
      folder ? Tokenizer::load(*folder / "tokenizer.json")
             : Tokenizer::parse(scripted_tokenizer_json(config ? config->vocab_size : 0), "the built-in vocabulary");
  if (!tokenizer) return tokenizer.error();
  into.tokenizer = std::make_unique<Tokenizer>(std::move(*tokenizer));
  if (config && into.tokenizer->vocab_size() > config->vocab_size) {
    return fail(fmt::format("{}: the tokenizer has {} tokens and the model {}: they do not belong together", id,
                            into.tokenizer->vocab_size(), config->vocab_size));
  }
  if (folder) {
    auto chat = load_chat(*folder);
    if (!chat) return chat.error();
    into.chat = std::move(*chat);
  } else {
    auto parsed = ChatTemplate::parse(kScriptedTemplate);
    if (!parsed) return parsed.error();
    into.chat.chat_template.emplace(std::move(*parsed));
  }

  if (config) engine_options.end_tokens = config->eos;
  auto executor = scripted
                      ? make_scripted(options, *into.tokenizer, config ? &*config : nullptr, engine_options.end_tokens)
                      : make_computing(options, folder, *config, log);
  if (!executor) return executor.error();
  // Prompts ride along with decodes while the step is still about bound by reading the weights: there their tokens cost
  // least, and nobody's next token waits long. Thrice the time of a step of one row: at less, prompts wait for room.
  const ExecutorInfo& measured = (*executor)->info();
  if (options.step_ms != 0 && measured.step_row_ns <= 0)
    log(Level::warn, fmt::format("--step-ms {} means nothing to backend {}: the time of its steps is not measured",
                                 options.step_ms, measured.backend));
  engine_options.step_limit = options.step_ms != 0
                                  ? std::chrono::nanoseconds(std::chrono::milliseconds(options.step_ms))
                                  : std::chrono::nanoseconds(static_cast<std::int64_t>(3 * measured.step_base_ns));
  into.engine = std::make_unique<Engine>(std::move(*executor), *into.tokenizer, std::move(engine_options));

  const ExecutorInfo& info = into.engine->info();
  log(Level::info, fmt::format("{} on {}, {} slots of {} tokens, loaded in {:.2f} s", id, info.device, info.slots_max,
                               info.context_max, std::chrono::duration<double>(Clock::now() - began).count()));
  return ServedModel{.text = {.id = id,
                              .tokenizer = into.tokenizer.get(),
                              .chat_template = into.chat.chat_template ? &*into.chat.chat_template : nullptr,
                              .bos = into.chat.bos,
                              .eos = into.chat.eos,
                              .vocab_size = info.vocab_size,
                              .faults = scripted},
                     .created_s = std::time(nullptr),
                     .engine = into.engine.get()};
}

/// False when the parent has gone already.
bool follow_parent(const Options& options) {
  const pid_t parent = options.parent_pid != 0 ? options.parent_pid : getppid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  return getppid() == parent;  // it may have died before the line above
}

void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int serve(Options options) {
  const Log log(level_of(options.log_level));
  const auto say_error = [&](const Error& error) {
    log(Level::error, error.message);
    return 1;
  };
  if (options.die_with_parent && !follow_parent(options)) return 1;
  raise_file_limit();
  if (options.model.starts_with(kShapePrefix)) {
    options.shape = options.model.substr(std::string_view(kShapePrefix).size());
    options.model.clear();
  }
  const bool replays = !options.server.replay.empty();
  if (replays && (!options.model.empty() || !options.shape.empty() || options.backend != "auto"))
    return say_error(fail("--replay needs no model: leave out --model, --shape and --backend"));
  if (!replays && options.model.empty() && options.shape.empty() && options.backend != "scripted") {
    return say_error(
        fail("--model is missing: give a folder or a name such as tiny-coder (only --shape and --backend scripted do "
             "without)"));
  }
  if (!options.shape.empty() && (!options.model.empty() || options.backend == "scripted")) {
    return say_error(fail("--shape stands for a model with random weights: leave out --model and --backend scripted"));
  }
  // Before the port is opened: who asks for a GPU that is not there should not wait for a model.
  if (options.backend == "cuda") {
    const auto device = cuda_device();
    if (!device) return say_error(fail("backend cuda: " + device.error().message));
  }
  if (!options.script.empty() && options.backend != "scripted") {
    return say_error(fail("--script only means something with --backend scripted"));
  }
  const auto chunking = parse_chunk_policy(options.chunking);
  if (!chunking) return say_error(chunking.error());
  options.server.chunking = *chunking;
  options.server.handle_signals = true;
  options.server.drain_limit = std::chrono::seconds(options.drain_seconds);
  options.server.log = [log](const std::string& line) { log(Level::info, line); };
  auto bound = Server::bind(options.server);
  if (!bound) return say_error(bound.error());
  Server& server = **bound;
  // Who started us waits for exactly this line.
  const bool v6 = options.server.host.find(':') != std::string::npos;
  fmt::print(stderr, "sluice-engine: listening on {}{}{}:{}\n", v6 ? "[" : "", options.server.host, v6 ? "]" : "",
             server.port());

  if (replays) return server.run();
  Loaded loaded;
  EngineOptions engine_options;
  engine_options.queued_max = options.queue;
  engine_options.flush = server.flush_hook();
  engine_options.failed = server.failed_hook();
  std::atomic<bool> loading{true};
  std::jthread loader([&] {
    auto model = load(options, engine_options, log, loaded);
    if (model) {
      server.publish(std::move(*model));
    } else {
      log(Level::error, model.error().message);
      server.stop(1);
    }
    loading = false;
  });
  const int code = server.run();
  // Told to end while still reading weights: there is nothing to finish or to save.
  if (loading) std::_Exit(code);
  loader.join();
  return code;
}

struct RequestBenchOptions {
  fs::path requests;
  unsigned concurrency = 1;
  bool json = false;
  fs::path json_file;  // empty: the standard output, instead of the text
};

int bench_requests(const Options& options, const RequestBenchOptions& bench) {
  const Log log(level_of(options.log_level));
  const auto say_error = [&](const Error& error) {
    log(Level::error, error.message);
    return 1;
  };
  constexpr std::size_t kFileBytesMax = 256u << 20;
  const auto text = read_file(bench.requests, kFileBytesMax);
  if (!text) return say_error(text.error());
  Loaded loaded;
  EngineOptions engine_options;
  engine_options.queued_max = std::numeric_limits<std::uint32_t>::max();  // the threads are few
  const auto model = load(options, std::move(engine_options), log, loaded);
  if (!model) return say_error(model.error());
  const auto requests = read_bench_requests(*text, bench.requests.string(), model->text);
  if (!requests) return say_error(requests.error());
  const RequestFigures figures = run_requests(model->text, *model->engine, *requests, bench.concurrency);
  const std::string json = json_of(figures);
  fmt::print("{}", bench.json && bench.json_file.empty() ? json : text_of(figures));
  if (!bench.json_file.empty()) {
    std::ofstream file(bench.json_file);
    file << json;
    if (!file.flush()) return say_error(fail(fmt::format("cannot write {}", bench.json_file.string())));
  }
  return figures.errors == 0 ? 0 : 1;
}

int bench_cuda(const BenchOptions& options, CudaBenchOptions cuda) {
  const auto complain = [](const Error& error) {
    fmt::print(stderr, "sluice-engine bench: {}\n", error.message);
    return 1;
  };
  cuda.name = options.model.empty() ? options.shape : options.model.filename().string();
  const auto config = options.model.empty() ? shape_named(options.shape) : load_config(options.model);
  if (!config) return complain(config.error());
  if (options.model.empty() || options.random_weights) return run_cuda_bench(*config, nullptr, cuda);
  const auto weights = load_weights(options.model, *config);
  if (!weights) return complain(weights.error());
  return run_cuda_bench(*config, &*weights, cuda);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"sluice-engine: an OpenAI-compatible LLM server"};
  app.set_version_flag("--version", SLUICE_VERSION);
  Options options;
  app.add_option("--model", options.model, "Hugging Face folder, a name under models/, or shape:NAME as with --shape");
  app.add_option("--model-id", options.model_id, "the name that requests use (default: the folder's)");
  app.add_option("--host", options.server.host, "address to listen on")->capture_default_str();
  app.add_option("--port", options.server.port, "port; 0 takes a free one")->capture_default_str();
  app.add_option("--backend", options.backend, "auto, cpu, cuda or scripted")
      ->check(CLI::IsMember({"auto", "cpu", "cuda", "scripted"}))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "threads that compute; 0: one a core")->check(CLI::Range(0, 1024));
  app.add_option("--kv-mib", options.kv_mib, "memory of the KV cache in MiB; 0: chosen")->check(CLI::Range(0, 1 << 22));
  app.add_option("--slots", options.slots, "sequences running at once; 0: the backend's default")
      ->check(CLI::Range(0, 65536));
  app.add_option("--context", options.context, "tokens of one sequence; 0: the model's")->check(CLI::Range(0, 1 << 24));
  app.add_option("--rows", options.rows, "tokens of one step; 0: the backend's default")->check(CLI::Range(0, 65535));
  app.add_option(
         "--step-ms", options.step_ms,
         "how long a step of one decode with prompts may take: as many prompt tokens ride along with any decodes; "
         "0: three times a step of one token, as measured at load")
      ->check(CLI::Range(0, 60000))
      ->capture_default_str();
  app.add_option("--shape", options.shape,
                 "random weights of tiny-15m, tiny-coder, llama3.2-1b, llama3-8b or qwen3-8b");
  app.add_option("--queue", options.queue, "requests that may wait for a slot; one more gets 429")
      ->capture_default_str();
  app.add_option(
      "--script", options.script,
      "with --backend scripted: ttft=50ms,gap=10ms,tokens=100,distribution=fixed|lognormal,sigma=0.3,seed=1,text=...");
  app.add_option("--chunking", options.chunking,
                 "of streams whose request has no 'chunking': min_chars=20,max_chars=80,max_delay=200ms");
  app.add_option("--replay", options.server.replay, "a recording (sluice record) to serve instead of a model");
  app.add_option("--replay-speed", options.server.replay_speed, "how many times as fast as it was recorded")
      ->check(CLI::Range(1e-3, 1e3))
      ->capture_default_str();
  app.add_option("--emit-log", options.server.emit_log, "file for the true instant of each event");
  app.add_option("--emit-log-records", options.server.emit_log_records, "records it keeps")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 28))
      ->capture_default_str();
  app.add_flag("--hash-logits", options.hash_logits, "put a hash of the logits into the usage");
  app.add_option("--drain-seconds", options.drain_seconds, "what still runs so long after SIGTERM is cancelled")
      ->check(CLI::Range(0, 86400))
      ->capture_default_str();
  app.add_option("--log-level", options.log_level, "debug, info, warn, error or off")
      ->check(CLI::IsMember({"debug", "info", "warn", "error", "off"}))
      ->capture_default_str();
  app.add_flag("--die-with-parent,--parent-pid-death", options.die_with_parent, "end with whoever started this");
  app.add_option("--parent-pid", options.parent_pid, "with --die-with-parent: who that was meant to be");

  BenchOptions bench_options;
  CudaBenchOptions cuda_bench;
  bool bench_serve = false;
  auto* bench = app.add_subcommand("bench", "measure how fast this machine runs a model");
  bench
      ->add_option("--shape", bench_options.shape,
                   "tiny-15m, tiny-coder, llama3.2-1b, llama3-8b or qwen3-8b, with random weights")
      ->capture_default_str();
  std::string bench_model, bench_backend = "cpu";
  bench->add_option("--model", bench_model, "a folder or a name under models/ instead of a shape");
  bench->add_option("--backend", bench_backend, "cpu or cuda; with --requests scripted, too")
      ->check(CLI::IsMember({"cpu", "cuda", "scripted"}))
      ->capture_default_str();
  bench->add_flag("--random-weights", bench_options.random_weights, "with --model: take only its config.json");
  bench->add_flag("--serve", bench_serve, "serve the shape over HTTP instead of measuring it here");
  bench->add_option("--threads", bench_options.threads, "cpu: threads; 0: one a core");
  bench->add_option("--isa", bench_options.isa, "cpu: best, avx512bf16, avx2 or portable")->capture_default_str();
  bench->add_option("--context", bench_options.context, "cpu: tokens in the cache when decoding")
      ->capture_default_str();
  bench->add_option("--contexts", cuda_bench.contexts, "cuda: tokens in the cache when decoding")
      ->capture_default_str();
  bench->add_option("--prefills", cuda_bench.prefills, "cuda: tokens of a prompt")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  bench->add_option("--batches", cuda_bench.batches, "cuda: streams that decode together")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  bench->add_option("--rows", cuda_bench.rows_max, "cuda: tokens of a prefill step")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str();
  bench->add_option("--seconds", bench_options.seconds, "of one measurement, about")->capture_default_str();
  bench->add_option("--repeats", bench_options.repeats, "cpu: measurements of each row")->capture_default_str();
  auto* bench_json = bench->add_option("--json", bench_options.json, "write the figures there too")->expected(0, 1);
  RequestBenchOptions request_bench;
  auto* requests = bench->add_option("--requests", request_bench.requests,
                                     "measure these: JSON lines, each the body of a chat or completion request");
  bench->add_option("--concurrency", request_bench.concurrency, "with --requests: so many at a time")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();

  CLI11_PARSE(app, argc, argv);
  if (!*bench) return serve(std::move(options));
  if (bench_serve || *requests) {
    options.backend = bench_backend;
    if (bench_model.empty() && bench_backend != "scripted") options.shape = bench_options.shape;
    options.model = bench_model;
    if (bench_serve) return serve(std::move(options));
    request_bench.json = bench_json->count() > 0;
    request_bench.json_file = bench_options.json;
    return bench_requests(options, request_bench);
  }
  if (bench_backend == "scripted" || (bench_json->count() > 0 && bench_options.json.empty())) {
    fmt::print(stderr, "sluice-engine: bench: --backend scripted, and --json without a file, are for --requests\n");
    return 1;
  }
  if (!bench_model.empty()) {
    const auto folder = find_model(bench_model);
    if (!folder) {
      fmt::print(stderr, "sluice-engine: {}\n", folder.error().message);
      return 1;
    }
    bench_options.model = *folder;
  }
  if (bench_backend == "cpu") return run_bench(bench_options);
  cuda_bench.seconds = bench_options.seconds;
  cuda_bench.json = bench_options.json;
  return bench_cuda(bench_options, std::move(cuda_bench));
}
