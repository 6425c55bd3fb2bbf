// Any bytes as a server's frames, split anywhere: the same messages come out, and no more than a message's bound is
// held. And as its answer to the upgrade.
#include <cstdint>
#include <string>
#include <string_view>

#include "harness/base/limits.h"
#include "harness/net/websocket_frames.h"

namespace {

using namespace sluice;

std::string read_all(std::string_view wire, std::size_t step) {
  WsReader reader;
  std::string out;
  for (std::size_t at = 0; at < wire.size() && !reader.failed(); at += step) {
    reader.push(wire.substr(at, step));
    while (const auto message = reader.next()) {
      if (message->payload.size() > limits::ws_message_bytes_max) __builtin_trap();
      out += static_cast<char>(message->kind);
      out += std::to_string(message->payload.size());
      out.append(message->payload);
    }
  }
  return out.append(reader.error());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 || size > 20'000) return 0;
  const std::string_view wire(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (read_all(wire, std::size_t{data[0]} + 1) != read_all(wire, wire.size() + 1)) __builtin_trap();
  const auto upgrade = read_upgrade(wire, "dGhlIHNhbXBsZSBub25jZQ==");
  if (upgrade && upgrade->accepted && (upgrade->status != 101 || upgrade->size > wire.size())) __builtin_trap();
  return 0;
}
