#include "harness/app/run_plan.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>

#include "harness/app/calibration_file.h"
#include "harness/app/commands.h"
#include "harness/app/find_max_run.h"
#include "harness/app/interrupts.h"
#include "harness/app/live_line.h"
#include "harness/base/cores.h"
#include "harness/cohost/engine_process.h"
#include "harness/cohost/probe.h"
#include "harness/cohost/system_sampler.h"
#include "harness/load/control_server.h"
#include "harness/load/find_max.h"
#include "harness/load/preflight.h"
#include "harness/load/run.h"
#include "harness/load/setup.h"
#include "harness/load/timelines.h"
#include "harness/metrics/summarize.h"
#include "harness/net/endpoint.h"
#include "harness/output/byte_file.h"
#include "harness/output/chrome_trace.h"
#include "harness/output/k6_summary.h"
#include "harness/output/record_writer.h"
#include "harness/output/samples.h"
#include "harness/verdict/judge.h"
#include "harness/verdict/stability.h"
#include "reports/format.h"
#include "reports/html.h"
#include "reports/json.h"
#include "reports/junit.h"
#include "reports/text.h"

namespace sluice {

namespace fs = std::filesystem;

namespace {

void complain(std::string_view message) { fmt::print(stderr, "sluice: {}\n", message); }

/// Where the load goes.
struct ReadyTarget {
  std::unique_ptr<EngineProcess> engine;  // none when the target is a URL
  std::string url;
  std::string description;
  MetricsSource metrics;  // of the engine
  EngineIdentity identity;
};

/// The model's name as the scenario has it, without the folders before it.
std::string model_name(const EngineTarget& engine) {
  const fs::path path(engine.model);
  return path.has_filename() ? path.filename().string() : path.parent_path().filename().string();
}

Result<ReadyTarget> reach_target(const Plan& plan, const Interrupts& interrupts, RunControl& control) {
  ReadyTarget ready;
  if (plan.target.engine) {
    const auto& wanted = *plan.target.engine;
    EngineProcessOptions options;
    options.cancelled = [&interrupts] { return interrupts.any(); };
    options.on_death = [&control] { control.stop_now(); };
    auto engine = EngineProcess::start(wanted, std::move(options));
    if (!engine) return engine.error();
    ready.engine = std::move(*engine);
    ready.url = ready.engine->url();
    ready.metrics = metrics_of_engine(ready.url);
    ready.identity = identify_engine(ready.metrics);
    if (ready.identity.model.empty()) ready.identity.model = model_name(wanted);
    ready.description =
        fmt::format("engine: {}, started beside the run",
                    reports::engine_name(
                        {.model = wanted.model, .backend_wanted = wanted.backend, .backend = ready.identity.backend}));
    return {boost::system::in_place_value, std::move(ready)};
  }
  ready.url = plan.target.url;
  const auto endpoint = parse_endpoint(plan.target.url);
  if (!endpoint) return endpoint.error();
  if (const auto reached = can_connect(endpoint->host, endpoint->port, plan.target.connect_timeout); !reached) {
    return fail(fmt::format("the target {} cannot be reached: {}", plan.target.url, reached.error().message));
  }
  return {boost::system::in_place_value, std::move(ready)};
}

/// Starts sampling the engine, and the GPU unless the engine says that it uses none.
std::unique_ptr<SystemSampler> sample_beside(const EngineTarget& wanted, const ReadyTarget& target) {
  SystemSamplerOptions options;
  options.metrics = target.metrics;
  const std::string& backend = target.identity.backend.empty() ? wanted.backend : target.identity.backend;
  if (backend == "cuda" || backend == "auto") {
    const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");  // the engine has the same
    options.gpu = Gpu::open(visible != nullptr ? std::optional<std::string>(visible) : std::nullopt);
  }
  return std::make_unique<SystemSampler>(std::move(options));
}

/// None where nobody asked for it and the scenario does not need it.
Result<std::unique_ptr<ControlServer>> serve_control(const Plan& plan, const RunCommandOptions& options,
                                                     RunControl& control, std::atomic<std::uint32_t>& vus_now) {
  const auto controlled = std::find_if(plan.scenarios.begin(), plan.scenarios.end(), [](const ScenarioPlan& scenario) {
    return std::holds_alternative<ExternallyControlled>(scenario.shape);
  });
  const bool needed = controlled != plan.scenarios.end();
  if (!needed && options.control.empty()) return {boost::system::in_place_value, nullptr};
  auto server = ControlServer::start(
      options.control.empty() ? "127.0.0.1:6565" : options.control, options.control_remote, control,
      needed ? std::get<ExternallyControlled>(controlled->shape).max_vus : 0, [&vus_now] { return vus_now.load(); });
  if (server) fmt::print(stderr, "sluice: the run can be controlled at {}\n", (*server)->url());
  return server;
}

LiveLine::Mode live_mode(bool quiet) {
  if (quiet) return LiveLine::Mode::none;
  return isatty(STDERR_FILENO) ? LiveLine::Mode::redrawn : LiveLine::Mode::lines;
}

bool writes_to_stdout(const RunCommandOptions& options) {
  return std::any_of(options.out.begin(), options.out.end(), [](const auto& file) { return file.ends_with("=-"); });
}

/// The file that two --out name; empty: there is none. Looked at before any is opened, which empties it.
std::string named_twice(const RunCommandOptions& options) {
  std::set<std::string> seen;
  for (const std::string& text : options.out) {
    std::string path = text.substr(std::min(text.find('='), text.size() - 1) + 1);
    if (!path.empty() && !seen.insert(path).second) return path;
  }
  return {};
}

constexpr std::string_view kTraceFormat = "trace=";

/// The file of a trace; none where none is asked for.
Result<std::optional<ByteFile>> open_trace(const RunCommandOptions& options) {
  std::optional<ByteFile> opened;
  for (const std::string& text : options.out) {
    if (!text.starts_with(kTraceFormat)) continue;
    if (text.size() == kTraceFormat.size()) return fail(fmt::format("--out {}: names no file: write trace=FILE", text));
    if (opened) return fail(fmt::format("--out {}: there is one trace of a run", text));
    const std::string path = text.substr(kTraceFormat.size());
    auto file = ByteFile::open(path);
    if (!file) return file.error();
    opened = std::move(*file);
  }
  return {boost::system::in_place_value, std::move(opened)};
}

/// False: it could not be written.
bool write_trace(ByteFile& file, const RequestTrace& trace, const Plan& plan) {
  constexpr Nanoseconds kPatience = std::chrono::seconds(2);
  bool written = true;
  write_chrome_trace(trace, *TallyLayout::from(plan), plan.name, [&](std::string_view bytes) {
    if (!written) return;
    file.add(bytes);
    written = file.write(kPatience) == ByteFile::Wrote::all;
  });
  if (written) {
    file.end();
    written = file.write(kPatience) == ByteFile::Wrote::all;
  }
  if (!written)
    complain(file.error().empty() ? fmt::format("{} takes nothing more: the trace is not whole", file.path())
                                  : file.error());
  if (trace.left_out > 0)
    complain(
        fmt::format("the trace has the first {} requests; {} are left out", trace.requests.size(), trace.left_out));
  if (!trace.no_engine.empty()) complain(fmt::format("the trace: {}", trace.no_engine));
  return written;
}

constexpr std::string_view kRecordFormat = "record=";

/// None where no recording is asked for.
Result<std::unique_ptr<RecordWriter>> open_recording(const Plan& plan, const RunCommandOptions& options) {
  std::optional<std::string> path;
  for (const std::string& text : options.out) {
    if (!text.starts_with(kRecordFormat)) continue;
    if (path) return fail("record= stands twice: one file takes every stream");
    path = text.substr(kRecordFormat.size());
    if (path->empty()) return fail("record=: names no file: write record=FILE");
  }
  if (!path) return {boost::system::in_place_value, nullptr};
  RecordWriter::Options recording;
  recording.by = "sluice " SLUICE_VERSION;
  return RecordWriter::open(*path, std::max<std::size_t>(plan.threads, 1), recording);
}

/// None where no samples are asked for.
Result<std::unique_ptr<SampleWriter>> open_samples(const Plan& plan, const RunCommandOptions& options) {
  std::vector<SampleFile> files;
  for (const std::string& text : options.out) {
    if (text.starts_with(kTraceFormat) || text.starts_with(kRecordFormat)) continue;
    auto file = SampleFile::parse(text);
    if (!file) return file.error();
    files.push_back(std::move(*file));
  }
  if (files.empty()) return {boost::system::in_place_value, nullptr};
  std::vector<SampleThreshold> thresholds;
  for (const Threshold& threshold : plan.thresholds)
    thresholds.push_back({threshold.metric, threshold.selector, threshold.text});
  const std::size_t sinks = std::max<std::size_t>(plan.threads, 1) + 1;  // one more for what is known once a second
  return SampleWriter::open(files, TallyLayout::from(plan), thresholds, sinks, {});
}

bool write_reports(const reports::Summary& summary, const fs::path& folder) {
  const bool json = write_file(folder / "summary.json", reports::to_json(summary));
  const bool html = write_file(folder / "report.html", reports::to_html(summary));
  const bool junit = write_file(folder / "junit.xml", reports::to_junit(summary));
  return json && html && junit;
}

Judging judging(const RunCommandOptions& options) {
  if (options.inconclusive == "fail") return Judging::by_bounds_or_fail;
  return options.inconclusive == "value" ? Judging::by_bounds_or_value : Judging::by_bounds;
}

}  // namespace

reports::TextOptions text_options(bool color, std::FILE* out) {
  reports::TextOptions options;
  winsize size{};
  const bool terminal = isatty(fileno(out));
  const char* no_color = std::getenv("NO_COLOR");
  options.color = color && terminal && !(no_color && *no_color);
  if (terminal && ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) options.width = size.ws_col;
  return options;
}

std::string file_name_of(std::string_view name) {
  std::string out;
  for (const char c : name) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
    if (plain && !(out.empty() && c == '.')) {
      out += c;
    } else if (!out.empty() && out.back() != '-') {
      out += '-';
    }
  }
  while (out.ends_with('-')) out.pop_back();
  return out.empty() ? "run" : out.substr(0, 100);
}

Result<fs::path> make_out_dir(const std::string& wanted, const std::string& name) {
  const auto second = std::chrono::time_point_cast<std::chrono::seconds>(std::chrono::system_clock::now());
  const fs::path folder =
      wanted.empty() ? fs::path("out") / fmt::format("{}-{:%Y%m%dT%H%M%SZ}", file_name_of(name), fmt::gmtime(second))
                     : fs::path(wanted);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error || access(folder.c_str(), W_OK) != 0) {
    return fail(
        fmt::format("cannot write into the folder {}: {}", folder.string(), error ? error.message() : "no permission"));
  }
  return {boost::system::in_place_value, folder};
}

bool write_file(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  file.close();
  if (file) return true;
  complain(fmt::format("cannot write {}", path.string()));
  return false;
}

RunEnding run_plan(const Plan& plan, const RunCommandOptions& options, const fs::path& folder, bool show_text,
                   const std::string& simulated) {
  std::function<bool()> stopped = [] { return false; };
  const auto gives_up = [&stopped](int exit_code, const std::string& why) {
    complain(why);
    return RunEnding{stopped() ? kExitInterrupted : exit_code, std::nullopt, why, stopped()};
  };
  if (find_max_of(plan) != nullptr && !options.out.empty())
    return gives_up(kExitInvalid, "--out: a find-max run keeps no samples and no streams: run the load that it finds");
  if (const auto twice = named_twice(options); !twice.empty())
    return gives_up(kExitInvalid, fmt::format("--out: {} stands twice: one file takes one thing", twice));
  auto trace_file = open_trace(options);
  if (!trace_file) return gives_up(kExitInvalid, trace_file.error().message);
  auto samples = open_samples(plan, options);
  if (!samples) return gives_up(kExitInvalid, samples.error().message);
  auto recording = open_recording(plan, options);
  if (!recording) return gives_up(kExitInvalid, "--out: " + recording.error().message);

  RunControl control;
  const Interrupts interrupts(control, [] {
    fmt::print(stderr, "\nstopping: what is under way may end; press Ctrl-C again to stop at once\n");
  });
  stopped = [&interrupts] { return interrupts.any(); };
  const auto target = reach_target(plan, interrupts, control);
  const auto leave_no_empty_folder = [&] {
    std::error_code ignored;
    if (options.out_dir.empty()) fs::remove(folder, ignored);  // fails where something is in it
  };
  if (!target) {
    leave_no_empty_folder();
    return gives_up(kExitUnreachable, target.error().message);
  }
  if (!plan.target.expect_models.empty() || !plan.target.expect_backend.empty()) {
    const auto found = preflight(plan, target->url);
    const PreflightCheck* const failed = found ? found->failed() : nullptr;
    if (!found || failed != nullptr) {
      leave_no_empty_folder();
      return gives_up(kExitUnreachable,
                      found ? fmt::format("preflight: {}: {}", failed->name, failed->detail) : found.error().message);
    }
  }

  RunOptions run_options;
  run_options.target_url = target->url;
  run_options.samples = samples->get();
  run_options.recording = recording->get();
  if (plan.target.engine) run_options.cores = parse_cores(plan.target.engine->harness_cores).value();
  std::atomic<std::uint32_t> vus_now{0};
  auto control_server = serve_control(plan, options, control, vus_now);
  if (!control_server) {
    leave_no_empty_folder();
    return gives_up(kExitInvalid, control_server.error().message);
  }
  const FlowVariables nothing;
  auto variables = plan.setup.empty() ? Result<FlowVariables>(nothing)
                                      : run_once(plan, plan.setup, "setup", run_options, control,
                                                 RunControl::State::stopping_gracefully);
  if (!variables) {
    const auto death = target->engine ? target->engine->death() : std::nullopt;
    leave_no_empty_folder();
    if (death) complain(fmt::format("the engine {}; the end of its log:\n{}", *death, target->engine->log_tail()));
    return gives_up(death ? kExitUnreachable : kExitSetup, variables.error().message);
  }
  run_options.variables = &*variables;
  std::optional<RequestTracer> tracer;
  if (*trace_file) run_options.tracer = &tracer.emplace();
  LiveLine live(live_mode(options.quiet), stderr);
  std::unique_ptr<SystemSampler> sampler;
  if (target->engine) sampler = sample_beside(*plan.target.engine, *target);
  auto driven = drive(
      plan, run_options, control,
      [&](const Progress& progress) {
        vus_now = progress.vus;
        live.show(progress);
      },
      [&](const std::string& trial) {
        live.clear();
        fmt::print(stderr, "{}\n", trial);
      });
  control_server->reset();
  live.clear();
  std::optional<SystemSamples> system;
  if (sampler) system = sampler->stop();
  RequestTrace trace;
  if (tracer) {
    trace = tracer->take();
    if (control.state() != RunControl::State::stopping_now) fetch_timelines(plan, run_options, trace);
  }
  bool torn_down = true;
  if (!plan.teardown.empty() && control.state() != RunControl::State::stopping_now) {
    const auto done = run_once(plan, plan.teardown, "teardown", run_options, control, RunControl::State::stopping_now);
    torn_down = done.has_value();
    if (!done) complain(done.error().message);
  }
  const auto death = target->engine ? target->engine->death() : std::nullopt;
  const auto log = death ? target->engine->log_tail() : std::string();
  if (target->engine) target->engine->stop();
  if (!driven) {
    leave_no_empty_folder();
    return gives_up(kExitUnreachable, driven.error().message);
  }
  RunResult* const result = &driven->result;

  if (!target->description.empty()) result->facts.target = target->description;
  if (system) {
    if (system->engine.model.empty()) system->engine.model = target->identity.model;
    result->facts.backend_wanted = plan.target.engine->backend;
    if (driven->search) {  // the report is of one trial
      const Instant from = result->tally.origin();
      const auto to = from + static_cast<Instant>(result->tally.window_s() * 1e9) + system->period.count();
      std::erase_if(system->samples, [&](const SystemSample& sample) { return sample.at < from || sample.at > to; });
    }
    result->tally.add_system(*system);
    result->facts.system = std::move(system);
  }
  SampleCounts sample_counts;
  if (*samples) {
    sample_counts = (*samples)->finish();
    result->facts.samples = sample_counts.samples;
    result->facts.samples_dropped = sample_counts.dropped;
  }
  RecordCounts recorded;
  if (*recording) recorded = (*recording)->finish();
  auto summary = summarize(driven->plan, result->tally, result->facts);
  summary.simulated = simulated;
  conclude(summary, judge(driven->plan, result->tally, result->facts, judging(options)), result->facts.end,
           result->aborted_by, options.require_trusted);
  if (const auto known = stored_calibration(calibration_path(), result->facts.host))
    summary.instrument.calibration = calibration_for(*known, result->tally.vus().peak);
  summary.search = std::move(driven->search);
  summary.stability = stability_result(driven->plan, result->tally, result->facts);
  if (death) {
    summary.outcome = "failed";
    summary.exit_code = kExitUnreachable;
  }
  if (!torn_down && summary.exit_code == 0) {
    summary.outcome = "failed";
    summary.exit_code = kExitTeardown;
  }
  bool written = write_reports(summary, folder);
  if (tracer && !write_trace(**trace_file, trace, plan)) written = false;
  if (!options.summary_export.empty() && !write_file(options.summary_export, to_k6_summary(summary))) written = false;
  // Where the samples go to standard output, nothing else does.
  std::FILE* const out = writes_to_stdout(options) ? stderr : stdout;
  if (show_text) fmt::print(out, "{}", reports::to_text(summary, text_options(options.color, out)));
  if (written && show_text) {
    for (const char* name : {"summary.json", "report.html", "junit.xml"})
      fmt::print(out, "  {}\n", (folder / name).string());
    if (!options.summary_export.empty()) fmt::print(out, "  {}\n", options.summary_export);
  }
  for (const std::string& file : options.out)
    if (!file.ends_with("=-")) fmt::print(out, "  {}\n", file.substr(file.find('=') + 1));
  std::fflush(out);
  for (const std::string& problem : sample_counts.problems) complain(problem);
  if (sample_counts.dropped > 0)
    complain(fmt::format("samples dropped: {} of {}; they came faster than they could be written",
                         sample_counts.dropped, sample_counts.samples));
  if (recorded.missing > 0 || !recorded.problem.empty())
    complain(fmt::format("{} of {} streams are not in the recording{}{}", recorded.missing,
                         recorded.missing + recorded.streams, recorded.problem.empty() ? "" : ": ", recorded.problem));
  if (death) complain(fmt::format("the engine {} in mid-run; the end of its log:\n{}", *death, log));
  if (!written) return {kExitInternal, std::move(summary), "its reports could not be written", interrupts.any()};
  const int exit_code = summary.exit_code;
  return {exit_code, std::move(summary), {}, interrupts.any()};
}

}  // namespace sluice
