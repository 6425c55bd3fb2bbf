#include "harness/base/cpu_wait.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <string>

namespace sluice {
namespace {

/// The beginning of a file of /proc, whose size is not known before.
std::string beginning_of(const char* path) {
  std::string text(4096, '\0');
  const int file = ::open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return {};
  const ssize_t got = ::read(file, text.data(), text.size());
  ::close(file);
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return text;
}

/// The next whole number behind blanks; none when something else follows.
std::optional<std::uint64_t> take_number(std::string_view& text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

}  // namespace

std::optional<ThreadCpu> parse_schedstat(std::string_view text) {
  const auto ran = take_number(text), waited = take_number(text);
  if (!ran || !waited) return std::nullopt;
  return ThreadCpu{Nanoseconds(*ran), Nanoseconds(*waited)};
}

std::optional<MachineCpu> parse_proc_stat(std::string_view text) {
  if (!text.starts_with("cpu ")) return std::nullopt;
  text.remove_prefix(4);
  // user nice system idle iowait irq softirq steal; guests are in user already.
  MachineCpu cpu;
  for (int field = 0; field < 8; ++field) {
    const auto ticks = take_number(text);
    if (!ticks) return std::nullopt;
    cpu.all += *ticks;
    if (field == 7) cpu.stolen = *ticks;
  }
  return cpu;
}

std::optional<ThreadCpu> thread_cpu(pid_t thread) {
  return parse_schedstat(beginning_of(fmt::format("/proc/self/task/{}/schedstat", thread).c_str()));
}

std::optional<MachineCpu> machine_cpu() { return parse_proc_stat(beginning_of("/proc/stat")); }

}  // namespace sluice
