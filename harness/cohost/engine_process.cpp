#include "harness/cohost/engine_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <thread>
#include <vector>

#include "harness/base/cores.h"
#include "harness/base/limits.h"
#include "harness/cohost/probe.h"

namespace sluice {

namespace {

constexpr std::string_view kListening = "listening on 127.0.0.1:";
constexpr auto kProbePause = std::chrono::milliseconds(20);
constexpr int kPollMs = 50;  // how late an engine's death is noticed at most

std::string how_ended(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return fmt::format("ended with exit code {}", info.si_status);
  return fmt::format("was killed by signal {} ({})", info.si_status, strsignal(info.si_status));
}

struct Pipe {
  int read = -1, write = -1;
  bool open() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    read = ends[0];
    write = ends[1];
    return true;
  }
  void close_read() { close_one(read); }
  void close_write() { close_one(write); }
  static void close_one(int& descriptor) {
    if (descriptor >= 0) close(descriptor);
    descriptor = -1;
  }
  ~Pipe() {
    close_read();
    close_write();
  }
};

// All that the child needs between fork and exec, made before the fork: after it, in a program with threads, only
// async-signal-safe calls are allowed.
struct Launch {
  std::vector<std::string> arguments;
  std::vector<char*> argv;
  std::optional<cpu_set_t> cores;
  int output = -1;   // of the child: stdout and stderr
  int failure = -1;  // errno of a failed exec is written there
  pid_t parent = 0;
};

[[noreturn]] void become_engine(const Launch& launch) {
  const auto give_up = [&launch] {
    const int error = errno;
    [[maybe_unused]] const auto written = write(launch.failure, &error, sizeof error);
    _exit(127);
  };
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGCHLD}) signal(number, SIG_DFL);
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) give_up();
  if (getppid() != launch.parent) _exit(127);  // it died before the line above
  setpgid(0, 0);
  if (launch.cores) sched_setaffinity(0, sizeof *launch.cores, &*launch.cores);
  const int nothing = open("/dev/null", O_RDONLY);
  if (nothing < 0 || dup2(nothing, 0) < 0 || dup2(launch.output, 1) < 0 || dup2(launch.output, 2) < 0) give_up();
#ifdef SYS_close_range
  syscall(SYS_close_range, 3u, ~0u, 1u << 2 /* CLOSE_RANGE_CLOEXEC */);  // whatever others left open without it
#endif
  execv(launch.argv[0], launch.argv.data());
  give_up();
  _exit(127);
}

}  // namespace

struct EngineProcess::State {
  pid_t child = -1;
  std::string address;
  Pipe output;
  std::function<void()> on_death;
  std::thread watcher;
  std::atomic<bool> stopping = false;

  mutable std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  std::string log;
  std::string line;  // the last, unfinished one
  std::uint16_t port = 0;
  std::optional<std::string> ended;
  bool ended_unasked = false;
  bool started = false;
  bool reaped = false;

  void take(std::string_view bytes) {
    const std::lock_guard lock(mutex);
    log.append(bytes);
    if (log.size() > 2 * limits::engine_log_bytes_kept) log.erase(0, log.size() - limits::engine_log_bytes_kept);
    for (const char c : bytes) {
      if (c != '\n') {
        if (line.size() < 4096) line += c;
        continue;
      }
      if (const auto at = line.find(kListening); port == 0 && at != std::string::npos) {
        const std::string_view digits = std::string_view(line).substr(at + kListening.size());
        std::from_chars(digits.data(), digits.data() + digits.size(), port);
      }
      line.clear();
    }
    changed.notify_all();
  }

  // Reads what there is without waiting; false at its end.
  bool drain() {
    std::array<char, 16384> block{};
    while (true) {
      const ssize_t got = read(output.read, block.data(), block.size());
      if (got > 0) {
        take({block.data(), static_cast<std::size_t>(got)});
      } else if (got < 0 && errno == EINTR) {
        continue;
      } else {
        return got < 0 && errno == EAGAIN;
      }
    }
  }

  void watch() {
    bool readable = true;
    while (true) {
      if (readable) {
        pollfd one{output.read, POLLIN, 0};
        poll(&one, 1, kPollMs);
        readable = drain();
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(kPollMs));  // its output is closed, it lives on
      }
      // WNOWAIT: the process id stays ours until stop() reaps it, so no signal can reach a stranger.
      siginfo_t info{};
      if (waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != child)
        continue;
      if (readable) drain();
      bool unasked = false;
      {
        const std::lock_guard lock(mutex);
        ended = how_ended(info);
        ended_unasked = unasked = started && !stopping;
        changed.notify_all();
      }
      if (unasked && on_death) on_death();
      return;
    }
  }

  std::string tail() const {
    const std::lock_guard lock(mutex);
    return log.size() <= limits::engine_log_bytes_kept ? log : log.substr(log.size() - limits::engine_log_bytes_kept);
  }

  void stop(Nanoseconds grace) {
    if (child < 0) return;
    stopping = true;
    std::unique_lock lock(mutex);
    if (reaped) return;
    const auto gone = [this] { return ended.has_value(); };
    if (!gone()) kill(child, SIGTERM);
    if (!changed.wait_for(lock, grace, gone)) kill(child, SIGKILL);
    changed.wait(lock, gone);
    reaped = true;
    lock.unlock();
    watcher.join();
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
  }

  ~State() { stop(std::chrono::seconds(5)); }
};

Result<std::string> find_engine_executable() {
  if (const char* given = std::getenv("SLUICE_ENGINE"); given && *given) return {boost::system::in_place_value, given};
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto beside = self.parent_path() / "sluice-engine";
  if (!error && std::filesystem::exists(beside, error)) return {boost::system::in_place_value, beside.string()};
  return fail(
      fmt::format("sluice-engine was not found as {}: build it, or set SLUICE_ENGINE to its path", beside.string()));
}

/// All cores but one: an engine that computes on every core keeps the harness from its own, and what is then measured
/// is the scheduler. 0 where the user has said how the cores are shared, or there is only one.
static unsigned threads_beside_the_harness(const EngineTarget& target) {
  cpu_set_t mine;
  const bool told = !target.engine_cores.empty() || !target.harness_cores.empty() ||
                    std::find(target.args.begin(), target.args.end(), "--threads") != target.args.end();
  if (told || sched_getaffinity(0, sizeof mine, &mine) != 0) return 0;
  return static_cast<unsigned>(CPU_COUNT(&mine)) - 1;
}

EngineProcess::EngineProcess(std::unique_ptr<State> state) : state_(std::move(state)) {}
EngineProcess::~EngineProcess() = default;

Result<std::unique_ptr<EngineProcess>> EngineProcess::start(const EngineTarget& target, EngineProcessOptions options) {
  std::string executable = options.executable;
  if (executable.empty()) {
    const auto found = find_engine_executable();
    if (!found) return found.error();
    executable = *found;
  }
  Launch launch;
  launch.parent = getpid();
  launch.arguments = {
      executable,  "--model",      target.model,        "--port",       "0",
      "--backend", target.backend, "--die-with-parent", "--parent-pid", fmt::format("{}", launch.parent)};
  if (const unsigned threads = threads_beside_the_harness(target); threads > 0) {
    launch.arguments.emplace_back("--threads");
    launch.arguments.push_back(fmt::format("{}", threads));
  }
  for (const auto& [option, value] :
       {std::pair{"--kv-mib", target.kv_mib}, {"--slots", target.slots}, {"--context", target.context}}) {
    if (value == 0) continue;
    launch.arguments.emplace_back(option);
    launch.arguments.push_back(fmt::format("{}", value));
  }
  launch.arguments.insert(launch.arguments.end(), target.args.begin(), target.args.end());
  for (auto& argument : launch.arguments) launch.argv.push_back(argument.data());
  launch.argv.push_back(nullptr);
  const auto cores = parse_cores(target.engine_cores);
  if (!cores) return cores.error();
  if (!cores->empty()) {
    CPU_ZERO(&launch.cores.emplace());
    for (const int core : *cores) CPU_SET(static_cast<std::size_t>(core), &*launch.cores);
  }

  auto state = std::make_unique<State>();
  Pipe failure;
  if (!state->output.open() || !failure.open())
    return fail(fmt::format("no pipe for the engine's log: {}", std::strerror(errno)));
  launch.output = state->output.write;
  launch.failure = failure.write;

  const pid_t child = fork();
  if (child < 0) return fail(fmt::format("cannot start a process: {}", std::strerror(errno)));
  if (child == 0) become_engine(launch);
  state->child = child;
  state->output.close_write();
  failure.close_write();
  fcntl(state->output.read, F_SETFL, O_NONBLOCK);
  state->on_death = std::move(options.on_death);
  state->watcher = std::thread([raw = state.get()] { raw->watch(); });

  int error = 0;
  if (read(failure.read, &error, sizeof error) == sizeof error) {  // else exec succeeded and closed the pipe
    return fail(fmt::format("{} cannot be run: {}", executable, std::strerror(error)));
  }
  const auto with_log = [&](std::string what) {
    const auto log = state->tail();
    return fail(log.empty() ? std::move(what) : fmt::format("{}; the end of its log:\n{}", what, log));
  };
  const Instant deadline = now() + target.ready_timeout.count();
  while (true) {
    std::uint16_t port = 0;
    std::optional<std::string> ended;
    {
      std::unique_lock lock(state->mutex);
      state->changed.wait_for(lock, kProbePause, [&] { return state->ended.has_value(); });
      port = state->port;
      ended = state->ended;
    }
    if (ended) return with_log(fmt::format("the engine {} before it was ready", *ended));
    if (options.cancelled && options.cancelled()) return fail("stopped while the engine was starting");
    if (port != 0 && local_http_status(port, "/ready", std::chrono::seconds(1)) == 200) {
      state->address = fmt::format("http://127.0.0.1:{}", port);
      break;
    }
    if (now() >= deadline) {
      const auto seconds = std::chrono::duration<double>(target.ready_timeout).count();
      return with_log(fmt::format("the engine was not ready within {:g} s{}", seconds,
                                  port == 0 ? " (it never said on which port it listens)" : ""));
    }
  }
  {
    const std::lock_guard lock(state->mutex);
    if (state->ended) return fail(fmt::format("the engine {} as soon as it was ready", *state->ended));
    state->started = true;
  }
  return {boost::system::in_place_value, std::unique_ptr<EngineProcess>(new EngineProcess(std::move(state)))};
}

const std::string& EngineProcess::url() const { return state_->address; }
pid_t EngineProcess::pid() const { return state_->child; }

std::optional<std::string> EngineProcess::death() const {
  const std::lock_guard lock(state_->mutex);
  return state_->ended_unasked ? state_->ended : std::nullopt;
}

std::string EngineProcess::log_tail() const { return state_->tail(); }
void EngineProcess::stop(Nanoseconds grace) { state_->stop(grace); }

}  // namespace sluice
