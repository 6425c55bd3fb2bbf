// What this machine's scheduler did with a thread, and what was taken from the machine: from /proc.
//
// Any thread. Nothing is known where /proc does not tell (a kernel without schedstats, a container that hides it).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "harness/base/time.h"

namespace sluice {

/// Of one thread since it began: the time on a core, and the time it was ready to run and waited for one.
struct ThreadCpu {
  Nanoseconds ran{}, waited{};
  ThreadCpu& operator+=(const ThreadCpu& other) {
    ran += other.ran;
    waited += other.waited;
    return *this;
  }
  ThreadCpu operator-(const ThreadCpu& before) const { return {ran - before.ran, waited - before.waited}; }
};

/// Of a thread of this process, by its id (gettid).
std::optional<ThreadCpu> thread_cpu(pid_t thread);

/// Of all cores since the machine began, in the kernel's ticks. `stolen`: a hypervisor ran others meanwhile.
struct MachineCpu {
  std::uint64_t all = 0, stolen = 0;
};

std::optional<MachineCpu> machine_cpu();

// The formats, for tests: "run wait slices" of /proc/.../schedstat, and the first line of /proc/stat.
std::optional<ThreadCpu> parse_schedstat(std::string_view text);
std::optional<MachineCpu> parse_proc_stat(std::string_view text);

}  // namespace sluice
