// CHECK(condition): our own invariant. When it breaks, that is a bug: say where and stop.
#pragma once

#include <cstdio>
#include <cstdlib>

#define SLUICE_ENGINE_CHECK(condition)                                                         \
  do {                                                                                         \
    if (!(condition)) [[unlikely]] {                                                           \
      std::fprintf(stderr, "sluice-engine: bug: %s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                            \
    }                                                                                          \
  } while (false)
