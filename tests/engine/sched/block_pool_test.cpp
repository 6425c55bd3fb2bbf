#include "engine/sched/block_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace sluice::engine {
namespace {

constexpr std::size_t kBlock = limits::block_tokens;

std::vector<TokenId> tokens_from(TokenId first, std::size_t count) {
  std::vector<TokenId> tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

/// Allocates, publishes and keeps the blocks of `tokens`, whose count is a multiple of a block's.
std::vector<BlockId> fill(BlockPool& pool, const std::vector<TokenId>& tokens) {
  std::vector<BlockId> table;
  PrefixId prefix = kEmptyPrefix;
  for (std::size_t i = 0; i < tokens.size(); i += kBlock) {
    table.push_back(pool.allocate().value());
    prefix = pool.publish(table.back(), prefix, std::span(tokens).subspan(i).first<kBlock>());
  }
  return table;
}

void give_back(BlockPool& pool, std::vector<BlockId> table) {
  for (; !table.empty(); table.pop_back()) pool.release(table.back());
}

TEST(BlockPool, GivesEveryBlockOnceAndThenNone) {
  BlockPool pool(3);
  std::vector<BlockId> given;
  while (const auto block = pool.allocate()) given.push_back(*block);
  EXPECT_THAT(given, testing::UnorderedElementsAre(0, 1, 2));
  EXPECT_EQ(pool.available(), 0u);
  pool.release(given[1]);
  EXPECT_EQ(pool.allocate(), given[1]);
  pool.check_integrity();
}

TEST(BlockPool, FindsTheLongestPublishedPrefixAndNoMore) {
  BlockPool pool(8);
  const auto tokens = tokens_from(1, 3 * kBlock);
  const auto table = fill(pool, tokens);

  auto other = tokens;
  other[2 * kBlock + 5] = 9999;  // differs inside the third block
  std::vector<BlockId> found;
  pool.match(other, 3, found);
  EXPECT_THAT(found, testing::ElementsAre(table[0], table[1]));
  EXPECT_EQ(pool.references(table[0]), 2u);
  EXPECT_EQ(pool.references(table[2]), 1u);

  std::vector<BlockId> limited;
  pool.match(tokens, 1, limited);
  EXPECT_THAT(limited, testing::ElementsAre(table[0]));
  pool.check_integrity();
}

TEST(BlockPool, DoesNotMistakeTheSameBlockAfterAnotherBeginning) {
  BlockPool pool(8);
  auto first = tokens_from(1, 2 * kBlock);
  fill(pool, first);
  auto second = first;
  second[0] = 77;  // the second block's own tokens are the same
  std::vector<BlockId> found;
  pool.match(second, 2, found);
  EXPECT_TRUE(found.empty());
}

TEST(BlockPool, KeepsIdleBlocksUntilTheirSpaceIsNeededLongestUnusedFirst) {
  BlockPool pool(3);
  const auto a = tokens_from(100, kBlock), b = tokens_from(200, kBlock), c = tokens_from(300, kBlock);
  const auto table_a = fill(pool, a), table_b = fill(pool, b), table_c = fill(pool, c);
  give_back(pool, table_b);
  give_back(pool, table_a);
  give_back(pool, table_c);
  EXPECT_EQ(pool.available(), 3u);

  std::vector<BlockId> used;
  pool.match(b, 1, used);  // used again: now a is the one longest unused
  give_back(pool, used);
  EXPECT_EQ(pool.allocate(), table_a[0]);
  std::vector<BlockId> found;
  pool.match(a, 1, found);
  EXPECT_TRUE(found.empty()) << "what gave way must not be found any more";
  pool.match(b, 1, found);
  EXPECT_THAT(found, testing::ElementsAre(table_b[0]));
  pool.check_integrity();
}

TEST(BlockPool, AnIdleSequenceGivesWayFromItsEnd) {
  BlockPool pool(3);
  const auto tokens = tokens_from(1, 3 * kBlock);
  const auto table = fill(pool, tokens);
  give_back(pool, table);
  EXPECT_EQ(pool.allocate(), table[2]);
  std::vector<BlockId> found;
  pool.match(tokens, 3, found);
  EXPECT_THAT(found, testing::ElementsAre(table[0], table[1]));
}

TEST(BlockPool, PublishingTheSameContentsTwiceKeepsTheFirst) {
  BlockPool pool(4);
  const auto tokens = tokens_from(1, kBlock);
  const auto first = fill(pool, tokens), second = fill(pool, tokens);
  std::vector<BlockId> found;
  pool.match(tokens, 1, found);
  EXPECT_THAT(found, testing::ElementsAre(first[0]));
  give_back(pool, second);
  give_back(pool, first);
  give_back(pool, found);
  pool.check_integrity();
  EXPECT_EQ(pool.available(), 4u);
}

}  // namespace
}  // namespace sluice::engine
