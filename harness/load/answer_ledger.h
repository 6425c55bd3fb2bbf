// What the answers of a run are held against: those to the same request, and the nonces of other requests.
//
// One of each run, shared by its load threads: any thread may call. It keeps hashes only, so many at most; the oldest
// leave first. A call takes well under a microsecond, or the time to read the text once.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <string_view>
#include <unordered_map>

namespace sluice {

class AnswerLedger {
 public:
  /// False when the request with this hash has had another answer before.
  bool same_as_before(std::uint64_t request, std::uint64_t text);

  /// From now on `nonce` must stand in no other request's answer. REQUIRES: is_nonce(nonce).
  void give_out(std::string_view nonce);
  /// Has `text` a word that was given out, other than `own`?
  bool has_foreign(std::string_view text, std::string_view own) const;

  /// One word of 3 to 64 letters, digits, _ and -.
  static bool is_nonce(std::string_view text);

 private:
  template <class Value>
  struct Bounded {
    std::unordered_map<std::uint64_t, Value> values;
    std::deque<std::uint64_t> order;
    Value& at(std::uint64_t key, Value fresh);
  };
  struct Nothing {};

  mutable std::mutex mutex_;  // of all that follows
  Bounded<std::uint64_t> answers_;
  Bounded<Nothing> nonces_;
};

std::uint64_t text_hash(std::string_view text);

}  // namespace sluice
