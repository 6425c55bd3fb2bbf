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
  const std::string advice = advice_of(result);
  if (result.verdict == "fail")
    return head + fmt::format(
                      ">\n      <failure type=\"threshold\" message=\"{}\">{}: {}; measured {}{}{}</failure>\n"
                      "    </testcase>\n",
                      escaped(result.reason), escaped(result.metric), escaped(result.expression), escaped(actual),
                      result.aborted ? "; it stopped the run" : "", escaped(advice.empty() ? "" : "; " + advice));
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

std::string properties(const std::string& simulated) {
  if (simulated.empty()) return {};
  return fmt::format("    <properties>\n      <property name=\"simulated\" value=\"{}\"/>\n    </properties>\n",
                     escaped(simulated));
}

std::string suite(std::string_view name, std::size_t tests, std::size_t failures, std::size_t skipped,
                  const Summary& summary, const std::string& cases) {
  return fmt::format(
      "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{:.3f}\" "
      "timestamp=\"{}\" hostname=\"{}\">\n{}{}  </testsuite>\n",
      name, tests, failures, skipped, summary.duration_s, escaped(summary.started_at), escaped(summary.host),
      properties(summary.simulated), cases);
}

std::string requirement_case(const SuiteCase& of, const RequirementResult& result) {
  const std::string head = fmt::format(R"(    <testcase classname="{}" name="{}: {}" time="0")", escaped(of.name),
                                       escaped(result.requirement), escaped(result.goal));
  const std::string actual = result.actual.empty() ? std::string("nothing was measured") : "measured " + result.actual;
  const std::string advice = advice_of(result);
  if (result.verdict == "fail")
    return head + fmt::format(">\n      <failure type=\"requirement\" message=\"{}\">{}</failure>\n    </testcase>\n",
                              escaped(actual), escaped(advice));
  if (result.verdict == "inconclusive")
    return head +
           fmt::format(">\n      <skipped message=\"{}\"/>\n    </testcase>\n", escaped("inconclusive: " + actual));
  return head + fmt::format(">\n      <system-out>{}</system-out>\n    </testcase>\n", escaped(actual));
}

}  // namespace

std::string to_junit(const SuiteSummary& suite) {
  std::string suites;
  std::size_t all_tests = 0, all_failures = 0, all_errors = 0, all_skipped = 0;
  const auto add = [&](std::string_view name, double seconds, std::size_t tests, std::size_t failures,
                       std::size_t errors, std::size_t skipped, const std::string& cases) {
    suites += fmt::format(
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3f}\" "
        "timestamp=\"{}\">\n{}{}  </testsuite>\n",
        escaped(name), tests, failures, errors, skipped, seconds, escaped(suite.started_at),
        properties(suite.simulated), cases);
    all_tests += tests;
    all_failures += failures;
    all_errors += errors;
    all_skipped += skipped;
  };

  std::string preflight;
  std::size_t failures = 0, skipped = 0;
  for (const PreflightResult& result : suite.preflight) {
    const std::string head =
        fmt::format(R"(    <testcase classname="preflight" name="{}" time="0")", escaped(result.name));
    const bool failed = result.verdict == "fail", left_out = result.verdict == "skipped";
    failures += failed;
    skipped += left_out;
    if (failed || left_out) {
      preflight += head + fmt::format(">\n      <{} message=\"{}\"/>\n    </testcase>\n",
                                      failed ? "failure type=\"preflight\"" : "skipped", escaped(result.detail));
    } else {
      preflight += head + "/>\n";
    }
  }
  if (!suite.preflight.empty()) add("preflight", 0, suite.preflight.size(), failures, 0, skipped, preflight);

  for (const SuiteCase& each : suite.cases) {
    std::string cases;
    failures = skipped = 0;
    for (const RequirementResult& result : each.requirements) {
      cases += requirement_case(each, result);
      failures += result.verdict == "fail";
      skipped += result.verdict == "inconclusive";
    }
    const std::size_t requirements = each.requirements.size();
    if (each.outcome == "skipped" || each.outcome == "error") {
      cases += fmt::format(
          "    <testcase classname=\"{0}\" name=\"{0}\" time=\"0\">\n      <{1} message=\"{2}\"/>\n    </testcase>\n",
          escaped(each.name), each.outcome == "error" ? "error type=\"run\"" : "skipped", escaped(each.reason));
      add(each.name, each.duration_s, requirements + 1, failures, each.outcome == "error",
          skipped + (each.outcome == "skipped"), cases);
    } else {
      add(each.name, each.duration_s, requirements, failures, 0, skipped, cases);
    }
  }
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<testsuites name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3f}\">\n{}"
      "</testsuites>\n",
      escaped(suite.name), all_tests, all_failures, all_errors, all_skipped, suite.duration_s, suites);
}

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
