#include "engine/model/safetensors.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/engine/model/folder.h"

namespace sluice::engine {
namespace {

using testing::HasSubstr;

Result<std::vector<TensorView>> parse(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file)), "m.safetensors");
}

TEST(Safetensors, ListsTensorsByNameWithTheirData) {
  const std::string file = safetensors_file(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[6,14]},)"
      R"("a":{"dtype":"BF16","shape":[3,1],"data_offsets":[0,6]},"c":{"dtype":"I64","shape":[],"data_offsets":[14,22]},)"
      R"("e":{"dtype":"F16","shape":[0,5],"data_offsets":[22,22]}}  )",
      22);
  const auto tensors = parse(file);
  ASSERT_TRUE(tensors) << tensors.error().message;
  ASSERT_EQ(tensors->size(), 4u);
  const TensorView &a = (*tensors)[0], &b = (*tensors)[1], &c = (*tensors)[2], &e = (*tensors)[3];
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.dtype, Dtype::bf16);
  EXPECT_THAT(a.shape, testing::ElementsAre(3, 1));
  EXPECT_EQ(a.data.size(), 6u);
  EXPECT_EQ(a.data[1], std::byte{1});
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.dtype, Dtype::f32);
  EXPECT_EQ(b.data.front(), std::byte{6});
  EXPECT_EQ(c.dtype, Dtype::other);
  EXPECT_TRUE(c.shape.empty());
  EXPECT_EQ(e.dtype, Dtype::f16);
  EXPECT_TRUE(e.data.empty());
}

TEST(Safetensors, AcceptsAFileWithoutTensors) { EXPECT_TRUE(parse(safetensors_file("{}", 0))); }

TEST(Safetensors, NamesTheTensorOfEachCorruption) {
  struct Case {
    std::string header;
    std::size_t data;
    std::string message;
  };
  const Case cases[] = {
      {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7,
       "tensor 'w': data_offsets [0, 8] reach beyond the 7 bytes"},
      {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4,
       "tensor 'w': F32 [2] takes 8 bytes, but data_offsets [0, 4] hold 4"},
      {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, "tensor 'w': data_offsets [8, 0] run backwards"},
      {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}})", 8,
       "tensor 'w': data_offsets [-8,0] are not whole numbers"},
      {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", 8, "tensor 'w': data_offsets is not a pair"},
      {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8.5]}})", 8, "tensor 'w': data_offsets [0,8.5]"},
      {R"({"w":{"dtype":"F32","shape":[2]}})", 8, "tensor 'w': data_offsets is not a pair"},
      {R"({"w":{"dtype":"F32","data_offsets":[0,8]}})", 8, "tensor 'w': shape is not a list"},
      {R"({"w":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8, "tensor 'w': shape holds -2"},
      {R"({"w":{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}})", 8, "tensor 'w': shape holds \"2\""},
      {R"({"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}})", 8,
       "tensor 'w': the product of shape"},
      {R"({"w":{"dtype":"F32","shape":[4611686018427387906],"data_offsets":[0,8]}})", 8,
       "tensor 'w': the product of shape"},
      {R"({"w":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}})", 8, "tensor 'w': dtype \"F31\" is not one we know"},
      {R"({"w":{"shape":[2],"data_offsets":[0,8]}})", 8, "tensor 'w': dtype is missing"},
      {R"({"w":{"dtype":4,"shape":[2],"data_offsets":[0,8]}})", 8, "tensor 'w': dtype 4"},
      {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1}})", 8, "tensor 'w': unknown key 'more'"},
      {R"({"w":[1,2]})", 8, "tensor 'w': is not an object"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})",
       7, "tensor 'b': data_offsets [3, 7] overlap tensor 'a'"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
       4, "tensor 'b': data_offsets [0, 4] overlap tensor 'a'"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[2],"data_offsets":[5,7]}})",
       7, "tensor 'b': 1 bytes before its data_offsets"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 5,
       "the last 1 bytes belong to no tensor (the last is 'a')"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
       4, "'a' stands twice"},
      {R"({"__metadata__":{"a":1}})", 0, "__metadata__: 'a' is not a string"},
      {R"({"__metadata__":3})", 0, "__metadata__ is not an object"},
      {R"({"a":)", 0, "not valid JSON"},
      {R"([1])", 0, "does not begin with '{'"},
      {"", 0, "does not begin with '{'"},
  };
  for (const Case& each : cases) {
    const auto tensors = parse(safetensors_file(each.header, each.data));
    ASSERT_FALSE(tensors) << each.header;
    EXPECT_THAT(tensors.error().message, testing::StartsWith("m.safetensors"));
    EXPECT_THAT(tensors.error().message, HasSubstr(each.message));
  }
}

TEST(Safetensors, ChecksTheHeadersLength) {
  EXPECT_THAT(parse("").error().message, HasSubstr("too few"));
  EXPECT_THAT(parse("1234567").error().message, HasSubstr("too few"));
  for (const std::uint64_t length : {std::uint64_t{3}, std::uint64_t{100u << 20}, std::uint64_t{1} << 40,
                                     std::numeric_limits<std::uint64_t>::max()}) {
    std::string file(8, '\0');
    std::memcpy(file.data(), &length, 8);
    file += "{}";
    EXPECT_THAT(parse(file).error().message, HasSubstr(fmt::format("header length {}", length)));
  }
}

TEST(Safetensors, EveryPrefixOfAFileIsRefused) {
  const std::string file = safetensors_file(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4);
  ASSERT_TRUE(parse(file));
  for (std::size_t size = 0; size < file.size(); ++size) EXPECT_FALSE(parse(file.substr(0, size))) << size;
}

TEST(MappedFile, MapsWhatTheFileHolds) {
  const TestFolder folder;
  folder.write("file", "hello");
  auto file = MappedFile::open(folder.path() / "file");
  ASSERT_TRUE(file);
  const MappedFile moved = std::move(*file);
  ASSERT_EQ(moved.bytes().size(), 5u);
  EXPECT_EQ(moved.bytes()[1], std::byte{'e'});
  folder.write("empty", "");
  EXPECT_THAT(MappedFile::open(folder.path() / "empty").error().message, HasSubstr("the file is empty"));
  EXPECT_THAT(MappedFile::open(folder.path()).error().message, HasSubstr("not a regular file"));
  EXPECT_THAT(MappedFile::open(folder.path() / "none").error().message, HasSubstr("No such file"));
}

}  // namespace
}  // namespace sluice::engine
