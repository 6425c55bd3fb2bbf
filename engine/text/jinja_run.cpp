#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>
#include <variant>

#include "engine/core/check.h"
#include "engine/text/jinja.h"
#include "engine/text/utf8.h"

namespace sluice::engine::jinja {
namespace {

constexpr std::int64_t kWorkMax = 192ll << 20;  // a step counts 64, a byte copied 1: a prompt of 8 MB needs some 100 M
constexpr std::size_t kOutputBytesMax = 64u << 20;
constexpr std::int64_t kRangeMax = 10'000;
constexpr int kStepWork = 64;
constexpr int kValueDepthMax = 64;  // lists in lists: comparing, printing and freeing them recurse as deep

struct Value;
using List = std::vector<Value>;
using Map = std::vector<std::pair<std::string, Value>>;  // in order; small

struct Undefined {
  std::string name;
};
struct None {};
struct Namespace {
  // Shared by every variable that names it: that is what a namespace is for.
  std::shared_ptr<std::map<std::string, Value, std::less<>>> members;
};

struct Value {
  // Strings, lists and maps never change, so values share them; shared_ptr because any variable may be the last to go.
  std::variant<Undefined, None, bool, std::int64_t, std::shared_ptr<const std::string>, std::shared_ptr<const List>,
               std::shared_ptr<const Map>, Namespace>
      held;
  int depth = 0;  // of the lists and maps within

  Value() = default;
  template <class T>
  explicit Value(T value) : held(std::move(value)) {}
  static Value text(std::string value) {
    return Value(std::shared_ptr<const std::string>(std::make_shared<std::string>(std::move(value))));
  }
  static Value list(List value);
  static Value map(Map value);

  template <class T>
  const T* as() const {
    return std::get_if<T>(&held);
  }
  const std::string* string() const {
    const auto* shared = as<std::shared_ptr<const std::string>>();
    return shared ? shared->get() : nullptr;
  }
  const List* items() const {
    const auto* shared = as<std::shared_ptr<const List>>();
    return shared ? shared->get() : nullptr;
  }
  const Map* entries() const {
    const auto* shared = as<std::shared_ptr<const Map>>();
    return shared ? shared->get() : nullptr;
  }
  std::optional<std::int64_t> integer() const {  // as in Python, True is 1
    if (const auto* flag = as<bool>()) return *flag ? 1 : 0;
    if (const auto* number = as<std::int64_t>()) return *number;
    return std::nullopt;
  }
  bool undefined() const { return as<Undefined>() != nullptr; }
  std::string_view kind() const {
    constexpr std::array<std::string_view, 8> kKinds{"undefined", "none",   "a boolean", "a number",
                                                     "a string",  "a list", "a mapping", "a namespace"};
    return kKinds[held.index()];
  }
};

Value Value::list(List value) {
  int depth = 0;
  for (const Value& each : value) depth = std::max(depth, each.depth);
  Value made(std::shared_ptr<const List>(std::make_shared<List>(std::move(value))));
  made.depth = depth + 1;
  return made;
}

Value Value::map(Map value) {
  int depth = 0;
  for (const auto& [key, each] : value) depth = std::max(depth, each.depth);
  Value made(std::shared_ptr<const Map>(std::make_shared<Map>(std::move(value))));
  made.depth = depth + 1;
  return made;
}

/// A problem on the way; caught in run() alone.
struct Stopped {
  std::string message;
};

[[noreturn]] void stop(const Node& node, const std::string& what) {
  throw Stopped{fmt::format("line {}: {}", node.line, what)};
}

enum class Flow : std::uint8_t { on, break_loop, continue_loop };

/// The code points of a string as places in it.
std::vector<std::size_t> point_offsets(const std::string& text) {
  std::vector<std::size_t> offsets;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) offsets.push_back(i);
  }
  offsets.push_back(text.size());
  return offsets;
}

std::string_view stripped(std::string_view text, bool left, bool right, const std::string* characters) {
  const auto goes = [&](std::string_view point) {
    if (characters) return characters->find(point) != std::string::npos;
    return is_python_space(utf8_part(point, 0).point);
  };
  while (left && !text.empty()) {
    const auto length = utf8_part(text, 0).length;
    if (!goes(text.substr(0, length))) break;
    text = text.substr(length);
  }
  while (right && !text.empty()) {
    std::size_t begin = text.size() - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    if (!goes(text.substr(begin))) break;
    text = text.substr(0, begin);
  }
  return text;
}

std::string cased(std::string_view text, bool upper) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Part part = utf8_part(text, i);
    i += part.length;
    if (upper && part.point == 0xDF) {
      out += "SS";  // the one in common use that becomes two
    } else {
      const auto point = static_cast<utf8proc_int32_t>(part.point);
      append_utf8(static_cast<std::uint32_t>(upper ? utf8proc_toupper(point) : utf8proc_tolower(point)), out);
    }
  }
  return out;
}

std::string json_string(std::string_view text) {  // json.dumps(..., ensure_ascii=False)
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
          out.push_back(c);
        }
    }
  }
  return out + "\"";
}

/// An argument of a filter, function or method, by place or by name.
struct Arguments {
  List placed;
  std::vector<std::pair<std::string, Value>> named;
};

class Runner {
 public:
  explicit Runner(const Inputs& inputs) {
    List messages;
    for (const ChatMessage& message : inputs.messages) {
      messages.push_back(Value::map({{"role", clean(message.role)}, {"content", clean(message.content)}}));
    }
    auto& scope = scopes_.emplace_back();
    scope["messages"] = Value::list(std::move(messages));
    scope["add_generation_prompt"] = Value(inputs.add_generation_prompt);
    scope["bos_token"] = clean(inputs.bos_token);
    scope["eos_token"] = clean(inputs.eos_token);
    scope["tools"] = Value(None{});
    scope["documents"] = Value(None{});
  }

  std::string run(const Node& root) {
    execute(root);
    return std::move(out_);
  }

 private:
  static Value clean(std::string_view text) {
    std::string valid;
    append_valid_utf8(text, valid);
    return Value::text(std::move(valid));
  }

  void work(const Node& node, std::size_t amount) {
    work_ += static_cast<std::int64_t>(amount);
    if (work_ > kWorkMax) stop(node, "the template does more than it may for one prompt");
  }
  Value text(const Node& node, std::string value) {
    work(node, value.size());
    return Value::text(std::move(value));
  }

  Flow execute(const Node& node) {
    work(node, kStepWork);
    switch (node.kind) {
      case NodeKind::data:
        put(node, node.text);
        return Flow::on;
      case NodeKind::output: {
        const Value value = evaluate(*node.children[0]);
        put(node, printed(node, value));
        return Flow::on;
      }
      case NodeKind::set: {
        Value value = evaluate(*node.children[0]);
        // Within one expression depth is bounded by the tree's; only variables carry it further.
        if (value.depth > kValueDepthMax) stop(node, fmt::format("lists nested deeper than {}", kValueDepthMax));
        if (node.names.empty()) {
          scopes_.back().insert_or_assign(node.text, std::move(value));
        } else {
          const Value* const found = find(node.text);
          const Namespace* const space = found ? found->as<Namespace>() : nullptr;
          if (!space) stop(node, fmt::format("'{}' is not a namespace: its attributes cannot be set", node.text));
          if (value.as<Namespace>())
            stop(node, "a namespace within a namespace is not supported");  // it could hold itself
          space->members->insert_or_assign(node.names[0], std::move(value));
        }
        return Flow::on;
      }
      case NodeKind::branches:
        for (std::size_t i = 0; i < node.children.size(); i += 2) {
          if (!node.children[i] || truth(evaluate(*node.children[i]))) return execute(*node.children[i + 1]);
        }
        return Flow::on;
      case NodeKind::loop:
        return loop(node);
      case NodeKind::block:
        for (const NodePtr& child : node.children) {
          if (const Flow flow = execute(*child); flow != Flow::on) return flow;
        }
        return Flow::on;
      case NodeKind::break_loop:
        return Flow::break_loop;
      case NodeKind::continue_loop:
        return Flow::continue_loop;
      default:
        SLUICE_ENGINE_CHECK(false && "an expression where a statement stands");
    }
    return Flow::on;
  }

  void put(const Node& node, std::string_view text) {
    work(node, text.size());
    if (out_.size() + text.size() > kOutputBytesMax)
      stop(node, fmt::format("the prompt is longer than {} bytes", kOutputBytesMax));
    out_ += text;
  }

  void bind_targets(const Node& node, const Value& item) {
    auto& scope = scopes_.back();
    if (node.names.size() == 1) {
      scope.insert_or_assign(node.names[0], item);
      return;
    }
    const List* const parts = item.items();
    if (!parts || parts->size() != node.names.size()) {
      stop(node, fmt::format("{} cannot be taken apart into {} variables", item.kind(), node.names.size()));
    }
    for (std::size_t i = 0; i < parts->size(); ++i) scope.insert_or_assign(node.names[i], (*parts)[i]);
  }

  Flow loop(const Node& node) {
    List all = sequence(node, evaluate(*node.children[0]));
    if (node.children[1]) {  // the condition sees the loop's variable, and `loop` counts only what passes
      List passing;
      for (Value& item : all) {
        scopes_.emplace_back();
        bind_targets(node, item);
        const bool passes = truth(evaluate(*node.children[1]));
        scopes_.pop_back();
        if (passes) passing.push_back(std::move(item));
      }
      all = std::move(passing);
    }
    if (all.empty() && node.children[3]) {
      scopes_.emplace_back();
      const Flow flow = execute(*node.children[3]);
      scopes_.pop_back();
      return flow;
    }
    const auto count = static_cast<std::int64_t>(all.size());
    for (std::int64_t i = 0; i < count; ++i) {
      work(node, 16 * kStepWork);
      const auto at = static_cast<std::size_t>(i);
      scopes_.emplace_back();
      bind_targets(node, all[at]);
      Map state{{"index0", Value(i)},
                {"index", Value(i + 1)},
                {"revindex0", Value(count - i - 1)},
                {"revindex", Value(count - i)},
                {"length", Value(count)},
                {"first", Value(i == 0)},
                {"last", Value(i + 1 == count)},
                {"previtem", i > 0 ? all[at - 1] : Value(Undefined{"there is no previous item"})},
                {"nextitem", i + 1 < count ? all[at + 1] : Value(Undefined{"there is no next item"})}};
      scopes_.back().insert_or_assign("loop", Value::map(std::move(state)));
      const Flow flow = execute(*node.children[2]);
      scopes_.pop_back();
      if (flow == Flow::break_loop) break;
    }
    return Flow::on;
  }

  /// What a loop goes through.
  List sequence(const Node& node, const Value& value) {
    if (const List* const items = value.items()) {
      work(node, items->size() * kStepWork);
      return *items;
    }
    List list;
    if (const Map* const entries = value.entries()) {
      for (const auto& [key, each] : *entries) list.push_back(text(node, key));
    } else if (const std::string* const characters = value.string()) {
      const auto offsets = point_offsets(*characters);
      work(node, offsets.size() * 4 * kStepWork);
      for (std::size_t i = 0; i + 1 < offsets.size(); ++i)
        list.push_back(Value::text(characters->substr(offsets[i], offsets[i + 1] - offsets[i])));
    } else if (!value.undefined()) {
      stop(node, fmt::format("{} is nothing to loop over", value.kind()));
    }
    return list;
  }

  const Value* find(std::string_view name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      if (const auto at = scope->find(name); at != scope->end()) return &at->second;
    }
    return nullptr;
  }

  static bool truth(const Value& value) {
    if (const auto number = value.integer()) return *number != 0;
    if (const auto* string = value.string()) return !string->empty();
    if (const auto* items = value.items()) return !items->empty();
    if (const auto* entries = value.entries()) return !entries->empty();
    return value.as<Namespace>() != nullptr;
  }

  bool equal(const Node& node, const Value& a, const Value& b) {
    work(node, kStepWork);
    if (a.integer() && b.integer()) return *a.integer() == *b.integer();
    if (a.held.index() != b.held.index()) return false;
    if (const auto* string = a.string()) {
      work(node, std::min(string->size(), b.string()->size()));
      return *string == *b.string();
    }
    if (const auto* items = a.items()) {
      return items->size() == b.items()->size() &&
             std::equal(items->begin(), items->end(), b.items()->begin(),
                        [&](const Value& x, const Value& y) { return equal(node, x, y); });
    }
    if (const auto* entries = a.entries()) {
      return entries->size() == b.entries()->size() &&
             std::all_of(entries->begin(), entries->end(), [&](const auto& entry) {
               const Value* const other = member(b, entry.first);
               return other && equal(node, entry.second, *other);
             });
    }
    if (const auto* space = a.as<Namespace>()) return space->members == b.as<Namespace>()->members;
    return true;  // both undefined, or both none
  }

  static const Value* member(const Value& of, std::string_view name) {
    const Map* const entries = of.entries();
    if (!entries) return nullptr;
    const auto at =
        std::find_if(entries->begin(), entries->end(), [&](const auto& entry) { return entry.first == name; });
    return at == entries->end() ? nullptr : &at->second;
  }

  std::string printed(const Node& node, const Value& value) {
    if (const auto* string = value.string()) return *string;
    if (const auto* flag = value.as<bool>()) return *flag ? "True" : "False";
    if (const auto* number = value.as<std::int64_t>()) return fmt::format("{}", *number);
    if (value.as<None>()) return "None";
    if (value.undefined()) return "";
    stop(node, fmt::format("{} cannot be printed: use the filter tojson", value.kind()));
  }

  std::string json(const Node& node, const Value& value, std::optional<std::int64_t> indent, int level = 0) {
    work(node, kStepWork);
    if (const auto* string = value.string()) return json_string(*string);
    if (const auto* flag = value.as<bool>()) return *flag ? "true" : "false";
    if (const auto* number = value.as<std::int64_t>()) return fmt::format("{}", *number);
    if (value.as<None>()) return "null";
    const List* const items = value.items();
    const Map* const entries = value.entries();
    if (!items && !entries) stop(node, fmt::format("{} has no JSON", value.kind()));
    const std::size_t count = items ? items->size() : entries->size();
    const std::string_view brackets = items ? "[]" : "{}";
    if (count == 0) return std::string(brackets);
    const auto line = [&](int at) {
      return indent ? "\n" + std::string(static_cast<std::size_t>(*indent * at), ' ') : "";
    };
    std::string out(1, brackets[0]);
    for (std::size_t i = 0; i < count; ++i) {
      if (i > 0) out += indent ? "," : ", ";
      out += line(level + 1);
      if (entries) out += json_string((*entries)[i].first) + ": ";
      out += json(node, items ? (*items)[i] : (*entries)[i].second, indent, level + 1);
    }
    out += line(level);
    out.push_back(brackets[1]);
    work(node, out.size());
    return out;
  }

  Value evaluate(const Node& node) {
    work(node, kStepWork);
    switch (node.kind) {
      case NodeKind::string_literal:
        return text(node, node.text);
      case NodeKind::integer_literal:
        return Value(node.number);
      case NodeKind::constant:
        return node.number == 2 ? Value(None{}) : Value(node.number == 1);
      case NodeKind::name: {
        const Value* const found = find(node.text);
        return found ? *found : Value(Undefined{fmt::format("'{}' is undefined", node.text)});
      }
      case NodeKind::list: {
        List list;
        for (const NodePtr& child : node.children) list.push_back(evaluate(*child));
        return Value::list(std::move(list));
      }
      case NodeKind::attribute:
        return attribute(node, evaluate(*node.children[0]), node.text);
      case NodeKind::item:
        return item(node);
      case NodeKind::slice:
        return slice(node);
      case NodeKind::call:
        return call(node);
      case NodeKind::method:
        return method(node);
      case NodeKind::filter:
        return filter(node);
      case NodeKind::test:
        return Value(test(node) != (node.number == 1));
      case NodeKind::unary:
        return unary(node);
      case NodeKind::binary:
        return binary(node);
      case NodeKind::comparison:
        return comparison(node);
      case NodeKind::conditional:
        if (truth(evaluate(*node.children[1]))) return evaluate(*node.children[0]);
        if (node.children[2]) return evaluate(*node.children[2]);
        return Value(Undefined{"an inline if without else was false"});
      default:
        SLUICE_ENGINE_CHECK(false && "a statement where an expression stands");
    }
    return Value();
  }

  Value attribute(const Node& node, const Value& of, std::string_view name) {
    if (const auto* missing = of.as<Undefined>()) stop(node, missing->name);
    if (const auto* space = of.as<Namespace>()) {
      const auto at = space->members->find(name);
      if (at != space->members->end()) return at->second;
    } else if (const Value* const found = member(of, name)) {
      return *found;
    }
    return Value(Undefined{fmt::format("{} has no attribute '{}'", of.kind(), name)});
  }

  Value item(const Node& node) {
    const Value of = evaluate(*node.children[0]);
    const Value key = evaluate(*node.children[1]);
    if (const auto* name = key.string()) return attribute(node, of, *name);
    if (const auto* missing = of.as<Undefined>()) stop(node, missing->name);
    const auto index = key.integer();
    if (!index) return Value(Undefined{fmt::format("{} has no item {}", of.kind(), key.kind())});
    if (const List* const items = of.items()) {
      const auto at = *index < 0 ? *index + static_cast<std::int64_t>(items->size()) : *index;
      if (at >= 0 && at < static_cast<std::int64_t>(items->size())) return (*items)[static_cast<std::size_t>(at)];
    } else if (const auto* string = of.string()) {
      work(node, string->size());
      const auto offsets = point_offsets(*string);
      const auto at = *index < 0 ? *index + static_cast<std::int64_t>(offsets.size()) - 1 : *index;
      if (at >= 0 && at + 1 < static_cast<std::int64_t>(offsets.size())) {
        const auto i = static_cast<std::size_t>(at);
        return Value::text(string->substr(offsets[i], offsets[i + 1] - offsets[i]));
      }
    }
    return Value(Undefined{fmt::format("{} has no item {}", of.kind(), *index)});
  }

  Value slice(const Node& node) {
    const Value of = evaluate(*node.children[0]);
    std::optional<std::int64_t> bounds[3];
    for (std::size_t i = 0; i < 3; ++i) {
      if (!node.children[i + 1]) continue;
      const Value bound = evaluate(*node.children[i + 1]);
      if (bound.as<None>()) continue;
      bounds[i] = bound.integer();
      if (!bounds[i]) stop(node, fmt::format("{} is no bound of a slice", bound.kind()));
    }
    const std::string* const string = of.string();
    const List* const items = of.items();
    if (const auto* missing = of.as<Undefined>()) stop(node, missing->name);
    if (!string && !items) stop(node, fmt::format("{} cannot be sliced", of.kind()));
    if (string) work(node, string->size());
    const std::vector<std::size_t> offsets = string ? point_offsets(*string) : std::vector<std::size_t>();
    const auto count = static_cast<std::int64_t>(string ? offsets.size() - 1 : items->size());
    const std::int64_t step = bounds[2].value_or(1);
    if (step == 0) stop(node, "a slice's step is zero");
    const auto clamped = [&](std::optional<std::int64_t> bound, std::int64_t absent) {  // as Python's slice.indices()
      if (!bound) return absent;
      const std::int64_t at = *bound < 0 ? *bound + count : *bound;
      return std::clamp<std::int64_t>(at, step > 0 ? 0 : -1, step > 0 ? count : count - 1);
    };
    const std::int64_t begin = clamped(bounds[0], step > 0 ? 0 : count - 1);
    const std::int64_t end = clamped(bounds[1], step > 0 ? count : -1);
    std::string characters;
    List list;
    for (std::int64_t i = begin; step > 0 ? i < end : i > end; i += step) {
      const auto at = static_cast<std::size_t>(i);
      if (string) {
        characters += std::string_view(*string).substr(offsets[at], offsets[at + 1] - offsets[at]);
      } else {
        work(node, kStepWork);
        list.push_back((*items)[at]);
      }
      if (step > count || step < -count) break;  // one step leaves it, and a huge one would overflow
    }
    return string ? Value::text(std::move(characters)) : Value::list(std::move(list));
  }

  Arguments arguments(const Node& node, std::size_t from) {
    Arguments given;
    const std::size_t placed_end = node.children.size() - node.names.size();
    for (std::size_t i = from; i < node.children.size(); ++i) {
      Value value = evaluate(*node.children[i]);
      if (i < placed_end) {
        given.placed.push_back(std::move(value));
      } else {
        given.named.emplace_back(node.names[i - placed_end], std::move(value));
      }
    }
    return given;
  }

  /// Checks what a filter or method was given; `names` are those that may be given by name, in the order of their
  /// places.
  std::vector<std::optional<Value>> take(const Node& node, std::size_t required,
                                         std::initializer_list<std::string_view> names) {
    const bool is_call = node.kind == NodeKind::call;
    const Arguments given = arguments(node, is_call ? 0 : 1);
    std::vector<std::optional<Value>> taken(names.size());
    if (given.placed.size() > names.size())
      stop(node, fmt::format("'{}' takes at most {} arguments", node.text, names.size()));
    for (std::size_t i = 0; i < given.placed.size(); ++i) taken[i] = given.placed[i];
    for (const auto& [name, value] : given.named) {
      const auto at = std::find(names.begin(), names.end(), name);
      if (at == names.end()) stop(node, fmt::format("'{}' has no argument '{}'", node.text, name.substr(0, 60)));
      taken[static_cast<std::size_t>(at - names.begin())] = value;
    }
    for (std::size_t i = 0; i < required; ++i) {
      if (!taken[i]) stop(node, fmt::format("'{}' needs at least {} arguments", node.text, required));
    }
    return taken;
  }

  Value call(const Node& node) {
    if (node.text == "raise_exception") {
      const auto given = take(node, 1, {"message"});
      throw Stopped{fmt::format("the template refuses these messages: {}", printed(node, *given[0]))};
    }
    if (node.text == "namespace") {
      const Arguments given = arguments(node, 0);
      if (!given.placed.empty()) stop(node, "'namespace' takes named arguments only");
      Namespace space{std::make_shared<std::map<std::string, Value, std::less<>>>()};
      for (const auto& [name, value] : given.named) {
        if (value.as<Namespace>()) stop(node, "a namespace within a namespace is not supported");
        space.members->insert_or_assign(name, value);
      }
      return Value(std::move(space));
    }
    if (node.text == "range") {
      const auto given = take(node, 1, {"start", "stop", "step"});
      std::int64_t bounds[3] = {0, 0, 1};
      for (std::size_t i = 0; i < 3; ++i) {
        if (!given[i]) continue;
        const auto number = given[i]->integer();
        if (!number) stop(node, "'range' takes numbers");
        bounds[i] = *number;
      }
      if (!given[1]) bounds[1] = std::exchange(bounds[0], 0);
      if (bounds[2] == 0) stop(node, "a range's step is zero");
      List list;
      for (std::int64_t i = bounds[0]; bounds[2] > 0 ? i < bounds[1] : i > bounds[1];) {
        if (static_cast<std::int64_t>(list.size()) == kRangeMax)
          stop(node, fmt::format("a range longer than {}", kRangeMax));
        list.push_back(Value(i));
        if (__builtin_add_overflow(i, bounds[2], &i)) break;
      }
      return Value::list(std::move(list));
    }
    // strftime_now: the same messages must give the same prompt on any day, so there is no clock here. Templates ask
    // `strftime_now is defined` and have a date of their own.
    stop(node, fmt::format("'{}' is undefined", node.text));
  }

  std::string only_string(const Node& node, const std::optional<Value>& value) {
    const std::string* const string = value ? value->string() : nullptr;
    if (!string) stop(node, fmt::format("'{}' takes a string, not {}", node.text, value ? value->kind() : "nothing"));
    return *string;
  }

  Value method(const Node& node) {
    const Value of = evaluate(*node.children[0]);
    const std::string& name = node.text;
    if (const auto* missing = of.as<Undefined>()) stop(node, missing->name);
    if (name == "items" || name == "keys" || name == "get" || name == "values") {
      if (!of.entries()) stop(node, fmt::format("{} has no method '{}'", of.kind(), name));
      if (name == "get") {
        const auto given = take(node, 1, {"key", "default"});
        if (const Value* const found = member(of, only_string(node, given[0]))) return *found;
        return given[1].value_or(Value(None{}));
      }
      take(node, 0, {});
      List list;
      for (const auto& [key, value] : *of.entries()) {
        if (name == "items") list.push_back(Value::list({text(node, key), value}));
        if (name == "keys") list.push_back(text(node, key));
        if (name == "values") list.push_back(value);
      }
      return Value::list(std::move(list));
    }
    const std::string* const string = of.string();
    if (!string) stop(node, fmt::format("{} has no method '{}'", of.kind(), name));
    work(node, string->size());
    if (name == "strip" || name == "lstrip" || name == "rstrip") {
      const auto given = take(node, 0, {"characters"});
      std::string characters;
      const bool chosen = given[0] && !given[0]->as<None>();
      if (chosen) characters = only_string(node, given[0]);
      if (characters.size() > 1000) stop(node, fmt::format("'{}' of more than 1000 bytes", name));
      return text(node,
                  std::string(stripped(*string, name != "rstrip", name != "lstrip", chosen ? &characters : nullptr)));
    }
    if (name == "upper" || name == "lower") {
      take(node, 0, {});
      return text(node, cased(*string, name == "upper"));
    }
    if (name == "startswith" || name == "endswith") {
      const auto given = take(node, 1, {"part"});
      List parts = given[0]->items() ? *given[0]->items() : List{*given[0]};
      return Value(std::any_of(parts.begin(), parts.end(), [&](const Value& part) {
        const std::string affix = only_string(node, part);
        return name == "startswith" ? string->starts_with(affix) : string->ends_with(affix);
      }));
    }
    if (name == "replace") {
      const auto given = take(node, 2, {"old", "new"});
      return replaced(node, *string, only_string(node, given[0]), only_string(node, given[1]));
    }
    SLUICE_ENGINE_CHECK(name == "split");
    return split(node, *string);
  }

  Value split(const Node& node, const std::string& string) {
    const auto given = take(node, 0, {"separator", "maximum"});
    std::int64_t left = -1;
    if (given[1]) {
      const auto maximum = given[1]->integer();
      if (!maximum) stop(node, "'split' takes a number of cuts");
      left = *maximum;
    }
    List parts;
    const auto keep = [&](std::string_view part) {
      work(node, 4 * kStepWork);
      parts.push_back(text(node, std::string(part)));
    };
    std::string_view rest = string;
    if (!given[0] || given[0]->as<None>()) {  // at runs of white space, none at the ends
      rest = stripped(rest, true, false, nullptr);
      while (!rest.empty()) {
        if (left == 0) {
          keep(rest);  // with the white space at its end, as Python has it
          break;
        }
        std::size_t end = 0;
        while (end < rest.size()) {
          const Utf8Part part = utf8_part(rest, end);
          if (is_python_space(part.point)) break;
          end += part.length;
        }
        keep(rest.substr(0, end));
        rest = stripped(rest.substr(end), true, false, nullptr);
        --left;
      }
      return Value::list(std::move(parts));
    }
    const std::string separator = only_string(node, given[0]);
    if (separator.empty()) stop(node, "'split' at an empty string");
    for (auto at = rest.find(separator); at != std::string_view::npos && left != 0; at = rest.find(separator), --left) {
      keep(rest.substr(0, at));
      rest = rest.substr(at + separator.size());
    }
    keep(rest);
    return Value::list(std::move(parts));
  }

  Value replaced(const Node& node, const std::string& string, const std::string& old, const std::string& by) {
    if (old.empty()) stop(node, "'replace' of an empty string is not supported");
    std::string out;
    std::size_t from = 0;
    for (auto at = string.find(old); at != std::string::npos; at = string.find(old, from)) {
      out.append(string, from, at - from);
      out += by;
      work(node, by.size() + kStepWork);
      from = at + old.size();
    }
    out.append(string, from);
    return text(node, std::move(out));
  }

  /// selectattr and rejectattr: by an attribute's truth, or by a test of it.
  Value chosen(const Node& node, const Value& of) {
    const auto given = take(node, 1, {"attribute", "test", "value"});
    const std::string attribute = only_string(node, given[0]);
    const std::string test = given[1] ? only_string(node, given[1]) : "";
    const bool compares_value = test == "equalto" || test == "eq" || test == "==";
    if (!test.empty() && !compares_value && test != "defined" && test != "undefined")
      stop(node, fmt::format("'{}' by the test '{}' is not supported", node.text, test.substr(0, 60)));
    if (compares_value != given[2].has_value())
      stop(node, fmt::format("'{}' takes a value with equalto only", node.text));
    if (attribute.find('.') != std::string::npos)
      stop(node, fmt::format("'{}' of attributes of attributes is not supported", node.text));
    List list;
    for (Value& each : sequence(node, of)) {
      const Value* const found = member(each, attribute);
      const Value value = found != nullptr ? *found : Value(Undefined{});
      const bool holds = compares_value        ? equal(node, value, *given[2])
                         : test == "defined"   ? !value.undefined()
                         : test == "undefined" ? value.undefined()
                                               : truth(value);
      work(node, kStepWork);
      if (holds == (node.text == "selectattr")) list.push_back(std::move(each));
    }
    return Value::list(std::move(list));
  }

  Value filter(const Node& node) {
    const Value of = evaluate(*node.children[0]);
    const std::string& name = node.text;
    if (name == "default" || name == "d") {
      const auto given = take(node, 0, {"default_value", "boolean"});
      const bool missing = of.undefined() || (given[1] && truth(*given[1]) && !truth(of));
      return missing ? given[0].value_or(text(node, "")) : of;
    }
    if (name == "length" || name == "count") {
      take(node, 0, {});
      if (const auto* string = of.string()) {
        work(node, string->size());
        return Value(static_cast<std::int64_t>(point_offsets(*string).size()) - 1);
      }
      if (of.items()) return Value(static_cast<std::int64_t>(of.items()->size()));
      if (of.entries()) return Value(static_cast<std::int64_t>(of.entries()->size()));
      if (of.undefined()) return Value(std::int64_t{0});
      stop(node, fmt::format("{} has no length", of.kind()));
    }
    if (name == "first" || name == "last") {
      take(node, 0, {});
      const List all = sequence(node, of);
      if (all.empty()) return Value(Undefined{fmt::format("there is no {} item", name)});
      return name == "first" ? all.front() : all.back();
    }
    if (name == "list") {
      take(node, 0, {});
      return Value::list(sequence(node, of));
    }
    if (name == "items") {
      take(node, 0, {});
      List list;
      if (!of.entries() && !of.undefined()) stop(node, fmt::format("{} has no items", of.kind()));
      for (const auto& [key, value] : of.entries() ? *of.entries() : Map())
        list.push_back(Value::list({text(node, key), value}));
      return Value::list(std::move(list));
    }
    if (name == "selectattr" || name == "rejectattr") return chosen(node, of);
    if (name == "join") {
      const auto given = take(node, 0, {"d"});
      const std::string separator = given[0] ? only_string(node, given[0]) : "";
      std::string out;
      bool first = true;
      for (const Value& each : sequence(node, of)) {
        if (!std::exchange(first, false)) out += separator;
        out += printed(node, each);
        work(node, separator.size() + kStepWork);
        if (out.size() > kOutputBytesMax) stop(node, "'join' makes too long a string");
      }
      return text(node, std::move(out));
    }
    if (name == "tojson") {
      const auto given = take(node, 0, {"ensure_ascii", "indent"});
      if (given[0]) stop(node, "'tojson' with ensure_ascii is not supported");
      std::optional<std::int64_t> indent;
      if (given[1] && !given[1]->as<None>()) {
        indent = given[1]->integer();
        if (!indent || *indent < 0 || *indent > 16) stop(node, "'tojson' takes an indent of 0 to 16");
      }
      return text(node, json(node, of, indent));
    }
    if (name == "trim") {
      const auto given = take(node, 0, {"chars"});
      std::string characters;
      const bool chosen = given[0] && !given[0]->as<None>();
      if (chosen) characters = only_string(node, given[0]);
      if (characters.size() > 1000) stop(node, "'trim' of more than 1000 bytes");
      return text(node, std::string(stripped(printed(node, of), true, true, chosen ? &characters : nullptr)));
    }
    if (name == "replace") {
      const auto given = take(node, 2, {"old", "new"});
      return replaced(node, printed(node, of), only_string(node, given[0]), only_string(node, given[1]));
    }
    take(node, 0, {});
    if (name == "upper" || name == "lower") return text(node, cased(printed(node, of), name == "upper"));
    SLUICE_ENGINE_CHECK(name == "string" || name == "safe");
    return text(node, printed(node, of));
  }

  bool test(const Node& node) {
    const std::string& name = node.text;
    const Value of = evaluate(*node.children[0]);
    if (name == "defined") return !of.undefined();
    if (name == "undefined") return of.undefined();
    if (name == "none") return of.as<None>() != nullptr;
    if (name == "string") return of.string() != nullptr;
    if (name == "mapping") return of.entries() != nullptr;
    if (name == "sequence") return of.string() || of.items() || of.entries() || of.undefined();
    if (name == "iterable") return of.string() || of.items() || of.entries() || of.undefined();
    if (name == "boolean") return of.as<bool>() != nullptr;
    if (name == "number") return of.integer().has_value();
    if (name == "integer") return of.as<std::int64_t>() != nullptr;
    if (name == "true" || name == "false") return of.as<bool>() && *of.as<bool>() == (name == "true");
    SLUICE_ENGINE_CHECK(name == "odd" || name == "even");
    const auto number = of.integer();
    if (!number) stop(node, fmt::format("{} is neither odd nor even", of.kind()));
    return (*number % 2 != 0) == (name == "odd");
  }

  Value unary(const Node& node) {
    const Value of = evaluate(*node.children[0]);
    if (node.text == "not") return Value(!truth(of));
    const auto number = of.integer();
    if (!number) stop(node, fmt::format("{} has no sign", of.kind()));
    std::int64_t result = *number;
    if (node.text == "-" && __builtin_sub_overflow(std::int64_t{0}, *number, &result))
      stop(node, "a number is too large");
    return Value(result);
  }

  Value binary(const Node& node) {
    if (node.text == "and" || node.text == "or") {  // the deciding operand itself, as in Python
      Value left = evaluate(*node.children[0]);
      return truth(left) == (node.text == "or") ? left : evaluate(*node.children[1]);
    }
    const Value left = evaluate(*node.children[0]);
    const Value right = evaluate(*node.children[1]);
    if (node.text == "~") return text(node, printed(node, left) + printed(node, right));
    for (const Value* side : {&left, &right}) {
      if (const auto* missing = side->as<Undefined>()) stop(node, missing->name);
    }
    if (node.text == "+" && left.string() && right.string()) {
      work(node, left.string()->size() + right.string()->size());  // before the memory is taken
      return Value::text(*left.string() + *right.string());
    }
    if (node.text == "+" && left.items() && right.items()) {
      List both = *left.items();
      both.insert(both.end(), right.items()->begin(), right.items()->end());
      work(node, both.size() * kStepWork);
      return Value::list(std::move(both));
    }
    const auto a = left.integer(), b = right.integer();
    if (!a || !b) stop(node, fmt::format("'{}' of {} and {}", node.text, left.kind(), right.kind()));
    std::int64_t result = 0;
    bool overflows = false;
    if (node.text == "+") overflows = __builtin_add_overflow(*a, *b, &result);
    if (node.text == "-") overflows = __builtin_sub_overflow(*a, *b, &result);
    if (node.text == "*") overflows = __builtin_mul_overflow(*a, *b, &result);
    if (node.text == "//" || node.text == "%") {
      if (*b == 0) stop(node, "division by zero");
      if (*b == -1) {  // the lowest number divided by -1 would trap
        overflows = __builtin_sub_overflow(std::int64_t{0}, *a, &result);
        if (node.text == "%") result = 0, overflows = false;
      } else {
        const bool down = *a % *b != 0 && (*a < 0) != (*b < 0);  // Python rounds down
        result = node.text == "//" ? *a / *b - (down ? 1 : 0) : *a % *b + (down ? *b : 0);
      }
    }
    if (overflows) stop(node, "a number is too large");
    return Value(result);
  }

  bool holds(const Node& node, const Value& container, const Value& sought) {
    if (const auto* string = container.string()) {
      if (!sought.string()) stop(node, fmt::format("{} in a string", sought.kind()));
      work(node, string->size());
      return string->find(*sought.string()) != std::string::npos;
    }
    if (const auto* items = container.items()) {
      return std::any_of(items->begin(), items->end(), [&](const Value& each) { return equal(node, each, sought); });
    }
    if (container.entries()) return sought.string() && member(container, *sought.string());
    if (container.undefined()) return false;
    stop(node, fmt::format("'in' {}", container.kind()));
  }

  bool compares(const Node& node, const std::string& op, const Value& left, const Value& right) {
    if (op == "==") return equal(node, left, right);
    if (op == "!=") return !equal(node, left, right);
    if (op == "in") return holds(node, right, left);
    if (op == "not in") return !holds(node, right, left);
    int order = 0;
    if (left.integer() && right.integer()) {
      order = *left.integer() < *right.integer() ? -1 : *left.integer() > *right.integer() ? 1 : 0;
    } else if (left.string() && right.string()) {
      order = left.string()->compare(*right.string());  // UTF-8 sorts as its code points do
    } else {
      stop(node, fmt::format("'{}' of {} and {}", op, left.kind(), right.kind()));
    }
    return op == "<" ? order < 0 : op == "<=" ? order <= 0 : op == ">" ? order > 0 : order >= 0;
  }

  Value comparison(const Node& node) {
    Value left = evaluate(*node.children[0]);
    for (std::size_t i = 0; i < node.names.size(); ++i) {
      Value right = evaluate(*node.children[i + 1]);
      if (!compares(node, node.names[i], left, right)) return Value(false);
      left = std::move(right);
    }
    return Value(true);
  }

  std::vector<std::map<std::string, Value, std::less<>>> scopes_;
  std::string out_;
  std::int64_t work_ = 0;
};

template <std::size_t N>
bool is_one_of(std::string_view name, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

bool knows_filter(std::string_view name) {
  return is_one_of(name, std::to_array<std::string_view>({"trim", "length", "count", "default", "d", "upper", "lower",
                                                          "first", "last", "list", "items", "join", "tojson", "replace",
                                                          "string", "safe", "selectattr", "rejectattr"}));
}
bool knows_test(std::string_view name) {
  return is_one_of(name, std::to_array<std::string_view>({"defined", "undefined", "none", "string", "mapping",
                                                          "sequence", "iterable", "boolean", "number", "integer",
                                                          "true", "false", "odd", "even"}));
}
bool knows_method(std::string_view name) {
  return is_one_of(
      name, std::to_array<std::string_view>({"strip", "lstrip", "rstrip", "upper", "lower", "startswith", "endswith",
                                             "replace", "split", "items", "keys", "values", "get"}));
}
bool knows_function(std::string_view name) {
  return is_one_of(name, std::to_array<std::string_view>({"raise_exception", "namespace", "range", "strftime_now"}));
}

Result<std::string> run(const Node& root, const Inputs& inputs) {
  try {
    return Runner(inputs).run(root);
  } catch (const Stopped& stopped) {
    return fail("chat template: " + stopped.message);
  }
}

}  // namespace sluice::engine::jinja
