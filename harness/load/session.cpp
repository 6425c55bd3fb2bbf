#include "harness/load/session.h"

#include <algorithm>
#include <string_view>

#include "harness/load/data_rows.h"

namespace sluice {
namespace {

/// splitmix64's finisher: a well mixed function of its argument.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31U);
}

constexpr std::uint64_t kSleepStream = 1ULL << 32U;  // apart from those of the data sets
constexpr double kMillisecond = 1e6;

}  // namespace

/// What Templates see: the VU, the iteration, and the row of each data set that belongs to it.
class Session::IterationScope final : public Scope {
 public:
  explicit IterationScope(const Session& session) : session_(session) {}

  Value lookup(std::string_view name) const override {
    if (name == "vu") return static_cast<double>(session_.turn_.vu + 1);
    if (name == "iteration") return static_cast<double>(session_.turn_.iteration);
    const std::size_t dot = name.find('.');
    if (dot == std::string_view::npos) return {};
    const std::vector<DataSet>& sets = session_.around_.plan.data;
    for (std::size_t i = 0; i < sets.size(); ++i) {
      const DataSet& set = sets[i];
      if (set.name != name.substr(0, dot) || set.rows.empty()) continue;
      const auto field = std::find(set.fields.begin(), set.fields.end(), name.substr(dot + 1));
      if (field == set.fields.end()) return {};
      const std::uint64_t chance = set.order == DataSet::Order::random ? session_.random(mix(set.seed) + i) : 0;
      const auto row = row_of(set, session_.scenario_, session_.turn_.number, chance);
      if (!row) return {};
      const auto& values = set.rows[*row];
      const auto column = static_cast<std::size_t>(field - set.fields.begin());
      return column < values.size() ? Value(std::string_view(values[column])) : Value{};
    }
    return {};
  }

 private:
  const Session& session_;
};

/// What checks see of an answer.
class Session::AnswerScope final : public Scope {
 public:
  AnswerScope(const RequestRecord& record, const StepProgram& step) : record_(record), step_(step) {}

  Value lookup(std::string_view name) const override {
    const RequestRecord& r = record_;
    const auto count = [](std::int64_t value) { return value < 0 ? Value{} : Value(static_cast<double>(value)); };
    if (name == "status") return r.status == 0 ? Value{} : Value(static_cast<double>(r.status));
    if (name == "text") return is_chat() ? Value(std::string_view(r.text)) : Value{};
    if (name == "body") return r.stream ? Value{} : Value(std::string_view(r.body));
    if (name == "chunks") return r.stream ? Value(static_cast<double>(r.content.size())) : Value{};
    if (name == "events") return r.stream || is_socket() ? Value(static_cast<double>(r.events)) : Value{};
    if (name == "finish_reason") return r.finish_reason.empty() ? Value{} : Value(std::string_view(r.finish_reason));
    if (name == "ttft") {
      return r.content.empty()
                 ? Value{}
                 : Value(static_cast<double>(r.content.front().received_at - r.started_at) / kMillisecond);
    }
    if (name == "duration") {
      return r.send_began_at == kNever ? Value{}
                                       : Value(static_cast<double>(r.ended_at - r.send_began_at) / kMillisecond);
    }
    if (name == "error") return r.error.empty() ? Value{} : Value(std::string_view(r.error));
    if (name == "usage.prompt_tokens") return count(r.prompt_tokens);
    if (name == "usage.completion_tokens" || name == "tokens") return count(r.output_tokens);
    if (name == "usage.cached_tokens") return count(r.cached_tokens);
    if (name.starts_with("header.")) return header(name.substr(7));
    return {};
  }

 private:
  bool is_socket() const { return step_.verb == StepProgram::Verb::websocket; }
  bool is_chat() const { return step_.answer != ExchangeRequest::Answer::plain; }

  Value header(std::string_view lower_name) const {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    for (const auto& [name, value] : record_.headers) {
      if (name.size() == lower_name.size() &&
          std::equal(name.begin(), name.end(), lower_name.begin(), [&](char a, char b) { return lower(a) == b; })) {
        return std::string_view(value);
      }
    }
    return {};
  }

  const RequestRecord& record_;
  const StepProgram& step_;
};

std::uint64_t seed_of(std::uint64_t plan_seed, std::uint32_t scenario) { return mix(mix(plan_seed) ^ scenario); }

Session::Session(SessionSurroundings& surroundings, std::uint32_t scenario)
    : around_(surroundings),
      scenario_(scenario),
      waiter_(surroundings.loop),
      exchange_(surroundings.loop, surroundings.buffers),
      connections_(surroundings.program.endpoints.size()),
      browser_(surroundings.program, surroundings.found_servers, surroundings.program.flows[scenario].cookies) {}

std::uint64_t Session::random(std::uint64_t stream) const {
  return mix(mix(seed_of(around_.plan.seed, scenario_) ^ turn_.number) ^ stream);
}

void Session::close_connections() {
  for (auto& connection : connections_) {
    if (connection != nullptr) connection->close();
  }
}

std::unique_ptr<Connection> Session::make_connection(std::size_t endpoint) {
  const FlowProgram& flow = around_.program.flows[scenario_];
  ConnectionOptions options;
  options.connect_timeout = around_.plan.target.connect_timeout;
  // Stamps cost a little with every read, and only streams make use of them. What is read slowly on purpose has arrived
  // in the kernel before it counts as received.
  options.stamps = flow.streams && flow.shape.download_bytes_per_s == 0 ? around_.stamps : nullptr;
  options.tls = around_.tls;
  options.shape = flow.shape.any() ? &flow.shape : nullptr;
  return std::make_unique<Connection>(around_.loop, browser_.server(endpoint), std::move(options));
}

Connection& Session::connection_to(std::size_t endpoint) {
  if (endpoint >= connections_.size()) connections_.resize(endpoint + 1);
  std::unique_ptr<Connection>& connection = connections_[endpoint];
  if (connection == nullptr) connection = make_connection(endpoint);
  return *connection;
}

Task<> Session::run(Turn turn) {
  turn_ = turn;
  browser_.begin_iteration();
  const Instant began = now();
  co_await run_steps(around_.program.flows[scenario_].steps);
  const Instant ended = now();
  around_.tally.add_iteration(scenario_, Nanoseconds(ended - began), ended, waiter_.interrupted());
  if (around_.samples != nullptr)
    around_.samples->add_iteration(scenario_, Nanoseconds(ended - began), ended, waiter_.interrupted());
}

Task<> Session::run_steps(const std::vector<StepProgram>& steps) {
  for (const StepProgram& step : steps) {
    if (step.verb == StepProgram::Verb::request) {
      co_await run_request(step);
    } else if (step.verb == StepProgram::Verb::websocket) {
      co_await run_websocket(step);
    } else if (step.verb == StepProgram::Verb::sleep) {
      const auto& sleep = std::get<SleepStep>(step.step->verb);
      const auto width = static_cast<std::uint64_t>((sleep.to - sleep.from).count());
      const std::uint64_t extra = width == 0 ? 0 : random(kSleepStream + step.id) % (width + 1);
      const Instant until = now() + sleep.from.count() + static_cast<Instant>(extra);
      co_await around_.loop.sleep_until(waiter_, until);
    } else {
      const Instant began = now();
      co_await run_steps(step.steps);
      if (!waiter_.interrupted()) {
        const Instant ended = now();
        around_.tally.add_group(step.id, Nanoseconds(ended - began));
        if (around_.samples != nullptr) around_.samples->add_group(step.id, Nanoseconds(ended - began), ended);
      }
    }
    if (waiter_.interrupted()) co_return;
  }
}

std::string_view Session::render(const StepProgram& step) {
  if (step.is_static) return step.bytes;
  render_request(around_.program, step, IterationScope(*this), request_, body_);
  return request_;
}

void Session::render(const Template& pattern, std::string& out) const {
  out.clear();
  pattern.render(IterationScope(*this), out);
}

/// A step is due when the one before it has ended; making its bytes is no part of it. Only the first of an iteration of
/// an open model was due at the arrival.
void Session::start_clock() {
  record_.started_at = now();
  record_.scheduled_at = turn_.scheduled_at == kNever ? record_.started_at : turn_.scheduled_at;
  turn_.scheduled_at = kNever;
}

Task<> Session::run_request(const StepProgram& step) {
  clear(record_);
  ExchangeRequest request;
  request.answer = step.answer;
  request.head = step.head;
  request.dialect = around_.plan.target.dialect;
  request.timeout = step.timeout;
  request.keep_text = step.keep_text;
  request.keep_body = step.keep_body;
  request.keep_headers = step.keep_headers;
  request.keep_location = step.redirects > 0;
  request.keep_cookies = browser_.keeps_cookies();
  const std::string_view bytes = render(step);
  request.bytes = browser_.dressed(bytes, step.endpoint);
  start_clock();
  co_await exchange_.run(waiter_, connection_to(step.endpoint), request, record_);
  if (Browser::concerns(exchange_.headers(), record_)) co_await browse(step, request, bytes);
  tally(step);
  if (record_.outcome != Outcome::interrupted) check(step);
}

void Session::tally(const StepProgram& step) {
  around_.tally.add(record_, step.id);
  if (around_.samples != nullptr) around_.samples->add(record_, step.id);
  for (std::size_t i = 0; i < record_.findings.size(); ++i) {
    around_.tally.add_finding_example(record_.findings[i], record_.finding_examples[i], record_.ended_at);
  }
  if (around_.on_record) around_.on_record(record_);
}

void Session::check(const StepProgram& step) {
  const std::vector<Check>& checks = step.step->checks;
  if (checks.empty()) return;
  const AnswerScope scope(record_, step);
  for (std::size_t i = 0; i < checks.size(); ++i) {
    const CheckId id = step.first_check + static_cast<CheckId>(i);
    const bool passed = checks[i].condition.holds(scope);
    around_.tally.add_check(id, passed);
    if (around_.samples != nullptr) around_.samples->add_check(id, passed, record_.ended_at);
  }
}

}  // namespace sluice
