// Many streams at once: what the client costs, and how far its figures are from the truth.
//
//     stream_bench [--streams 1000] [--rate 45] [--per-write 1] [--seconds 4] [--bare] [--client 0] [--server 1]
//     stream_bench --idle-streams 9000
//     stream_bench --idle-vus 15000
//
// A child of its own core writes `per-write` events to each stream, `rate` events a second, the streams' phases spread
// evenly, and notes the instant just before each write; run() reads them as chat streams, on one thread of one core,
// with every default metric. --bare does the same with a loop of epoll and recvmsg (with the kernel's stamps) that
// looks at nothing, for comparison. The idle ones print memory of the process: per open stream between its first and
// its second event, and per VU that sleeps.
//
// Fails when an event is lost. Times are printed, not judged.
#include <arpa/inet.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "harness/base/open_files.h"
#include "harness/load/calibrate.h"
#include "harness/load/emitter.h"
#include "harness/load/run.h"

namespace {

using namespace sluice;

struct Load {
  std::uint32_t streams = 1000;
  double rate = 45;  // events a second of each stream
  std::uint32_t per_write = 1;
  double seconds = 4;
  bool bare = false;
  int client_core = 0, server_core = 1;
  std::uint32_t idle_streams = 0, idle_vus = 0;

  EmitterLoad emitter() const { return {streams, rate, per_write, seconds, server_core}; }
};

void require(bool condition, const char* what) {
  if (condition) return;
  std::perror(what);
  std::exit(1);
}

void pin(int core) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(static_cast<std::size_t>(core), &cores);
  ::sched_setaffinity(0, sizeof cores, &cores);
}

std::unique_ptr<Emitter> start_emitter(const Load& load) {
  auto emitter = Emitter::start(load.emitter());
  require(emitter.has_value(), "emitter");
  return std::move(*emitter);
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

std::size_t resident_bytes() {
  std::size_t pages = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

/// run() on the streams: prints what it cost and how far its figures were from the truth. None lost: all events came.
CalibrationRow measure(const Load& load) {
  const auto measured = calibrate(load.emitter(), load.client_core);
  require(measured.has_value(), "calibrate");
  const CalibrationRow& row = *measured;
  const auto events = static_cast<double>(std::max<std::uint64_t>(row.events, 1));
  std::printf(
      "%u streams x %.0f events/s, %u a write: %.0f events/s arrived, %.2f events a read, %llu lost, %llu failed\n",
      load.streams, load.rate, load.per_write, events / row.seconds,
      events / static_cast<double>(std::max<std::uint64_t>(row.reads, 1)), static_cast<unsigned long long>(row.lost),
      static_cast<unsigned long long>(row.failed));
  std::printf("  CPU %.1f %% of a core, %.2f us an event\n", row.cpu_percent,
              row.cpu_percent * 1e4 * row.seconds / events);
  std::printf("  TTFT - true, us: p50 %.1f p99 %.1f    |gap - true|, us: p50 %.1f p99 %.1f\n", row.ttft_kernel.p50_us,
              row.ttft_kernel.p99_us, row.gap_kernel.p50_us, row.gap_kernel.p99_us);
  std::printf("  client_lag p99 %.3f ms, loop_lag p99 %.3f ms\n", row.client_lag_p99_ms, row.loop_lag_p99_ms);
  return row;
}

/// The same streams, read by a loop that does nothing with them.
double bare_cpu_of_second(const Load& load) {
  const std::unique_ptr<Emitter> emitter = start_emitter(load);
  pin(load.client_core);
  sockaddr_in server{};
  server.sin_family = AF_INET;
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  server.sin_port = htons(emitter->port());
  const int epoll = ::epoll_create1(0);
  const std::string request = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
  std::vector<int> sockets;
  for (std::uint32_t i = 0; i < load.streams; ++i) {
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    require(::connect(socket, reinterpret_cast<sockaddr*>(&server), sizeof server) == 0, "connect");
    const int flags = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
    ::setsockopt(socket, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof flags);
    require(::send(socket, request.data(), request.size(), 0) > 0, "send");
    epoll_event event{};
    event.events = EPOLLIN | EPOLLET;
    event.data.fd = socket;
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event);
    sockets.push_back(socket);
  }
  const double began = cpu_seconds();
  Instant first = 0;
  std::size_t open = sockets.size();
  std::array<epoll_event, 256> events;
  std::array<char, 65536> buffer;
  std::array<char, 128> control;
  while (open > 0) {
    const int count = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < count; ++i) {
      iovec into{buffer.data(), buffer.size()};
      msghdr message{};
      message.msg_iov = &into;
      message.msg_iovlen = 1;
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      const ssize_t got = ::recvmsg(events[static_cast<std::size_t>(i)].data.fd, &message, MSG_DONTWAIT);
      if (first == 0) first = now();
      if (got >= 5 && std::memcmp(buffer.data() + got - 5, "0\r\n\r\n", 5) == 0) --open;
    }
  }
  const double seconds = static_cast<double>(now() - first) / 1e9;
  for (const int socket : sockets) ::close(socket);
  ::close(epoll);
  return (cpu_seconds() - began) / seconds;
}

/// Memory of the process per VU or stream, half way through a run of theirs.
int measure_idle(const Load& wanted) {
  const bool streams = wanted.idle_streams > 0;
  Load load = wanted;
  load.streams = streams ? wanted.idle_streams : 1;
  load.rate = 1;
  load.seconds = 3;
  const std::unique_ptr<Emitter> emitter = start_emitter(load);
  Plan plan = emitter_plan(emitter->port(), load.streams, std::chrono::seconds(120));
  std::size_t count = load.streams;
  if (!streams) {
    count = wanted.idle_vus;
    SleepStep sleep;
    sleep.from = sleep.to = std::chrono::seconds(3);
    Step step;
    step.name = "sleep";
    step.verb = sleep;
    plan.scenarios[0].flow = {step};
    plan.scenarios[0].shape = PerVuIterations{wanted.idle_vus, 1, std::chrono::seconds(60)};
  }
  RunOptions options;
  options.cores = {load.client_core};
  RunControl control;
  const std::size_t before = resident_bytes();
  std::size_t most = before;
  const auto result = run(plan, options, control, [&](const Progress&) { most = std::max(most, resident_bytes()); });
  require(result.has_value(), "run");
  const auto failed = result->tally.figure(Metric::http_req_failed).passes;
  std::printf("%zu idle %s: %.2f KiB each, %.1f MiB before; %llu failed\n", count, streams ? "streams" : "VUs",
              static_cast<double>(most - before) / 1024 / static_cast<double>(count),
              static_cast<double>(before) / (1 << 20), static_cast<unsigned long long>(failed));
  return failed == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  Load load;
  CLI::App app("stream_bench");
  app.add_option("--streams", load.streams)->check(CLI::Range(1, 65000));
  app.add_option("--rate", load.rate);
  app.add_option("--per-write", load.per_write)->check(CLI::Range(1, 1000));
  app.add_option("--seconds", load.seconds);
  app.add_flag("--bare", load.bare);
  app.add_option("--client", load.client_core);
  app.add_option("--server", load.server_core);
  app.add_option("--idle-streams", load.idle_streams);
  app.add_option("--idle-vus", load.idle_vus);
  CLI11_PARSE(app, argc, argv);
  raise_open_files_limit();
  if (load.idle_streams > 0 || load.idle_vus > 0) return measure_idle(load);
  const CalibrationRow row = measure(load);
  if (load.bare) {
    const double bare = 100 * bare_cpu_of_second(load);
    std::printf("  bare recvmsg loop: CPU %.1f %% of a core; run() takes %.2f times as much\n", bare,
                row.cpu_percent / bare);
  }
  return row.lost == 0 && row.failed == 0 ? 0 : 1;
}
