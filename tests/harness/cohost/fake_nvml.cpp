// A GPU management library that behaves as NVIDIA's does, with two GPUs that read what the test wrote into them. Built
// twice: as it is, and (OLD_DRIVER) without what an older driver lacks.
#include "tests/harness/cohost/fake_nvml.h"

#include <cstdio>
#include <cstring>

extern "C" {

FakeNvml fake_nvml;

int nvmlInit_v2() {
  if (fake_nvml.no_driver) return 9;  // NVML_ERROR_DRIVER_NOT_LOADED
  ++fake_nvml.open;
  return 0;
}

int nvmlShutdown() {
  --fake_nvml.open;
  return 0;
}

int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = 2;
  return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  if (index > 1) return 2;  // NVML_ERROR_INVALID_ARGUMENT
  *device = &fake_nvml.gpus[index];
  return 0;
}

int nvmlDeviceGetHandleByUUID(const char* uuid, void** device) {
  if (std::strcmp(uuid, "GPU-1111") != 0) return 6;  // NVML_ERROR_NOT_FOUND
  *device = &fake_nvml.gpus[1];
  return 0;
}

int nvmlDeviceGetName(void* device, char* name, unsigned size) {
  std::snprintf(name, size, "%s", static_cast<FakeGpu*>(device)->name);
  return 0;
}

int nvmlDeviceGetUtilizationRates(void* device, unsigned* gpu_and_memory) {
  if (fake_nvml.lost) return 15;  // NVML_ERROR_GPU_IS_LOST
  gpu_and_memory[0] = static_cast<FakeGpu*>(device)->utilization;
  gpu_and_memory[1] = 0;
  return 0;
}

int nvmlDeviceGetMemoryInfo(void* device, unsigned long long* total_free_used) {
  if (fake_nvml.lost) return 15;
  const auto* gpu = static_cast<FakeGpu*>(device);
  total_free_used[0] = gpu->memory_total;
  total_free_used[1] = gpu->memory_total - gpu->memory_used;
  total_free_used[2] = gpu->memory_used;
  return 0;
}

int nvmlDeviceGetPowerUsage(void* device, unsigned* milliwatts) {
  if (fake_nvml.lost) return 15;
  *milliwatts = static_cast<FakeGpu*>(device)->milliwatts;
  return 0;
}

int nvmlDeviceGetTemperature(void* device, int sensor, unsigned* celsius) {
  if (fake_nvml.lost || sensor != 0) return 2;
  *celsius = static_cast<FakeGpu*>(device)->celsius;
  return 0;
}

int nvmlDeviceGetClockInfo(void* device, int clock, unsigned* mhz) {
  if (fake_nvml.lost || clock != 1) return 2;
  *mhz = static_cast<FakeGpu*>(device)->mhz;
  return 0;
}

#ifdef OLD_DRIVER
int nvmlDeviceGetCurrentClocksThrottleReasons(void* device, unsigned long long* reasons) {
#else
int nvmlDeviceGetEnforcedPowerLimit(void*, unsigned* milliwatts) {
  *milliwatts = 700'000;
  return 0;
}

int nvmlDeviceGetCurrentClocksEventReasons(void* device, unsigned long long* reasons) {
#endif
  if (fake_nvml.lost) return 15;
  *reasons = static_cast<FakeGpu*>(device)->reasons;
  return 0;
}

}  // extern "C"
