#include "harness/scenario/json_items.h"

#include <fmt/format.h>

namespace sluice {
namespace {

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

}  // namespace

void JsonItems::push(std::string_view bytes) {
  bytes_ = bytes;
  at_ = from_ = 0;
}

void JsonItems::end() {
  ended_ = true;
  bytes_ = {};
  at_ = from_ = 0;
}

void JsonItems::fail(std::string message) {
  problem_ = Problem{state_ == State::in_item ? item_line_ : line_, std::move(message)};
  state_ = State::done;
}

std::optional<JsonItems::Item> JsonItems::take(std::size_t end) {
  item_.append(bytes_.substr(from_, end - from_));
  at_ = from_ = end;
  state_ = in_array_ ? State::wants_comma : State::wants_item;
  is_first_ = false;
  return Item{item_, item_line_};
}

/// False: it is something between items, or an error.
bool JsonItems::begins_item(char c) {
  if (c == '[' && state_ == State::start) {
    in_array_ = true;
    state_ = State::wants_item;
    return false;
  }
  if (state_ == State::wants_comma) {
    if (c == ',') {
      state_ = State::wants_item;
    } else if (c == ']') {
      state_ = State::done;
    } else {
      fail("a ',' or a ']' is wanted after an item");
    }
    return false;
  }
  if (state_ == State::done) {
    fail("more stands here after the end of the array");
    return false;
  }
  if (c == ']' && in_array_ && is_first_) {
    state_ = State::done;
    return false;
  }
  if (c == ']' || c == '}' || c == ',' || c == ':') {
    fail(fmt::format("'{}' is no item", c));
    return false;
  }
  return true;
}

std::optional<JsonItems::Item> JsonItems::next() {
  if (problem_) return std::nullopt;
  if (state_ != State::in_item) item_.clear();
  for (; at_ < bytes_.size(); ++at_) {
    const char c = bytes_[at_];
    if (state_ != State::in_item) {
      if (c == '\n') ++line_;
      if (is_space(c)) continue;
      if (!begins_item(c)) {
        if (problem_) return std::nullopt;
        continue;
      }
      state_ = State::in_item;
      from_ = at_;
      item_line_ = line_;
      depth_ = 0;
      in_string_ = escaped_ = false;
      is_scalar_ = c != '{' && c != '[' && c != '"';
    } else if (c == '\n') {
      ++line_;
    }
    if (item_.size() + (at_ - from_) > item_bytes_max_) {
      fail(fmt::format("an item of more than {} bytes", item_bytes_max_));
      return std::nullopt;
    }
    if (in_string_) {
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == '"') {
        in_string_ = false;
        if (depth_ == 0) return take(at_ + 1);
      }
      continue;
    }
    if (is_scalar_) {
      if (!is_space(c) && c != ',' && c != ']') continue;
      if (c == '\n') --line_;  // it will be seen again
      return take(at_);
    }
    if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if (c == '}' || c == ']') {
      if (--depth_ == 0) return take(at_ + 1);
    }
  }
  if (state_ == State::in_item) {
    item_.append(bytes_.substr(from_));
    from_ = at_ = bytes_.size();
    if (ended_ && is_scalar_) return take(bytes_.size());
  }
  if (!ended_) return std::nullopt;
  if (state_ == State::in_item) {
    fail("the file ends within this item");
  } else if (in_array_ && state_ != State::done) {
    fail("the file ends within the array");
  }
  return std::nullopt;
}

}  // namespace sluice
