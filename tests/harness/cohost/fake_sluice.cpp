// Starts an engine, says its process id, and waits to be killed.
#include <unistd.h>

#include <cstdio>

#include "harness/cohost/engine_process.h"

int main(int, char** argv) {
  sluice::EngineTarget target;
  target.model = "any";
  sluice::EngineProcessOptions options;
  options.executable = argv[1];
  const auto engine = sluice::EngineProcess::start(target, options);
  if (!engine) return 1;
  std::printf("%d\n", static_cast<int>((*engine)->pid()));
  std::fflush(stdout);
  pause();
}
