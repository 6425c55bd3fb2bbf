// Where fuzzed clients connect to: a Unix socket in place of TCP, so that nothing lingers in the kernel after each of
// some thousands of connections a second.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>

#include "harness/net/endpoint.h"

namespace sluice::testing_support {

/// Makes the endpoint's address that of a new socket, which listens and is returned.
inline int listen_at(Endpoint& endpoint) {
  const int listener = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;  // no path: the kernel picks an abstract name
  socklen_t length = sizeof(sa_family_t);
  if (::bind(listener, reinterpret_cast<sockaddr*>(&name), length) != 0 || ::listen(listener, 8) != 0) __builtin_trap();
  length = sizeof name;
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&name), &length);
  Address address;
  std::memcpy(&address.storage, &name, length);
  address.length = length;
  endpoint.host = "fuzz";
  endpoint.addresses.push_back(address);
  return listener;
}

}  // namespace sluice::testing_support
