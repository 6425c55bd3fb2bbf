// `sluice-engine bench --requests FILE`: the requests of a file through the engine as a server would put them, but
// without HTTP. What the same requests take over HTTP beyond this is what the server and the network add.
//
// Counted from the request's body, as a server has it, so that JSON, the template and the tokenizer are in it, to the
// pieces of text as the engine hands them out. Chunk policies mean nothing here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "engine/engine.h"
#include "engine/serve/prepare.h"

namespace sluice::engine {

struct BenchRequest {
  std::string body;
  Api api = Api::chat;  // with `messages`; completions otherwise
};

/// JSON lines, each the body of a chat or completion request; empty ones are skipped. Fails with all that is wrong, a
/// line each: name:3: ...
Result<std::vector<BenchRequest>> read_bench_requests(std::string_view text, const std::string& name,
                                                      const ModelText& model);

/// At or below `p50` and `p95` lie so many percent of the values; 0 where there are none.
struct BenchTimes {
  double p50 = 0, p95 = 0;
};

struct RequestFigures {
  std::size_t requests = 0, errors = 0;  // errors: refused, or ended otherwise than by stop or length
  std::string first_error;
  unsigned concurrency = 1;
  BenchTimes ttft_ms;  // to the first text
  BenchTimes tpot_ms;  // from there to the end, by the tokens but the first; of requests with more than one
  BenchTimes e2e_ms;   // to the end
  std::uint64_t prompt_tokens = 0, output_tokens = 0;
  double wall_s = 0;
  double output_tokens_per_s = 0;
  std::uint64_t text_hash = 0;  // FNV-1a of all texts in the file's order, a zero byte after each
};

/// `concurrency` threads, each with one request after the other. A request without a seed gets its place in the file.
RequestFigures run_requests(const ModelText& model, Engine& engine, const std::vector<BenchRequest>& requests,
                            unsigned concurrency);

std::string text_of(const RequestFigures& figures);
/// {"layer": "service", ...}
std::string json_of(const RequestFigures& figures);

}  // namespace sluice::engine
