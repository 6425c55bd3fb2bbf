#include "harness/load/run.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>
#include <simdjson.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <fstream>
#include <limits>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "harness/base/cpu_wait.h"
#include "harness/base/limits.h"
#include "harness/base/open_files.h"
#include "harness/load/arrival_pool.h"
#include "harness/load/program.h"
#include "harness/load/schedule.h"
#include "harness/load/target_client.h"
#include "harness/load/vu.h"
#include "harness/scenario/timeline.h"
#include "harness/verdict/judge.h"
#include "harness/verdict/stability.h"

namespace sluice {
namespace {

constexpr Nanoseconds kSecond = std::chrono::seconds(1);

/// Between the making of the threads and the first iteration: all threads stand ready by then.
constexpr Nanoseconds kLeadTime = std::chrono::milliseconds(5);

/// How long the figures of a second may come late.
constexpr Nanoseconds kPatience = std::chrono::milliseconds(300);

/// How many VUs each scenario may have. Descriptors bound them: the soft limit is raised as far as it goes; what the
/// scenarios that name their VUs leave is shared by those that do not.
Result<std::vector<std::uint32_t>> make_room_for_vus(const Plan& plan, std::size_t endpoints, std::uint32_t threads) {
  std::vector<std::uint32_t> vus(plan.scenarios.size());
  std::uint64_t named = 0, unnamed = 0;
  for (std::size_t i = 0; i < vus.size(); ++i) {
    vus[i] = most_vus(plan.scenarios[i].shape);
    named += vus[i];
    unnamed += vus[i] == 0 ? 1 : 0;
  }
  const std::uint64_t own = std::uint64_t{threads} * 8 + 64;
  const std::uint64_t files = std::min(raise_open_files_limit(), std::uint64_t{limits::vus_max} * endpoints + own);
  const std::uint64_t room = files > own ? (files - own) / endpoints : 0;
  if (named + unnamed > room) {
    return fail(
        fmt::format("{} VUs need {} open files, this process may have {}: raise the limit (ulimit -n) or ask for "
                    "at most {} VUs",
                    named + unnamed, (named + unnamed) * endpoints + own, files, room));
  }
  for (std::uint32_t& count : vus) {
    if (count == 0)
      count = static_cast<std::uint32_t>(std::min<std::uint64_t>((room - named) / unnamed, limits::vus_max));
  }
  return {boost::system::in_place_value, std::move(vus)};
}

}  // namespace

TlsOptions tls_options(const Target& target) {
  TlsOptions options;
  options.verify = target.tls.verify.value_or(target.tls_verify);
  options.ca = target.tls.ca;
  options.certificate = target.tls.certificate;
  options.key = target.tls.key;
  if (target.tls.only_tls1_3) options.least = TlsOptions::Version::tls1_3;
  return options;
}

namespace {

Nanoseconds planned_duration(const Plan& plan) {
  Nanoseconds longest{};
  for (const ScenarioPlan& scenario : plan.scenarios) {
    longest = std::max(longest, scenario.start_time + planned_duration(scenario.shape));
  }
  return longest;
}

/// One load thread: its loop, its VUs, its tally.
class Shard {
 public:
  Shard(const Plan& plan, const Program& program, const RunOptions& options, std::shared_ptr<const TallyLayout> layout,
        std::shared_ptr<TlsContext> tls, const std::atomic<RunControl::State>& order, SharedState& shared, bool stamps,
        Instant origin, std::uint64_t run, std::uint32_t thread, std::uint32_t threads)
      : plan_(plan),
        order_(order),
        tally_(layout, origin + layout->measured_from().count()),
        published_(layout, origin + layout->measured_from().count()),
        around_{{.plan = plan,
                 .program = program,
                 .loop = loop_,
                 .buffers = buffers_,
                 .tally = tally_,
                 .stamps = stamps ? &clock_ : nullptr,
                 .tls = std::move(tls),
                 .on_record = options.on_record,
                 .setup = options.variables,
                 .samples = options.samples != nullptr ? &options.samples->sink(thread) : nullptr,
                 .recorder = options.recording != nullptr ? &options.recording->sink(thread) : nullptr,
                 .ledger = &shared.ledger,
                 .tracer = options.tracer,
                 .ids = RequestIds(run, thread)},
                thread,
                threads,
                origin,
                shared,
                std::vector<std::uint32_t>(plan.scenarios.size())} {}
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  void add_vu(std::uint32_t scenario, std::uint32_t number, std::uint32_t scenario_vus) {
    vus_.push_back(OwnVu{scenario, std::make_unique<Vu>(around_, scenario, number, scenario_vus)});
    Vu* const vu = vus_.back().vu.get();
    if (std::holds_alternative<ExternallyControlled>(plan_.scenarios[scenario].shape)) controlled_.push_back(vu);
    for (const ActiveInterval& interval : vu->intervals()) {
      cuts_.emplace_back(around_.origin + interval.cut.count(), vu);
    }
  }

  void add_pool(std::uint32_t scenario, std::uint32_t vus_max) {
    pools_.push_back(OwnPool{scenario, std::make_unique<ArrivalPool>(around_, scenario, vus_max)});
  }

  /// Until every VU has ended.
  void run() {
    std::sort(cuts_.begin(), cuts_.end());
    next_publish_ = around_.origin + kSecond.count();
    for (const OwnVu& own : vus_) own.vu->start();
    for (const OwnPool& own : pools_) own.pool->start();
    if (around_.living > 0) loop_.run([this](Instant at, Nanoseconds lateness) { tick(at, lateness); });
    publish(std::numeric_limits<Instant>::max());
  }

  /// Any thread: up to when the published figures go.
  Instant published_at() const { return published_at_.load(std::memory_order_relaxed); }
  /// Any thread.
  void merge_published_into(Tally& total) {
    const std::lock_guard lock(publish_mutex_);
    total.merge(published_);
  }
  const Tally& tally() const { return tally_; }  // once run() has returned

 private:
  struct OwnVu {
    std::uint32_t scenario;
    std::unique_ptr<Vu> vu;
  };
  struct OwnPool {
    std::uint32_t scenario;
    std::unique_ptr<ArrivalPool> pool;
  };

  void tick(Instant at, Nanoseconds lateness) {
    tally_.add_loop_lag(lateness, at);
    clock_.refresh();
    const RunControl::State order = order_.load(std::memory_order_relaxed);
    if (order != obeyed_) obey(order, at);
    while (next_cut_ < cuts_.size() && cuts_[next_cut_].first <= at) cuts_[next_cut_++].second->cut_if_due(at);
    if (around_.stopping) {
      for (const OwnVu& own : vus_) own.vu->cut_if_due(at);
    }
    for (const OwnPool& own : pools_) own.pool->cut_if_due(at);
    for (Vu* const vu : controlled_) vu->wake_if_wanted();
    if (at >= next_publish_) {
      next_publish_ += kSecond.count() * ((at - next_publish_) / kSecond.count() + 1);
      publish(at);
    }
  }

  void obey(RunControl::State order, Instant at) {
    obeyed_ = order;
    around_.stopping = true;
    const auto latest = [&](std::uint32_t scenario) {
      const bool at_once = order == RunControl::State::stopping_now;
      return at_once ? at : at + plan_.scenarios[scenario].graceful_stop.count();
    };
    for (const OwnVu& own : vus_) own.vu->stop(latest(own.scenario));
    for (const OwnPool& own : pools_) own.pool->stop(latest(own.scenario), order != RunControl::State::ending_early);
  }

  void publish(Instant at) {
    const std::lock_guard lock(publish_mutex_);
    published_.copy_figures(tally_);
    published_at_.store(at, std::memory_order_relaxed);
  }

  const Plan& plan_;
  const std::atomic<RunControl::State>& order_;
  RunControl::State obeyed_ = RunControl::State::running;
  EventLoop loop_;
  KernelClock clock_;
  ExchangeBuffers buffers_;
  Tally tally_, published_;
  std::mutex publish_mutex_;  // of published_
  std::atomic<Instant> published_at_{kNever};
  VuSurroundings around_;
  std::vector<OwnVu> vus_;
  std::vector<OwnPool> pools_;
  std::vector<Vu*> controlled_;  // of scenarios whose VUs come and go from outside
  std::vector<std::pair<Instant, Vu*>> cuts_;
  std::size_t next_cut_ = 0;
  Instant next_publish_ = kNever;
};

void prepare_thread(const RunOptions& options, std::size_t number) {
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);  // signals are main's; a broken pipe of TLS is an error code
  if (options.cores.empty()) return;
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(static_cast<std::size_t>(options.cores[number % options.cores.size()]), &cores);
  ::pthread_setaffinity_np(::pthread_self(), sizeof cores, &cores);  // a core that is not there: not pinned
}

/// {"object":"list","data":[{"id":"name",...},...]}; empty when the answer is anything else.
std::string first_model(const std::string& body) {
  simdjson::dom::parser parser;
  std::string_view id;
  if (parser.parse(body)["data"].at(0)["id"].get(id) != simdjson::SUCCESS) return {};
  return std::string(id);
}

}  // namespace

Result<std::string> learn_model(const Plan& plan, const Endpoint& target, const std::shared_ptr<TlsContext>& tls) {
  TargetClient client(plan, target, tls);
  const RequestRecord& record =
      client.get("/v1/models", std::min<Nanoseconds>(plan.target.request_timeout, std::chrono::seconds(10)));
  constexpr std::string_view kWayOut = "name one in target.model or in the steps";
  const std::string where = fmt::format("{}{}/v1/models", target.host_header, target.path);
  if (record.outcome == Outcome::http_error) {  // it is there: what it makes of the load is a measurement
    return Result<std::string>(boost::system::in_place_value, "default");
  }
  if (record.outcome != Outcome::ok) {
    return fail(fmt::format("cannot ask {} for a model: {}: {}{}", where, record.error,
                            plan.target.http2 ? "or is it not running? else " : "start the target first, or ",
                            kWayOut));
  }
  std::string model = first_model(record.body);
  if (model.empty()) return fail(fmt::format("{} lists no model: {}", where, kWayOut));
  return Result<std::string>(boost::system::in_place_value, std::move(model));
}

namespace {

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name") && line.find(": ") != std::string::npos) return line.substr(line.find(": ") + 2);
  }
  return {};
}

/// What the load threads have had of the cores. A thread opens and closes its own part of it, by its number; mark() may
/// be called by another one while they run, and what was before is then not counted.
class ThreadAccounts {
 public:
  explicit ThreadAccounts(std::size_t threads) : accounts_(threads) {}

  void open(std::size_t number) {
    const std::lock_guard lock(mutex_);
    accounts_[number].id = ::gettid();
    accounts_[number].before = thread_cpu(accounts_[number].id);
  }
  void mark() {
    const std::lock_guard lock(mutex_);
    for (Account& account : accounts_) {
      if (account.id != 0 && !account.after) account.before = thread_cpu(account.id);
    }
  }
  void close(std::size_t number) {
    const std::lock_guard lock(mutex_);
    accounts_[number].after = thread_cpu(accounts_[number].id);
  }
  /// None when /proc does not tell.
  std::optional<ThreadCpu> sum() const {
    ThreadCpu sum;
    for (const Account& account : accounts_) {
      if (!account.before || !account.after) return std::nullopt;
      sum += *account.after - *account.before;
    }
    return sum;
  }

 private:
  struct Account {
    pid_t id = 0;
    std::optional<ThreadCpu> before, after;
  };
  std::mutex mutex_;
  std::vector<Account> accounts_;
};

Nanoseconds cpu_time() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto of = [](const timeval& t) {
    return std::chrono::seconds(t.tv_sec) + std::chrono::microseconds(t.tv_usec);
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

Progress progress_of(const Tally& tally, Nanoseconds elapsed, Nanoseconds planned, std::uint64_t tokens_before,
                     double seconds) {
  Progress progress;
  progress.elapsed = elapsed;
  progress.planned = planned;
  progress.vus = static_cast<std::uint32_t>(tally.vus().now);
  progress.requests = tally.figure(Metric::http_reqs).sum;
  const Figure& availability = tally.figure(Metric::availability);
  progress.failures = availability.fails;
  progress.iterations = tally.figure(Metric::iterations).sum;
  progress.ttft_p50_ms = tally.aggregate(Metric::ttft, Aggregation::percentile, 50);
  progress.ttft_p95_ms = tally.aggregate(Metric::ttft, Aggregation::percentile, 95);
  const std::uint64_t tokens = tally.figure(Metric::output_tokens).sum;
  progress.output_tokens_per_s = seconds > 0 ? static_cast<double>(tokens - tokens_before) / seconds : 0;
  return progress;
}

}  // namespace

Result<RunResult> run(const Plan& plan, const RunOptions& options, RunControl& control,
                      const std::function<void(const Progress&)>& every_second) {
  auto target = parse_endpoint(options.target_url.empty() ? plan.target.url : options.target_url);
  if (!target) return target.error();
  if (auto resolved = resolve(*target); !resolved) return resolved.error();
  target->tls_name = plan.target.tls.server_name;
  auto tls = TlsContext::make(tls_options(plan.target));
  if (!tls) return tls.error();

  std::string model = options.model.empty() ? plan.target.model : options.model;
  if (model.empty() && needs_default_model(plan)) {
    auto learnt = learn_model(plan, *target, *tls);
    if (!learnt) return learnt.error();
    model = std::move(*learnt);
  }
  const auto layout = TallyLayout::from(plan);
  auto program = make_program(plan, *layout, *target, std::move(model));
  if (!program) return program.error();
  const std::uint32_t threads = std::max<std::uint32_t>(plan.threads, 1);
  const auto vus = make_room_for_vus(plan, program->endpoints.size() + (program->sockets ? 1 : 0), threads);
  if (!vus) return vus.error();

  KernelClock probe;  // keeps the kernel stamping until the last shard has gone
  const bool any_stream =
      std::any_of(program->flows.begin(), program->flows.end(), [](const FlowProgram& flow) { return flow.streams; });
  const bool stamps = options.kernel_stamps && any_stream && probe.start();

  RunFacts facts;
  facts.sluice_version = SLUICE_VERSION;
  facts.target = fmt::format("{}://{}{}", target->tls ? "https" : "http", target->host_header, target->path);
  facts.threads = threads;
  facts.cpu = cpu_name();
  utsname system{};
  ::uname(&system);
  facts.host = system.nodename;
  facts.os = fmt::format("{} {} {}", system.sysname, system.release, system.machine);

  std::atomic<RunControl::State> order{RunControl::State::running};
  const Instant origin = now() + kLeadTime.count();
  const Instant measured_from = origin + layout->measured_from().count();  // where the warm-up ends
  facts.started_at = std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::system_clock::duration>(
                                                            kLeadTime + layout->measured_from());
  SharedState shared(plan.scenarios.size());
  std::vector<std::unique_ptr<Shard>> shards;
  const std::uint64_t run_number = RequestIds::random_run();
  for (std::uint32_t k = 0; k < threads; ++k) {
    shards.push_back(std::make_unique<Shard>(plan, *program, options, layout, *tls, order, shared, stamps, origin,
                                             run_number, k, threads));
  }
  std::size_t next = 0;
  for (std::uint32_t scenario = 0; scenario < plan.scenarios.size(); ++scenario) {
    const LoadShape& shape = plan.scenarios[scenario].shape;
    const std::uint32_t count = (*vus)[scenario];
    if (is_open(shape)) {
      // A thread has at least one VU: arrivals are dealt to all threads alike.
      for (std::uint32_t k = 0; k < threads; ++k) {
        shards[k]->add_pool(scenario, std::max<std::uint32_t>(count / threads + (k < count % threads ? 1 : 0), 1));
      }
      continue;
    }
    for (std::uint32_t number = 0; number < count; ++number) shards[next++ % threads]->add_vu(scenario, number, count);
  }

  const auto pass_on_vus = [&] {
    for (std::size_t i = 0; i < plan.scenarios.size(); ++i) {
      const auto* controlled = std::get_if<ExternallyControlled>(&plan.scenarios[i].shape);
      if (controlled == nullptr) continue;
      shared.vus_wanted[i].store(control.paused() ? 0 : control.vus_wanted().value_or(controlled->vus));
    }
  };
  pass_on_vus();

  Nanoseconds cpu_before = cpu_time();
  auto machine_before = machine_cpu();
  ThreadAccounts accounts(threads);
  bool warm = layout->measured_from().count() == 0;
  std::mutex mutex;
  std::condition_variable ended;
  std::uint32_t running = threads;  // guarded by mutex
  std::optional<std::size_t> aborted_by;
  Instant load_ends = load_end(plan).count() > 0 ? origin + load_end(plan).count() : kNever;
  {
    std::vector<std::jthread> workers;
    for (std::uint32_t k = 0; k < threads; ++k) {
      workers.emplace_back([&, k] {
        prepare_thread(options, k);
        accounts.open(k);
        shards[k]->run();
        accounts.close(k);
        const std::lock_guard lock(mutex);
        --running;
        ended.notify_one();
      });
    }
    // A short beat, so that an order is passed on at once; a long one for figures.
    Instant next_second = origin + kSecond.count();
    std::uint64_t tokens_before = 0;
    Looks looks;
    std::unique_lock lock(mutex);
    while (running > 0) {
      ended.wait_for(lock, std::chrono::milliseconds(10));
      if (!aborted_by) order.store(std::max(order.load(), control.state()));
      pass_on_vus();
      const Instant at = now();
      if (!warm && at >= measured_from) {
        warm = true;
        cpu_before = cpu_time();
        machine_before = machine_cpu();
        accounts.mark();
      }
      if (at < next_second || running == 0) continue;
      // The threads publish at the second too; a thread that is late is not waited for long.
      const bool all_there = std::all_of(shards.begin(), shards.end(),
                                         [&](const auto& shard) { return shard->published_at() >= next_second; });
      if (!all_there && at < next_second + kPatience.count()) continue;
      lock.unlock();
      Tally total(layout, measured_from);
      if (load_ends != kNever) total.set_load_end(load_ends);
      for (const auto& shard : shards) shard->merge_published_into(total);
      total.advance_to(at);
      if (options.samples != nullptr && at >= measured_from)
        options.samples->sink(threads).add_vus(total.vus().now, total.vus().peak, at);
      if (!aborted_by && order.load() == RunControl::State::running) {
        aborted_by = aborting_threshold(plan, total);
        if (aborted_by) order.store(RunControl::State::stopping_now);
      }
      // A second after a window's end, when all threads have told what ended in it.
      if (order.load() == RunControl::State::running && (facts.stable_from = stable_from(plan, total, kSecond))) {
        facts.ended_when_stable = true;
        load_ends = at;
        order.store(RunControl::State::ending_early);
      }
      if (order.load() == RunControl::State::running && plan.until_decided &&
          at - measured_from >= plan.until_decided->count()) {
        const auto alpha = looks.due(total.window_s());
        if (alpha && all_decided(plan, total, *alpha)) {
          facts.ended_when_decided = true;
          load_ends = at;
          order.store(RunControl::State::ending_early);
        }
      }
      const double seconds = static_cast<double>(at - next_second + kSecond.count()) / 1e9;
      if (every_second) {
        every_second(progress_of(total, Nanoseconds(at - origin), planned_duration(plan), tokens_before, seconds));
      }
      tokens_before = total.figure(Metric::output_tokens).sum;
      next_second += kSecond.count() * ((at - next_second) / kSecond.count() + 1);
      lock.lock();
    }
  }  // joined: the tallies belong to this thread again

  Tally total(layout, measured_from);
  if (load_ends != kNever) total.set_load_end(load_ends);
  for (const auto& shard : shards) total.merge(shard->tally());
  if (!facts.stable_from) facts.stable_from = stable_from(plan, total);  // just at its end
  for (std::uint32_t scenario = 0; scenario < plan.scenarios.size(); ++scenario) {
    const auto* iterations = std::get_if<SharedIterations>(&plan.scenarios[scenario].shape);
    const std::uint64_t claimed = shared.claimed[scenario];
    if (iterations != nullptr && claimed < iterations->iterations && order.load() == RunControl::State::running) {
      const Instant at = now();
      total.add_dropped(scenario, iterations->iterations - claimed, at);
      if (options.samples != nullptr)
        options.samples->sink(threads).add_dropped(scenario, iterations->iterations - claimed, at);
    }
  }
  facts.cpu_time = cpu_time() - cpu_before;
  facts.threads_cpu = accounts.sum();
  if (const auto machine = machine_cpu();
      machine && machine_before && machine->all > machine_before->all && machine->stolen >= machine_before->stolen)
    facts.cpu_stolen = static_cast<double>(machine->stolen - machine_before->stolen) /
                       static_cast<double>(machine->all - machine_before->all);
  for (std::uint32_t scenario = 0; scenario < plan.scenarios.size(); ++scenario) {
    if (!is_open(plan.scenarios[scenario].shape)) continue;
    const Tally::ScenarioCount& count = total.scenarios()[scenario];  // an arrival is begun or dropped
    facts.planned_iterations += count.iterations + count.interrupted + count.dropped;
  }
  if (aborted_by) {
    facts.end = RunEnd::aborted_by_threshold;
  } else if (order.load() > RunControl::State::ending_early) {
    facts.end = RunEnd::interrupted_by_user;
  }
  return RunResult{std::move(total), std::move(facts), aborted_by};
}

}  // namespace sluice
