#include "harness/net/compression.h"

#include <gtest/gtest.h>

#include <string>

namespace sluice {
namespace {

std::string gzipped(std::string_view text) {
  std::string out;
  compress_gzip(text, out);
  return out;
}

TEST(Compression, ComesBackAsItWas) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{100}, std::size_t{1'000'000}}) {
    std::string text(size, 'x'), out;
    for (std::size_t i = 0; i < size; i += 7) text[i] = static_cast<char>(i);
    EXPECT_TRUE(decompress(Encoding::gzip, gzipped(text), 2'000'000, out));
    EXPECT_EQ(out, text) << size;
  }
}

TEST(Compression, ReadsDeflateWithAndWithoutItsWrapper) {
  // "hello" by zlib: the wrapped form, and the same without header and checksum.
  const std::string wrapped("\x78\x9c\xcb\x48\xcd\xc9\xc9\x07\x00\x06\x2c\x02\x15", 13);
  std::string out;
  EXPECT_TRUE(decompress(Encoding::deflate, wrapped, 100, out));
  EXPECT_EQ(out, "hello");
  EXPECT_TRUE(decompress(Encoding::deflate, std::string_view(wrapped).substr(2, 7), 100, out));
  EXPECT_EQ(out, "hello");
}

TEST(Compression, BoundsWhatItGrowsTo) {
  const std::string bomb = gzipped(std::string(10'000'000, '\0'));
  EXPECT_LT(bomb.size(), 20'000u);
  std::string out;
  EXPECT_TRUE(decompress(Encoding::gzip, bomb, 1000, out));
  EXPECT_EQ(out.size(), 1000u);
}

TEST(Compression, ReadsFilesBehindEachOtherAndWhatWasCutShort) {
  std::string out;
  EXPECT_TRUE(decompress(Encoding::gzip, gzipped("one ") + gzipped("two"), 100, out));
  EXPECT_EQ(out, "one two");
  EXPECT_TRUE(decompress(Encoding::gzip, gzipped("one") + "padding", 100, out));
  EXPECT_EQ(out, "one");
  const std::string whole = gzipped(std::string(1000, 'a') + "the end");
  EXPECT_TRUE(decompress(Encoding::gzip, std::string_view(whole).substr(0, whole.size() - 8), 10'000, out));
  EXPECT_EQ(out.size(), 1007u);
}

TEST(Compression, KnowsWhatIsNone) {
  std::string out;
  EXPECT_FALSE(decompress(Encoding::gzip, "hello, this is no gzip", 100, out));
  std::string broken = gzipped("hello hello hello");
  broken[12] = static_cast<char>(broken[12] ^ 0x55);
  broken[14] = static_cast<char>(broken[14] ^ 0x55);
  EXPECT_FALSE(decompress(Encoding::gzip, broken, 100, out));
  EXPECT_EQ(encoding_named("GZip"), Encoding::gzip);
  EXPECT_EQ(encoding_named(""), Encoding::identity);
  EXPECT_EQ(encoding_named("deflate"), Encoding::deflate);
  EXPECT_EQ(encoding_named("gzip, deflate"), Encoding::unknown);
  EXPECT_EQ(encoding_named("br"), Encoding::unknown);
}

}  // namespace
}  // namespace sluice
