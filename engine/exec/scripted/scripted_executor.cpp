#include "engine/exec/scripted/scripted_executor.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/core/check.h"

namespace sluice::engine {
namespace {

class ScriptedExecutor final : public Executor {
 public:
  explicit ScriptedExecutor(ScriptedOptions options) : options_(std::move(options)), slots_(options_.slots_max) {
    SLUICE_ENGINE_CHECK(!options_.words.empty());
    for (const TokenId word : options_.words) {
      SLUICE_ENGINE_CHECK(word >= 0 && static_cast<std::uint32_t>(word) < options_.vocab_size);
    }
    info_.backend = "scripted";
    info_.device = "a clock";
    info_.vocab_size = options_.vocab_size;
    info_.context_max = options_.context_max;
    info_.slots_max = options_.slots_max;
    info_.rows_max = options_.rows_max;
    info_.blocks = options_.blocks;
    due_.reserve(options_.slots_max);
  }

  const ExecutorInfo& info() const override { return info_; }

  void bind(SlotId slot, const SamplingParams& sampling, std::span<const TokenId>, std::uint64_t request_key) override {
    Slot& state = slots_.at(slot);
    SLUICE_ENGINE_CHECK(!state.bound);
    state.bound = true;
    state.key = request_key;
    state.index = 0;
    state.due = Clock::now() + scripted_delay(options_.script, state.key, 0);
    const auto& banned = sampling.banned;
    state.tops = sampling.top_logprobs > 0;
    state.ends = options_.end >= 0 && std::find(banned.begin(), banned.end(), options_.end) == banned.end();
  }

  void resume(SlotId slot, std::span<const TokenId> output) override {
    slots_.at(slot).index = static_cast<std::uint32_t>(output.size());
  }

  void release(SlotId slot) override {
    Slot& state = slots_.at(slot);
    state.bound = false;
    ++state.generation;  // what is still in the heap for it is no longer meant
  }

  void submit(const StepPlan& plan) override {
    for (const Slice& slice : plan.slices) {
      if (!slice.sample) continue;
      const Slot& state = slots_.at(slice.slot);
      SLUICE_ENGINE_CHECK(state.bound);
      due_.push_back({state.due, ++order_, slice.slot, state.generation});
      std::push_heap(due_.begin(), due_.end(), later);
    }
  }

  bool busy() const override { return false; }

  std::size_t poll(std::vector<Sampled>& out) override {
    if (due_.empty()) return 0;
    const std::size_t before = out.size();
    const auto now = Clock::now();
    while (!due_.empty()) {
      const Due first = due_.front();
      const bool meant = first.generation == slots_[first.slot].generation;
      if (meant && first.at > now) break;
      std::pop_heap(due_.begin(), due_.end(), later);
      due_.pop_back();
      if (meant) out.push_back(draw(first.slot));
    }
    return out.size() - before;
  }

  std::optional<Clock::time_point> next_ready() const override {
    if (due_.empty()) return std::nullopt;
    return due_.front().at;
  }

 private:
  struct Slot {
    bool bound = false;
    bool ends = false;
    bool tops = false;  // top_logprobs were asked for
    std::uint32_t generation = 0;
    std::uint32_t index = 0;  // of the next token
    std::uint64_t key = 0;
    Clock::time_point due;  // of the next token
  };
  struct Due {
    Clock::time_point at;
    std::uint64_t order;  // of submission, among equal instants
    SlotId slot;
    std::uint32_t generation;
  };

  static bool later(const Due& a, const Due& b) { return std::pair(a.at, a.order) > std::pair(b.at, b.order); }

  Sampled draw(SlotId slot) {
    Slot& state = slots_[slot];
    const bool end = state.ends && state.index >= options_.script.tokens;
    const TokenId token = end ? options_.end : options_.words[state.index % options_.words.size()];
    ++state.index;
    // The end token comes with the last word: a stream lasts ttft + (tokens - 1) * gap.
    if (!state.ends || state.index != options_.script.tokens) {
      state.due += scripted_delay(options_.script, state.key, state.index);
    }
    // What is said is certain, and there is nothing beside it.
    Sampled out{.slot = slot, .token = token};
    if (state.tops) out.top[out.top_count++] = {.token = token, .logprob = 0};
    return out;
  }

  ScriptedOptions options_;
  ExecutorInfo info_;
  std::vector<Slot> slots_;
  std::vector<Due> due_;  // a heap, the earliest first
  std::uint64_t order_ = 0;
};

constexpr const char* kWords[] = {"the",     "water", "runs",    "down",  "from",  "a",      "high",  "lake",
                                  "through", "old",   "wooden",  "gate",  "and",   "turns",  "wheel", "that",
                                  "grinds",  "grain", "for",     "bread", "while", "people", "talk",  "about",
                                  "rain",    "wind",  "markets", "boats", "long",  "roads",  "over",  "hills"};

void append_code_point(std::string& out, unsigned code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else {
    out += static_cast<char>(0xc0 | (code >> 6));
    out += static_cast<char>(0x80 | (code & 0x3f));
  }
}

/// How byte-level BPE spells a byte: itself where it is printable in Latin-1, else the next of 256, 257, ...
std::string spelling(unsigned byte) {
  const auto printable = [](unsigned b) { return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae; };
  unsigned code = byte;
  if (!printable(byte)) {
    code = 256;
    for (unsigned b = 0; b < byte; ++b) code += printable(b) ? 0 : 1;
  }
  std::string out;
  append_code_point(out, code);
  return out;
}

}  // namespace

std::unique_ptr<Executor> make_scripted_executor(ScriptedOptions options) {
  return std::make_unique<ScriptedExecutor>(std::move(options));
}

std::string scripted_tokenizer_json(std::uint32_t vocab_size) {
  // Added tokens continue the vocabulary: numbers, where there are any, come before them.
  constexpr std::uint32_t kBytes = 256, kAdded = 1 + std::size(kWords);
  const std::uint32_t first_added = std::max(kBytes, vocab_size > kAdded ? vocab_size - kAdded : 0);
  std::string added = R"({"id":)" + std::to_string(first_added) + R"(,"content":")" + std::string(kScriptedEnd) +
                      R"(","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true})";
  std::uint32_t id = first_added + 1;
  for (const char* word : kWords) {
    added += R"(,{"id":)" + std::to_string(id++) + R"(,"content":" )" + word +
             R"(","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":false})";
  }
  std::string vocabulary;
  for (unsigned byte = 0; byte < kBytes; ++byte) {
    auto name = spelling(byte);
    if (name == "\"" || name == "\\") name.insert(0, "\\");
    vocabulary += (byte == 0 ? "\"" : ",\"") + name + "\":" + std::to_string(byte);
  }
  for (std::uint32_t number = kBytes; number < first_added; ++number)
    vocabulary += ",\"" + spelling(' ') + std::to_string(number) + "\":" + std::to_string(number);
  return R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":[)" + added +
         R"(],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,)"
         R"("use_regex":true},"post_processor":null,"decoder":{"type":"ByteLevel","add_prefix_space":true,)"
         R"("trim_offsets":true,"use_regex":true},"model":{"type":"BPE","dropout":null,"unk_token":null,)"
         R"("continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,)"
         R"("vocab":{)" +
         vocabulary + R"(},"merges":[]}})";
}

std::string scripted_text() {
  std::string text;
  for (const char* word : kWords) text.append(" ").append(word);
  return text;
}

}  // namespace sluice::engine
