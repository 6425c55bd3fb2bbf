#include "harness/load/answer_ledger.h"

#include <algorithm>
#include <functional>
#include <vector>

#include "harness/base/check.h"
#include "harness/base/limits.h"

namespace sluice {
namespace {

bool is_word_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

}  // namespace

std::uint64_t text_hash(std::string_view text) { return std::hash<std::string_view>{}(text); }

template <class Value>
Value& AnswerLedger::Bounded<Value>::at(std::uint64_t key, Value fresh) {
  const auto [place, is_new] = values.try_emplace(key, fresh);
  if (is_new) {
    order.push_back(key);
    if (order.size() > limits::ledger_entries_max) {
      values.erase(order.front());
      order.pop_front();
    }
  }
  return place->second;
}

bool AnswerLedger::same_as_before(std::uint64_t request, std::uint64_t text) {
  const std::lock_guard lock(mutex_);
  return answers_.at(request, text) == text;
}

bool AnswerLedger::is_nonce(std::string_view text) {
  return text.size() >= 3 && text.size() <= 64 && std::all_of(text.begin(), text.end(), is_word_character);
}

void AnswerLedger::give_out(std::string_view nonce) {
  SLUICE_CHECK(is_nonce(nonce));
  const std::lock_guard lock(mutex_);
  nonces_.at(text_hash(nonce), {});
}

bool AnswerLedger::has_foreign(std::string_view text, std::string_view own) const {
  std::vector<std::uint64_t> words;  // made without the lock, for which the other threads wait
  while (!text.empty()) {
    const auto* const from = std::find_if(text.begin(), text.end(), is_word_character);
    const auto* const to = std::find_if_not(from, text.end(), is_word_character);
    const std::string_view word(from, to);
    text = std::string_view(to, text.end());
    if (is_nonce(word) && word != own) words.push_back(text_hash(word));
  }
  const std::lock_guard lock(mutex_);
  return std::any_of(words.begin(), words.end(), [this](std::uint64_t word) { return nonces_.values.contains(word); });
}

}  // namespace sluice
