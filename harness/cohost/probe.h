// Is anybody there? A TCP connection, and one small HTTP request; plain sockets, with a limit on every wait.
#pragma once

#include <cstdint>
#include <string>

#include "harness/base/result.h"
#include "harness/base/time.h"

namespace sluice {

/// Connects to host:port and closes again. Fails with a sentence that names them.
Result<void> can_connect(const std::string& host, const std::string& port, Nanoseconds limit);

struct LocalAnswer {
  int status = 0;  // 0: none within the limit
  std::string body;
};

/// GET `path` at 127.0.0.1:`port`, of at most limits::local_body_bytes_max. Status 0 when not all of it came.
LocalAnswer local_http_get(std::uint16_t port, const std::string& path, Nanoseconds limit);

/// Status of GET `path` at 127.0.0.1:`port`; 0 when there is no answer within the limit.
int local_http_status(std::uint16_t port, const std::string& path, Nanoseconds limit);

}  // namespace sluice
