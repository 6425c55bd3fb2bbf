// Behaves as sluice-engine does at its edges, and badly on request: the first argument after ours says how.
//
//   ready            answers /ready with 200 at once, ends on SIGTERM
//   slow-ready       503 three times, then 200
//   never-ready      listens, always 503
//   mute             never says its port
//   fail             says why and exits with 3
//   die              ready, and killed by its own hand on the second request
//   stubborn         ready, ignores SIGTERM
//   chatty           ready, after a megabyte of log
//   cores            ready, after logging the cores it may use
//   cut              ready; closes in the middle of its metrics
//
// Who asks for /metrics gets some.
#include <arpa/inet.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>

int main(int argc, char** argv) {
  std::string how = "ready", all;
  for (int i = 1; i < argc; ++i) {
    all += std::string(i > 1 ? " " : "") + argv[i];
    if (std::strcmp(argv[i], "--behave") == 0 && i + 1 < argc) how = argv[i + 1];
  }
  std::fprintf(stderr, "fake engine: %s\n", all.c_str());
  if (how == "fail") {
    std::fprintf(stderr, "there is no model 'nothing'\n");
    return 3;
  }
  if (how == "stubborn") signal(SIGTERM, SIG_IGN);
  if (how == "chatty") {
    for (int i = 0; i < 10'000; ++i)
      std::fprintf(stderr,
                   "line %d of a log that is far longer than anybody wants to keep in memory, and still goes on\n", i);
  }
  if (how == "cores") {
    cpu_set_t cores;
    sched_getaffinity(0, sizeof cores, &cores);
    std::fprintf(stderr, "cores: %d, first %d\n", CPU_COUNT(&cores), CPU_ISSET(0, &cores) ? 1 : 0);
  }
  const int server = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(server, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(server, 16) != 0) return 1;
  getsockname(server, reinterpret_cast<sockaddr*>(&address), &size);
  if (how != "mute") std::fprintf(stderr, "sluice-engine: listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
  for (int request = 0;; ++request) {
    const int client = accept(server, nullptr, nullptr);
    if (client < 0) return 1;
    char head[1024];
    const auto got = read(client, head, sizeof head);
    if (how == "die" && request == 1) raise(SIGKILL);
    const bool ready = how != "never-ready" && (how != "slow-ready" || request >= 3);
    if (got > 0 && std::string(head, static_cast<std::size_t>(got)).starts_with("GET /metrics ")) {
      const std::string text =
          "sluice_engine_info{backend=\"cpu\",device=\"a fake\",model=\"tiny\"} 1\nsluice_steps_total 1234\n";
      const std::string all_of_it =
          "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(text.size()) + "\r\n\r\n" + text;
      [[maybe_unused]] const auto metrics_sent =
          write(client, all_of_it.data(), all_of_it.size() - (how == "cut" ? 3 : 0));
      close(client);
      continue;
    }
    const char* answer = ready ? "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
                               : "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    [[maybe_unused]] const auto sent = write(client, answer, std::strlen(answer));
    close(client);
  }
}
