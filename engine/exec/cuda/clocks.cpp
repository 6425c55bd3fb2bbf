#include "engine/exec/cuda/clocks.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <utility>

namespace sluice::engine {

// NVML's functions by their documented signatures; its header is not needed for these.
struct GpuClocks::Library {
  void* handle = nullptr;
  void* device = nullptr;
  int (*shutdown)() = nullptr;
  int (*clock)(void*, unsigned, unsigned*) = nullptr;
  int (*reasons)(void*, unsigned long long*) = nullptr;

  template <class Function>
  bool find(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(handle, name));
    return function != nullptr;
  }
  bool open() {
    handle = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    int (*init)() = nullptr;
    int (*by_bus)(const char*, void**) = nullptr;
    char bus[32] = {};
    if (cudaDeviceGetPCIBusId(bus, sizeof bus, 0) != cudaSuccess) return false;
    if (handle == nullptr || !find(init, "nvmlInit_v2") || init() != 0) return false;
    find(shutdown, "nvmlShutdown");
    // Newer libraries say "event", older ones "throttle".
    if (!find(reasons, "nvmlDeviceGetCurrentClocksEventReasons"))
      find(reasons, "nvmlDeviceGetCurrentClocksThrottleReasons");
    return find(clock, "nvmlDeviceGetClockInfo") && find(by_bus, "nvmlDeviceGetHandleByPciBusId_v2") &&
           by_bus(bus, &device) == 0;
  }
  ~Library() {
    if (shutdown != nullptr) shutdown();
    if (handle != nullptr) dlclose(handle);
  }
};

GpuClocks::GpuClocks() : library_(std::make_unique<Library>()) {}
GpuClocks::~GpuClocks() = default;

std::unique_ptr<GpuClocks> GpuClocks::open() {
  std::unique_ptr<GpuClocks> clocks(new GpuClocks);
  return clocks->library_->open() ? std::move(clocks) : nullptr;
}

unsigned GpuClocks::read() {
  constexpr unsigned kMultiprocessors = 1;  // NVML_CLOCK_SM
  unsigned mhz = 0;
  unsigned long long reasons = 0;
  if (library_->clock(library_->device, kMultiprocessors, &mhz) != 0) mhz = 0;
  if (library_->reasons != nullptr && library_->reasons(library_->device, &reasons) == 0) reasons_ |= reasons;
  return mhz;
}

std::string GpuClocks::slowed_by() const {
  constexpr std::pair<unsigned long long, const char*> kReasons[] = {{0x04, "power cap"},
                                                                     {0x08, "hardware slowdown"},
                                                                     {0x20, "temperature"},
                                                                     {0x40, "temperature (hardware)"},
                                                                     {0x80, "power brake"}};
  std::string text;
  for (const auto& [bit, name] : kReasons)
    if ((reasons_ & bit) != 0) text += (text.empty() ? "" : ", ") + std::string(name);
  return text;
}

}  // namespace sluice::engine
