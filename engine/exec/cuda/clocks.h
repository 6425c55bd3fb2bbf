// The GPU's clock and what slows it, by NVML, which is opened when the program runs. For the benchmark: a share of a
// roof means little without the clock it was reached at.
#pragma once

#include <memory>
#include <string>

namespace sluice::engine {

class GpuClocks {
 public:
  /// Of CUDA's first device. Null where NVML cannot be opened.
  static std::unique_ptr<GpuClocks> open();
  ~GpuClocks();
  GpuClocks(const GpuClocks&) = delete;
  GpuClocks& operator=(const GpuClocks&) = delete;

  /// MHz of the multiprocessors now; 0 when it is not told. Remembers what slowed them at this moment.
  unsigned read();
  /// What slowed the clock at any read so far: "power cap, temperature", in the words of the harness's reports; empty:
  /// nothing.
  std::string slowed_by() const;

 private:
  struct Library;
  GpuClocks();
  std::unique_ptr<Library> library_;
  unsigned long long reasons_ = 0;
};

}  // namespace sluice::engine
