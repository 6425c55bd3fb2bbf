// For tests of whole runs: an OpenAI-like server that speaks HTTP/2 only.
//
//     http2_server [--tls]
//
// Prints its URL, then serves until it is killed: models, chat streams of eight tokens, "hello" for anything else.
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "tests/support/http2_server.h"
#include "tests/support/scripted_server.h"

using namespace sluice::testing_support;

int main(int argc, char** argv) {
  const bool tls = argc > 1 && std::strcmp(argv[1], "--tls") == 0;
  Http2Server server(
      [](const Http2Request& request) -> Http2Answer {
        if (request.path == "/v1/models")
          return {.headers = {{"content-type", "application/json"}},
                  .pieces = {R"({"object":"list","data":[{"id":"fake","object":"model"}]})"}};
        if (request.path != "/v1/chat/completions") return {.pieces = {"hello"}};
        Http2Answer answer{.headers = {{"content-type", "text/event-stream"}}, .pieces = {role_event()}};
        for (int i = 0; i < 8; ++i) answer.pieces.push_back(content_event("token "));
        for (std::string event : {finish_event(), usage_event(5, 8), done_event()})
          answer.pieces.push_back(std::move(event));
        answer.gap = std::chrono::milliseconds(2);
        return answer;
      },
      {.tls = tls});
  std::printf("%s\n", server.url().c_str());
  std::fflush(stdout);
  while (true) ::pause();
}
