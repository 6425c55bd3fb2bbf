#include "engine/serve/request_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "engine/core/json.h"

namespace sluice::engine {
namespace {

struct Outcome {
  std::vector<std::string> texts;  // one a choice
  std::optional<Clock::time_point> first;
  Clock::time_point start, end;
  Usage usage;  // summed over the choices
  std::string error;
};

double ms(Clock::duration time) { return std::chrono::duration<double, std::milli>(time).count(); }

BenchTimes times_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::ranges::sort(values);
  const auto at = [&](std::size_t percent) { return values[(values.size() * percent + 99) / 100 - 1]; };
  return {.p50 = at(50), .p95 = at(95)};
}

/// What the engine thread tells the one that waits.
class Answering {
 public:
  explicit Answering(Outcome& outcome, std::size_t choices) : outcome_(outcome), open_(choices) {
    outcome.texts.resize(choices);
  }
  Sink sink(std::size_t choice) {
    return [this, choice](Chunk&& chunk) {
      const auto now = Clock::now();
      const std::lock_guard lock(mutex_);
      outcome_.texts[choice] += chunk.text;
      if (!chunk.text.empty() && !outcome_.first) outcome_.first = now;
      if (chunk.finish == FinishReason::none) return;
      outcome_.end = now;
      outcome_.usage.prompt_tokens = chunk.usage.prompt_tokens;
      outcome_.usage.completion_tokens += chunk.usage.completion_tokens;
      if (chunk.finish == FinishReason::cancelled) outcome_.error = "cancelled";
      if (chunk.finish == FinishReason::error) outcome_.error = std::move(chunk.error);
      --open_;
      ended_.notify_one();
    };
  }
  /// So many choices were not taken, because of `error`.
  void give_up(std::size_t choices, std::string error) {
    const std::lock_guard lock(mutex_);
    outcome_.error = std::move(error);
    open_ -= choices;
  }
  void wait() {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [this] { return open_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  Outcome& outcome_;
  std::size_t open_;
};

void run_one(const ModelText& model, Engine& engine, const BenchRequest& request, std::uint64_t place,
             Outcome& outcome) {
  outcome.start = Clock::now();
  auto prepared = prepare(model, request.body, request.api);
  if (!prepared) {
    outcome.error = prepared.error().message;
    return;
  }
  ApiRequest& asked = prepared->request;
  if (!asked.has_seed) asked.sampling.seed = place;
  Answering answering(outcome, asked.choices);
  for (std::uint32_t choice = 0; choice < asked.choices; ++choice) {
    asked.sampling.choice = choice;
    const auto id = engine.submit(engine_request(*prepared), answering.sink(choice));
    if (id) continue;
    answering.give_up(asked.choices - choice, id.error().message);
    break;
  }
  answering.wait();
}

std::uint64_t hash_of(const std::vector<Outcome>& outcomes) {
  std::uint64_t hash = 0xcbf29ce484222325ull;
  const auto add = [&](char byte) { hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3ull; };
  for (const Outcome& outcome : outcomes) {
    for (const std::string& text : outcome.texts) {
      std::ranges::for_each(text, add);
      add('\0');
    }
  }
  return hash;
}

}  // namespace

Result<std::vector<BenchRequest>> read_bench_requests(std::string_view text, const std::string& name,
                                                      const ModelText& model) {
  std::vector<BenchRequest> requests;
  std::string problems;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const auto document = JsonDocument::parse(line, "the line");
    const bool chat = document && document->root().is_object() && member(fields(document->root()), "messages");
    BenchRequest request{.body = std::string(line), .api = chat ? Api::chat : Api::completions};
    if (const auto prepared = prepare(model, request.body, request.api); !prepared) {
      problems += fmt::format("{}{}:{}: {}", problems.empty() ? "" : "\n", name, number, prepared.error().message);
    }
    requests.push_back(std::move(request));
  }
  if (!problems.empty()) return fail(std::move(problems));
  if (requests.empty()) return fail(name + ": there are no requests in it: write the JSON body of one in each line");
  return requests;
}

RequestFigures run_requests(const ModelText& model, Engine& engine, const std::vector<BenchRequest>& requests,
                            unsigned concurrency) {
  std::vector<Outcome> outcomes(requests.size());
  std::atomic<std::size_t> next{0};
  const auto start = Clock::now();
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < std::min<std::size_t>(concurrency, requests.size()); ++i) {
      threads.emplace_back([&] {
        for (std::size_t at = next++; at < requests.size(); at = next++) {
          run_one(model, engine, requests[at], at, outcomes[at]);
        }
      });
    }
  }
  RequestFigures out;
  out.wall_s = std::chrono::duration<double>(Clock::now() - start).count();
  out.requests = requests.size();
  out.concurrency = concurrency;
  std::vector<double> ttft, tpot, e2e;
  for (const Outcome& outcome : outcomes) {
    if (!outcome.error.empty()) {
      if (out.errors++ == 0) out.first_error = outcome.error;
      continue;
    }
    out.prompt_tokens += outcome.usage.prompt_tokens;
    out.output_tokens += outcome.usage.completion_tokens;
    e2e.push_back(ms(outcome.end - outcome.start));
    if (!outcome.first) continue;
    ttft.push_back(ms(*outcome.first - outcome.start));
    const double tokens =
        static_cast<double>(outcome.usage.completion_tokens) / static_cast<double>(outcome.texts.size());
    if (tokens > 1) tpot.push_back(ms(outcome.end - *outcome.first) / (tokens - 1));
  }
  out.ttft_ms = times_of(std::move(ttft));
  out.tpot_ms = times_of(std::move(tpot));
  out.e2e_ms = times_of(std::move(e2e));
  out.output_tokens_per_s = static_cast<double>(out.output_tokens) / out.wall_s;
  out.text_hash = hash_of(outcomes);
  return out;
}

std::string text_of(const RequestFigures& figures) {
  std::string out = fmt::format("{} requests, {} at a time, in {:.2f} s; errors: {}\n", figures.requests,
                                figures.concurrency, figures.wall_s, figures.errors);
  if (figures.errors > 0) out += fmt::format("the first error: {}\n", figures.first_error);
  out += fmt::format("{:8}{:>12}{:>12}\n", "", "p50 ms", "p95 ms");
  for (const auto& [name, times] :
       {std::pair{"ttft", figures.ttft_ms}, {"tpot", figures.tpot_ms}, {"e2e", figures.e2e_ms}}) {
    out += fmt::format("{:8}{:>12.3f}{:>12.3f}\n", name, times.p50, times.p95);
  }
  out += fmt::format("{} tokens of prompts, {} of output, {:.1f} output tokens/s\ntext hash {:016x}\n",
                     figures.prompt_tokens, figures.output_tokens, figures.output_tokens_per_s, figures.text_hash);
  return out;
}

std::string json_of(const RequestFigures& figures) {
  const auto times = [](const BenchTimes& of) {
    return fmt::format("{{\"p50\":{:.3f},\"p95\":{:.3f}}}", of.p50, of.p95);
  };
  return fmt::format(
      "{{\"layer\":\"service\",\"requests\":{},\"errors\":{},\"concurrency\":{},\"wall_s\":{:.6f},\"ttft_ms\":{},"
      "\"tpot_ms\":{},\"e2e_ms\":{},\"prompt_tokens\":{},\"output_tokens\":{},\"output_tokens_per_s\":{:.3f},"
      "\"text_hash\":\"{:016x}\"}}\n",
      figures.requests, figures.errors, figures.concurrency, figures.wall_s, times(figures.ttft_ms),
      times(figures.tpot_ms), times(figures.e2e_ms), figures.prompt_tokens, figures.output_tokens,
      figures.output_tokens_per_s, figures.text_hash);
}

}  // namespace sluice::engine
