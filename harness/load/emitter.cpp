#include "harness/load/emitter.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {
namespace {

constexpr Instant kBeforeFirst = 50'000'000;  // all streams have their heads by then
constexpr Instant kSpin = 60'000;             // the last of a wait is spent looking at the clock

std::string chunked(std::string_view bytes) { return fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes); }

std::string event_of(std::size_t stream, std::string_view delta, std::string_view finish) {
  return fmt::format(
      "data: {{\"id\":\"{}\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"emitter\",\"choices\":"
      "[{{\"index\":0,\"delta\":{{{}}},\"finish_reason\":{}}}]}}\n\n",
      stream, delta, finish);
}

void say(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;  // the client counts what it lacks
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

void wait_until(Instant due) {
  for (Instant left = due - now(); left > 0; left = due - now()) {
    if (left <= kSpin + 40'000) continue;
    const timespec nap{0, static_cast<long>(std::min<Instant>(left - kSpin, 10'000'000))};
    ::nanosleep(&nap, nullptr);
  }
}

}  // namespace

std::size_t EmitterLoad::writes() const {
  return std::max<std::size_t>(1, static_cast<std::size_t>(std::lround(seconds * rate / per_write)));
}

Result<std::unique_ptr<Emitter>> Emitter::start(const EmitterLoad& load) {
  std::unique_ptr<Emitter> emitter(new Emitter(load));
  if (auto opened = emitter->open(); !opened) return opened.error();
  emitter->child_ = ::fork();
  if (emitter->child_ < 0) return fail(fmt::format("no process for the emitter: {}", std::strerror(errno)));
  if (emitter->child_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::prctl(PR_SET_TIMERSLACK, 1UL);
    if (load.core >= 0) {
      cpu_set_t cores;
      CPU_ZERO(&cores);
      CPU_SET(static_cast<std::size_t>(load.core), &cores);
      ::sched_setaffinity(0, sizeof cores, &cores);
    }
    emitter->serve();
    ::_exit(0);
  }
  ::close(std::exchange(emitter->listener_, -1));
  return {boost::system::in_place_value, std::move(emitter)};
}

Emitter::~Emitter() {
  if (listener_ >= 0) ::close(listener_);
  if (child_ > 0) {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  if (log_ != nullptr) ::munmap(log_, log_bytes_);
}

Nanoseconds Emitter::behind() const { return Nanoseconds(log_[load_.streams * writes_].before); }

Result<void> Emitter::open() {
  const auto failed = [](const char* what) { return fail(fmt::format("emitter: {}: {}", what, std::strerror(errno))); };
  log_bytes_ = (load_.streams * writes_ + 1) * sizeof(Written);
  void* const memory = ::mmap(nullptr, log_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return failed("no memory for its log");
  log_ = static_cast<Written*>(memory);
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener_ < 0) return failed("no socket");
  sockaddr_in self{};
  self.sin_family = AF_INET;
  self.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof self;
  if (::bind(listener_, reinterpret_cast<sockaddr*>(&self), length) != 0 || ::listen(listener_, 65535) != 0 ||
      ::getsockname(listener_, reinterpret_cast<sockaddr*>(&self), &length) != 0)
    return failed("cannot listen");
  port_ = ntohs(self.sin_port);
  return {};
}

void Emitter::serve() {
  std::vector<int> sockets;
  while (sockets.size() < load_.streams) {
    const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) return;
    const int on = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    sockets.push_back(socket);
  }
  std::vector<std::string> writes;  // of each stream: all of its writes are the same bytes
  for (std::size_t i = 0; i < sockets.size(); ++i) {
    std::array<char, 4096> request;
    if (::recv(sockets[i], request.data(), request.size(), 0) <= 0) return;
    std::string& bytes = writes.emplace_back();
    for (std::uint32_t k = 0; k < load_.per_write; ++k) bytes += chunked(event_of(i, R"("content":"word ")", "null"));
    say(sockets[i], "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" +
                        chunked(event_of(i, R"("role":"assistant","content":"")", "null")));
  }
  const double step = 1e9 * load_.per_write / load_.rate / static_cast<double>(sockets.size());
  const Instant origin = now() + kBeforeFirst;
  Instant latest = 0;
  for (std::size_t n = 0; n < sockets.size() * writes_; ++n) {
    const std::size_t stream = n % sockets.size(), write = n / sockets.size();
    const Instant due = origin + static_cast<Instant>(step * static_cast<double>(n));
    wait_until(due);
    Written& entry = log_[stream * writes_ + write];
    entry.before = now();
    say(sockets[stream], writes[stream]);
    entry.after = now();
    latest = std::max(latest, entry.before - due);
  }
  log_[load_.streams * writes_].before = latest;
  for (std::size_t i = 0; i < sockets.size(); ++i)
    say(sockets[i], chunked(event_of(i, "", R"("stop")") + "data: [DONE]\n\n") + "0\r\n\r\n");
  ::pause();
}

}  // namespace sluice
