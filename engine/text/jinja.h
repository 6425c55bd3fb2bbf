// The part of Jinja that chat templates are written in, as a tree; jinja_parse.cpp makes it, jinja_run.cpp walks it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "engine/text/chat_template.h"

namespace sluice::engine::jinja {

enum class NodeKind : std::uint8_t {
  // Expressions. `text` and `number` hold what a literal, a name or an operator is; children are the operands.
  string_literal,
  integer_literal,
  constant,  // constant: number 0 false, 1 true, 2 none
  name,
  list,
  attribute,    // child.text
  item,         // child[child]
  slice,        // child[child:child:child]; absent bounds are null
  call,         // text(children): a function of ours; methods are `method`
  method,       // child 0 .text(others)
  filter,       // child 0 | text(others)
  test,         // child is text; number 1: is not
  unary,        // text: not, -, +
  binary,       // text: + - * // % ~ and or
  comparison,   // children are the operands, names[i] the operator between i and i + 1
  conditional,  // child 0 if child 1 else child 2 (may be null)
  // Statements.
  data,      // text as it is
  output,    // {{ child }}
  set,       // text = child; names[0], if there, is the attribute of the namespace `text`
  branches,  // if: children alternate condition and body, the condition null for else
  loop,      // for names in child 0 [if child 1]: child 2 [else: child 3]
  block,     // children in order
  break_loop,
  continue_loop,
};

struct Node {
  NodeKind kind = NodeKind::block;
  int line = 1;
  int depth = 1;  // of the tree below; bounded, since everything recurses over it
  std::int64_t number = 0;
  std::string text;
  std::vector<std::string> names;  // keyword names of arguments, aligned to the last children; loop targets; operators
  std::vector<std::unique_ptr<Node>> children;
};
using NodePtr = std::unique_ptr<Node>;

/// The filters, tests, methods and functions that jinja_run knows; others are refused when parsed.
bool knows_filter(std::string_view name);
bool knows_test(std::string_view name);
bool knows_method(std::string_view name);
bool knows_function(std::string_view name);

Result<NodePtr> parse(std::string_view source);

struct Inputs {
  std::span<const ChatMessage> messages;
  bool add_generation_prompt = false;
  std::string_view bos_token;
  std::string_view eos_token;
};
Result<std::string> run(const Node& root, const Inputs& inputs);

/// What Python's str.isspace() says.
bool is_python_space(std::uint32_t point);

}  // namespace sluice::engine::jinja
