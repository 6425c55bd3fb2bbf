#include "engine/core/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::engine {
namespace {

using testing::HasSubstr;

TEST(JsonDocument, RefusesRepeatedKeysAtAnyDepthAndWidth) {
  EXPECT_TRUE(JsonDocument::parse(R"({"a":{"a":1},"b":[{"a":1},{"a":2}]})", "f"));
  EXPECT_THAT(JsonDocument::parse(R"({"a":1,"b":2,"a":3})", "f").error().message,
              HasSubstr("f: the key 'a' stands twice"));
  EXPECT_THAT(JsonDocument::parse(R"([[{"x":[{"y":1,"y":1}]}]])", "f").error().message, HasSubstr("'y' stands twice"));
  std::string wide = "{";
  for (int i = 0; i < 100; ++i) wide += "\"k" + std::to_string(i) + "\":0,";
  EXPECT_TRUE(JsonDocument::parse(wide + "\"z\":0}", "f"));
  EXPECT_THAT(JsonDocument::parse(wide + "\"k3\":0}", "f").error().message, HasSubstr("'k3' stands twice"));
  EXPECT_THAT(JsonDocument::parse(wide + "\"k77\":0}", "f").error().message, HasSubstr("'k77' stands twice"));
}

TEST(JsonDocument, BoundsNesting) {
  EXPECT_TRUE(JsonDocument::parse(std::string(60, '[') + std::string(60, ']'), "f"));
  EXPECT_FALSE(JsonDocument::parse(std::string(100'000, '[') + std::string(100'000, ']'), "f"));
}

TEST(JsonDocument, ReadsValuesOnlyAsWhatTheyAre) {
  const auto document =
      JsonDocument::parse(R"({"i":3,"f":1.5,"s":"x","b":true,"n":null,"big":18446744073709551615})", "f").value();
  const JsonObject object = fields(document.root());
  EXPECT_EQ(as_integer(*member(object, "i")), 3);
  EXPECT_EQ(as_integer(*member(object, "f")), std::nullopt);
  EXPECT_EQ(as_integer(*member(object, "big")), std::nullopt);
  EXPECT_EQ(as_number(*member(object, "i")), 3.0);
  EXPECT_EQ(as_number(*member(object, "s")), std::nullopt);
  EXPECT_EQ(as_string(*member(object, "s")), "x");
  EXPECT_EQ(as_string(*member(object, "b")), std::nullopt);
  EXPECT_EQ(as_bool(*member(object, "b")), true);
  EXPECT_FALSE(member(object, "n"));
  EXPECT_FALSE(member(object, "none"));
}

TEST(ReadFile, NamesTheFileAndItsBound) {
  EXPECT_THAT(read_file("/nonexistent/x", 10).error().message, HasSubstr("/nonexistent/x: no such file"));
  EXPECT_THAT(read_file("/", 10).error().message, HasSubstr("not a regular file"));
  EXPECT_THAT(read_file(SLUICE_SOURCE_DIR "/CMakeLists.txt", 10).error().message, HasSubstr("more than the 10"));
  EXPECT_THAT(read_file(SLUICE_SOURCE_DIR "/CMakeLists.txt", 1 << 20).value(), HasSubstr("project(sluice"));
}

}  // namespace
}  // namespace sluice::engine
