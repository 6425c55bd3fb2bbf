// A plan made ready to run: every step with its number, every request as bytes as far as it does not vary.
//
// Made once, before the load; immutable and shared by the threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "harness/base/result.h"
#include "harness/metrics/tally_layout.h"
#include "harness/net/endpoint.h"
#include "harness/net/exchange.h"
#include "harness/net/network_shape.h"
#include "harness/scenario/plan.h"

namespace sluice {

struct StepProgram {
  enum class Verb : std::uint8_t { request, websocket, sleep, group, branch, repeat, choose, set, fail, metric };
  Verb verb = Verb::request;
  StepId id = 0;
  const Step* step = nullptr;  // in the plan, which outlives the program
  CheckId first_check = 0;
  std::vector<std::vector<StepProgram>> blocks;  // the lists of steps inside it, as for_each_block() has them

  // of a request
  std::size_t endpoint = 0;                // in Program::endpoints
  std::size_t home = 0;                    // likewise: of paths, where the scenario's headers go
  const ScenarioPlan* scenario = nullptr;  // in the plan
  bool is_static = true;
  std::string bytes;  // head and body, when static
  ExchangeRequest::Answer answer = ExchangeRequest::Answer::plain;
  StreamApi api = StreamApi::chat;
  RuleSet noted;            // of a stream: known of its dialect, or allowed
  Nanoseconds keepalive{};  // of a stream
  bool head = false;
  bool keep_text = false, keep_body = false, keep_headers = false;  // some check or capture may ask for it
  bool remembers_answer = false;                                    // for same_text_as: of a later step
  bool hashes_request = false;                                      // for deterministic:
  Nanoseconds timeout{};
  std::uint32_t redirects = 0;  // that are followed
};

struct FlowProgram {
  CookieKeeping cookies = CookieKeeping::reset;
  bool http2 = false;
  NetworkShape shape;
  std::vector<StepProgram> steps;
  bool streams = false;  // at least one step is streamed: its connections are stamped
};

struct Program {
  const Plan* plan = nullptr;
  std::string model;                // of chat steps that name none
  std::vector<Endpoint> endpoints;  // the target first; resolved
  std::vector<FlowProgram> flows;   // by scenario
  bool sockets = false;             // some step is a websocket: its connection stands beside those that are kept
};

/// Of every request to a model, and of sse: steps: kRequestIdPlace (request_ids.h), unless the scenario sets it itself.
inline constexpr std::string_view kRequestIdHeader = "x-request-id";

/// Fails when a URL cannot be read or a host cannot be found. `plan` must outlive the program.
Result<Program> make_program(const Plan& plan, const TallyLayout& layout, const Endpoint& target, std::string model);

/// Does any chat step of the plan leave its model to the target?
bool needs_default_model(const Plan& plan);

/// The bytes of a request that varies; replaces `out`. `body` is scratch. `messages`: those of a chat step, rendered
/// already; null: they are not. False: an address that is a hole names neither a path nor this step's server.
bool render_request(const Program& program, const StepProgram& step, const Scope& scope, std::string& out,
                    std::string& body, const std::string* messages = nullptr);

/// Appends a chat step's messages as JSON, without the brackets around; those of the system only if asked to.
void render_messages(const ChatStep& chat, const Scope& scope, bool with_system, std::string& out);
void append_message(std::string_view role, std::string_view content, std::string& out);

/// A GET of the target's own, "/v1/models" for one, with the headers that the scenario gives it.
std::string target_request(const Plan& plan, const Endpoint& target, std::string_view path);

TlsOptions tls_options(const Target& target);

/// Asks the target for the first of its models; "default" when it will not say.
Result<std::string> learn_model(const Plan& plan, const Endpoint& target, const std::shared_ptr<TlsContext>& tls);

}  // namespace sluice
