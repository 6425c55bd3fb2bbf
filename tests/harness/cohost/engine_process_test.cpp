#include "harness/cohost/engine_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <future>
#include <sstream>
#include <thread>

#include "harness/base/limits.h"
#include "harness/cohost/probe.h"

namespace sluice {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

EngineTarget behaving(const std::string& how) {
  EngineTarget target;
  target.model = "tiny";
  target.backend = "cpu";
  target.args = {"--behave", how};
  target.ready_timeout = seconds(20);
  return target;
}

EngineProcessOptions fake() {
  EngineProcessOptions options;
  options.executable = FAKE_ENGINE;
  return options;
}

std::uint16_t port_of(const EngineProcess& engine) {
  return static_cast<std::uint16_t>(std::stoi(engine.url().substr(engine.url().rfind(':') + 1)));
}

// A zombie counts as gone: it runs nothing.
bool runs(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::stringstream text;
  text << file.rdbuf();
  const auto name_end = text.str().rfind(')');
  return name_end != std::string::npos && text.str().substr(name_end + 2, 1) != "Z";
}

// Another process brings it about, so it is polled for; generous, and fast when all is well.
template <class Condition>
bool comes_true(Condition condition) {
  const Instant deadline = now() + 20'000'000'000;
  while (now() < deadline) {
    if (condition()) return true;
    std::this_thread::sleep_for(milliseconds(5));
  }
  return false;
}

TEST(EngineProcess, StartsOnAFreePortAndIsGoneAfterStop) {
  const auto started = EngineProcess::start(behaving("ready"), fake());
  ASSERT_TRUE(started) << started.error().message;
  const auto& engine = **started;
  EXPECT_THAT(engine.url(), StartsWith("http://127.0.0.1:"));
  EXPECT_EQ(local_http_status(port_of(engine), "/ready", seconds(5)), 200);
  EXPECT_THAT(engine.log_tail(), HasSubstr("--model tiny --port 0 --backend cpu --die-with-parent --parent-pid " +
                                           std::to_string(getpid())));
  EXPECT_THAT(engine.log_tail(), HasSubstr("--behave ready"));
  EXPECT_TRUE(runs(engine.pid()));
  (*started)->stop();
  EXPECT_FALSE(runs(engine.pid()));
  EXPECT_EQ(kill(engine.pid(), 0), -1) << "reaped, too";
  EXPECT_FALSE(engine.death()) << "it was asked to";
  (*started)->stop();
}

TEST(EngineProcess, LeavesOneCoreToTheHarnessUnlessTheUserSaysOtherwise) {
  cpu_set_t mine;
  ASSERT_EQ(sched_getaffinity(0, sizeof mine, &mine), 0);
  const int cores = CPU_COUNT(&mine);
  const auto log_of = [](const EngineTarget& target) {
    const auto started = EngineProcess::start(target, fake());
    return started ? (*started)->log_tail() : started.error().message;
  };
  EngineTarget target = behaving("ready");
  EXPECT_THAT(log_of(target), HasSubstr(cores > 1 ? "--threads " + std::to_string(cores - 1) : "--behave"));
  target.engine_cores = "0";
  EXPECT_THAT(log_of(target), Not(HasSubstr("--threads")));
  target = behaving("ready");
  target.args.insert(target.args.end(), {"--threads", "7"});
  EXPECT_THAT(log_of(target), HasSubstr("--parent-pid " + std::to_string(getpid()) + " --behave ready --threads 7"));
}

TEST(EngineProcess, TheDestructorStopsIt) {
  pid_t pid = 0;
  {
    const auto started = EngineProcess::start(behaving("slow-ready"), fake());
    ASSERT_TRUE(started) << started.error().message;
    pid = (*started)->pid();
    EXPECT_TRUE(runs(pid));
  }
  EXPECT_FALSE(runs(pid));
}

TEST(EngineProcess, ItsOwnProcessGroupKeepsCtrlCAway) {
  const auto started = EngineProcess::start(behaving("ready"), fake());
  ASSERT_TRUE(started);
  EXPECT_EQ(getpgid((*started)->pid()), (*started)->pid());
  EXPECT_NE(getpgid(0), (*started)->pid());
}

TEST(EngineProcess, AFailureShowsItsLog) {
  const auto started = EngineProcess::start(behaving("fail"), fake());
  ASSERT_FALSE(started);
  EXPECT_THAT(started.error().message,
              AllOf(HasSubstr("ended with exit code 3 before it was ready"), HasSubstr("there is no model 'nothing'")));
}

TEST(EngineProcess, ReadinessHasALimit) {
  for (const char* how : {"never-ready", "mute"}) {
    auto target = behaving(how);
    target.ready_timeout = milliseconds(300);
    const auto started = EngineProcess::start(target, fake());
    ASSERT_FALSE(started) << how;
    EXPECT_THAT(started.error().message, AllOf(HasSubstr("was not ready within 0.3 s"), HasSubstr("fake engine:")))
        << how;
    EXPECT_EQ(started.error().message.find("never said on which port") != std::string::npos,
              std::string(how) == "mute");
  }
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "nothing is left behind";
  EXPECT_EQ(errno, ECHILD);
}

TEST(EngineProcess, WaitingCanBeCancelled) {
  auto options = fake();
  int asked = 0;
  options.cancelled = [&asked] { return ++asked > 3; };
  const auto started = EngineProcess::start(behaving("never-ready"), options);
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().message, "stopped while the engine was starting");
}

TEST(EngineProcess, WhatCannotBeRunIsSaid) {
  EngineProcessOptions options;
  options.executable = "/nowhere/sluice-engine";
  const auto started = EngineProcess::start(behaving("ready"), options);
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().message, "/nowhere/sluice-engine cannot be run: No such file or directory");
}

TEST(EngineProcess, ItsDeathInMidRunIsNoticed) {
  std::promise<void> died;
  auto options = fake();
  options.on_death = [&died] { died.set_value(); };
  const auto started = EngineProcess::start(behaving("die"), options);
  ASSERT_TRUE(started) << started.error().message;
  EXPECT_FALSE((*started)->death());
  EXPECT_EQ(local_http_status(port_of(**started), "/", seconds(5)), 0);
  ASSERT_EQ(died.get_future().wait_for(seconds(20)), std::future_status::ready);
  EXPECT_EQ((*started)->death(), "was killed by signal 9 (Killed)");
  (*started)->stop();
  EXPECT_EQ((*started)->death(), "was killed by signal 9 (Killed)") << "still known after stop()";
}

TEST(EngineProcess, AStubbornOneIsKilledAfterTheGrace) {
  bool told = false;
  auto options = fake();
  options.on_death = [&told] { told = true; };
  const auto started = EngineProcess::start(behaving("stubborn"), options);
  ASSERT_TRUE(started);
  (*started)->stop(milliseconds(100));
  EXPECT_FALSE(runs((*started)->pid()));
  EXPECT_FALSE(told) << "a death that was asked for is no news";
}

TEST(EngineProcess, ALongLogIsReadAndOnlyItsEndKept) {
  const auto started = EngineProcess::start(behaving("chatty"), fake());
  ASSERT_TRUE(started) << started.error().message << " (a full pipe would stop it for ever)";
  const auto tail = (*started)->log_tail();
  EXPECT_LE(tail.size(), limits::engine_log_bytes_kept);
  EXPECT_THAT(tail, AllOf(HasSubstr("line 9999 "), Not(HasSubstr("line 1 of"))));
}

TEST(EngineProcess, IsPinnedWhenTold) {
  auto target = behaving("cores");
  target.engine_cores = "0";
  const auto started = EngineProcess::start(target, fake());
  ASSERT_TRUE(started) << started.error().message;
  EXPECT_THAT((*started)->log_tail(), HasSubstr("cores: 1, first 1"));
}

TEST(EngineProcess, IsNotLeftBehindWhenWeAreKilled) {
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  const pid_t sluice = fork();
  ASSERT_GE(sluice, 0);
  if (sluice == 0) {
    dup2(ends[1], 1);
    execl(FAKE_SLUICE, FAKE_SLUICE, FAKE_ENGINE, nullptr);
    _exit(127);
  }
  close(ends[1]);
  std::array<char, 32> said{};
  ASSERT_GT(read(ends[0], said.data(), said.size() - 1), 0);
  const pid_t engine = std::atoi(said.data());
  ASSERT_GT(engine, 1);
  EXPECT_TRUE(runs(engine));
  kill(sluice, SIGKILL);
  waitpid(sluice, nullptr, 0);
  EXPECT_TRUE(comes_true([engine] { return !runs(engine); }));
  close(ends[0]);
}

TEST(Probe, SaysWhyNobodyIsThere) {
  const auto closed = can_connect("127.0.0.1", "9", seconds(2));
  ASSERT_FALSE(closed);
  EXPECT_EQ(closed.error().message, "cannot connect to 127.0.0.1:9: Connection refused");
  const auto nameless = can_connect("no-such-host.invalid", "80", seconds(2));
  ASSERT_FALSE(nameless);
  EXPECT_THAT(nameless.error().message, StartsWith("the name 'no-such-host.invalid' cannot be looked up"));
  EXPECT_EQ(local_http_status(9, "/ready", seconds(1)), 0);
}

}  // namespace
}  // namespace sluice
