// Frames of RFC 6455 as a client writes and reads them: bytes -> messages, texts -> bytes. Pure, no I/O.
//
// Reading is incremental: the same messages come out however the bytes are split. What the protocol forbids (masked
// answers, reserved bits, control frames that are long or in pieces, a text that is not UTF-8) ends it with a sentence.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

enum class WsOpcode : std::uint8_t { continuation = 0, text = 1, binary = 2, close = 8, ping = 9, pong = 10 };

struct WsMessage {
  WsOpcode kind = WsOpcode::text;  // never continuation
  std::string_view payload;        // good until the next call
};

/// What a close frame says.
struct WsClose {
  std::uint16_t code = 1005;  // 1005: it says nothing
  std::string_view reason;
};
WsClose close_of(std::string_view payload);

class WsReader {
 public:
  void reset();
  void push(std::string_view bytes);
  /// The next whole message, or control frame between its pieces; none: more bytes are needed, or it has failed.
  std::optional<WsMessage> next();
  bool failed() const { return !error_.empty(); }
  std::string_view error() const { return error_; }

 private:
  std::optional<WsMessage> fail(std::string_view why);

  std::string buffer_;       // received and not yet taken apart; what is before taken_ is done with
  std::size_t taken_ = 0;    // of buffer_
  std::string message_;      // pieces so far
  bool delivered_ = false;   // message_ has been handed out
  bool in_message_ = false;  // a piece has come, and another follows
  WsOpcode message_kind_ = WsOpcode::text;
  std::string_view error_;
};

/// Appends one frame, whole and masked.
void append_frame(WsOpcode opcode, std::string_view payload, std::uint32_t mask, std::string& out);

/// A key for Sec-WebSocket-Key, 24 characters.
std::string websocket_key(std::uint64_t random_a, std::uint64_t random_b);
inline constexpr std::string_view kWebSocketKeyPlace = "AAAAAAAAAAAAAAAAAAAAAA==";  // what a key is put in place of

/// What the answer's Sec-WebSocket-Accept must be.
std::string websocket_accept(std::string_view key);

/// The answer to an upgrade: none while it is not whole.
struct WsUpgrade {
  unsigned status = 0;   // 0: it is not HTTP
  std::size_t size = 0;  // of the head; what follows is frames
  bool accepted = false;
  std::string_view error;  // when not accepted
};
std::optional<WsUpgrade> read_upgrade(std::string_view bytes, std::string_view key);

}  // namespace sluice
