#include "harness/net/kernel_clock.h"

#include <arpa/inet.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <limits>

namespace sluice {
namespace {

std::int64_t read_clock(clockid_t id) {
  timespec t{};
  ::clock_gettime(id, &t);
  return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

}  // namespace

KernelClock::KernelClock() {
  timer_ = ::timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
  watch();
  sample();
}

KernelClock::~KernelClock() {
  if (timer_ >= 0) ::close(timer_);
  if (probe_ >= 0) ::close(probe_);
}

void KernelClock::watch() {
  itimerspec far{};
  far.it_value.tv_sec = std::numeric_limits<std::int32_t>::max();
  if (timer_ >= 0) ::timerfd_settime(timer_, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &far, nullptr);
}

void KernelClock::sample() {
  // The reading with the least time around it is the least disturbed.
  std::int64_t best = std::numeric_limits<std::int64_t>::max();
  for (int i = 0; i < 16; ++i) {
    const std::int64_t before = read_clock(CLOCK_MONOTONIC);
    const std::int64_t real = read_clock(CLOCK_REALTIME);
    const std::int64_t after = read_clock(CLOCK_MONOTONIC);
    if (after - before >= best) continue;
    best = after - before;
    offset_ = real - (before + (after - before) / 2);
  }
}

void KernelClock::refresh() {
  std::uint64_t expirations = 0;
  if (timer_ < 0 || ::read(timer_, &expirations, sizeof expirations) >= 0 || errno != ECANCELED) return;
  watch();
  sample();
}

bool KernelClock::enable(int socket) {
  const int flags = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
  return ::setsockopt(socket, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof flags) == 0;
}

bool KernelClock::stamp_of(msghdr& message, timespec& stamp) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_TIMESTAMPING) continue;
    std::memcpy(&stamp, CMSG_DATA(part), sizeof stamp);  // the first of three is the software stamp
    return stamp.tv_sec != 0 || stamp.tv_nsec != 0;
  }
  return false;
}

bool KernelClock::start() {
  probe_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (probe_ < 0 || !enable(probe_)) return false;
  sockaddr_in self{};
  self.sin_family = AF_INET;
  self.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof self;
  if (::bind(probe_, reinterpret_cast<sockaddr*>(&self), length) != 0 ||
      ::getsockname(probe_, reinterpret_cast<sockaddr*>(&self), &length) != 0 ||
      ::connect(probe_, reinterpret_cast<sockaddr*>(&self), length) != 0) {
    return false;
  }
  const Instant give_up = now() + Nanoseconds(std::chrono::milliseconds(300)).count();
  while (now() < give_up) {
    char byte = 'p';
    if (::send(probe_, &byte, 1, 0) != 1) return false;
    pollfd readable{probe_, POLLIN, 0};
    if (::poll(&readable, 1, 10) != 1) continue;
    alignas(cmsghdr) std::array<char, 256> control{};
    iovec into{&byte, 1};
    msghdr message{};
    message.msg_iov = &into;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    timespec stamp{};
    if (::recvmsg(probe_, &message, 0) == 1 && stamp_of(message, stamp)) return true;
    ::poll(nullptr, 0, 1);  // the kernel turns stamping on from a work queue
  }
  return false;
}

}  // namespace sluice
