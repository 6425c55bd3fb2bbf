// What a test may set in the fake library: the variable `fake_nvml`, found with dlsym.
#pragma once

struct FakeGpu {
  char name[64];
  unsigned utilization, milliwatts, mhz, celsius;
  unsigned long long memory_total, memory_used, reasons;
};

struct FakeNvml {
  FakeGpu gpus[2] = {{"Fake H100", 71, 412'500, 1755, 58, 80'000'000'000, 12'000'000'000, 0x1 | 0x4 | 0x20},
                     {"Fake H200", 3, 90'000, 345, 31, 141'000'000'000, 500'000'000, 0x1}};
  int open = 0;  // how often it was started and not shut down
  bool no_driver = false, lost = false;
};
