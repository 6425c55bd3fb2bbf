// How many files this process may have open.
#pragma once

#include <sys/resource.h>

#include <cstdint>

namespace sluice {

/// Raises the soft limit as far as it goes, and tells it; UINT64_MAX: there is none.
inline std::uint64_t raise_open_files_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    ::getrlimit(RLIMIT_NOFILE, &limit);
  }
  return limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : std::uint64_t{limit.rlim_cur};
}

}  // namespace sluice
