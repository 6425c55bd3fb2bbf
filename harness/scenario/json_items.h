// The items of a large JSON array, one after the other, out of blocks of bytes: only the item at hand is held.
//
// Values that stand one after the other without an array around them are items too. What an item is made of is for
// whoever parses it; here only brackets and strings are looked at.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

class JsonItems {
 public:
  /// An item of more than `item_bytes_max` is an error.
  explicit JsonItems(std::size_t item_bytes_max) : item_bytes_max_(item_bytes_max) {}

  /// More of the file. REQUIRES: next() has returned none since the last push. `bytes` must last until it does again.
  void push(std::string_view bytes);
  /// The file has ended.
  void end();

  struct Item {
    std::string_view text;  // good until the next call
    int line = 0;           // where it begins, from 1
  };
  /// The next whole item; none when there is none yet, or after an error.
  std::optional<Item> next();

  struct Problem {
    int line = 0;
    std::string message;
  };
  const std::optional<Problem>& problem() const { return problem_; }

 private:
  enum class State { start, wants_item, in_item, wants_comma, done };

  std::optional<Item> take(std::size_t end);
  bool begins_item(char c);
  void fail(std::string message);

  const std::size_t item_bytes_max_;
  std::string_view bytes_;
  std::size_t at_ = 0;    // in bytes_
  std::size_t from_ = 0;  // of the item in bytes_
  std::string item_;      // what earlier blocks have of it
  State state_ = State::start;
  bool in_array_ = false, ended_ = false, is_first_ = true;
  bool in_string_ = false, escaped_ = false, is_scalar_ = false;
  int depth_ = 0, line_ = 1, item_line_ = 1;
  std::optional<Problem> problem_;
};

}  // namespace sluice
