#include <fmt/format.h>
#include <sched.h>
#include <sys/utsname.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "harness/app/calibration_file.h"
#include "harness/app/commands.h"
#include "harness/base/open_files.h"
#include "harness/metrics/summarize.h"
#include "harness/verdict/judge.h"

namespace sluice {
namespace {

/// The cores that this process may run on.
std::vector<int> own_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cores;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(static_cast<std::size_t>(core), &set)) cores.push_back(core);
  return cores;
}

void print(const CalibrationRow& row) {
  const auto line = [](const char* what, const ErrorFigures& kernel, const ErrorFigures& user) {
    fmt::print("  {:<22}{:>10.1f}{:>10.1f}{:>10.1f}   {:>10.1f}{:>10.1f}{:>10.1f}\n", what, kernel.p50_us,
               kernel.p99_us, kernel.max_us, user.p50_us, user.p99_us, user.max_us);
  };
  fmt::print(
      "{} stream{} x {:g} events/s: {} events, {} lost, {:.1f} % stamped by the kernel, CPU {:.0f} % of a core\n",
      row.streams, row.streams == 1 ? "" : "s", row.rate, row.events, row.lost, row.kernel_stamped * 100,
      row.cpu_percent);
  line("TTFT", row.ttft_kernel, row.ttft_user);
  line("gap", row.gap_kernel, row.gap_user);
  line("duration", row.duration_kernel, row.duration_user);
  if (row.emitter_behind > std::chrono::milliseconds(1))
    fmt::print(
        "  the emitter itself was late by up to {:.1f} ms, which is in no error: its instants are those of the "
        "writes\n",
        std::chrono::duration<double, std::milli>(row.emitter_behind).count());
}

}  // namespace

int calibrate_command(const CalibrateOptions& options) {
  const std::vector<int> cores = own_cores();
  const bool apart = cores.size() >= 2;
  Calibration calibration;
  utsname system{};
  ::uname(&system);
  calibration.machine = system.nodename;
  calibration.calibrated_at = utc_text(std::chrono::system_clock::now());
  fmt::print(
      "measured - true, in us; true: the instant before the write (loopback: proves nothing about a network card)\n"
      "{:<24}{:^30}   {:^30}\n  {:<22}{:>10}{:>10}{:>10}   {:>10}{:>10}{:>10}\n",
      "", "by the kernel's stamps", "by user-space time", "", "p50", "p99", "max", "p50", "p99", "max");
  std::vector<std::uint32_t> streams = options.streams;
  std::sort(streams.begin(), streams.end());
  constexpr std::uint64_t kOwnFiles = 200;
  const std::uint64_t files = raise_open_files_limit(), most = files > kOwnFiles ? files - kOwnFiles : 1;
  bool lost = false;
  for (const std::uint32_t wanted : streams) {
    EmitterLoad load;
    load.streams = static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, most));
    if (load.streams < wanted)
      fmt::print("{} streams need more open files than the {} that are allowed (ulimit -n)\n", wanted, files);
    load.rate = options.rate > 0 ? options.rate : wanted > 1000 ? 5 : 100;
    load.seconds = options.seconds;
    load.core = apart ? cores.back() : -1;
    const auto row = calibrate(load, apart ? cores.front() : -1);
    if (!row) {
      fmt::print(stderr, "sluice: {}\n", row.error().message);
      return kExitUnreachable;
    }
    print(*row);
    std::fflush(stdout);
    lost = lost || row->lost > 0;
    calibration.rows.push_back(*row);
  }
  if (!apart) fmt::print("one core for both sides: the errors hold the time in which the other had it\n");
  if (lost) {
    fmt::print(stderr, "sluice: events were lost: nothing is stored\n");
    return kExitFailed;
  }
  const std::string path = options.file.empty() ? calibration_path() : options.file;
  if (path.empty()) return kExitPassed;
  if (const auto stored = store(calibration, path); !stored) {
    fmt::print(stderr, "sluice: {}\n", stored.error().message);
    return kExitInternal;
  }
  fmt::print("stored in {}{}\n", path,
             path == calibration_path() ? ": reports of this machine's runs name it"
                                        : "; reports name only what is stored without --file");
  return kExitPassed;
}

}  // namespace sluice
