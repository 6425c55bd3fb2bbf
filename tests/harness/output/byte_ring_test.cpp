#include "harness/output/byte_ring.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <thread>

namespace sluice {
namespace {

bool push(ByteRing& ring, std::string_view text) {
  std::byte* const room = ring.reserve(text.size());
  if (room == nullptr) return false;
  std::memcpy(room, text.data(), text.size());
  ring.commit();
  return true;
}

std::string_view front(ByteRing& ring) {
  const auto bytes = ring.front();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(ByteRing, IsFullAtItsSizeAndTakesAgainWhatWasTakenOut) {
  ByteRing ring(64);
  EXPECT_TRUE(ring.front().empty());
  EXPECT_TRUE(push(ring, "1234567"));    // 16 bytes with its head
  EXPECT_TRUE(push(ring, "12345678"));   // 16
  EXPECT_TRUE(push(ring, "123456789"));  // 24
  EXPECT_FALSE(push(ring, "1"));
  EXPECT_EQ(front(ring), "1234567");
  EXPECT_EQ(front(ring), "1234567") << "looking at it takes nothing out";
  ring.pop();
  EXPECT_TRUE(push(ring, "abcdef"));
  EXPECT_FALSE(push(ring, "x"));
  for (const char* expected : {"12345678", "123456789", "abcdef"}) {
    EXPECT_EQ(front(ring), expected);
    ring.pop();
  }
  EXPECT_TRUE(ring.front().empty());
  EXPECT_EQ(ring.reserve(57), nullptr) << "larger than the ring";
}

TEST(ByteRing, RoomThatWasNotCommittedIsGivenBack) {
  ByteRing ring(64);
  ASSERT_NE(ring.reserve(40), nullptr);
  EXPECT_TRUE(ring.front().empty());
  EXPECT_TRUE(push(ring, "kept"));
  EXPECT_EQ(front(ring), "kept");
}

TEST(ByteRing, EntriesAreAligned) {
  ByteRing ring(256);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(push(ring, std::string(static_cast<std::size_t>(i % 40) + 1, 'x')));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(ring.front().data()) % 8, 0u);
    ring.pop();
  }
}

TEST(ByteRing, EntriesComeOutAsTheyWentInWhateverTheirSizes) {
  constexpr int kEntries = 3000;
  ByteRing ring(8192);
  const auto entry = [](int i, std::mt19937& random) {
    return std::string(1 + random() % 300, static_cast<char>('a' + i % 26));
  };
  std::thread producer([&] {
    std::mt19937 random(7);
    for (int i = 0; i < kEntries; ++i) {
      const std::string text = entry(i, random);
      while (!push(ring, text)) std::this_thread::yield();
    }
  });
  std::mt19937 random(7);
  for (int i = 0; i < kEntries; ++i) {
    while (ring.front().empty()) std::this_thread::yield();
    ASSERT_EQ(front(ring), entry(i, random));
    ring.pop();
  }
  producer.join();
}

}  // namespace
}  // namespace sluice
