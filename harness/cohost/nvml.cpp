#include "harness/cohost/nvml.h"

#include <dlfcn.h>

#include <array>
#include <charconv>
#include <string_view>
#include <utility>

namespace sluice {

namespace {

// The few declarations of nvml.h that are used; its binary interface is stable, and names with a version keep theirs.
using NvmlDevice = void*;
struct NvmlUtilization {
  unsigned gpu, memory;  // percent of the time in which a kernel ran, or memory was read or written
};
struct NvmlMemory {
  unsigned long long total, free, used;
};
constexpr int kSuccess = 0;
constexpr unsigned kNameBytes = 96;
constexpr int kCoreSensor = 0;
constexpr int kStreamingMultiprocessorClock = 1;

struct Reason {
  unsigned long long bit;
  const char* name;
};
// What slows a GPU down; being idle (1), set clocks (2, 0x100) and a synchronised group (0x10) do not count.
constexpr std::array<Reason, 5> kThrottleReasons{{{0x04, "power cap"},
                                                  {0x08, "hardware slowdown"},
                                                  {0x20, "temperature"},
                                                  {0x40, "temperature (hardware)"},
                                                  {0x80, "power brake"}}};

}  // namespace

struct Gpu::Library {
  void* handle = nullptr;
  bool started = false;
  NvmlDevice device = nullptr;

  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  int (*count)(unsigned*) = nullptr;
  int (*by_index)(unsigned, NvmlDevice*) = nullptr;
  int (*by_uuid)(const char*, NvmlDevice*) = nullptr;
  int (*name)(NvmlDevice, char*, unsigned) = nullptr;
  int (*utilization)(NvmlDevice, NvmlUtilization*) = nullptr;
  int (*memory)(NvmlDevice, NvmlMemory*) = nullptr;
  int (*power)(NvmlDevice, unsigned*) = nullptr;        // milliwatts
  int (*power_limit)(NvmlDevice, unsigned*) = nullptr;  // milliwatts
  int (*temperature)(NvmlDevice, int, unsigned*) = nullptr;
  int (*clock)(NvmlDevice, int, unsigned*) = nullptr;  // MHz
  int (*reasons)(NvmlDevice, unsigned long long*) = nullptr;

  template <class Function>
  void find(Function& function, const char* symbol) {
    if (function == nullptr) function = reinterpret_cast<Function>(dlsym(handle, symbol));
  }

  bool load(const std::string& path) {
    handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) return false;
    find(init, "nvmlInit_v2");
    find(shutdown, "nvmlShutdown");
    find(count, "nvmlDeviceGetCount_v2");
    find(by_index, "nvmlDeviceGetHandleByIndex_v2");
    find(by_uuid, "nvmlDeviceGetHandleByUUID");
    find(name, "nvmlDeviceGetName");
    find(utilization, "nvmlDeviceGetUtilizationRates");
    find(memory, "nvmlDeviceGetMemoryInfo");
    find(power, "nvmlDeviceGetPowerUsage");
    find(power_limit, "nvmlDeviceGetEnforcedPowerLimit");
    find(temperature, "nvmlDeviceGetTemperature");
    find(clock, "nvmlDeviceGetClockInfo");
    find(reasons, "nvmlDeviceGetCurrentClocksEventReasons");
    find(reasons, "nvmlDeviceGetCurrentClocksThrottleReasons");  // its name before driver 535
    if (init == nullptr || shutdown == nullptr || count == nullptr || by_index == nullptr) return false;
    started = init() == kSuccess;
    return started;
  }

  // NVML counts in the order of the bus, CUDA puts the fastest first: the same where all are alike, as in servers.
  bool choose(std::string_view visible) {
    visible = visible.substr(0, visible.find(','));
    while (visible.starts_with(' ')) visible.remove_prefix(1);
    while (visible.ends_with(' ')) visible.remove_suffix(1);
    if (visible.starts_with("GPU-")) {
      return by_uuid != nullptr && by_uuid(std::string(visible).c_str(), &device) == kSuccess;
    }
    unsigned index = 0, all = 0;
    const auto [end, error] = std::from_chars(visible.data(), visible.data() + visible.size(), index);
    if (error != std::errc{} || end != visible.data() + visible.size()) return false;
    return count(&all) == kSuccess && index < all && by_index(index, &device) == kSuccess;
  }

  /// One number that the library writes, or none.
  template <class Function, class... Arguments>
  std::optional<double> number(Function function, Arguments... arguments) const {
    unsigned value = 0;
    if (function == nullptr || function(device, arguments..., &value) != kSuccess) return std::nullopt;
    return value;
  }

  std::optional<NvmlMemory> memory_now() const {
    NvmlMemory bytes{};
    if (memory == nullptr || memory(device, &bytes) != kSuccess) return std::nullopt;
    return bytes;
  }

  ~Library() {
    if (started) shutdown();
    if (handle != nullptr) dlclose(handle);
  }
};

Gpu::Gpu(std::unique_ptr<Library> library) : library_(std::move(library)) {}
Gpu::~Gpu() = default;

std::unique_ptr<Gpu> Gpu::open(const std::optional<std::string>& visible_devices, const std::string& library) {
  auto loaded = std::make_unique<Library>();
  if (!loaded->load(library) || !loaded->choose(visible_devices.value_or("0"))) return nullptr;
  return std::unique_ptr<Gpu>(new Gpu(std::move(loaded)));
}

GpuIdentity Gpu::identity() const {
  GpuIdentity identity;
  std::array<char, kNameBytes> name{};
  if (library_->name != nullptr && library_->name(library_->device, name.data(), kNameBytes - 1) == kSuccess)
    identity.name = name.data();
  if (identity.name.empty()) identity.name = "NVIDIA GPU";
  if (const auto memory = library_->memory_now()) identity.memory_bytes = static_cast<double>(memory->total);
  if (const auto milliwatts = library_->number(library_->power_limit)) identity.power_limit_w = *milliwatts / 1000;
  return identity;
}

GpuReading Gpu::read() const {
  const Library& nvml = *library_;
  GpuReading reading;
  NvmlUtilization percent{};
  if (nvml.utilization != nullptr && nvml.utilization(nvml.device, &percent) == kSuccess)
    reading.utilization_percent = percent.gpu;
  if (const auto memory = nvml.memory_now()) reading.memory_bytes = static_cast<double>(memory->used);
  if (const auto milliwatts = nvml.number(nvml.power)) reading.power_w = *milliwatts / 1000;
  reading.clock_mhz = nvml.number(nvml.clock, kStreamingMultiprocessorClock);
  reading.temperature_c = nvml.number(nvml.temperature, kCoreSensor);
  unsigned long long bits = 0;
  if (nvml.reasons != nullptr && nvml.reasons(nvml.device, &bits) == kSuccess) {
    for (const auto& [bit, name] : kThrottleReasons)
      if ((bits & bit) != 0) reading.throttle_reasons.emplace_back(name);
  }
  return reading;
}

}  // namespace sluice
