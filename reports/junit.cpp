#include "reports/junit.h"

#include <fmt/format.h>

#include <string_view>

#include "reports/format.h"

namespace sluice::reports {
namespace {

/// Text of an attribute or an element. What XML 1.0 cannot carry at all (control characters) becomes U+FFFD.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&apos;";
        break;
      case '\n':
        out += "&#10;";
        break;
      case '\r':
        out += "&#13;";
        break;
      case '\t':
        out += "&#9;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 ? std::string("\xEF\xBF\xBD") : std::string(1, c);
    }
  }
  return out;
}

std::string threshold_case(const ThresholdResult& result) {
  const std::string source = result.source.empty() ? "" : fmt::format(" ({})", result.source);
  const std::string head = fmt::format(R"(    <testcase classname="thresholds" name="{}: {}{}" time="0")",
                                       escaped(result.metric), escaped(result.expression), escaped(source));
  const std::string actual = result.actual ? format_value(*result.actual, result.unit) : std::string("no samples");
  if (result.verdict == "fail")
    return head + fmt::format(
                      ">\n      <failure type=\"threshold\" message=\"{}\">{}: {}; measured {}{}</failure>\n"
                      "    </testcase>\n",
                      escaped(result.reason), escaped(result.metric), escaped(result.expression), escaped(actual),
                      result.aborted ? "; it stopped the run" : "");
  if (result.verdict == "inconclusive")
    return head + fmt::format(">\n      <skipped message=\"{}\"/>\n    </testcase>\n",
                              escaped("inconclusive: " + result.reason));
  return head + fmt::format(">\n      <system-out>measured {}</system-out>\n    </testcase>\n", escaped(actual));
}

std::string check_case(const CheckResult& result) {
  const std::string head = fmt::format(R"(    <testcase classname="checks{}" name="{}" time="0")",
                                       escaped(result.group), escaped(result.name));
  const std::uint64_t tries = result.passes + result.fails;
  if (tries == 0) return head + ">\n      <skipped message=\"never evaluated\"/>\n    </testcase>\n";
  if (result.fails == 0)
    return head + fmt::format(">\n      <system-out>held {} times</system-out>\n    </testcase>\n", tries);
  return head + fmt::format(">\n      <failure type=\"check\" message=\"failed {0} of {1} times\"/>\n    </testcase>\n",
                            result.fails, tries);
}

std::string suite(std::string_view name, std::size_t tests, std::size_t failures, std::size_t skipped,
                  const Summary& summary, const std::string& cases) {
  return fmt::format(
      "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{:.3f}\" "
      "timestamp=\"{}\" hostname=\"{}\">\n{}  </testsuite>\n",
      name, tests, failures, skipped, summary.duration_s, escaped(summary.started_at), escaped(summary.host), cases);
}

}  // namespace

std::string to_junit(const Summary& summary) {
  std::string thresholds, checks;
  std::size_t threshold_fails = 0, threshold_skips = 0, check_fails = 0, check_skips = 0;
  for (const ThresholdResult& result : summary.thresholds) {
    thresholds += threshold_case(result);
    threshold_fails += result.verdict == "fail";
    threshold_skips += result.verdict == "inconclusive";
  }
  for (const CheckResult& result : summary.checks) {
    checks += check_case(result);
    check_fails += result.fails > 0;
    check_skips += result.passes + result.fails == 0;
  }
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<testsuites name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{:.3f}\">\n{}{}"
      "</testsuites>\n",
      escaped(summary.name), summary.thresholds.size() + summary.checks.size(), threshold_fails + check_fails,
      threshold_skips + check_skips, summary.duration_s,
      suite("thresholds", summary.thresholds.size(), threshold_fails, threshold_skips, summary, thresholds),
      suite("checks", summary.checks.size(), check_fails, check_skips, summary, checks));
}

}  // namespace sluice::reports
