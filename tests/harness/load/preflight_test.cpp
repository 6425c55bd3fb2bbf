#include "harness/load/preflight.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

#include "harness/scenario/load_plan.h"
#include "tests/support/scripted_server.h"

namespace sluice {
namespace {

using namespace testing_support;
using testing::HasSubstr;

RequestRecord says(unsigned status, const std::string& body = "") {
  RequestRecord record;
  record.status = status;
  record.body = body;
  record.outcome = status == 0 ? Outcome::connect_failed : status >= 400 ? Outcome::http_error : Outcome::ok;
  if (status == 0) record.error = "connection refused";
  return record;
}

const std::string kVllmModels =
    R"({"object":"list","data":[{"id":"llama","owned_by":"vllm"},{"id":"qwen","owned_by":"vllm"}]})";

TEST(Preflight, NamesWhatIsWrong) {
  struct Case {
    const char* name;
    RequestRecord health, models, about;
    std::vector<std::string> expect_models;
    std::string expect_backend;
    const char* failed;  // the check; "": none
    const char* detail;
  };
  const Case cases[] = {
      {"all is well", says(200), says(200, kVllmModels), says(404), {"llama"}, "vllm", "", ""},
      {"nothing is asked for", says(200), says(200, kVllmModels), says(404), {}, "", "", ""},
      {"no /health", says(404), says(200, kVllmModels), says(404), {}, "", "", ""},
      {"a server that is not ready", says(503), says(200, kVllmModels), says(404), {}, "", "health", "status 503"},
      {"no token", says(200), says(401), says(401), {}, "", "authentication", "status 401: set target.auth"},
      {"another model",
       says(200),
       says(200, kVllmModels),
       says(404),
       {"lama"},
       "",
       "models",
       "does not offer 'lama'; did you mean 'llama'?; it offers llama, qwen"},
      {"the model that is asked for is not there",
       says(200),
       says(200, kVllmModels),
       says(404),
       {"=gpt"},
       "",
       "models",
       "does not offer 'gpt'; it offers llama, qwen"},
      {"the path is wrong", says(404), says(404), says(404), {}, "", "models", "status 404: is the URL right?"},
      {"no models at all", says(200), says(200, "{}"), says(404), {"llama"}, "", "models", "it offers nothing"},
      {"another backend",
       says(200),
       says(200, kVllmModels),
       says(404),
       {},
       "cuda",
       "backend",
       "runs on 'vllm', not on 'cuda': it has fallen back"},
      {"the server's own word goes before the owner",
       says(200),
       says(200, kVllmModels),
       says(200, R"({"status":"ok","backend":"legacy","models":["llama"]})"),
       {},
       "vllm",
       "backend",
       "runs on 'legacy', not on 'vllm'"},
      {"a server that says that it has fallen back",
       says(200),
       says(200, kVllmModels),
       says(200, R"({"status":"degraded","backend":"legacy"})"),
       {},
       "",
       "backend",
       "it is 'degraded' on 'legacy'"},
      {"letters' case does not matter",
       says(200),
       says(200, kVllmModels),
       says(200, R"({"status":"Healthy","backend":"VLLM"})"),
       {},
       "vllm",
       "",
       ""},
      {"nobody says what it runs on",
       says(200),
       says(200, R"({"data":[{"id":"a"}]})"),
       says(404),
       {},
       "vllm",
       "backend",
       "does not say what it runs on"},
      {"nobody is there", says(0), says(0), says(0), {}, "", "health", "connection refused"},
      {"no JSON", says(200), says(200, "<html>"), says(200, "<html>"), {"a"}, "", "models", "it offers nothing"},
      {"bytes for a terminal are not passed on",
       says(200),
       says(200, "{\"data\":[{\"id\":\"\\u001b[31m\"}]}"),
       says(404),
       {"a"},
       "",
       "models",
       "it offers ?[31m"},
  };
  for (const Case& c : cases) {
    Target target;
    for (const std::string& name : c.expect_models) {  // "=gpt": the scenario's own
      if (name.starts_with('='))
        target.model = name.substr(1);
      else
        target.expect_models.push_back(name);
    }
    target.expect_backend = c.expect_backend;
    const Preflight found = judge_preflight(target, c.health, c.models, c.about);
    const PreflightCheck* failed = found.failed();
    ASSERT_EQ(failed != nullptr, *c.failed != 0) << c.name << (failed != nullptr ? ": " + failed->detail : "");
    EXPECT_EQ(found.reached, c.health.status != 0) << c.name;
    if (failed == nullptr) continue;
    EXPECT_EQ(failed->name, c.failed) << c.name;
    EXPECT_THAT(failed->detail, HasSubstr(c.detail)) << c.name;
  }
}

TEST(Preflight, AsksWithTheTargetsHeaders) {
  ScriptedServer server({{await_request(), send(answer("{}", "application/json"))},
                         {await_request(), send(answer(kVllmModels, "application/json"))},
                         {await_request(), send(answer("{}", "application/json", 404))}});
  LoadOptions load;
  load.environment = [](const std::string&) { return std::nullopt; };
  const auto plan = read_plan("name: t\ntarget: {url: '" + server.url() +
                                  "', auth: {bearer: sesame}, expect_models: [llama], expect_backend: vllm}\n"
                                  "scenarios: {a: {executor: constant-vus, duration: 1s, flow: [{sleep: 1s}]}}\n",
                              "t.yaml", load);
  ASSERT_TRUE(plan) << plan.error().text();
  const auto found = preflight(*plan, server.url());
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->failed(), nullptr);
  EXPECT_EQ(found->models, (std::vector<std::string>{"llama", "qwen"}));
  EXPECT_EQ(found->backend, "vllm");
  const auto requests = server.requests();
  ASSERT_EQ(requests.size(), 3U);
  for (const std::string& request : requests) EXPECT_THAT(request, HasSubstr("Authorization: Bearer sesame"));
  EXPECT_THAT(requests[0], HasSubstr("GET /health "));
  EXPECT_THAT(requests[1], HasSubstr("GET /v1/models "));
  EXPECT_THAT(requests[2], HasSubstr("GET /api/v1/health "));
}

}  // namespace
}  // namespace sluice
