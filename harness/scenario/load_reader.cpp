#include "harness/scenario/load_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string_view>

#include "harness/base/duration.h"
#include "harness/base/limits.h"
#include "harness/scenario/data_reader.h"
#include "harness/scenario/trace_file.h"

namespace sluice {

namespace {

constexpr std::uint64_t kMicro = 1'000'000;

/// Which options an executor takes, beside those of every scenario.
struct ExecutorOptions {
  std::string_view executor;
  std::vector<std::string_view> required, optional;
};
const std::vector<ExecutorOptions>& executors() {
  static const std::vector<ExecutorOptions> all{
      {"constant-vus", {"duration"}, {"vus"}},
      {"ramping-vus", {"stages"}, {"start_vus", "graceful_ramp_down", "scale_to"}},
      {"shared-iterations", {}, {"vus", "iterations", "max_duration"}},
      {"per-vu-iterations", {}, {"vus", "iterations", "max_duration"}},
      {"constant-arrival-rate", {"rate", "duration"}, {"time_unit", "max_vus", "pre_allocated_vus", "when_busy"}},
      {"ramping-arrival-rate", {"stages"}, {"start_rate", "time_unit", "max_vus", "pre_allocated_vus", "when_busy"}},
      {"poisson",
       {},
       {"rate", "duration", "stages", "start_rate", "time_unit", "max_vus", "pre_allocated_vus", "when_busy"}},
      {"gamma",
       {"burstiness"},
       {"rate", "duration", "stages", "start_rate", "time_unit", "max_vus", "pre_allocated_vus", "when_busy"}},
      {"trace",
       {"file"},
       {"format", "speed", "from", "to", "limit", "block_tokens", "max_vus", "pre_allocated_vus", "when_busy"}},
      {"externally-controlled", {}, {"vus", "max_vus", "duration"}},
      {"find-max", {"find", "start", "max"}, {"precision", "trial", "max_vus"}},
  };
  return all;
}

class LoadReader {
 public:
  LoadReader(Section& section, const YamlMember& entry, const std::string& file, const LoadOptions& options,
             ScalarReader& scalars, ProblemList& problems)
      : section_(section), entry_(entry), file_(file), load_options_(options), scalars_(scalars), problems_(problems) {}

  LoadShape read() {
    const auto executor = scalars_.word(section_.take("executor"), "scenario");
    take_options(executor);
    if (!executor) return {};
    if (*executor == "constant-vus") {
      return ConstantVus{vus().value_or(1), time("duration").value_or(std::chrono::seconds(1))};
    }
    if (*executor == "ramping-vus") return read_ramp();
    if (*executor == "shared-iterations") return read_iterations<SharedIterations>();
    if (*executor == "per-vu-iterations") return read_iterations<PerVuIterations>();
    if (*executor == "externally-controlled") return read_controlled();
    if (*executor == "find-max") return read_search();
    if (*executor == "trace") return read_replay();
    return read_rate(*executor);
  }

 private:
  /// Every option is asked for, so that none is taken in silence; those of other executors are problems.
  void take_options(const std::optional<std::string>& executor) {
    const ExecutorOptions* own = nullptr;
    for (const ExecutorOptions& options : executors()) {
      if (executor == options.executor) own = &options;
      for (const auto& keys : {options.required, options.optional}) {
        for (const std::string_view key : keys) {
          if (!options_.contains(key)) options_[key] = section_.take(key);
        }
      }
    }
    if (own == nullptr) return;
    const auto has = [](const auto& keys, std::string_view key) {
      return std::find(keys.begin(), keys.end(), key) != keys.end();
    };
    for (const auto& [key, member] : options_) {
      if (member == nullptr || has(own->required, key) || has(own->optional, key)) continue;
      std::vector<std::string_view> takers;
      for (const ExecutorOptions& options : executors()) {
        if (has(options.required, key) || has(options.optional, key)) takers.push_back(options.executor);
      }
      problems_.add(member->place, fmt::format("{}: belongs to executor: {}", key, fmt::join(takers, ", ")));
    }
    for (const std::string_view key : own->required) {
      if (options_[key] == nullptr) {
        problems_.add(entry_.place, fmt::format("scenario '{}' needs {}:", entry_.key, key));
      }
    }
  }

  const YamlMember* option(std::string_view key) { return options_[key]; }
  std::optional<Nanoseconds> time(std::string_view key) { return scalars_.positive_duration(option(key)); }
  std::optional<std::uint32_t> vus() { return read_vus(option("vus"), 1); }

  std::optional<std::uint32_t> read_vus(const YamlMember* member, std::uint64_t least) {
    const auto value = scalars_.whole(member, least, limits::vus_max);
    return value ? std::optional(static_cast<std::uint32_t>(*value)) : std::nullopt;
  }

  template <class Shape>
  Shape read_iterations() {
    Shape shape;
    shape.vus = vus().value_or(1);
    shape.iterations = scalars_.whole(option("iterations"), 1, kWholeMax).value_or(1);
    shape.max_duration = time("max_duration").value_or(shape.max_duration);
    if (std::is_same_v<Shape, SharedIterations> && shape.iterations < shape.vus && problems_.empty()) {
      problems_.add(entry_.place, fmt::format("scenario '{}': {} iterations are too few for {} VUs to share",
                                              entry_.key, shape.iterations, shape.vus));
    }
    return shape;
  }

  ExternallyControlled read_controlled() {
    ExternallyControlled shape;
    shape.vus = read_vus(option("vus"), 0).value_or(0);
    shape.max_vus = read_vus(option("max_vus"), 1).value_or(std::max(shape.vus, 1u));
    shape.duration = scalars_.duration(option("duration")).value_or(Nanoseconds{});
    if (shape.max_vus < shape.vus)
      problems_.add(option("max_vus")->value.place,
                    fmt::format("max_vus: {} are fewer than the {} to begin with", shape.max_vus, shape.vus));
    return shape;
  }

  FindMax read_search() {
    FindMax shape;
    shape.of = scalars_.word(option("find"), "scenario") == "vus" ? FindMax::Of::vus : FindMax::Of::rate;
    const bool vus = shape.of == FindMax::Of::vus;
    const auto most = static_cast<double>(vus ? std::uint64_t{limits::vus_max} : limits::rate_max);
    shape.start = scalars_.number(option("start"), vus ? 1 : 0.001, most).value_or(1);
    shape.max = scalars_.number(option("max"), vus ? 1 : 0.001, most).value_or(shape.start);
    shape.precision = scalars_.number(option("precision"), 0.001, 1).value_or(shape.precision);
    shape.trial = time("trial").value_or(shape.trial);
    shape.max_vus = read_vus(option("max_vus"), 1).value_or(0);
    if (shape.max < shape.start)
      problems_.add(option("max")->value.place,
                    fmt::format("max: {:g} is below the start, {:g}", shape.max, shape.start));
    if (vus) {
      for (const std::string_view key : {"start", "max"}) {
        const double value = key == "start" ? shape.start : shape.max;
        if (value != std::floor(value) && option(key))
          problems_.add(option(key)->value.place, fmt::format("{}: VUs are whole numbers", key));
      }
      if (const auto* cap = option("max_vus"))
        problems_.add(cap->place, "max_vus: goes with find: rate; with find: vus it is max that bounds them");
    }
    return shape;
  }

  TraceReplay read_replay() {
    TraceReplay shape;
    shape.speed = scalars_.number(option("speed"), 1e-6, 1e6).value_or(1);
    shape.max_vus = read_vus(option("max_vus"), 1).value_or(0);
    shape.wait_when_busy = scalars_.word(option("when_busy"), "scenario") == "wait";
    shape.duration = std::chrono::seconds(1);  // until it is known
    read_vus(option("pre_allocated_vus"), 0);
    const auto holes = scalars_.hole_names.lower_bound("trace.");
    if (scalars_.unknown_data.contains("trace") ||
        (holes != scalars_.hole_names.end() && holes->first.starts_with("trace.")))
      problems_.add(entry_.place,
                    "executor: trace: the flow reads the recorded request as ${trace.prompt}: another "
                    "name is wanted for the data 'trace'");
    scalars_.unknown_data.insert("trace");  // until it has been read
    TraceFile read = read_recorded();
    const auto length = cut(read.trace);
    if (!length) return shape;
    const long double replayed = static_cast<long double>(length->count()) / shape.speed;
    constexpr auto kMost = std::chrono::duration_cast<Nanoseconds>(limits::duration_max);
    if (replayed > static_cast<long double>(kMost.count())) {
      problems_.add(option("file")->value.place,
                    fmt::format("file: lasts longer than {}: from: and to: take a part of it, speed: makes it shorter",
                                format_duration(limits::duration_max)));
      return shape;
    }
    shape.duration = Nanoseconds(static_cast<std::int64_t>(replayed)) + Nanoseconds(1);
    for (const auto& [field, lacking] : read.fields) scalars_.hole_names["trace." + field] = lacking;
    scalars_.unknown_data.erase("trace");
    shape.trace = std::make_shared<const Trace>(std::move(read.trace));
    return shape;
  }

  /// The whole trace; empty when there is a problem.
  TraceFile read_recorded() {
    TraceFile read;
    const auto format_name = scalars_.word(option("format"), "scenario");
    const auto block_tokens = scalars_.whole(option("block_tokens"), 1, limits::trace_tokens_max).value_or(512);
    const auto* file = option("file");
    const auto path = scalars_.text(file);
    if (!path || (option("format") && !format_name)) return read;
    const auto full = (std::filesystem::path(file_).parent_path() / *path).string();
    const std::optional<TraceFormat> format = !format_name                 ? std::nullopt
                                              : *format_name == "mooncake" ? std::optional(TraceFormat::mooncake)
                                              : *format_name == "azure"    ? std::optional(TraceFormat::azure)
                                              : *format_name == "burstgpt" ? std::optional(TraceFormat::burstgpt)
                                                                           : std::optional(TraceFormat::sluice);
    const auto why = read_in_blocks(load_options_, full, [&](const NextBlock& next_block) {
      read = read_trace(next_block, format, static_cast<std::uint32_t>(block_tokens), full, problems_);
    });
    if (why) problems_.add(file->value.place, fmt::format("file: {}: {}", full, *why));
    return why ? TraceFile() : std::move(read);
  }

  /// Cuts the window out of a trace. How long it lasts as recorded; none when nothing is left.
  std::optional<Nanoseconds> cut(Trace& trace) {
    const auto *from_member = option("from"), *to_member = option("to");
    const auto from = scalars_.duration(from_member), to = scalars_.duration(to_member);
    const auto rows_max = scalars_.whole(option("limit"), 1, limits::trace_rows_max).value_or(limits::trace_rows_max);
    if (from && to && *from >= *to) {
      problems_.add(to_member->value.place, fmt::format("to: {} is not after {}, where the window begins",
                                                        format_duration(*to), format_duration(*from)));
      return std::nullopt;
    }
    if (trace.rows.empty()) return std::nullopt;
    const Nanoseconds first = trace.rows.front().at, last = trace.rows.back().at;
    cut_trace(trace, from, to, rows_max);
    if (trace.rows.empty()) {
      problems_.add((from_member != nullptr ? from_member : to_member)->value.place,
                    fmt::format("{}: no request lies there: they came from {} to {}",
                                from_member != nullptr ? "from" : "to", format_duration(first), format_duration(last)));
      return std::nullopt;
    }
    const Nanoseconds length = length_of(trace);
    return to ? std::min(length, *to - from.value_or(first)) : length;
  }

  /// Millionths an arrival per time unit, so that every rate stays exact.
  std::optional<std::uint64_t> rate(const YamlMember* member) {
    const auto value = scalars_.number(member, 0, static_cast<double>(limits::rate_max));
    if (!value) return std::nullopt;
    const double micro = *value * static_cast<double>(kMicro);
    if (micro != 0 && micro < 0.5) {
      problems_.add(member->value.place, fmt::format("{}: below a millionth: choose a longer time_unit", member->key));
    }
    return static_cast<std::uint64_t>(std::llround(micro));
  }

  ArrivalRate read_rate(std::string_view executor) {
    ArrivalRate shape;
    using enum ArrivalRate::Executor;
    shape.executor = executor == "constant-arrival-rate"  ? constant
                     : executor == "ramping-arrival-rate" ? ramping
                     : executor == "poisson"              ? poisson
                                                          : gamma;
    shape.time_unit = time("time_unit").value_or(shape.time_unit);
    shape.burstiness = scalars_.number(option("burstiness"), 0.001, 1000).value_or(1);
    shape.max_vus = read_vus(option("max_vus"), 1).value_or(0);
    shape.wait_when_busy = scalars_.word(option("when_busy"), "scenario") == "wait";
    read_vus(option("pre_allocated_vus"), 0);  // k6 needs it; here VUs are made when they are needed
    const auto *rate_member = option("rate"), *stages = option("stages");
    if (shape.executor == poisson || shape.executor == gamma) {
      if ((rate_member != nullptr) == (stages != nullptr)) {
        problems_.add(entry_.place, fmt::format("scenario '{}' needs rate: and duration:, or stages:", entry_.key));
        return shape;
      }
      if (rate_member && !option("duration"))
        problems_.add(entry_.place, fmt::format("scenario '{}' needs duration:", entry_.key));
      for (const std::string_view key : {"start_rate", "duration"}) {
        const auto* member = option(key);
        if (member && (key == "duration") == (stages != nullptr))
          problems_.add(member->place, fmt::format("{}: goes with {}", key, stages ? "rate:" : "stages:"));
      }
    }
    if (stages) {
      shape.start_micro = rate(option("start_rate")).value_or(0);
      read_stages(*stages, [&](Nanoseconds duration, const YamlMember* target) {
        shape.stages.push_back({duration, rate(target).value_or(0)});
      });
    } else if (rate_member) {
      shape.start_micro = rate(rate_member).value_or(kMicro);
      if (shape.start_micro == 0) problems_.add(rate_member->value.place, "rate: must be over 0");
      shape.stages.push_back({time("duration").value_or(std::chrono::seconds(1)), shape.start_micro});
    }
    const bool any = shape.start_micro > 0 || std::any_of(shape.stages.begin(), shape.stages.end(),
                                                          [](const auto& stage) { return stage.target_micro > 0; });
    if (stages && !any && problems_.empty())
      problems_.add(stages->place, "stages: no target is over 0, so nothing would run");
    return shape;
  }

  /// add(duration, target) for each.
  template <class Add>
  void read_stages(const YamlMember& stages, Add add) {
    if (!stages.value.is_sequence() || stages.value.items.empty() || stages.value.items.size() > limits::stages_max) {
      return problems_.add(stages.value.place,
                           fmt::format("stages: must be a list of 1 to {} {{duration, target}}", limits::stages_max));
    }
    Nanoseconds total{};
    for (const auto& item : stages.value.items) {
      Section section(item, "stage", "a stage", problems_);
      if (!section.is_mapping()) continue;
      const auto duration = scalars_.duration(section.take("duration")).value_or(Nanoseconds{});
      total += duration;
      add(duration, section.take("target"));
    }
    if (!problems_.empty()) return;
    if (total.count() == 0) problems_.add(stages.place, "stages: last no time at all");
    if (total > limits::duration_max)
      problems_.add(stages.place, fmt::format("stages: last longer than {}", format_duration(limits::duration_max)));
  }

  RampingVus read_ramp() {
    RampingVus shape;
    shape.start_vus = read_vus(option("start_vus"), 0).value_or(0);
    shape.graceful_ramp_down = scalars_.duration(option("graceful_ramp_down")).value_or(shape.graceful_ramp_down);
    const auto* stages = option("stages");
    if (!stages) return shape;
    std::uint32_t peak = shape.start_vus;
    Nanoseconds total{};
    read_stages(*stages, [&](Nanoseconds duration, const YamlMember* target) {
      shape.stages.push_back({duration, read_vus(target, 0).value_or(0)});
      peak = std::max(peak, shape.stages.back().target);
      total += duration;
    });
    if (!problems_.empty()) return shape;
    if (peak == 0) problems_.add(stages->place, "stages: no target is over 0, so nothing would run");
    if (const auto* scale_to = option("scale_to"); scale_to && problems_.empty())
      scale_ramp(*scale_to, total, peak, shape);
    return shape;
  }

  void scale_ramp(const YamlMember& member, Nanoseconds total, std::uint32_t peak, RampingVus& shape) {
    Section section(member.value, "scale_to", "scale_to", problems_);
    if (!section.is_mapping()) return;
    if (const auto wanted = scalars_.positive_duration(section.take("duration")); wanted && *wanted != total) {
      const double factor = static_cast<double>(wanted->count()) / static_cast<double>(total.count());
      for (auto& stage : shape.stages)
        stage.duration = Nanoseconds(std::llround(static_cast<double>(stage.duration.count()) * factor));
    }
    if (const auto wanted = read_vus(section.take("vus"), 1); wanted && *wanted != peak) {
      const auto scaled = [&](std::uint32_t vus) {
        return static_cast<std::uint32_t>((static_cast<std::uint64_t>(vus) * *wanted + peak - 1) / peak);
      };
      shape.start_vus = scaled(shape.start_vus);
      for (auto& stage : shape.stages) stage.target = scaled(stage.target);
    }
  }

  Section& section_;
  const YamlMember& entry_;
  const std::string& file_;
  const LoadOptions& load_options_;
  ScalarReader& scalars_;
  ProblemList& problems_;
  std::map<std::string_view, const YamlMember*> options_;
};

}  // namespace

LoadShape read_load_shape(Section& section, const YamlMember& entry, const std::string& file,
                          const LoadOptions& options, ScalarReader& scalars, ProblemList& problems) {
  return LoadReader(section, entry, file, options, scalars, problems).read();
}

void forget_trace(ScalarReader& scalars) {
  std::erase_if(scalars.hole_names, [](const auto& name) { return name.first.starts_with("trace."); });
  scalars.unknown_data.erase("trace");
}

}  // namespace sluice
