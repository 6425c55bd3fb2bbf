#include "harness/load/setup.h"

#include <fmt/format.h>

#include "harness/load/program.h"
#include "harness/load/session.h"
#include "harness/net/endpoint.h"

namespace sluice {
namespace {

Task<> run_and_stop(Session& session, EventLoop& loop) {
  const Turn turn{};
  co_await session.run(turn);
  session.close_connections();
  loop.stop();
}

/// The first thing that went wrong; empty when nothing did.
std::string failure_of(const Session& session, const Tally& tally) {
  const TallyLayout& layout = tally.layout();
  if (session.waiter().interrupted()) return "stopped before its end";
  for (StepId id = 0; id < tally.steps().size(); ++id) {
    if (tally.steps()[id].failures == 0) continue;
    std::string why = "failed";
    for (const auto& [error, count] : tally.errors()) {
      if (error.first != Outcome::flow_failed) why = error.second;
    }
    return fmt::format("the step '{}': {}", layout.steps()[id].name, why);
  }
  if (!session.failure().empty()) return session.failure();
  for (CheckId id = 0; id < tally.checks().size(); ++id) {
    if (tally.checks()[id].fails == 0) continue;
    const CheckInfo& check = layout.checks()[id];
    return fmt::format("the step '{}': the check does not hold: {}", layout.steps()[check.step].name, check.name);
  }
  return {};
}

}  // namespace

Result<FlowVariables> run_once(const Plan& plan, const std::vector<Step>& flow, std::string_view what,
                               const RunOptions& options, const RunControl& control, RunControl::State stop_at) {
  const auto failed = [what](std::string_view why) { return fail(fmt::format("{}: {}", what, why)); };
  Plan own;  // a scenario of one iteration
  own.name = plan.name;
  own.file = plan.file;
  own.seed = plan.seed;
  own.target = plan.target;
  own.data = plan.data;
  own.metrics = plan.metrics;  // a metric: step may add to them; what it adds is no part of the load's
  ScenarioPlan scenario;
  scenario.name = what;
  scenario.flow = flow;
  scenario.conformance = plan.conformance;
  own.scenarios.push_back(std::move(scenario));

  auto target = parse_endpoint(options.target_url.empty() ? plan.target.url : options.target_url);
  if (!target) return failed(target.error().message);
  if (auto resolved = resolve(*target); !resolved) return failed(resolved.error().message);
  target->tls_name = plan.target.tls.server_name;
  auto tls = TlsContext::make(tls_options(plan.target));
  if (!tls) return failed(tls.error().message);
  std::string model = options.model.empty() ? plan.target.model : options.model;
  if (model.empty() && needs_default_model(own)) {
    auto learnt = learn_model(own, *target, *tls);
    if (!learnt) return failed(learnt.error().message);
    model = std::move(*learnt);
  }
  const auto layout = TallyLayout::from(own);
  auto program = make_program(own, *layout, *target, std::move(model));
  if (!program) return failed(program.error().message);

  EventLoop loop;
  ExchangeBuffers buffers;
  Tally tally(layout, now());
  AnswerLedger ledger;
  SessionSurroundings surroundings{.plan = own,
                                   .program = *program,
                                   .loop = loop,
                                   .buffers = buffers,
                                   .tally = tally,
                                   .tls = *tls,
                                   .on_record = {},
                                   .setup = options.variables,
                                   .ledger = &ledger};
  Session session(surroundings, 0);
  Task<> task = run_and_stop(session, loop);
  task.start();
  if (!task.done()) {
    loop.run([&](Instant, Nanoseconds) {
      if (control.state() >= stop_at && !session.waiter().interrupted()) session.waiter().interrupt();
    });
  }
  if (auto why = failure_of(session, tally); !why.empty()) return failed(why);
  return Result<FlowVariables>(boost::system::in_place_value, session.variables());
}

}  // namespace sluice
