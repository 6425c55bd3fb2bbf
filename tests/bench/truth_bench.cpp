// How far are the measured figures from the truth?
//
// Starts the engine with scripted tokens and its emission log, drives streams against it, and joins each measured event
// with the instant just before the send() that carried it: |measured - true| of TTFT and of gaps, by the kernel's
// stamps and by the time at which user space had parsed the event. Both clocks are this machine's CLOCK_MONOTONIC.
//
//     truth_bench ENGINE [STREAMS [SECONDS]]
//
// Fails when a stream fails, when an event has no true instant, or when the median error shows that the wrong things
// are being compared. The tails are printed, not judged: they are the machine's.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <string>
#include <vector>

#include "harness/load/run.h"
#include "tests/bench/emission_log.h"

namespace {

using namespace sluice;

/// The engine as a child that dies with us.
class Engine {
 public:
  Engine(const std::string& program, const std::string& log_path, int core) {
    std::array<int, 2> pipe_ends{};
    if (::pipe2(pipe_ends.data(), O_CLOEXEC) != 0) return;
    child_ = ::fork();
    if (child_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::dup2(pipe_ends[1], STDERR_FILENO);
      if (core >= 0) {
        cpu_set_t cores;
        CPU_ZERO(&cores);
        CPU_SET(static_cast<std::size_t>(core), &cores);
        ::sched_setaffinity(0, sizeof cores, &cores);
      }
      ::execl(program.c_str(), program.c_str(), "--backend", "scripted", "--script", "ttft=50ms,gap=10ms,tokens=100",
              "--emit-log", log_path.c_str(), "--port", "0", nullptr);
      std::perror(program.c_str());
      ::_exit(127);
    }
    ::close(pipe_ends[1]);
    stderr_ = pipe_ends[0];
    wait_for_port();
  }
  ~Engine() { stop(); }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  int port() const { return port_; }
  const std::string& said() const { return said_; }

  void stop() {
    if (child_ <= 0) return;
    ::kill(child_, SIGTERM);
    for (int i = 0; i < 500 && ::waitpid(child_, nullptr, WNOHANG) == 0; ++i) ::poll(nullptr, 0, 10);
    if (::kill(child_, SIGKILL) == 0) ::waitpid(child_, nullptr, 0);
    child_ = -1;
    ::close(stderr_);
  }

 private:
  void wait_for_port() {
    const std::string mark = "listening on 127.0.0.1:";
    for (int i = 0; i < 200; ++i) {
      pollfd readable{stderr_, POLLIN, 0};
      if (::poll(&readable, 1, 100) != 1) continue;
      std::array<char, 1024> buffer{};
      const ssize_t got = ::read(stderr_, buffer.data(), buffer.size());
      if (got <= 0) return;
      said_.append(buffer.data(), static_cast<std::size_t>(got));
      const std::size_t at = said_.find(mark);
      if (at == std::string::npos || said_.find('\n', at) == std::string::npos) continue;
      port_ = std::atoi(said_.c_str() + at + mark.size());
      return;
    }
  }

  pid_t child_ = -1;
  int stderr_ = -1, port_ = 0;
  std::string said_;
};

struct MeasuredEvent {
  Instant received_at, seen_at;
  bool kernel_stamp, coalesced;
};
struct MeasuredStream {
  std::string id;
  std::vector<MeasuredEvent> events;
};

double at_quantile(std::vector<double>& values, double q) {
  if (values.empty()) return 0;
  const auto index = static_cast<std::size_t>(std::ceil(q * static_cast<double>(values.size()))) - 1;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(index), values.end());
  return values[index];
}

void print_row(const char* name, std::vector<double>& errors) {
  std::printf("  %-28s %8zu %10.1f %10.1f %10.1f\n", name, errors.size(), at_quantile(errors, 0.5),
              at_quantile(errors, 0.99), at_quantile(errors, 1.0));
}

Plan plan_for(int port, std::uint32_t streams, std::chrono::seconds seconds) {
  Plan plan;
  plan.name = "truth";
  plan.target.url = "http://127.0.0.1:" + std::to_string(port);
  ChatStep chat;
  chat.messages.push_back({Template("user"), Template("anything")});
  Step step;
  step.name = "chat";
  step.verb = chat;
  ScenarioPlan scenario;
  scenario.name = "truth";
  scenario.shape = RampingVus{0, {{std::chrono::milliseconds(500), streams}, {seconds, streams}}, {}};
  scenario.flow = {step};
  plan.scenarios = {scenario};
  return plan;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: truth_bench ENGINE [STREAMS [SECONDS]]\n");
    return 2;
  }
  const auto streams = static_cast<std::uint32_t>(argc > 2 ? std::atoi(argv[2]) : 100);
  const std::chrono::seconds seconds(argc > 3 ? std::atoi(argv[3]) : 2);
  const bool two_cores = ::sysconf(_SC_NPROCESSORS_ONLN) >= 2;
  const std::string log_path =
      (std::filesystem::temp_directory_path() / ("sluice-truth-" + std::to_string(::getpid()) + ".emit")).string();

  Engine engine(argv[1], log_path, two_cores ? 1 : -1);
  if (engine.port() == 0) {
    std::fprintf(stderr, "the engine does not start:\n%s\n", engine.said().c_str());
    return 1;
  }
  std::mutex mutex;
  std::vector<MeasuredStream> measured;
  std::size_t failed = 0;
  RunOptions options;
  if (two_cores) options.cores = {0};
  options.on_record = [&](const RequestRecord& record) {
    MeasuredStream stream;
    stream.id = record.id;
    for (const ContentEvent& event : record.content) {
      stream.events.push_back({event.received_at, event.seen_at, event.kernel_stamp, event.coalesced});
    }
    const std::lock_guard lock(mutex);
    if (record.outcome != Outcome::ok) {
      if (failed++ == 0) std::fprintf(stderr, "a stream failed: %s\n", record.error.c_str());
      return;
    }
    measured.push_back(std::move(stream));
  };
  RunControl control;
  const auto result = run(plan_for(engine.port(), streams, seconds), options, control, {});
  if (!result) {
    std::fprintf(stderr, "%s\n", result.error().message.c_str());
    return 1;
  }
  engine.stop();
  std::string error;
  const auto emitted = testing_support::read_emissions(log_path, error);
  std::filesystem::remove(log_path);
  if (!error.empty()) {
    std::fprintf(stderr, "%s\n", error.c_str());
    return 1;
  }

  std::vector<double> ttft_kernel, ttft_user, gap_kernel, gap_user, gap_alone;
  std::size_t unmatched = 0, kernel_stamps = 0, coalesced = 0, events = 0;
  for (const MeasuredStream& stream : measured) {
    const auto found = emitted.find(stream.id);
    if (found == emitted.end() || found->second.size() != stream.events.size()) {
      ++unmatched;
      continue;
    }
    for (std::size_t i = 0; i < stream.events.size(); ++i) {
      const MeasuredEvent& event = stream.events[i];
      const std::int64_t truth = found->second[i].before_ns;
      ++events;
      kernel_stamps += event.kernel_stamp ? 1U : 0U;
      coalesced += event.coalesced ? 1U : 0U;
      const auto micros = [](std::int64_t ns) { return std::abs(static_cast<double>(ns)) / 1000; };
      if (i == 0) {
        ttft_kernel.push_back(micros(event.received_at - truth));
        ttft_user.push_back(micros(event.seen_at - truth));
        continue;
      }
      const MeasuredEvent& before = stream.events[i - 1];
      const std::int64_t true_gap = truth - found->second[i - 1].before_ns;
      const double error_us = micros(event.received_at - before.received_at - true_gap);
      gap_kernel.push_back(error_us);
      if (!event.coalesced && !before.coalesced) gap_alone.push_back(error_us);
      gap_user.push_back(micros(event.seen_at - before.seen_at - true_gap));
    }
  }
  std::printf(
      "%zu streams of %u at a time, %zu events; stamped by the kernel: %.1f %%, coalesced: %.2f %%; cores: %s\n",
      measured.size(), streams, events,
      100.0 * static_cast<double>(kernel_stamps) / static_cast<double>(std::max<std::size_t>(events, 1)),
      100.0 * static_cast<double>(coalesced) / static_cast<double>(std::max<std::size_t>(events, 1)),
      two_cores ? "engine 1, client 0" : "one");
  std::printf("  |measured - true| in us         samples        p50        p99        max\n");
  print_row("ttft, kernel stamps", ttft_kernel);
  print_row("ttft, user-space time", ttft_user);
  print_row("gap, kernel stamps", gap_kernel);
  print_row("gap, kernel, not coalesced", gap_alone);
  print_row("gap, user-space time", gap_user);
  const double median = std::max(at_quantile(ttft_kernel, 0.5), at_quantile(gap_kernel, 0.5));
  const bool wrong = median > 1000;
  if (failed > 0) std::printf("%zu streams failed\n", failed);
  if (unmatched > 0) std::printf("%zu streams have no true instants\n", unmatched);
  if (wrong) std::printf("the median error is beyond 1 ms: these are not the same events\n");
  return failed > 0 || unmatched > 0 || wrong || measured.empty() ? 1 : 0;
}
