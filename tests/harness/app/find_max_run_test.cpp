// A search against a server whose capacity is known, because it serves one request at a time and each for so long.
#include "harness/app/find_max_run.h"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <deque>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/scripted_server.h"

namespace sluice {
namespace {

using namespace std::chrono_literals;

/// One request at a time, `service` each, in the order in which they came: 1 / service a second and no more. The end of
/// each service is an instant of a schedule, so that a late wake-up costs no capacity.
class OneAtATime {
 public:
  explicit OneAtATime(Nanoseconds service) : service_(service) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in self{};
    self.sin_family = AF_INET;
    self.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof self;
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&self), size) != 0 || ::listen(listener_, 4096) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&self), &size) != 0)
      throw std::runtime_error("no socket");
    port_ = ntohs(self.sin_port);
    thread_ = std::jthread([this](const std::stop_token& stop) { serve(stop); });
  }
  ~OneAtATime() {
    thread_.request_stop();
    thread_.join();
    ::close(listener_);
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

 private:
  void serve(const std::stop_token& stop) {
    const std::string reply = testing_support::answer("ok");
    std::vector<pollfd> sockets{{listener_, POLLIN, 0}};
    std::deque<std::pair<Instant, int>> due;  // when each answer is to leave
    Instant busy_until = 0;
    std::array<char, 4096> buffer{};
    while (!stop.stop_requested()) {
      const Instant at = now();
      for (; !due.empty() && due.front().first <= at; due.pop_front())
        (void)!::send(due.front().second, reply.data(), reply.size(), MSG_NOSIGNAL);
      const Instant wait = due.empty() ? 10'000'000 : std::max<Instant>(due.front().first - now(), 0);
      const timespec limit{0, static_cast<long>(std::min<Instant>(wait, 10'000'000))};
      ::ppoll(sockets.data(), sockets.size(), &limit, nullptr);
      for (std::size_t i = 0; i < sockets.size(); ++i) {
        if (sockets[i].revents == 0) continue;
        if (i == 0) {
          sockets.push_back({::accept(listener_, nullptr, nullptr), POLLIN, 0});
        } else if (::recv(sockets[i].fd, buffer.data(), buffer.size(), 0) <= 0) {
          ::close(sockets[i].fd);
          sockets[i].fd = -1;
        } else {
          busy_until = std::max(busy_until, now()) + service_.count();
          due.emplace_back(busy_until, sockets[i].fd);
        }
      }
    }
    for (const pollfd& one : sockets)
      if (one.fd != listener_ && one.fd >= 0) ::close(one.fd);
  }

  const Nanoseconds service_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::jthread thread_;
};

Plan search_plan(const std::string& url, FindMax wanted, double limit_ms) {
  Plan plan;
  plan.name = "search";
  plan.target.url = url;
  HttpStep http;
  http.url = Template("/");
  Step step;
  step.name = "get";
  step.verb = std::move(http);
  ScenarioPlan scenario;
  scenario.name = "main";
  scenario.shape = wanted;
  scenario.graceful_stop = 5s;
  scenario.flow.push_back(std::move(step));
  plan.scenarios.push_back(std::move(scenario));
  Threshold threshold;
  threshold.text = "p(95) < limit";
  threshold.metric = Metric::http_req_duration_sched;
  threshold.aggregation = Aggregation::percentile;
  threshold.percentile = 95;
  threshold.comparison = Comparison::less;
  threshold.limit = limit_ms;
  plan.thresholds.push_back(threshold);
  return plan;
}

TEST(FindMax, FindsAKnownCapacityWithinFivePercent) {
  OneAtATime server(5ms);  // 200 a second
  // Over by 5 % the queue is 75 ms long after 1.5 s; at 200 a second and below there is none.
  const Plan plan =
      search_plan(server.url(), {.start = 60, .max = 2000, .precision = 0.03, .trial = 1500ms, .max_vus = 64}, 60);
  RunControl control;
  std::vector<std::string> said;
  const auto driven = drive(plan, {}, control, {}, [&](const std::string& trial) { said.push_back(trial); });
  ASSERT_TRUE(driven) << driven.error().message;
  ASSERT_TRUE(driven->search && driven->search->best);
  EXPECT_NEAR(*driven->search->best, 200, 10) << testing::PrintToString(said);
  EXPECT_EQ(driven->search->trials.size(), said.size());
  EXPECT_EQ(driven->search->trials.at(0).load, 60);
  const auto& shape = std::get<ArrivalRate>(driven->plan.scenarios[0].shape);
  EXPECT_NEAR(static_cast<double>(shape.start_micro) / 1e6, *driven->search->best, 1e-3) << "the report is of the best";
}

TEST(FindMax, FindsHowManyUsersAServerHolds) {
  OneAtATime server(10ms);  // n users wait for n services: ten of them for 100 ms
  const Plan plan = search_plan(
      server.url(), {.of = FindMax::Of::vus, .start = 1, .max = 100, .precision = 0.05, .trial = 700ms}, 105);
  RunControl control;
  const auto driven = drive(plan, {}, control, {}, [](const std::string&) {});
  ASSERT_TRUE(driven) << driven.error().message;
  ASSERT_TRUE(driven->search->best);
  EXPECT_NEAR(*driven->search->best, 10, 1);
}

TEST(FindMax, SaysThatNothingHeldAndReportsTheLowestLoad) {
  OneAtATime server(50ms);
  Plan plan = search_plan(server.url(),
                          {.of = FindMax::Of::vus, .start = 4, .max = 100, .precision = 0.05, .trial = 200ms}, 10);
  ScenarioPlan beside = plan.scenarios[0];  // the search is not the first of the file's scenarios
  beside.name = "beside";
  beside.shape = ConstantVus{1, 50ms};
  plan.scenarios.insert(plan.scenarios.begin(), beside);
  RunControl control;
  const auto driven = drive(plan, {}, control, {}, [](const std::string&) {});
  ASSERT_TRUE(driven) << driven.error().message;
  EXPECT_EQ(driven->search->best, std::nullopt);
  EXPECT_EQ(std::get<ConstantVus>(driven->plan.scenarios[1].shape).vus, 1u);
  for (const auto& trial : driven->search->trials) EXPECT_NE(trial.reason, "");
}

}  // namespace
}  // namespace sluice
