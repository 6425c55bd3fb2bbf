// Samples on their way from a real load into files: whole, and never in the load's way.
#include "harness/output/samples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>

#include "harness/load/run.h"
#include "tests/harness/load/allocations.h"
#include "tests/support/scripted_server.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using namespace testing_support;
using testing::HasSubstr;

Plan plan_of(const std::string& url, std::uint64_t iterations) {
  Plan plan;
  plan.name = plan.file = "test";
  plan.target.url = url;
  ScenarioPlan scenario;
  scenario.name = "main";
  scenario.shape = SharedIterations{.vus = 4, .iterations = iterations, .max_duration = 60s};
  HttpStep http;
  http.url = Template("/");
  Step step;
  step.name = "get";
  step.verb = std::move(http);
  Check check;
  check.text = "status == 200";
  check.condition = *Expression::parse(check.text, kResponseNames);
  step.checks.push_back(std::move(check));
  GroupStep group{.name = "all", .steps = {step}};
  Step outer;
  outer.name = "all";
  outer.verb = std::move(group);
  scenario.flow = {std::move(outer)};
  plan.scenarios.push_back(std::move(scenario));
  plan.threads = 2;
  return plan;
}

std::vector<Script> endless() {
  Script script;
  for (int i = 0; i < 5000; ++i) {
    script.push_back(await_request());
    script.push_back(send(answer("hello")));
  }
  return {script};
}

class SamplesOfARun : public testing::Test {
 protected:
  SamplesOfARun() {
    std::string pattern = (fs::temp_directory_path() / "samples_XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~SamplesOfARun() override { fs::remove_all(folder_); }

  std::unique_ptr<SampleWriter> writer(const Plan& plan, const std::string& path,
                                       const SampleWriter::Options& options = {}) {
    return *SampleWriter::open({{SampleFile::Format::csv, path}}, TallyLayout::from(plan), {}, plan.threads + 1,
                               options);
  }

  static Tally ran(const Plan& plan, SampleWriter* samples) {
    RunOptions options;
    options.samples = samples;
    RunControl control;
    auto result = run(plan, options, control, {});
    if (!result) throw std::runtime_error(result.error().message);
    return std::move(result->tally);
  }

  fs::path folder_;
};

TEST_F(SamplesOfARun, AreAllInTheFile) {
  ScriptedServer server(endless());
  const Plan plan = plan_of(server.url(), 500);
  const auto out = writer(plan, (folder_ / "a.csv").string());
  ran(plan, out.get());
  EXPECT_EQ(out->finish().dropped, 0u);
  std::map<std::string, int> lines;
  std::ifstream file(folder_ / "a.csv");
  for (std::string line; std::getline(file, line);) ++lines[line.substr(0, line.find(','))];
  for (const char* metric : {"http_reqs", "http_req_duration", "http_req_failed", "checks", "group_duration",
                             "iterations", "iteration_duration"})
    EXPECT_EQ(lines[metric], 500) << metric;
}

TEST_F(SamplesOfARun, MetricsOfTheFilesOwnAndFailedIterationsAreThereToo) {
  ScriptedServer server(endless());
  Plan plan = plan_of(server.url(), 20);
  plan.metrics = {{"tries", MetricKind::counter, Unit::none}};
  Step metric, failure;
  metric.name = "metric";
  metric.verb = MetricStep{{{custom_metric(0), Template("2.5")}, {custom_metric(0), Template("none")}}};
  failure.name = "fail";
  failure.verb = FailStep{"on purpose"};
  plan.scenarios[0].flow = {metric, failure};
  const auto out = writer(plan, (folder_ / "a.csv").string());
  const Tally tally = ran(plan, out.get());
  EXPECT_EQ(out->finish().dropped, 0u);
  EXPECT_EQ(tally.rejected(custom_metric(0)), 20u) << "what is no number is counted as such, and in no file";
  std::map<std::string, int> lines;
  std::ifstream file(folder_ / "a.csv");
  for (std::string line; std::getline(file, line);) {
    ++lines[line.substr(0, line.find(','))];
    EXPECT_TRUE(!line.starts_with("tries,") || line.find(",2.500000,") != std::string::npos) << line;
  }
  for (const char* name : {"tries", "iterations_failed", "iterations"}) EXPECT_EQ(lines[name], 20) << name;
}

TEST_F(SamplesOfARun, AFileThatTakesNothingSlowsNothing) {
  ScriptedServer server(endless());
  const Plan plan = plan_of(server.url(), 4000);
  const Instant began = now();
  ran(plan, nullptr);
  const Instant alone = now() - began;

  const std::string pipe = (folder_ / "pipe").string();
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const auto out = writer(plan, pipe, {.ring_bytes = 1u << 14, .patience = 20ms});
  const Instant began_again = now();
  const Tally tally = ran(plan, out.get());
  const Instant beside = now() - began_again;
  const SampleCounts counts = out->finish();
  EXPECT_EQ(tally.figure(Metric::http_reqs).sum, 4000u);
  EXPECT_GT(counts.dropped, 1000u);
  EXPECT_GE(counts.samples, 4 * 4000u);
  // Real time, on a machine that may be busy: a load that waited for the pipe would never end.
  EXPECT_LT(beside, 5 * alone + 1'000'000'000);
  RunFacts facts;
  facts.samples = counts.samples;
  facts.samples_dropped = counts.dropped;
  const reports::Summary summary = summarize(plan, tally, facts);
  EXPECT_EQ(summary.instrument.verdict, "client-limited");
  EXPECT_EQ(summary.instrument.samples_dropped, counts.dropped);
  EXPECT_THAT(summary.instrument.reason, HasSubstr("samples were dropped"));
}

TEST(SampleSink, LeavingASampleAllocatesNothing) {
  SampleSink sink(1u << 16);
  RequestRecord record;
  record.stream = true;
  record.content.resize(50);
  record.id = "c-1";
  record.findings.resize(3, {.rule = StreamRule::no_done, .bytes = "some bytes"});
  record.outcome = Outcome::reset;
  record.error = "the connection was reset while the answer was being read";
  const std::uint64_t before = allocations_of_this_thread();
  for (int i = 0; i < 1000; ++i) {
    sink.add(record, 0);
    sink.add_check(0, true, 1);
    sink.add_iteration(0, 1ms, 1, false);
  }
  EXPECT_EQ(allocations_of_this_thread(), before);
  EXPECT_GT(sink.dropped(), 0u) << "also where there is no room";
}

}  // namespace
}  // namespace sluice
