// Expressions of checks, evaluated too; and templates, which must read back what they print.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "harness/scenario/expression.h"
#include "harness/scenario/template.h"

namespace {

class Answer : public sluice::Scope {
 public:
  sluice::Value lookup(std::string_view name) const override {
    if (name == "status") return 200.0;
    if (name == "text") return std::string_view("print(\"Jay\") aaaaaaaaaaaaaaaaaaaaaaaa \xff\xe4");
    if (name == "finish_reason") return std::string_view("stop");
    if (name == "ttft") return 41.5;
    return {};
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Answer answer;
  if (const auto expression = sluice::Expression::parse(text, sluice::kResponseNames)) {
    const bool holds = expression->holds(answer);
    if (holds != expression->holds(answer)) std::abort();
    sluice::Texts texts;
    expression->value(answer, texts);
  }
  static constexpr std::string_view names[] = {"text", "vu"};
  if (const auto made = sluice::Template::parse(text, names)) {
    std::string out;
    made->render(answer, out);
    const auto again = sluice::Template::parse(made->text(), names);
    if (!again || again->text() != made->text()) std::abort();
    if (made->is_static() && out.size() > text.size()) std::abort();
  }
  return 0;
}
