#include "reports/html.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>

#include "reports/json.h"
#include "reports/page/assets.h"
#include "tests/reports/sample_summary.h"

namespace sluice::reports {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string sha256(const std::string& bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr);
  std::string hex;
  for (unsigned i = 0; i < size; ++i) {
    char pair[3];
    std::snprintf(pair, sizeof pair, "%02x", digest[i]);
    hex += pair;
  }
  return hex;
}

std::size_t count_of(const std::string& text, const std::string& what) {
  std::size_t count = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + what.size())) ++count;
  return count;
}

/// The JSON that the page carries.
std::string embedded(const std::string& page) {
  const std::string begin = "<script type=\"application/json\" id=\"summary\">";
  const auto from = page.find(begin) + begin.size();
  return page.substr(from, page.find("</script>", from) - from);
}

TEST(PageAssets, AreMadeFromTheSourcesThatAreThere) {
  const fs::path tools = SLUICE_SOURCE_DIR "/tools/report_page";
  for (const char* input : {"build.mjs", "package.json", "package-lock.json", "src/page.css", "src/page.js"})
    EXPECT_THAT(std::string(kPageAssets.substr(0, 1000)), HasSubstr(sha256(read(tools / input)) + "  " + input))
        << "run: cd tools/report_page && npm ci && npm run build";
  EXPECT_EQ(kPageAssets, read(SLUICE_SOURCE_DIR "/reports/page/assets.html"));
}

TEST(PageAssets, KeepUplotsLicence) {
  EXPECT_THAT(std::string(kPageAssets), HasSubstr("Leon Sorokin"));
  EXPECT_THAT(std::string(kPageAssets), HasSubstr("Permission is hereby granted"));
}

TEST(Html, CarriesTheWholeSummary) {
  for (const Summary& summary : {sample_summary(), gpu_summary(), small_summary(), Summary{}}) {
    const auto back = from_json(embedded(to_html(summary)));
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(*back, summary);
  }
}

TEST(Html, ItsTagsCloseInOrder) {
  for (const Summary& summary : {sample_summary(), gpu_summary(), small_summary(), Summary{}}) {
    std::string page = to_html(summary);
    // What stands inside styles and scripts is not markup.
    page = std::regex_replace(page, std::regex("<!doctype html>"), "");
    for (const std::string tag : {"style", "script"})
      for (std::size_t from; (from = page.find("<" + tag)) != std::string::npos;)
        page.erase(from, page.find("</" + tag + ">", from) + tag.size() + 3 - from);
    std::vector<std::string> open;
    const std::regex tags("<(/?)([a-z0-9]+)[^>]*>");
    for (std::sregex_iterator it(page.begin(), page.end(), tags), end; it != end; ++it) {
      const std::string name = (*it)[2];
      if (name == "meta" || name == "link" || name == "br") continue;
      if ((*it)[1].length() == 0) {
        open.push_back(name);
        continue;
      }
      ASSERT_FALSE(open.empty()) << name;
      ASSERT_EQ(open.back(), name) << "near " << page.substr(static_cast<std::size_t>(it->position()), 80);
      open.pop_back();
    }
    EXPECT_TRUE(open.empty());
  }
}

TEST(Html, AsksNothingOfTheNetwork) {
  Summary summary = sample_summary();
  summary.target = "http://example.org:8000";
  const std::string page = to_html(summary);
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  const std::regex reference(
      R"((src|href|srcset|action)\s*=\s*["']?\s*(https?:)?//|url\(\s*["']?(https?:)?//|@import)");
  std::smatch match;
  EXPECT_FALSE(std::regex_search(page, match, reference)) << match.str();
}

TEST(Html, TextOfARunIsNeverMarkup) {
  const std::string evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&<!--";
  Summary s = sample_summary();
  s.name = s.scenario_file = s.target = s.host = s.os = s.cpu = s.started_at = s.sluice_version = evil;
  s.variables = {{evil, evil}};
  for (auto& t : s.thresholds) t.metric = t.expression = t.reason = t.unit = evil;
  for (auto& c : s.checks) c.name = c.group = evil;
  for (auto& f : s.failures) f.outcome = f.error = evil;
  for (auto& f : s.findings) f.rule = f.example = evil, f.stream_id = evil;
  for (auto& m : s.scenarios) m.name = m.executor = m.description = evil;
  for (auto& h : s.histograms) h.metric = h.unit = evil;
  for (std::size_t i = 0; i < s.metrics.size(); ++i)
    s.metrics[i].name = evil + "{" + std::to_string(i), s.metrics[i].unit = evil;
  s.engine = EngineResult{
      .model = evil, .backend_wanted = evil, .backend = evil, .device = evil, .gpu = evil, .throttled = {{evil, 1}}};
  s.stability = StabilityResult{.metrics = {{evil, evil, 1, 1}}};
  for (auto& b : s.buffering->scenarios) b.scenario = b.evidence = evil;
  s.buffering->comparison = ComparisonResult{.direct = evil, .via = evil, .layer = "unclear", .sentence = evil};
  s.ttft_split = TtftSplitResult{.sources = {evil}, .whole = {evil}, .parts = {{evil}}};
  s.instrument.reason = evil;
  s.instrument.verdict = "client-limited";
  const std::string page = to_html(s), clean = to_html(sample_summary());
  EXPECT_EQ(count_of(page, "<script"), count_of(clean, "<script"));
  EXPECT_EQ(count_of(page, "</script"), count_of(clean, "</script"));
  EXPECT_EQ(count_of(page, "<img"), 0u);
  EXPECT_EQ(count_of(page, "<!--"), count_of(clean, "<!--"));
  const auto back = from_json(embedded(page));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, s);
}

TEST(Html, SaysTheVerdictInWordsAndPutsServiceLevelsFirst) {
  const std::string failed = to_html(sample_summary());
  EXPECT_THAT(failed, HasSubstr("✗ Failed"));
  EXPECT_THAT(failed, HasSubstr("5 of 12 thresholds failed; 1 inconclusive."));
  EXPECT_LT(failed.find("Service levels"), failed.find("Key figures"));
  EXPECT_LT(failed.find("Key figures"), failed.find("id=\"chart-latency\""));
  EXPECT_LT(failed.find("id=\"chart-latency\""), failed.find("<h2 id=\"metrics\""));
  EXPECT_THAT(to_html(small_summary()), HasSubstr("✓ Passed"));
  Summary interrupted = sample_summary();
  interrupted.outcome = "interrupted";
  EXPECT_THAT(to_html(interrupted), HasSubstr("! Interrupted"));
}

TEST(Html, TablesCarryEveryMetricWithoutAScript) {
  const Summary summary = sample_summary();
  std::string page = to_html(summary);
  page.erase(page.find("<script type=\"application/json\""));
  for (const MetricSummary& metric : summary.metrics)
    if (metric.name.find('{') == std::string::npos) {
      EXPECT_THAT(page, HasSubstr("<th scope=\"row\">" + metric.name)) << metric.name;
    }
  EXPECT_THAT(page, HasSubstr("<noscript>"));
  EXPECT_EQ(count_of(page, "<table"), count_of(page, "<caption"));
  EXPECT_THAT(page, HasSubstr("[1.2s]")) << "too few samples: in brackets";
  // One row an interval: "90 s" is the last.
  EXPECT_THAT(page, HasSubstr(">90 s</th>"));
}

TEST(Html, ShowsWhereTheTimeToTheFirstTokenWentOnlyWhereAServerHasSaidIt) {
  const std::string page = to_html(sample_summary());
  EXPECT_THAT(page, HasSubstr("Of 1884 streams; source: engine"));
  EXPECT_THAT(page, HasSubstr("class=\"part-prefill\" style=\"flex-grow:0.7813\""));
  EXPECT_THAT(page, HasSubstr("In 2 of them the server&#39;s times are longer"));
  EXPECT_THAT(to_html(Summary{}), testing::Not(HasSubstr("time to the first token")));
}

TEST(Html, ShowsTheEngineAndItsGpuOnlyWhereTheyWereSampled) {
  const std::string page = to_html(gpu_summary()), other = to_html(sample_summary());
  for (const char* chart : {"chart-gpu", "chart-gpu-memory", "chart-kv", "chart-engine"}) {
    EXPECT_EQ(count_of(page, "id=\"" + std::string(chart) + "\""), 1u) << chart;
    EXPECT_EQ(count_of(other, "id=\"" + std::string(chart) + "\""), 0u) << chart;
  }
  EXPECT_THAT(page, HasSubstr("Llama-3.2-1B-Instruct on cuda (auto)"));
  EXPECT_THAT(page, HasSubstr("in 12 of 89 samples"));
  EXPECT_THAT(page, HasSubstr("GPU power</th>"));
  EXPECT_THAT(other, Not(HasSubstr("GPU power</th>")));
  EXPECT_THAT(other, Not(HasSubstr("<h2 id=\"engine\"")));

  Summary on_cpu = gpu_summary();
  on_cpu.engine = EngineResult{
      .model = "tiny-coder", .backend_wanted = "auto", .backend = "cpu", .device = "AMD EPYC", .samples = 89};
  for (SeriesPoint& p : on_cpu.series) {
    p.gpu_utilization_percent = p.gpu_memory_bytes = p.gpu_power_w = p.gpu_clock_mhz = p.gpu_temperature_c =
        std::nullopt;
  }
  const std::string cpu = to_html(on_cpu);
  EXPECT_EQ(count_of(cpu, "id=\"chart-gpu\""), 0u);
  EXPECT_EQ(count_of(cpu, "id=\"chart-kv\""), 1u);
  EXPECT_THAT(cpu, HasSubstr("tiny-coder on cpu (auto)"));
}

// ---- in a browser ---------------------------------------------------------------------------------------------------

std::string chromium() {
  for (const char* name : {"chromium", "chromium-browser", "google-chrome"})
    for (const char* dir : {"/usr/bin/", "/usr/local/bin/", "/snap/bin/"})
      if (fs::exists(std::string(dir) + name)) return std::string(dir) + name;
  return "";
}

/// The document after its scripts ran.
std::string dumped(const std::string& browser, const std::string& page, int width) {
  std::string pattern = (fs::temp_directory_path() / "sluice-report-XXXXXX").string();
  const fs::path dir = mkdtemp(pattern.data());
  std::ofstream(dir / "report.html", std::ios::binary) << page;
  const std::string command =
      "timeout 60 " + browser +
      " --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
      "--disable-component-update --disable-sync --enable-logging=stderr --user-data-dir=" +
      (dir / "profile").string() + " --window-size=" + std::to_string(width) +
      ",900 --virtual-time-budget=3000 --dump-dom file://" + (dir / "report.html").string() + " 2>" +
      (dir / "log").string();
  std::string out;
  FILE* pipe = popen(command.c_str(), "r");
  std::array<char, 65536> buffer{};
  for (std::size_t n; (n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) out.append(buffer.data(), n);
  EXPECT_EQ(pclose(pipe), 0) << command;
  const std::string log = read(dir / "log");
  EXPECT_THAT(log, Not(HasSubstr("CONSOLE"))) << "the page's scripts complained";
  fs::remove_all(dir);
  return out;
}

/// Appended to a page: writes into the document what only a layout engine knows.
const char* const kProbe = R"(<script>
addEventListener("load", () => setTimeout(() => {
  const root = document.documentElement;
  root.dataset.overflow = String(Math.max(root.scrollWidth, document.body.scrollWidth) - root.clientWidth);
  const inked = [...document.querySelectorAll("canvas")].filter((canvas) => {
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return pixels.some((value, i) => i % 4 === 3 && value > 0);
  });
  root.dataset.inked = String(inked.length);
}, 500));
</script>)";

TEST(HtmlInABrowser, DrawsEveryChartAndOverflowsNowhere) {
  const std::string browser = chromium();
  if (browser.empty()) GTEST_SKIP() << "no Chromium here";
  struct Case {
    Summary summary;
    int width;
    std::size_t charts;
  };
  for (const Case& c : {Case{sample_summary(), 1280, 7}, Case{sample_summary(), 390, 7}, Case{gpu_summary(), 1280, 11},
                        Case{gpu_summary(), 420, 11}, Case{small_summary(), 500, 2}, Case{Summary{}, 800, 0}}) {
    const std::string dom = dumped(browser, to_html(c.summary) + kProbe, c.width);
    EXPECT_EQ(count_of(dom, "class=\"uplot"), c.charts) << c.width;
    EXPECT_THAT(dom, HasSubstr("data-charts=\"" + std::to_string(c.charts) + "\"")) << c.width;
    EXPECT_THAT(dom, HasSubstr("data-inked=\"" + std::to_string(c.charts) + "\"")) << c.width;
    EXPECT_THAT(dom, HasSubstr("data-overflow=\"0\"")) << c.width;
    // Each figure that waits for a chart got one.
    EXPECT_EQ(count_of(dom, "class=\"chart\""), c.charts) << c.width;
  }
}

}  // namespace
}  // namespace sluice::reports
