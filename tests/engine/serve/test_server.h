// A real server on a free loopback port, over a scripted engine.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "engine/engine.h"
#include "engine/exec/scripted/scripted_executor.h"
#include "engine/serve/server.h"

namespace sluice::engine::test {

struct TestServerOptions {
  Script script;
  std::string text;  // what is said, by bytes: a token a byte; empty: the built-in words
  std::uint32_t slots = 64;
  std::uint32_t context = 4096;
  EngineOptions engine;
  ServerOptions server;
  bool publish = true;
  bool faults = true;
};

class TestServer {
 public:
  explicit TestServer(TestServerOptions options = {})
      : tokenizer_(Tokenizer::parse(scripted_tokenizer_json(), "test").value()),
        template_(
            ChatTemplate::parse("{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}")
                .value()),
        server_(Server::bind(options.server).value()) {
    ScriptedOptions scripted;
    scripted.script = options.script;
    for (const char byte : options.text) scripted.words.push_back(static_cast<unsigned char>(byte));
    if (options.text.empty()) scripted.words = tokenizer_.encode(scripted_text(), false);
    scripted.end = *tokenizer_.id_of(kScriptedEnd);
    scripted.vocab_size = static_cast<std::uint32_t>(tokenizer_.vocab_size());
    scripted.slots_max = options.slots;
    scripted.context_max = options.context;
    scripted.blocks = 4096;
    start(make_scripted_executor(scripted), std::move(options));
  }
  TestServer(std::unique_ptr<Executor> executor, TestServerOptions options)
      : tokenizer_(Tokenizer::parse(scripted_tokenizer_json(), "test").value()),
        template_(ChatTemplate::parse("{% for m in messages %}{{ m['content'] }}{% endfor %}").value()),
        server_(Server::bind(options.server).value()) {
    start(std::move(executor), std::move(options));
  }
  ~TestServer() {
    if (!thread_.joinable()) return;
    server_->stop(0);
    thread_.join();
  }

  std::uint16_t port() const { return port_; }
  Engine& engine() { return *engine_; }
  Server& server() { return *server_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  void publish() {
    server_->publish({.text = {.id = "scripted",
                               .tokenizer = &tokenizer_,
                               .chat_template = &template_,
                               .bos = "",
                               .eos = "",
                               .vocab_size = engine_->info().vocab_size,
                               .faults = faults_},
                      .created_s = 1'700'000'000,
                      .engine = engine_.get()});
  }
  /// Waits for run() to return.
  int join() {
    thread_.join();
    return exit_code_;
  }
  /// Waits until every request has ended; false after 20 s.
  bool idle() {
    const auto deadline = Clock::now() + std::chrono::seconds(20);
    while (engine_->active() > 0) {
      if (Clock::now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }

 private:
  void start(std::unique_ptr<Executor> executor, TestServerOptions options) {
    options.engine.end_tokens = {*tokenizer_.id_of(kScriptedEnd)};
    options.engine.flush = server_->flush_hook();
    options.engine.failed = server_->failed_hook();
    engine_ = std::make_unique<Engine>(std::move(executor), tokenizer_, std::move(options.engine));
    port_ = server_->port();
    faults_ = options.faults;
    if (options.publish) publish();
    thread_ = std::thread([this] { exit_code_ = server_->run(); });
  }

  Tokenizer tokenizer_;
  ChatTemplate template_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Engine> engine_;  // ends before the server
  std::uint16_t port_ = 0;
  bool faults_ = true;
  int exit_code_ = -1;
  std::thread thread_;
};

}  // namespace sluice::engine::test
