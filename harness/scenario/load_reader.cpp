#include "harness/scenario/load_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "harness/base/duration.h"
#include "harness/base/limits.h"

namespace sluice {

namespace {

class LoadReader {
 public:
  LoadReader(Section& section, const YamlMember& entry, ScalarReader& scalars, ProblemList& problems)
      : section_(section), entry_(entry), scalars_(scalars), problems_(problems) {}

  LoadShape read() {
    LoadShape result;
    const auto executor = read_executor(section_.take("executor"));
    const auto *vus = section_.take("vus"), *duration = section_.take("duration");
    const auto *start_vus = section_.take("start_vus"), *stages = section_.take("stages");
    const auto *ramp_down = section_.take("graceful_ramp_down"), *scale_to = section_.take("scale_to");
    const auto belongs = [&](const YamlMember* key, std::string_view to) {
      if (key && executor && *executor != to)
        problems_.add(key->place, fmt::format("{}: belongs to executor: {}", key->key, to));
    };
    for (const auto* key : {vus, duration}) belongs(key, "constant-vus");
    for (const auto* key : {start_vus, stages, ramp_down, scale_to}) belongs(key, "ramping-vus");
    if (executor == "constant-vus") {
      ConstantVus shape;
      shape.vus = read_vus(vus, 1).value_or(1);
      if (!duration) problems_.add(entry_.place, fmt::format("scenario '{}' needs duration:", entry_.key));
      shape.duration = scalars_.positive_duration(duration).value_or(std::chrono::seconds(1));
      result = shape;
    } else if (executor == "ramping-vus") {
      result = read_ramp(start_vus, stages, ramp_down, scale_to);
    }
    return result;
  }

 private:
  std::optional<std::string> read_executor(const YamlMember* member) {
    const auto value = scalars_.text(member);
    if (!value) return std::nullopt;
    static constexpr std::string_view later[] = {"shared-iterations",
                                                 "per-vu-iterations",
                                                 "constant-arrival-rate",
                                                 "ramping-arrival-rate",
                                                 "externally-controlled",
                                                 "poisson",
                                                 "gamma",
                                                 "trace",
                                                 "find-max"};
    if (std::find(std::begin(later), std::end(later), *value) != std::end(later)) {
      problems_.add(member->value.place,
                    fmt::format("executor: '{}' is not in this version: it has constant-vus and ramping-vus", *value));
      return std::nullopt;
    }
    return scalars_.word(member, "scenario");
  }

  std::optional<std::uint32_t> read_vus(const YamlMember* member, std::uint64_t least) {
    const auto value = scalars_.whole(member, least, limits::vus_max);
    return value ? std::optional(static_cast<std::uint32_t>(*value)) : std::nullopt;
  }

  RampingVus read_ramp(const YamlMember* start_vus, const YamlMember* stages, const YamlMember* ramp_down,
                       const YamlMember* scale_to) {
    RampingVus shape;
    shape.start_vus = read_vus(start_vus, 0).value_or(0);
    shape.graceful_ramp_down = scalars_.duration(ramp_down).value_or(shape.graceful_ramp_down);
    if (!stages) {
      problems_.add(entry_.place, fmt::format("scenario '{}' needs stages:", entry_.key));
      return shape;
    }
    if (!stages->value.is_sequence() || stages->value.items.empty() ||
        stages->value.items.size() > limits::stages_max) {
      problems_.add(stages->value.place,
                    fmt::format("stages: must be a list of 1 to {} {{duration, target}}", limits::stages_max));
      return shape;
    }
    for (const auto& item : stages->value.items) {
      Section section(item, "stage", "a stage", problems_);
      if (!section.is_mapping()) continue;
      Stage stage;
      stage.duration = scalars_.duration(section.take("duration")).value_or(Nanoseconds{});
      stage.target = read_vus(section.take("target"), 0).value_or(0);
      shape.stages.push_back(stage);
    }
    Nanoseconds total{};
    std::uint32_t peak = shape.start_vus;
    for (const auto& stage : shape.stages) {
      total += stage.duration;
      peak = std::max(peak, stage.target);
    }
    if (!problems_.empty()) return shape;
    if (total.count() == 0) problems_.add(stages->place, "stages: last no time at all");
    if (total > limits::duration_max)
      problems_.add(stages->place, fmt::format("stages: last longer than {}", format_duration(limits::duration_max)));
    if (peak == 0) problems_.add(stages->place, "stages: no target is over 0, so nothing would run");
    if (scale_to && problems_.empty()) scale_ramp(*scale_to, total, peak, shape);
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
  ScalarReader& scalars_;
  ProblemList& problems_;
};

}  // namespace

LoadShape read_load_shape(Section& section, const YamlMember& entry, ScalarReader& scalars, ProblemList& problems) {
  return LoadReader(section, entry, scalars, problems).read();
}

}  // namespace sluice
