#include "harness/load/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <limits>
#include <numbers>
#include <string_view>

#include "harness/base/duration.h"
#include "harness/base/limits.h"
#include "harness/base/mix.h"
#include "harness/content/code_text.h"
#include "harness/content/python_syntax.h"
#include "harness/load/data_rows.h"
#include "harness/net/header_text.h"

namespace sluice {
namespace {

constexpr std::uint64_t kDrawStream = 1ULL << 32U;  // apart from those of the data sets
constexpr std::uint64_t kRoundsWithoutWait = 64;    // of a repeat, after which others have their turn
constexpr double kMillisecond = 1e6;

}  // namespace

/// What expressions see: the VU, the iteration, its variables, the row of each data set that belongs to it; and of the
/// answer to `answered`, if any, what checks ask for.
class Session::FlowScope final : public Scope {
 public:
  explicit FlowScope(Session& session, const StepProgram* answered = nullptr)
      : session_(session), answered_(answered) {}

  Value lookup(std::string_view name) const override {
    if (answered_ != nullptr) {
      if (const Value value = of_answer(name); value.index() != 0) return value;
    }
    return of_iteration(name);
  }
  std::uint64_t draw() const override { return session_.draw(); }
  double now_ms() const override {
    const auto since = std::chrono::system_clock::now().time_since_epoch();
    return static_cast<double>(std::chrono::duration_cast<std::chrono::milliseconds>(since).count());
  }

 private:
  Value of_iteration(std::string_view name) const {
    if (name == "vu") return static_cast<double>(session_.turn_.vu + 1);
    if (name == "iteration") return static_cast<double>(session_.turn_.iteration);
    const std::size_t dot = name.find('.');
    if (dot == std::string_view::npos) {
      const Value own_value = session_.variables_.find(name);
      return own_value.index() != 0 ? own_value : of_setup(name);
    }
    if (name.starts_with("setup.")) return of_setup(name.substr(dot + 1));
    const auto* replay = std::get_if<TraceReplay>(&session_.around_.plan.scenarios[session_.scenario_].shape);
    if (replay != nullptr && name.starts_with("trace.")) return session_.of_trace(*replay, name.substr(dot + 1));
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

  Value of_setup(std::string_view name) const {
    return session_.around_.setup != nullptr ? session_.around_.setup->find(name) : Value{};
  }

  Value of_answer(std::string_view name) const {
    const RequestRecord& r = session_.record_;
    const auto count = [](std::int64_t value) { return value < 0 ? Value{} : Value(static_cast<double>(value)); };
    if (name == "status") return r.status == 0 ? Value{} : Value(static_cast<double>(r.status));
    if (name == "text")
      return answered_->answer != ExchangeRequest::Answer::plain ? Value(std::string_view(r.text)) : Value{};
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
    if (name == "outcome") return name_of(r.outcome);
    if (name == "error") return r.error.empty() ? Value{} : Value(std::string_view(r.error));
    if (name == "usage.prompt_tokens") return count(r.prompt_tokens);
    if (name == "usage.completion_tokens" || name == "tokens") return count(r.output_tokens);
    if (name == "usage.cached_tokens") return count(r.cached_tokens);
    if (name.starts_with("header.")) return header(name.substr(7));
    return {};
  }

  bool is_socket() const { return answered_->verb == StepProgram::Verb::websocket; }

  Value header(std::string_view lower_name) const {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    for (const auto& [name, value] : session_.record_.headers) {
      if (name.size() == lower_name.size() &&
          std::equal(name.begin(), name.end(), lower_name.begin(), [&](char a, char b) { return lower(a) == b; })) {
        return std::string_view(value);
      }
    }
    return {};
  }

  Session& session_;
  const StepProgram* answered_;
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

ConnectionOptions Session::connection_options() const {
  const FlowProgram& flow = around_.program.flows[scenario_];
  ConnectionOptions options;
  options.connect_timeout = around_.plan.target.connect_timeout;
  // Stamps cost a little with every read, and only streams make use of them. What is read slowly on purpose has arrived
  // in the kernel before it counts as received.
  options.stamps = flow.streams && flow.shape.download_bytes_per_s == 0 ? around_.stamps : nullptr;
  options.tls = around_.tls;
  options.shape = flow.shape.any() ? &flow.shape : nullptr;
  return options;
}

std::unique_ptr<Connection> Session::make_connection(std::size_t endpoint) {
  return std::make_unique<Connection>(around_.loop, browser_.server(endpoint), connection_options());
}

Connection& Session::connection_to(std::size_t endpoint) {
  if (endpoint >= connections_.size()) connections_.resize(endpoint + 1);
  std::unique_ptr<Connection>& connection = connections_[endpoint];
  if (connection == nullptr) connection = make_connection(endpoint);
  return *connection;
}

Http2Client& Session::http2_to(std::size_t endpoint) {
  if (endpoint >= around_.http2.size()) around_.http2.resize(endpoint + 1);
  std::unique_ptr<Http2Client>& client = around_.http2[endpoint];
  if (client == nullptr) {
    ConnectionOptions options = connection_options();
    options.stamps = around_.stamps;  // whichever scenario comes first, another may have streams
    client = std::make_unique<Http2Client>(around_.loop, around_.buffers.read_buffer(), ExchangeBuffers::kReadBytes,
                                           browser_.server(endpoint), std::move(options));
  }
  return *client;
}

Task<> Session::exchange(std::size_t endpoint, const ExchangeRequest& request) {
  if (around_.program.flows[scenario_].http2) return exchange_.run(waiter_, http2_to(endpoint), request, record_);
  return exchange_.run(waiter_, connection_to(endpoint), request, record_);
}

/// Row k is that of turn k.
Value Session::of_trace(const TraceReplay& replay, std::string_view field) {
  if (turn_.number >= replay.trace->rows.size()) return {};
  const TraceRow& row = replay.trace->rows[turn_.number];
  if (field != "prompt") return trace_field(*replay.trace, row, field);
  if (trace_prompt_of_ != &row) {
    write_prompt(*replay.trace, row, around_.plan.seed, trace_prompt_);
    trace_prompt_of_ = &row;
  }
  return std::string_view(trace_prompt_);
}

std::uint64_t Session::draw() { return random(kDrawStream + draws_++); }

/// In (0, 1).
double Session::draw_unit() { return (static_cast<double>(draw() >> 11U) + 0.5) * 0x1p-53; }

Task<> Session::run(Turn turn) {
  turn_ = turn;
  draws_ = 0;
  answered_ = nullptr;
  variables_.clear();
  conversations_.clear();
  answers_.clear();
  failure_.clear();
  browser_.begin_iteration();
  const Instant began = now();
  co_await run_steps(around_.program.flows[scenario_].steps);
  const Instant ended_at = now();
  if (!failure_.empty()) around_.tally.add_failed_iteration(scenario_, failure_, began, ended_at);
  around_.tally.add_iteration(scenario_, Nanoseconds(ended_at - began), ended_at, waiter_.interrupted());
  if (around_.samples == nullptr || around_.tally.is_warmup(scenario_, began)) co_return;
  if (!failure_.empty()) around_.samples->add_failed_iteration(scenario_, ended_at);
  around_.samples->add_iteration(scenario_, Nanoseconds(ended_at - began), ended_at, waiter_.interrupted());
}

Task<> Session::run_steps(const std::vector<StepProgram>& steps) {
  using Verb = StepProgram::Verb;
  for (const StepProgram& step : steps) {
    switch (step.verb) {
      case Verb::request:
        co_await run_request(step);
        break;
      case Verb::websocket:
        co_await run_websocket(step);
        break;
      case Verb::sleep: {
        const Nanoseconds length = sleep_time(std::get<SleepStep>(step.step->verb));
        // The first request of an iteration that begins with a pause is due after it.
        if (turn_.scheduled_at != kNever) turn_.scheduled_at += length.count();
        co_await around_.loop.sleep_until(waiter_, now() + length.count());
        break;
      }
      case Verb::group: {
        const Instant began = now();
        co_await run_steps(step.blocks[0]);
        if (ended()) break;
        const Instant ended_at = now();
        around_.tally.add_group(step.id, Nanoseconds(ended_at - began), ended_at);
        if (around_.samples != nullptr && !around_.tally.is_warmup(scenario_, began))
          around_.samples->add_group(step.id, Nanoseconds(ended_at - began), ended_at);
        break;
      }
      case Verb::branch: {
        const bool holds = std::get<IfStep>(step.step->verb).condition.holds(FlowScope(*this, answered_));
        co_await run_steps(step.blocks[holds ? 0 : 1]);
        break;
      }
      case Verb::repeat:
        co_await run_repeat(step);
        break;
      case Verb::choose:
        co_await run_steps(chosen(step));
        break;
      case Verb::set:
        assign(std::get<SetStep>(step.step->verb));
        break;
      case Verb::metric:
        add_samples(step);
        break;
      case Verb::fail:
        fail_iteration(std::get<FailStep>(step.step->verb).message);
        break;
    }
    if (ended()) co_return;
  }
}

Task<> Session::run_repeat(const StepProgram& step) {
  const auto& repeat = std::get<RepeatStep>(step.step->verb);
  std::uint64_t times = limits::repeat_rounds_max;
  if (repeat.times) {
    std::string text;
    repeat.times->render(FlowScope(*this), text);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), times);
    if (error != std::errc{} || end != text.data() + text.size() || times > limits::repeat_rounds_max) {
      fail_iteration(
          fmt::format("repeat: {} is no whole number from 0 to {}", repeat.times->text(), limits::repeat_rounds_max));
      co_return;
    }
  }
  std::uint64_t waits = waiter_.waits(), without_wait = 0;
  for (std::uint64_t round = 0; round < times; ++round) {
    if (repeat.condition && !repeat.condition->holds(FlowScope(*this, answered_))) co_return;
    co_await run_steps(step.blocks[0]);
    if (ended()) co_return;
    if (waiter_.waits() != waits) {
      waits = waiter_.waits();
      without_wait = 0;
    } else if (++without_wait % kRoundsWithoutWait == 0) {
      co_await around_.loop.sleep_until(waiter_, now());
      if (ended()) co_return;
    }
  }
  if (!repeat.times) fail_iteration(fmt::format("repeat: its while still holds after {} rounds", times));
}

Nanoseconds Session::sleep_time(const SleepStep& sleep) {
  if (sleep.distribution == SleepStep::Distribution::uniform) {
    const auto width = static_cast<std::uint64_t>((sleep.to - sleep.from).count());
    return sleep.from + Nanoseconds(width == 0 ? 0 : static_cast<std::int64_t>(draw() % (width + 1)));
  }
  const auto mean = static_cast<double>(sleep.mean.count());
  double time = 0;
  if (sleep.distribution == SleepStep::Distribution::exponential) {
    time = -mean * std::log(draw_unit());
  } else {
    const double radius = std::sqrt(-2 * std::log(draw_unit()));  // Box and Muller's
    time = mean + static_cast<double>(sleep.deviation.count()) * radius * std::cos(2 * std::numbers::pi * draw_unit());
  }
  const auto longest = static_cast<double>(std::chrono::duration_cast<Nanoseconds>(limits::duration_max).count());
  const Nanoseconds rounded(static_cast<std::int64_t>(std::clamp(time, 0.0, longest)));
  return sleep.max ? std::min(rounded, *sleep.max) : rounded;
}

const std::vector<StepProgram>& Session::chosen(const StepProgram& step) {
  const auto& ways = std::get<ChooseStep>(step.step->verb).ways;
  double sum = 0;
  for (const auto& way : ways) sum += way.weight;
  double left = draw_unit() * sum;
  std::size_t last = 0;  // of those that can be chosen: rounding must not lead to another
  for (std::size_t i = 0; i < ways.size(); ++i) {
    if (ways[i].weight <= 0) continue;
    last = i;
    left -= ways[i].weight;
    if (left < 0) break;
  }
  return step.blocks[last];
}

void Session::assign(const SetStep& set) {
  const FlowScope scope(*this, answered_);
  for (const auto& [name, value] : set.assignments) {
    Texts texts;
    const auto* expression = std::get_if<Expression>(&value);
    const Value result =
        expression != nullptr ? expression->value(scope, texts) : std::get<Template>(value).value(scope, texts);
    if (!variables_.set(name, own(result)))
      return fail_iteration(
          fmt::format("set: '{}' would be longer than {} bytes", name, limits::flow_variable_bytes_max));
  }
}

void Session::fail_iteration(std::string message) { failure_ = message.empty() ? "fail" : std::move(message); }

/// The bytes of a request; none when its address cannot be, which ends the iteration.
std::string_view Session::render(const StepProgram& step) {
  const bool has_id = step.answer != ExchangeRequest::Answer::plain;
  if (step.is_static && !has_id) return step.bytes;
  if (!step.is_static || request_of_ != &step) {
    request_of_ = step.is_static ? &step : nullptr;
    if (step.is_static) {
      request_ = step.bytes;
    } else if (!render_varying(step)) {
      return {};
    }
    request_id_ = has_id ? find_header(request_, kRequestIdHeader).value : std::string_view();
    own_id_ = request_id_ == kRequestIdPlace;
  }
  if (own_id_) around_.ids.next(request_.data() + (request_id_.data() - request_.data()));
  return request_;
}

bool Session::render_varying(const StepProgram& step) {
  const FlowScope scope(*this);
  const auto* chat = std::get_if<ChatStep>(&step.step->verb);
  const bool talks = chat != nullptr && !chat->conversation.empty();
  if (talks) {
    messages_ = conversations_.messages(chat->conversation);
    const bool begins = messages_.empty();
    const std::size_t before = messages_.size();
    if (!begins) messages_ += ',';
    const std::size_t after_comma = messages_.size();
    render_messages(*chat, scope, begins, messages_);
    if (messages_.size() == after_comma) messages_.resize(before);  // system messages only: they stand there already
  }
  if (render_request(around_.program, step, scope, request_, body_, talks ? &messages_ : nullptr)) return true;
  fail_iteration(fmt::format("'{}': its address is neither a path nor one on its server", step.step->name));
  return false;
}

void Session::render(const Template& pattern, std::string& out) {
  out.clear();
  pattern.render(FlowScope(*this), out);
}

/// A step is due when the one before it has ended; making its bytes is no part of it. Only the first of an iteration of
/// an open model was due at the arrival.
void Session::start_clock() {
  record_.started_at = now();
  record_.scheduled_at = turn_.scheduled_at == kNever ? record_.started_at : turn_.scheduled_at;
  turn_.scheduled_at = kNever;
}

Task<> Session::run_request(const StepProgram& step) {
  ExchangeRequest request;
  request.answer = step.answer;
  request.api = step.api;
  request.head = step.head;
  request.noted = step.noted;
  request.keepalive = step.keepalive;
  request.timeout = step.timeout;
  request.keep_text = step.keep_text;
  request.keep_body = step.keep_body;
  request.keep_headers = step.keep_headers;
  if (const auto* sse = std::get_if<SseStep>(&step.step->verb)) request.until = sse->until;
  if (const auto& abandon = step.step->abandon) {
    request.abandon_events = abandon->after_events;
    request.abandon_after = abandon->after.value_or(Nanoseconds{});
  }
  request.keep_location = step.redirects > 0;
  request.keep_cookies = browser_.keeps_cookies();
  request.recorder = around_.recorder;
  const std::string_view bytes = render(step);
  if (failure_.empty()) give_out_nonce(step, bytes);
  if (!failure_.empty()) co_return;
  if (step.hashes_request) {  // the request line and the body: headers have an id that is another each time
    const std::string_view line = bytes.substr(0, bytes.find("\r\n"));
    const std::string_view body = bytes.substr(std::min(bytes.find("\r\n\r\n"), bytes.size()));
    request_hash_ = mix(text_hash(line)) ^ text_hash(body);
  }
  request.bytes = browser_.dressed(bytes, step.endpoint);
  clear(record_);
  if (step.answer != ExchangeRequest::Answer::plain)
    record_.request_id.assign(request_id_.substr(0, limits::stream_id_bytes_kept));
  start_clock();
  co_await exchange(step.endpoint, request);
  if (Browser::concerns(exchange_.headers(), record_)) co_await browse(step, request, bytes);
  tally(step);
  take_answer(step);
}

void Session::tally(const StepProgram& step) {
  const bool counted = around_.tally.add(record_, step.id);
  if (around_.samples != nullptr && counted) around_.samples->add(record_, step.id);
  if (around_.tracer != nullptr && counted) around_.tracer->add(record_, step.id);
  if (around_.on_record) around_.on_record(record_);
}

/// What is done with an answer that was not cut by the end of the run.
void Session::take_answer(const StepProgram& step) {
  if (record_.outcome == Outcome::interrupted && !record_.abandoned) return;
  answered_ = &step;
  remember_answer(step);
  capture(step);
  if (step.remembers_answer) {
    std::erase_if(answers_, [&](const auto& answer) { return *answer.first == step.step->name; });
    if (record_.outcome == Outcome::ok) answers_.emplace_back(&step.step->name, text_hash(answer_text(step)));
  }
  check(step);
}

/// What was said and answered becomes part of the conversation, unless the request failed.
void Session::remember_answer(const StepProgram& step) {
  const auto* chat = std::get_if<ChatStep>(&step.step->verb);
  if (chat == nullptr || chat->conversation.empty()) return;
  if (record_.outcome != Outcome::ok && !record_.abandoned) return;
  messages_ += ',';
  append_message("assistant", record_.text, messages_);
  if (messages_.size() > limits::conversation_bytes_max) {
    return fail_iteration(fmt::format("the conversation '{}' is longer than {} bytes", chat->conversation,
                                      limits::conversation_bytes_max));
  }
  conversations_.messages(chat->conversation) = messages_;
}

/// What captures and `text` are about: of http steps the body, else what the model (or the events) said.
std::string_view Session::answer_text(const StepProgram& step) const {
  return step.answer == ExchangeRequest::Answer::plain ? record_.body : record_.text;
}

void Session::capture(const StepProgram& step) {
  for (const Capture& wanted : step.step->captures) {
    OwnValue found = captured(wanted, record_, answer_text(step), around_.json);
    if (found.index() == 0 && wanted.otherwise) found = *wanted.otherwise;
    // The value itself must not be in a message: it may be a secret.
    if (found.index() == 0) {
      if (failure_.empty())
        fail_iteration(fmt::format("capture '{}': nothing at {} in the answer of '{}'", wanted.name, wanted.text,
                                   step.step->name));
    } else if (!variables_.set(wanted.name, std::move(found))) {
      fail_iteration(fmt::format("capture '{}': what '{}' answered is longer than {} bytes", wanted.name,
                                 step.step->name, limits::flow_variable_bytes_max));
    }
  }
}

void Session::add_samples(const StepProgram& step) {
  for (const auto& [metric, value] : std::get<MetricStep>(step.step->verb).samples) {
    body_.clear();
    value.render(FlowScope(*this, answered_), body_);
    double number = 0;
    if (body_ == "true")
      number = 1;
    else if (body_ != "false" && !parse_decimal(body_, number))
      number = std::numeric_limits<double>::quiet_NaN();
    const Instant at = now();
    const bool counted = around_.tally.add_custom(step.id, metric, number, at);
    if (around_.samples != nullptr && counted) around_.samples->add_custom(step.id, metric, number, at);
  }
}

/// Before the request goes out, so that no answer can have the word before it is known.
void Session::give_out_nonce(const StepProgram& step, std::string_view request) {
  for (const Check& check : step.step->checks) {
    const auto* crosstalk = std::get_if<NoCrosstalk>(&check.condition);
    if (crosstalk == nullptr) continue;
    render(crosstalk->nonce, nonce_);
    // A word that cannot be used, or that is not asked for, proves nothing: the check fails.
    if (!AnswerLedger::is_nonce(nonce_) || request.find(nonce_) == std::string_view::npos) nonce_.clear();
    if (!nonce_.empty()) around_.ledger->give_out(nonce_);
  }
}

/// What cannot be known of an answer that failed does not hold.
bool Session::holds(const StepProgram& step, const Check& check) {
  if (const auto* expression = std::get_if<Expression>(&check.condition))
    return expression->holds(FlowScope(*this, &step));
  const std::string_view text = answer_text(step);
  if (std::holds_alternative<NoCrosstalk>(check.condition))
    return !nonce_.empty() && !around_.ledger->has_foreign(text, nonce_);
  if (record_.outcome != Outcome::ok) return false;
  if (const auto* code = std::get_if<CodeParses>(&check.condition)) {
    const std::string_view inside = code_of(text);
    return !(code->language == CodeParses::Language::json ? json_syntax_error(inside) : python_syntax_error(inside));
  }
  if (const auto* same = std::get_if<SameTextAs>(&check.condition)) {
    const auto before =
        std::find_if(answers_.begin(), answers_.end(), [&](const auto& answer) { return *answer.first == same->step; });
    return before != answers_.end() && before->second == text_hash(text);
  }
  return around_.ledger->same_as_before(request_hash_, text_hash(text));
}

void Session::check(const StepProgram& step) {
  const std::vector<Check>& checks = step.step->checks;
  for (std::size_t i = 0; i < checks.size(); ++i) {
    const CheckId id = step.first_check + static_cast<CheckId>(i);
    const bool passed = holds(step, checks[i]);
    around_.tally.add_check(id, passed, record_.scheduled_at, record_.ended_at);
    if (around_.samples != nullptr && !around_.tally.is_warmup(scenario_, record_.scheduled_at))
      around_.samples->add_check(id, passed, record_.ended_at);
  }
}

}  // namespace sluice
