#include "engine/text/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <bitset>
#include <cctype>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "engine/core/check.h"
#include "engine/text/unicode_additions.h"
#include "engine/text/utf8.h"

namespace sluice::engine {
namespace {

constexpr std::size_t kExpressionBytesMax = 16 * 1024;  // the longest in use, o200k's, has 400
constexpr std::uint32_t kRepeatMax = 1000;
constexpr int kNestingMax = 50;
constexpr std::uint32_t kMatchWorkMax = 1'000'000;  // backtracks of one match; patterns in use need a few
constexpr std::size_t kJitStackMax = 4u << 20;

struct Points {
  std::uint32_t first = 0;
  std::uint32_t last = 0;
};

constexpr std::array<Points, 10> kSpace{{{0x9, 0xD},
                                         {0x20, 0x20},
                                         {0x85, 0x85},
                                         {0xA0, 0xA0},
                                         {0x1680, 0x1680},
                                         {0x2000, 0x200A},
                                         {0x2028, 0x2029},
                                         {0x202F, 0x202F},
                                         {0x205F, 0x205F},
                                         {0x3000, 0x3000}}};
// Oniguruma's \w beyond L, M, Nd, Nl and Pc: other alphabetic characters, and six numbers of Latin-1.
constexpr std::array<Points, 7> kWordBesides{{{0xB2, 0xB3},
                                              {0xB9, 0xB9},
                                              {0xBC, 0xBE},
                                              {0x24B6, 0x24E9},
                                              {0x1F130, 0x1F149},
                                              {0x1F150, 0x1F169},
                                              {0x1F170, 0x1F189}}};
constexpr std::array<std::string_view, 35> kCategories{
    "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps",
    "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "Cc", "Cf", "Co", "Han"};

/// A set of characters, kept apart as PCRE2 will be told of it.
struct CharacterSet {
  std::vector<Points> points;
  std::vector<std::string_view> categories;  // of kCategories
  bool negated = false;

  template <class Table>
  void add(const Table& table) {
    points.insert(points.end(), table.begin(), table.end());
  }
  void add_all_but(std::span<const Points> table) {
    std::uint32_t next = 0;
    for (const Points& gap : table) {
      if (gap.first > next) points.push_back({next, gap.first - 1});
      next = gap.last + 1;
    }
    points.push_back({next, 0x10FFFF});
  }
};

bool ascii_has_category(std::uint32_t point, std::string_view category) {
  const std::string_view own = utf8proc_category_string(static_cast<utf8proc_int32_t>(point));
  return category.size() == 1 ? own.front() == category.front() : own == category;
}

std::string for_unicode(const CharacterSet& set) {
  std::string out = set.negated ? "[^" : "[";
  const auto put = [&out](std::uint32_t first, std::uint32_t last) {
    out += first == last ? fmt::format("\\x{{{:x}}}", first) : fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", first, last);
  };
  for (const std::string_view category : set.categories) {
    out += fmt::format("\\p{{{}{}}}", category.size() > 2 ? "sc:" : "", category);
    // PCRE2 10.42 knows Unicode 14; told to a newer one, these change nothing.
    for (const UnicodeAddition& addition : unicode_additions) {
      const bool belongs = category.size() == 1
                               ? addition.category.size() == 2 && addition.category.front() == category.front()
                               : addition.category == category;
      if (belongs) put(addition.first, addition.last);
    }
  }
  for (const Points& points : set.points) put(points.first, points.last);
  return out + "]";
}

std::string for_ascii(const CharacterSet& set) {
  std::bitset<128> in;
  for (std::uint32_t point = 0; point < in.size(); ++point) {
    bool inside = std::any_of(set.points.begin(), set.points.end(),
                              [&](const Points& points) { return points.first <= point && point <= points.last; });
    for (const std::string_view category : set.categories) inside = inside || ascii_has_category(point, category);
    in[point] = inside != set.negated;
  }
  if (in.none()) return "(?!)";
  std::string out = "[";
  for (std::uint32_t point = 0; point < in.size(); ++point) {
    if (!in[point]) continue;
    std::uint32_t last = point;
    while (last + 1 < in.size() && in[last + 1]) ++last;
    out += point == last ? fmt::format("\\x{:02x}", point) : fmt::format("\\x{:02x}-\\x{:02x}", point, last);
    point = last;
  }
  return out + "]";
}

/// The same expression twice: for any text, and for texts that are ASCII only, where sets are 16 bytes and much faster.
struct Translation {
  std::string unicode;
  std::string ascii;
};

/// Reads Oniguruma's syntax (the Ruby flavour, as tokenizers compiles it) and writes PCRE2's.
class Translator {
 public:
  explicit Translator(std::string_view expression) : text_(expression) {}

  Result<Translation> run() {
    if (text_.empty()) return refusal("an empty expression");
    if (text_.size() > kExpressionBytesMax) return refusal(fmt::format("more than {} bytes", kExpressionBytesMax));
    while (at_ < text_.size() && problem_.empty()) step();
    if (problem_.empty() && depth_ != 0) problem_ = "a '(' that is not closed";
    if (problem_.empty() && folds_case_ && folds_to_ascii_) problem_ = "(?i: together with U+017F or U+212A";
    if (!problem_.empty()) return refusal(problem_);
    return std::move(out_);
  }

 private:
  Error refusal(const std::string& what) const {
    return fail(fmt::format("regular expression: {} at offset {} is not supported", what, std::min(at_, text_.size())));
  }
  void refuse(std::string what) {
    if (problem_.empty()) problem_ = std::move(what);
  }
  bool at(std::string_view what) const { return text_.substr(at_).starts_with(what); }
  bool take(std::string_view what) {
    if (!at(what)) return false;
    at_ += what.size();
    return true;
  }
  std::uint32_t take_point() {
    const Utf8Part part = utf8_part(text_, at_);
    at_ += part.length;
    return part.point;
  }
  void both(std::string_view what) {
    out_.unicode += what;
    out_.ascii += what;
    quantifiable_ = true;
  }
  void set(const CharacterSet& characters) {
    out_.unicode += for_unicode(characters);
    out_.ascii += for_ascii(characters);
    quantifiable_ = true;
  }
  void literal(std::uint32_t point) {
    if (point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) return refuse("a code point that is none");
    folds_to_ascii_ =
        folds_to_ascii_ || point == 0x17F || point == 0x212A;  // long s, Kelvin: the ASCII variant would miss s, k
    out_.unicode += fmt::format("\\x{{{:x}}}", point);
    out_.ascii += point < 0x80 ? fmt::format("\\x{:02x}", point) : "(?!)";
    quantifiable_ = true;
  }

  void step() {
    switch (text_[at_]) {
      case '\\':
        return escape();
      case '[':
        return bracket();
      case '(':
        return open();
      case ')':
        if (depth_ == 0) return refuse("a ')' without '('");
        --depth_;
        ++at_;
        return both(")");
      case '|':
        ++at_;
        both("|");
        quantifiable_ = false;
        return;
      case '*':
      case '+':
      case '?':
        return quantifier();
      case '{':
        return interval();
      case '^':
      case '$':
        return refuse(fmt::format("'{}'", text_[at_]));
      case '.': {
        ++at_;
        CharacterSet characters;
        characters.points.push_back({'\n', '\n'});
        characters.negated = true;
        return set(characters);
      }
      default:
        return literal(take_point());
    }
  }

  void open() {
    if (++depth_ > kNestingMax) return refuse(fmt::format("nesting deeper than {}", kNestingMax));
    ++at_;
    if (!take("?")) {
      both("(?:");
    } else {
      constexpr std::array<std::string_view, 7> kKinds{":", "=", "!", ">", "<=", "<!", "i:"};
      const auto kind = std::find_if(kKinds.begin(), kKinds.end(), [&](std::string_view each) { return at(each); });
      if (kind == kKinds.end()) return refuse(fmt::format("the group '(?{}'", text_.substr(at_, 1)));
      at_ += kind->size();
      folds_case_ = folds_case_ || *kind == "i:";
      both(fmt::format("(?{}", *kind));
    }
    quantifiable_ = false;
  }

  void quantifier() {
    if (!quantifiable_) return refuse("a quantifier after nothing");
    std::string mark(1, text_[at_++]);
    if (at_ < text_.size() && (text_[at_] == '?' || text_[at_] == '+')) mark += text_[at_++];
    both(mark);
    quantifiable_ = false;  // a second one means something else in each dialect
  }

  void interval() {
    if (!quantifiable_) return refuse("a '{' that repeats nothing");
    ++at_;
    const auto number = [&]() -> std::optional<std::uint32_t> {
      std::uint32_t value = 0;
      const std::size_t begin = at_;
      while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9' && at_ - begin < 6) {
        value = value * 10 + static_cast<std::uint32_t>(text_[at_++] - '0');
      }
      if (at_ == begin || value > kRepeatMax) return std::nullopt;
      return value;
    };
    const auto low = number();
    if (!low) return refuse(fmt::format("an interval that is not {{n}}, {{n,}} or {{n,m}} up to {}", kRepeatMax));
    const bool comma = take(",");
    std::optional<std::uint32_t> high;
    if (comma && !at("}")) {
      high = number();
      if (!high || *high < *low)
        return refuse(fmt::format("an interval that is not {{n}}, {{n,}} or {{n,m}} up to {}", kRepeatMax));
    }
    if (!take("}")) return refuse("an interval that is not closed");
    both(fmt::format("{{{}{}{}}}", *low, comma ? "," : "", high ? fmt::format("{}", *high) : ""));
    if (comma && take("?")) both("?");
    quantifiable_ = false;  // {n}? and {n,m}+ mean something else in each dialect
  }

  /// An escape that stands for one character, with at_ behind the backslash.
  std::optional<std::uint32_t> escaped_point() {
    if (at_ >= text_.size()) {
      refuse("a backslash at the end");
      return std::nullopt;
    }
    const char c = text_[at_];
    constexpr std::string_view kNames = "rntfvae";
    constexpr std::string_view kValues = "\r\n\t\f\v\a\x1b";
    if (const auto index = kNames.find(c); index != std::string_view::npos) {
      ++at_;
      return static_cast<std::uint32_t>(kValues[index]);
    }
    if (c == 'x' || c == 'u') {
      ++at_;
      const bool braces = c == 'x' && take("{");
      const std::size_t digits_max = braces ? 6 : c == 'x' ? 2 : 4;
      std::uint32_t value = 0;
      std::size_t digits = 0;
      for (; digits < digits_max && at_ < text_.size(); ++digits, ++at_) {
        const char d = text_[at_];
        if (d >= '0' && d <= '9') {
          value = value * 16 + static_cast<std::uint32_t>(d - '0');
        } else if ((d | 0x20) >= 'a' && (d | 0x20) <= 'f') {
          value = value * 16 + static_cast<std::uint32_t>((d | 0x20) - 'a' + 10);
        } else {
          break;
        }
      }
      if (digits == 0 || (braces && !take("}")) || (c == 'u' && digits != 4) || (c == 'x' && !braces && value > 0x7F)) {
        refuse("this hexadecimal escape");
        return std::nullopt;
      }
      return value;
    }
    if (const auto u = static_cast<unsigned char>(c); u < 0x80 && !std::isalnum(u)) {
      ++at_;
      return u;
    }
    refuse(fmt::format("the escape '\\{}'", is_ascii(text_.substr(at_, 1)) ? text_.substr(at_, 1) : ""));
    return std::nullopt;
  }

  /// An escape that stands for many characters, with at_ behind the backslash; added to `into`. False if it is none.
  bool escaped_set(CharacterSet& into, bool inside_brackets) {
    if (at_ >= text_.size()) return false;
    const char c = text_[at_];
    switch (c) {
      case 's':
        into.add(kSpace);
        break;
      case 'd':
        into.categories.push_back("Nd");
        break;
      case 'h':
        into.points.insert(into.points.end(), {{'0', '9'}, {'A', 'F'}, {'a', 'f'}});
        break;
      case 'w':
        for (const std::string_view category : {"L", "M", "Nd", "Nl", "Pc"}) into.categories.push_back(category);
        into.add(kWordBesides);
        break;
      case 'S':
        into.add_all_but(kSpace);
        break;
      case 'D':
      case 'W':
      case 'H':
      case 'P':
        if (inside_brackets) {
          refuse(fmt::format("'\\{}' inside brackets", c));
          return true;
        }
        into.negated = true;
        if (c == 'D') into.categories.push_back("Nd");
        if (c == 'H') into.points.insert(into.points.end(), {{'0', '9'}, {'A', 'F'}, {'a', 'f'}});
        if (c == 'W') {
          for (const std::string_view category : {"L", "M", "Nd", "Nl", "Pc"}) into.categories.push_back(category);
          into.add(kWordBesides);
        }
        if (c == 'P') property(into);
        if (c == 'P') return true;
        break;
      case 'p':
        property(into);
        return true;
      default:
        return false;
    }
    ++at_;
    return true;
  }

  void property(CharacterSet& into) {
    ++at_;
    const auto end = text_.find('}', at_);
    if (!take("{") || end == std::string_view::npos) return refuse("a \\p without {...}");
    const std::string_view name = text_.substr(at_, end - at_);
    const auto known = std::find(kCategories.begin(), kCategories.end(), name);
    if (known == kCategories.end()) return refuse(fmt::format("the property '{}'", name.substr(0, 40)));
    into.categories.push_back(*known);
    at_ = end + 1;
  }

  void escape() {
    ++at_;
    CharacterSet characters;
    if (escaped_set(characters, false)) {
      if (problem_.empty()) set(characters);
      return;
    }
    if (const auto point = escaped_point()) literal(*point);
  }

  void bracket() {
    ++at_;
    CharacterSet characters;
    characters.negated = take("^");
    bool empty = true;
    while (problem_.empty()) {
      if (at_ >= text_.size()) return refuse("a '[' that is not closed");
      if (take("]")) break;
      if (at("[")) return refuse("a set inside brackets");
      if (at("&&")) return refuse("'&&' inside brackets");
      empty = false;
      if (take("\\")) {
        if (escaped_set(characters, true)) {
          if (at("-") && !at("-]")) return refuse("a range from a set of characters");
          continue;
        }
        const auto point = escaped_point();
        if (point) range_from(*point, characters);
        continue;
      }
      range_from(take_point(), characters);
    }
    if (!problem_.empty()) return;
    if (empty) return refuse("an empty '[]'");
    set(characters);
  }

  void range_from(std::uint32_t first, CharacterSet& into) {
    if (first > 0x10FFFF) return refuse("a code point that is none");
    if (!at("-") || at("-]")) return into.points.push_back({first, first});
    ++at_;
    if (at("[") || at_ >= text_.size()) return refuse("a range without an end");
    std::optional<std::uint32_t> last;
    if (take("\\")) {
      last = escaped_point();
      if (!last) return refuse("a range to a set of characters");
    } else {
      last = take_point();
    }
    if (*last < first || *last > 0x10FFFF) return refuse("a range that runs backwards");
    into.points.push_back({first, *last});
  }

  std::string_view text_;
  std::size_t at_ = 0;
  int depth_ = 0;
  bool quantifiable_ = false;  // the last thing written may be repeated
  bool folds_case_ = false;
  bool folds_to_ascii_ = false;
  std::string problem_;
  Translation out_;
};

struct CodeDeleter {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
using Code = std::unique_ptr<pcre2_code, CodeDeleter>;

struct Compiled {
  Code code;
  bool jit = false;
};

Result<Compiled> compile_one(const std::string& expression, std::uint32_t options) {
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), &pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  Compiled compiled;
  compiled.code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                                    options | PCRE2_NO_UTF_CHECK, &error, &offset, context.get()));
  if (!compiled.code) {
    std::array<PCRE2_UCHAR, 256> message{};
    pcre2_get_error_message(error, message.data(), message.size());
    return fail(fmt::format("regular expression: {}", reinterpret_cast<const char*>(message.data())));
  }
  // Where executable memory is forbidden the interpreter does the same, slower.
  compiled.jit = pcre2_jit_compile(compiled.code.get(), PCRE2_JIT_COMPLETE) == 0;
  return compiled;
}

}  // namespace

struct MatchScratch::Impl {
  std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data{pcre2_match_data_create(1, nullptr),
                                                                           &pcre2_match_data_free};
  std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> context{pcre2_match_context_create(nullptr),
                                                                                    &pcre2_match_context_free};
  std::unique_ptr<pcre2_jit_stack, decltype(&pcre2_jit_stack_free)> stack{nullptr, &pcre2_jit_stack_free};

  int match(const Compiled& compiled, std::string_view text, std::size_t from) {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    const auto once = [&] {
      return compiled.jit
                 ? pcre2_jit_match(compiled.code.get(), subject, text.size(), from, 0, data.get(), context.get())
                 : pcre2_match(compiled.code.get(), subject, text.size(), from, PCRE2_NO_UTF_CHECK, data.get(),
                               context.get());
    };
    int result = once();
    if (result == PCRE2_ERROR_JIT_STACKLIMIT && !stack) {  // 32 kB of the machine's stack did not do
      stack.reset(pcre2_jit_stack_create(32 * 1024, kJitStackMax, nullptr));
      pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
      result = once();
    }
    return result;
  }
};

MatchScratch::MatchScratch() : impl_(std::make_unique<Impl>()) {
  SLUICE_ENGINE_CHECK(impl_->data && impl_->context);
  pcre2_set_match_limit(impl_->context.get(), kMatchWorkMax);
}
MatchScratch::~MatchScratch() = default;

struct Pattern::Impl {
  Compiled unicode;
  Compiled ascii;
  std::string literal;  // when not empty, this is what to find
};

Pattern::Pattern(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

Result<Pattern> Pattern::compile(std::string_view expression) {
  auto translation = Translator(expression).run();
  if (!translation) return translation.error();
  auto unicode = compile_one(translation->unicode, PCRE2_UTF | PCRE2_UCP);
  if (!unicode) return unicode.error();
  auto ascii = compile_one(translation->ascii, 0);
  if (!ascii) return ascii.error();
  auto impl = std::make_unique<Impl>();
  impl->unicode = std::move(*unicode);
  impl->ascii = std::move(*ascii);
  return Pattern(std::move(impl));
}

Pattern Pattern::literal(std::string_view text) {
  SLUICE_ENGINE_CHECK(!text.empty());
  auto impl = std::make_unique<Impl>();
  impl->literal = text;
  return Pattern(std::move(impl));
}

void Pattern::find_all(std::string_view text, bool ascii, MatchScratch& scratch, std::vector<Range>& out) const {
  out.clear();
  if (!impl_->literal.empty()) {
    const std::size_t length = impl_->literal.size();
    for (auto at = text.find(impl_->literal); at != std::string_view::npos;
         at = text.find(impl_->literal, at + length)) {
      out.push_back({at, at + length});
    }
    return;
  }
  const Compiled& compiled = ascii ? impl_->ascii : impl_->unicode;
  MatchScratch::Impl& memory = *scratch.impl_;
  const PCRE2_SIZE* const place = pcre2_get_ovector_pointer(memory.data.get());
  std::size_t from = 0;
  std::size_t last_end = std::string_view::npos;
  while (from <= text.size()) {
    if (memory.match(compiled, text, from) < 0) return;  // no match, or a bound
    const Range found{place[0], place[1]};
    if (found.begin == found.end && found.end == last_end) {  // an empty match right behind the last one does not count
      from += from < text.size() ? utf8_part(text, from).length : 1;
      continue;
    }
    SLUICE_ENGINE_CHECK(found.begin <= found.end && found.begin >= from);
    out.push_back(found);
    from = last_end = found.end;
  }
}

}  // namespace sluice::engine
