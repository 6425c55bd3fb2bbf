#include "harness/load/answer_ledger.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "harness/base/limits.h"

namespace sluice {
namespace {

TEST(AnswerLedger, HoldsAnAnswerAgainstTheFirstOneToTheSameRequest) {
  AnswerLedger ledger;
  EXPECT_TRUE(ledger.same_as_before(1, 10));
  EXPECT_TRUE(ledger.same_as_before(2, 20));
  EXPECT_TRUE(ledger.same_as_before(1, 10));
  EXPECT_FALSE(ledger.same_as_before(1, 11));
  EXPECT_FALSE(ledger.same_as_before(1, 11)) << "the first answer remains the one that counts";
  EXPECT_TRUE(ledger.same_as_before(1, 10));
}

TEST(AnswerLedger, FindsOnlyWholeWordsThatAreAnotherRequests) {
  struct Case {
    const char* text;
    bool foreign;
  };
  const Case cases[] = {
      {"", false},
      {"print(\"Ada\")", false},
      {"print(\"Grace\")", true},
      {"Grace", true},
      {"say Grace.", true},
      {"Ada and Grace", true},
      {"Graceful", false},
      {"grace", false},
      {"x-17 and x-171", true},
      {"x-171", false},
      {"\xc3\xa9Grace\xc3\xa9", true},  // bytes beyond ASCII are no letters of a nonce
  };
  AnswerLedger ledger;
  for (const char* name : {"Ada", "Grace", "x-17"}) ledger.give_out(name);
  for (const Case& c : cases) EXPECT_EQ(ledger.has_foreign(c.text, "Ada"), c.foreign) << c.text;
}

TEST(AnswerLedger, TakesWordsOnly) {
  for (const char* good : {"abc", "A-1", "x_y_z", "0123"}) EXPECT_TRUE(AnswerLedger::is_nonce(good)) << good;
  for (const char* bad : {"", "ab", "a b c", "a.b.c", "naïve"}) EXPECT_FALSE(AnswerLedger::is_nonce(bad)) << bad;
  EXPECT_TRUE(AnswerLedger::is_nonce(std::string(64, 'a')));
  EXPECT_FALSE(AnswerLedger::is_nonce(std::string(65, 'a')));
}

TEST(AnswerLedger, ForgetsTheOldestWhenItIsFull) {
  AnswerLedger ledger;
  for (std::size_t i = 0; i < limits::ledger_entries_max; ++i) ledger.give_out("word" + std::to_string(i));
  EXPECT_TRUE(ledger.has_foreign("word0", "mine"));
  ledger.give_out("one-more");
  EXPECT_FALSE(ledger.has_foreign("word0", "mine"));
  EXPECT_TRUE(ledger.has_foreign("word1", "mine"));
  for (std::size_t i = 0; i <= limits::ledger_entries_max; ++i) EXPECT_TRUE(ledger.same_as_before(i, 1));
  EXPECT_TRUE(ledger.same_as_before(0, 2)) << "the first request is forgotten";
  EXPECT_FALSE(ledger.same_as_before(limits::ledger_entries_max, 2));
}

TEST(AnswerLedger, MayBeAskedByManyThreads) {
  AnswerLedger ledger;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&ledger, t] {
        for (std::uint64_t i = 0; i < 1000; ++i) {
          EXPECT_TRUE(ledger.same_as_before(i, i * i));
          ledger.give_out("thread" + std::to_string(t));
        }
      });
    }
  }
  for (int t = 0; t < 4; ++t) EXPECT_TRUE(ledger.has_foreign("thread" + std::to_string(t), "mine"));
}

}  // namespace
}  // namespace sluice
