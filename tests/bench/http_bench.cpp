// Requests per second of run() against a server that costs nothing, on one thread. Compare with another client in the
// same minute, both pinned: see docs/benchmarks.md.
//
//     fast_server 9000 &  http_bench http://127.0.0.1:9000/ [VUs [seconds [core]]]
#include <cstdio>
#include <cstdlib>
#include <string>

#include "harness/load/run.h"

int main(int argc, char** argv) {
  using namespace sluice;
  if (argc < 2) {
    std::fprintf(stderr, "usage: http_bench URL [VUs [seconds [core]]]\n");
    return 2;
  }
  Plan plan;
  plan.name = "http_bench";
  plan.target.url = argv[1];
  HttpStep http;
  http.url = Template("/");
  Step step;
  step.name = "get";
  step.verb = http;
  ScenarioPlan scenario;
  scenario.name = "get";
  const std::chrono::seconds seconds(argc > 3 ? std::atoi(argv[3]) : 5);
  scenario.shape = ConstantVus{static_cast<std::uint32_t>(argc > 2 ? std::atoi(argv[2]) : 64), seconds};
  scenario.flow = {step};
  plan.scenarios = {scenario};
  RunOptions options;
  if (argc > 4) options.cores = {std::atoi(argv[4])};
  RunControl control;
  const auto result = run(plan, options, control, {});
  if (!result) {
    std::fprintf(stderr, "%s\n", result.error().message.c_str());
    return 1;
  }
  const Tally& tally = result->tally;
  const double requests = static_cast<double>(tally.figure(Metric::http_reqs).sum);
  const double wall = std::chrono::duration<double>(seconds).count();
  const double cpu = std::chrono::duration<double>(result->facts.cpu_time).count();
  std::printf("%.0f requests/s, %.2f us of CPU each, CPU %.0f %%, p50 %.0f us, p99 %.0f us, failed %llu\n",
              requests / wall, cpu / requests * 1e6, cpu / wall * 100,
              tally.aggregate(Metric::http_req_duration, Aggregation::percentile, 50).value_or(0) * 1000,
              tally.aggregate(Metric::http_req_duration, Aggregation::percentile, 99).value_or(0) * 1000,
              static_cast<unsigned long long>(tally.figure(Metric::http_req_failed).passes));
  return 0;
}
