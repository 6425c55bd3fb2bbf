// A GPU as NVIDIA's management library (NVML) sees it. The library is loaded at run time and never linked, so that a
// machine without a GPU needs nothing; and what an older driver's library lacks is left out of the readings.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/base/system_sample.h"

namespace sluice {

struct GpuReading {
  std::optional<double> utilization_percent, memory_bytes, power_w, clock_mhz, temperature_c;
  std::vector<std::string> throttle_reasons;  // why its clock is held down just now: "power cap"
};

class Gpu {
 public:
  /// The GPU that a program takes first under this CUDA_VISIBLE_DEVICES; unset is not the same as empty, which hides
  /// all. Null when there is no such library, no driver or no such GPU: that is no error.
  static std::unique_ptr<Gpu> open(const std::optional<std::string>& visible_devices,
                                   const std::string& library = "libnvidia-ml.so.1");
  ~Gpu();
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  GpuIdentity identity() const;
  GpuReading read() const;  // some milliseconds

 private:
  struct Library;
  explicit Gpu(std::unique_ptr<Library> library);
  std::unique_ptr<Library> library_;
};

}  // namespace sluice
