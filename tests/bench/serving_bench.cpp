// What serving costs the host: an executor that takes a fixed time a step, as a GPU would, behind the real engine and
// server; one client thread reads all streams and throws them away. Prints processor time of the engine thread (a step,
// a token) and of the io thread (a token), and how late steps were handed over.
//
//     serving_bench [streams] [step_us] [seconds] [extra fields of the request]
//     serving_bench 128 5000 3 ',"logprobs":5'
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <deque>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/exec/scripted/scripted_executor.h"
#include "engine/serve/server.h"

using namespace sluice::engine;

namespace {

double thread_cpu_us() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

struct Measured {
  std::atomic<bool> on{false};
  std::atomic<std::uint64_t> steps{0}, tokens{0};
  std::atomic<double> engine_us{0}, idle_us{0};  // of the engine thread; of the device, between two steps
};

/// Steps of a fixed length, two in flight.
class ClockDevice final : public Executor {
 public:
  ClockDevice(std::uint32_t slots, std::chrono::nanoseconds step, std::vector<TokenId> words, std::uint32_t vocab,
              Measured& measured)
      : step_(step), words_(std::move(words)), measured_(measured) {
    info_ = {.backend = "clock",
             .device = "a clock",
             .vocab_size = vocab,
             .context_max = 1 << 20,
             .slots_max = slots,
             .rows_max = 8192,
             .blocks = slots * 2048,
             .weight_bytes = 0,
             .kv_bytes = 0,
             .steps_ahead = 2};
  }
  const ExecutorInfo& info() const override { return info_; }
  void bind(SlotId, const SamplingParams& sampling, std::span<const TokenId>, std::uint64_t) override {
    top_ = static_cast<std::uint32_t>(sampling.top_logprobs);
  }
  void resume(SlotId, std::span<const TokenId>) override {}
  void release(SlotId slot) override {
    for (auto& flying : flying_) std::erase(flying.slots, slot);
  }
  void submit(const StepPlan& plan) override {
    const auto now = Clock::now();
    const auto begins = std::max(now, free_at_);
    if (measured_.on) {
      measured_.steps.fetch_add(1);
      if (begins > free_at_)
        measured_.idle_us.store(measured_.idle_us.load() +
                                std::chrono::duration<double, std::micro>(begins - free_at_).count());
      const double cpu = thread_cpu_us();
      if (last_cpu_ > 0) measured_.engine_us.store(measured_.engine_us.load() + cpu - last_cpu_);
      last_cpu_ = cpu;
    }
    free_at_ = begins + step_;
    Flying next{.at = free_at_, .slots = std::exchange(spare_, {})};
    next.slots.clear();
    for (const Slice& slice : plan.slices)
      if (slice.sample) next.slots.push_back(slice.slot);
    flying_.push_back(std::move(next));
  }
  bool busy() const override { return flying_.size() >= 2; }
  std::size_t poll(std::vector<Sampled>& out) override {
    if (flying_.empty() || flying_.front().at > Clock::now()) return 0;
    const std::size_t before = out.size();
    for (const SlotId slot : flying_.front().slots) {
      Sampled one{.slot = slot, .token = words_[said_++ % words_.size()], .logprob = -0.123456f};
      for (std::uint32_t i = 0; i < top_; ++i) one.top[one.top_count++] = {static_cast<TokenId>('a' + i), -1.5f};
      out.push_back(one);
    }
    if (measured_.on) measured_.tokens.fetch_add(out.size() - before);
    spare_ = std::move(flying_.front().slots);
    flying_.pop_front();
    return out.size() - before;
  }

 private:
  struct Flying {
    Clock::time_point at;
    std::vector<SlotId> slots;
  };
  ExecutorInfo info_;
  std::chrono::nanoseconds step_;
  std::vector<TokenId> words_;
  Measured& measured_;
  std::deque<Flying> flying_;
  std::vector<SlotId> spare_;
  Clock::time_point free_at_{};
  std::size_t said_ = 0;
  std::uint32_t top_ = 0;
  double last_cpu_ = 0;
};

int connect_to(std::uint16_t port) {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) std::abort();
  return socket;
}

}  // namespace

int main(int argc, char** argv) {
  const auto argument = [&](int index, const char* otherwise) {
    return std::string(argc > index ? argv[index] : otherwise);
  };
  const auto streams = static_cast<std::uint32_t>(std::atoi(argument(1, "128").c_str()));
  const auto step = std::chrono::microseconds(std::atoi(argument(2, "5000").c_str()));
  const auto seconds = std::atof(argument(3, "2").c_str());

  Measured measured;
  const auto tokenizer = Tokenizer::parse(scripted_tokenizer_json(), "bench").value();
  const auto chat = ChatTemplate::parse("{% for m in messages %}{{ m['content'] }}{% endfor %}").value();
  auto server = Server::bind({}).value();
  const auto vocab = static_cast<std::uint32_t>(tokenizer.vocab_size());
  EngineOptions options;
  options.flush = server->flush_hook();
  Engine engine(std::make_unique<ClockDevice>(streams, step, tokenizer.encode(scripted_text(), false), vocab, measured),
                tokenizer, options);
  server->publish(
      {.text =
           {.id = "bench", .tokenizer = &tokenizer, .chat_template = &chat, .bos = "", .eos = "", .vocab_size = vocab},
       .created_s = 0,
       .engine = &engine});
  std::atomic<double> io_us{0};
  std::thread io([&] { server->run(); });
  clockid_t io_clock{};
  pthread_getcpuclockid(io.native_handle(), &io_clock);
  const auto io_now = [&] {
    timespec now{};
    clock_gettime(io_clock, &now);
    return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
  };

  const std::string body = R"({"prompt":"hi","max_tokens":100000,"stream":true)" + argument(4, "") + "}";
  const std::string request =
      fmt::format("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{}", body.size(), body);
  const int poller = ::epoll_create1(0);
  std::vector<int> sockets;
  for (std::uint32_t i = 0; i < streams; ++i) {
    sockets.push_back(connect_to(server->port()));
    epoll_event event{.events = EPOLLIN, .data = {.fd = sockets.back()}};
    ::epoll_ctl(poller, EPOLL_CTL_ADD, sockets.back(), &event);
    if (::send(sockets.back(), request.data(), request.size(), 0) < 0) return 1;
  }
  std::uint64_t reads = 0, bytes = 0;
  const auto read_for = [&](double time) {
    const auto until = Clock::now() + std::chrono::nanoseconds(static_cast<std::int64_t>(time * 1e9));
    std::array<epoll_event, 256> events{};
    std::array<char, 65536> buffer{};
    while (Clock::now() < until) {
      const int count = ::epoll_wait(poller, events.data(), events.size(), 10);
      for (int i = 0; i < count; ++i) {
        const auto got = ::recv(events[static_cast<std::size_t>(i)].data.fd, buffer.data(), buffer.size(), 0);
        if (got > 0) ++reads, bytes += static_cast<std::uint64_t>(got);
      }
    }
  };
  read_for(0.5);
  measured.on = true;
  reads = bytes = 0;
  const double io_before = io_now();
  read_for(seconds);
  measured.on = false;
  const double io_time = io_now() - io_before;
  const auto steps = static_cast<double>(measured.steps.load()), tokens = static_cast<double>(measured.tokens.load());
  fmt::print("{} streams, {} us a step: {:.0f} tokens/s\n", streams, step.count(), tokens / seconds);
  fmt::print("engine thread: {:.1f} us a step, {:.3f} us a token\n", measured.engine_us / steps,
             measured.engine_us / tokens);
  fmt::print("io thread:     {:.3f} us a token, {:.0f} bytes a token, {:.2f} reads a token\n", io_time / tokens,
             static_cast<double>(bytes) / tokens, static_cast<double>(reads) / tokens);
  fmt::print("device idle:   {:.1f} us a step\n", measured.idle_us / steps);
  server->stop(0);
  io.join();
  for (const int socket : sockets) ::close(socket);
  ::close(poller);
  return 0;
}
