// Streams of a server, kept as docs/recordings.md says.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "harness/app/commands.h"
#include "harness/app/interrupts.h"
#include "harness/app/stream_request.h"
#include "harness/base/duration.h"
#include "harness/base/nearest.h"
#include "harness/load/run.h"
#include "harness/output/record_writer.h"
#include "harness/verdict/judge.h"
#include "reports/format.h"

namespace sluice {

namespace {

int complain(int exit_code, std::string_view problem) {
  fmt::print(stderr, "sluice: {}\n", problem);
  return exit_code;
}

}  // namespace

int record_command(const RecordOptions& options) {
  if (!is_url(options.url))
    return complain(kExitInvalid, fmt::format("{}: a URL begins with http:// or https://", options.url));
  WantedRequest wanted{.url = options.url,
                       .api = {},
                       .model = options.model,
                       .prompt = options.prompt,
                       .max_tokens = options.max_tokens,
                       .headers = {},
                       .insecure = options.insecure};
  if (!options.api.empty()) {
    wanted.api = stream_api_named(options.api);
    if (!wanted.api)
      return complain(kExitInvalid,
                      fmt::format("--api {}: there is {}{}", options.api, fmt::join(kStreamApiNames, ", "),
                                  did_you_mean(options.api, kStreamApiNames)));
  }
  auto headers = read_headers(options.headers);
  if (!headers) return complain(kExitInvalid, headers.error().message);
  wanted.headers = std::move(headers->headers);
  const auto timeout = parse_duration(options.timeout);
  if (!timeout) return complain(kExitInvalid, fmt::format("--timeout: {}", timeout.error().message));
  wanted.timeout = *timeout;

  RunControl control;
  const Interrupts interrupts(control, [] {
    fmt::print(stderr, "\nstopping: what is under way may end; press Ctrl-C again to stop at once\n");
  });
  PlannedRequest planned = plan_request(wanted);
  if (!planned.problem.empty()) return complain(planned.exit_code, planned.problem);
  const auto vus = static_cast<std::uint32_t>(std::min<std::uint64_t>(options.concurrency, options.count));
  ScenarioPlan& scenario = planned.plan.scenarios.front();
  // As long as they may take, one after the other.
  const auto rounds = static_cast<std::int64_t>((options.count + vus - 1) / vus);
  const Nanoseconds longest = std::chrono::hours(24 * 30);
  const Nanoseconds each = wanted.timeout + std::chrono::seconds(10);
  scenario.shape = SharedIterations{
      .vus = vus, .iterations = options.count, .max_duration = each > longest / rounds ? longest : each * rounds};
  scenario.graceful_stop = wanted.timeout;

  RecordWriter::Options recording;
  recording.by = "sluice " SLUICE_VERSION;
  recording.with_request = options.with_request;
  auto writer = RecordWriter::open(options.file, std::max<std::size_t>(planned.plan.threads, 1), recording);
  if (!writer) return complain(kExitInvalid, writer.error().message);

  RunOptions run_options;
  run_options.recording = writer->get();
  std::mutex mutex;  // load threads see records
  std::map<std::string, std::uint64_t> failures;
  std::uint64_t requests = 0;
  run_options.on_record = [&](const RequestRecord& record) {
    const std::lock_guard lock(mutex);
    ++requests;
    if (record.outcome != Outcome::ok && record.outcome != Outcome::interrupted) ++failures[record.error];
  };
  const auto driven = run(planned.plan, run_options, control, {});
  const RecordCounts counts = (*writer)->finish();
  if (!driven) return complain(kExitUnreachable, driven.error().message);

  std::FILE* const out = options.file == "-" ? stderr : stdout;
  fmt::print(out, "{} of {} streams of {} in {}: {} pieces, {} bytes\n", reports::format_count(counts.streams),
             reports::format_count(requests), planned.source, options.file, reports::format_count(counts.pieces),
             reports::format_count(counts.bytes));
  for (const auto& [error, count] : failures)
    fmt::print(out, "  {:>6} ended badly: {}\n", reports::format_count(count), error);
  if (!counts.problem.empty())
    complain(0, fmt::format("{} streams are not in the recording: {}", counts.missing, counts.problem));
  if (!counts.problem.empty()) return kExitInternal;
  if (counts.streams == 0) return kExitUnreachable;
  return interrupts.any() ? kExitInterrupted : kExitPassed;
}

}  // namespace sluice
