#include "harness/net/websocket_frames.h"

#include <openssl/evp.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "harness/base/limits.h"
#include "harness/net/header_text.h"

namespace sluice {
namespace {

constexpr std::size_t kControlMax = 125, kShort = 126, kLong = 127;

std::uint64_t big_endian(std::string_view bytes) {
  std::uint64_t number = 0;
  for (const char c : bytes) number = number << 8U | static_cast<unsigned char>(c);
  return number;
}

std::string base64(const unsigned char* bytes, std::size_t size) {
  std::string out((size + 2) / 3 * 4 + 1, '\0');  // OpenSSL adds a zero
  ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes, static_cast<int>(size));
  out.pop_back();
  return out;
}

bool is_control(WsOpcode opcode) { return (static_cast<unsigned>(opcode) & 8U) != 0; }

bool is_utf8(std::string_view text) { return simdjson::validate_utf8(text.data(), text.size()); }

/// Does a list of words ("keep-alive, Upgrade") have this one?
bool lists(std::string_view words, std::string_view wanted) {
  while (!words.empty()) {
    std::string_view word = words.substr(0, words.find(','));
    words.remove_prefix(std::min(words.size(), word.size() + 1));
    while (word.starts_with(' ')) word.remove_prefix(1);
    while (word.ends_with(' ')) word.remove_suffix(1);
    if (same_header(word, wanted)) return true;
  }
  return false;
}

}  // namespace

void WsReader::reset() {
  buffer_.clear();
  message_.clear();
  taken_ = 0;
  delivered_ = in_message_ = false;
  error_ = {};
}

void WsReader::push(std::string_view bytes) {
  buffer_.erase(0, taken_);
  taken_ = 0;
  buffer_.append(bytes);
}

std::optional<WsMessage> WsReader::fail(std::string_view why) {
  error_ = why;
  return std::nullopt;
}

std::optional<WsMessage> WsReader::next() {
  if (delivered_) {
    message_.clear();
    delivered_ = false;
  }
  while (!failed()) {
    const std::string_view rest = std::string_view(buffer_).substr(taken_);
    if (rest.size() < 2) return std::nullopt;
    const auto first = static_cast<unsigned char>(rest[0]), second = static_cast<unsigned char>(rest[1]);
    const bool last = (first & 0x80U) != 0;
    const auto opcode = static_cast<WsOpcode>(first & 0x0FU);
    if ((first & 0x70U) != 0) return fail("a frame with reserved bits set");
    if ((second & 0x80U) != 0) return fail("a masked frame from the server");
    std::size_t head = 2;
    std::uint64_t size = second & 0x7FU;
    if (is_control(opcode) && (size > kControlMax || !last)) return fail("a control frame that is long or in pieces");
    if (size == kShort || size == kLong) {
      const std::size_t digits = size == kShort ? 2 : 8;
      head += digits;
      if (rest.size() < head) return std::nullopt;
      size = big_endian(rest.substr(2, digits));
      if (size < (digits == 2 ? std::uint64_t{126} : std::uint64_t{65536}))
        return fail("a frame's length written too long");
    }
    switch (opcode) {
      case WsOpcode::continuation:
        if (!in_message_) return fail("a continuation of nothing");
        break;
      case WsOpcode::text:
      case WsOpcode::binary:
        if (in_message_) return fail("a new message within another");
        break;
      case WsOpcode::close:
      case WsOpcode::ping:
      case WsOpcode::pong:
        break;
      default:
        return fail("a frame of an unknown kind");
    }
    if (size > limits::ws_message_bytes_max || message_.size() + size > limits::ws_message_bytes_max) {
      return fail("a message that is too long to be read");
    }
    if (rest.size() - head < size) return std::nullopt;
    const std::string_view payload = rest.substr(head, static_cast<std::size_t>(size));
    taken_ += head + payload.size();
    if (is_control(opcode)) {
      if (opcode == WsOpcode::close && (payload.size() == 1 || !is_utf8(close_of(payload).reason))) {
        return fail("a close frame that cannot be read");
      }
      return WsMessage{opcode, payload};
    }
    if (!in_message_) message_kind_ = opcode;
    const bool whole_at_once = !in_message_ && last;
    in_message_ = !last;
    if (!whole_at_once) message_.append(payload);
    if (!last) continue;
    const std::string_view text = whole_at_once ? payload : std::string_view(message_);
    delivered_ = !whole_at_once;
    if (message_kind_ == WsOpcode::text && !is_utf8(text)) return fail("a text that is not UTF-8");
    return WsMessage{message_kind_, text};
  }
  return std::nullopt;
}

WsClose close_of(std::string_view payload) {
  if (payload.size() < 2) return {};
  return {static_cast<std::uint16_t>(big_endian(payload.substr(0, 2))), payload.substr(2)};
}

void append_frame(WsOpcode opcode, std::string_view payload, std::uint32_t mask, std::string& out) {
  const auto byte = [](std::uint64_t value) { return static_cast<char>(static_cast<unsigned char>(value & 0xFFU)); };
  out += byte(0x80U | static_cast<unsigned>(opcode));
  std::size_t digits = 0;
  if (payload.size() < kShort) {
    out += byte(0x80U | payload.size());
  } else {
    digits = payload.size() < 65536 ? 2 : 8;
    out += byte(0x80U | (digits == 2 ? kShort : kLong));
  }
  for (std::size_t i = digits; i > 0; --i) out += byte(payload.size() >> (8 * (i - 1)));
  std::array<unsigned char, 4> key{};
  for (std::size_t i = 0; i < key.size(); ++i) {
    key[i] = static_cast<unsigned char>(mask >> (8 * i) & 0xFFU);
    out += byte(key[i]);
  }
  const std::size_t at = out.size();
  out.append(payload);
  for (std::size_t i = 0; i < payload.size(); ++i)
    out[at + i] = byte(static_cast<unsigned char>(payload[i]) ^ key[i % 4]);
}

std::string websocket_key(std::uint64_t random_a, std::uint64_t random_b) {
  std::array<unsigned char, 16> bytes{};
  for (std::size_t i = 0; i < 8; ++i) {
    bytes[i] = static_cast<unsigned char>(random_a >> (8 * i));
    bytes[i + 8] = static_cast<unsigned char>(random_b >> (8 * i));
  }
  return base64(bytes.data(), bytes.size());
}

std::string websocket_accept(std::string_view key) {
  std::string text(key);
  text += "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  ::EVP_Digest(text.data(), text.size(), digest.data(), &size, ::EVP_sha1(), nullptr);
  return base64(digest.data(), size);
}

std::optional<WsUpgrade> read_upgrade(std::string_view bytes, std::string_view key) {
  WsUpgrade answer;
  constexpr std::string_view kStart = "HTTP/1.";
  if (!bytes.starts_with(kStart.substr(0, std::min(bytes.size(), kStart.size())))) {
    answer.error = "the answer to the upgrade is not HTTP";
    return answer;
  }
  const std::size_t end = bytes.find("\r\n\r\n");
  if (end == std::string_view::npos) {
    if (bytes.size() < limits::ws_head_bytes_max) return std::nullopt;
    answer.error = "the head of the answer to the upgrade is too long";
    return answer;
  }
  const std::string_view head = bytes.substr(0, end + 4);
  answer.size = head.size();
  const std::string_view line = head.substr(0, head.find("\r\n"));
  const std::size_t blank = line.find(' ');
  const std::string_view digits = blank == std::string_view::npos ? std::string_view() : line.substr(blank + 1, 3);
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), answer.status);
  if (digits.size() != 3 || read.ec != std::errc() || read.ptr != digits.data() + 3 || answer.status < 100) {
    answer.status = 0;
    answer.error = "the answer to the upgrade is not HTTP";
  } else if (answer.status != 101) {
    answer.error = "no upgrade to WebSocket";
  } else if (!same_header(find_header(head, "Upgrade").value, "websocket") ||
             !lists(find_header(head, "Connection").value, "upgrade")) {
    answer.error = "the answer to the upgrade lacks Upgrade or Connection";
  } else if (find_header(head, "Sec-WebSocket-Accept").value != websocket_accept(key)) {
    answer.error = "the answer to the upgrade has a wrong Sec-WebSocket-Accept";
  } else if (find_header(head, "Sec-WebSocket-Extensions").end > 0) {
    answer.error = "the answer to the upgrade has an extension that nobody asked for";
  } else {
    answer.accepted = true;
  }
  return answer;
}

}  // namespace sluice
