// Where a value lies in a JSON document: the part of JSONPath that names one place.
//
//   path = "$" {"." name | "['" name "']" | "[" index "]" | "[*]"}
//
// `[*]` goes through a list's items (an object's members) in order, and the first under which the rest of the path
// leads to a value wins. A name after a dot has letters, digits, _ and -; any other stands in brackets and quotes.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "harness/base/result.h"

namespace sluice {

/// A value that outlives the answer it was taken from. Lists and objects are their JSON text, whole numbers beyond 2^53
/// their digits. monostate: not there.
using OwnValue = std::variant<std::monostate, bool, double, std::string>;

class JsonPath {
 public:
  static Result<JsonPath> parse(std::string_view text);

  struct Part {
    enum class Kind : std::uint8_t { member, index, any } kind = Kind::member;
    std::string name;
    std::size_t index = 0;
  };
  const std::vector<Part>& parts() const { return parts_; }

 private:
  std::vector<Part> parts_;
};

/// Reads documents of foreign origin. One a thread is enough; keeps its memory.
class JsonFinder {
 public:
  JsonFinder();
  ~JsonFinder();
  JsonFinder(const JsonFinder&) = delete;
  JsonFinder& operator=(const JsonFinder&) = delete;

  /// monostate when the text is no JSON, when the path leads nowhere, and when null is there.
  OwnValue find(std::string_view json, const JsonPath& path);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice
