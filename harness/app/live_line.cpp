#include "harness/app/live_line.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace sluice {

namespace {

constexpr std::uint64_t kSecondsBetweenLines = 5;

std::string clock_text(Nanoseconds time) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time).count();
  if (seconds >= 3600) return fmt::format("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
  return fmt::format("{}:{:02}", seconds / 60, seconds % 60);
}

std::string milliseconds(double value) {
  return value < 10       ? fmt::format("{:.2f} ms", value)
         : value < 10'000 ? fmt::format("{:.0f} ms", value)
                          : fmt::format("{:.1f} s", value / 1000);
}

}  // namespace

std::string progress_text(const Progress& progress, double requests_per_s, int width) {
  std::string text = fmt::format("{}/{}  {} VU{}  {} requests ({:.{}f}/s)  {} failed", clock_text(progress.elapsed),
                                 clock_text(progress.planned), progress.vus, progress.vus == 1 ? "" : "s",
                                 progress.requests, requests_per_s, requests_per_s < 10 ? 1 : 0, progress.failures);
  if (progress.ttft_p50_ms && progress.ttft_p95_ms) {
    text +=
        fmt::format("  ttft p50 {} p95 {}", milliseconds(*progress.ttft_p50_ms), milliseconds(*progress.ttft_p95_ms));
  }
  if (progress.output_tokens_per_s > 0) text += fmt::format("  {:.0f} tok/s", progress.output_tokens_per_s);
  if (width > 0 && text.size() > static_cast<std::size_t>(width)) {
    // Whole figures only: half a number would be a wrong one.
    const auto end = text.rfind("  ", static_cast<std::size_t>(width));
    text.resize(end == std::string::npos ? static_cast<std::size_t>(width) : end);
  }
  return text;
}

void LiveLine::show(const Progress& progress) {
  const double seconds = std::chrono::duration<double>(progress.elapsed - elapsed_before_).count();
  const double rate = seconds > 0 ? static_cast<double>(progress.requests - requests_before_) / seconds : 0;
  if (mode_ == Mode::redrawn) {
    winsize size{};
    const bool known = ioctl(fileno(out_), TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
    fmt::print(out_, "\r\x1b[K{}", progress_text(progress, rate, known ? size.ws_col - 1 : 79));
    drawn_ = true;
  } else if (mode_ == Mode::lines && shown_ % kSecondsBetweenLines == 0) {
    fmt::print(out_, "{}\n", progress_text(progress, rate, 0));
  } else {
    ++shown_;
    return;  // the rate is that since the line before
  }
  ++shown_;
  requests_before_ = progress.requests;
  elapsed_before_ = progress.elapsed;
  std::fflush(out_);
}

void LiveLine::clear() {
  if (!drawn_) return;
  fmt::print(out_, "\r\x1b[K");
  std::fflush(out_);
  drawn_ = false;
}

}  // namespace sluice
