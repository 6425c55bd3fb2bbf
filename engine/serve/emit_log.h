// When each event of each answer really left: a ring of records in a mapped file, for calibrating who measures us.
//
// All instants are CLOCK_MONOTONIC nanoseconds, taken just before and just after the send() that carried the event. The
// file can be read while it grows: `written` is stored (release) after its record. Writing costs two clock reads and a
// copy of 64 bytes; the pages are there before the first record.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string_view>

#include "engine/core/result.h"

namespace sluice::engine {

struct EmitHeader {
  char magic[16];              // "SLUICE-EMIT-1", NUL-padded
  std::uint32_t record_bytes;  // 64
  std::uint32_t pad;
  std::uint64_t capacity;              // records
  std::atomic<std::uint64_t> written;  // ever; record n lies at n % capacity
  char reserved[24];
};
static_assert(sizeof(EmitHeader) == 64);

struct EmitRecord {
  static constexpr std::uint32_t kNoContent = 0xffffffff;

  char id[40];            // the response's "id", NUL-padded
  std::uint32_t event;    // index of the event in its response, from 0, the role frame included
  std::uint32_t content;  // index among the events with text, or kNoContent
  std::int64_t before_ns;
  std::int64_t after_ns;
};
static_assert(sizeof(EmitRecord) == 64);

class EmitLog {
 public:
  static Result<EmitLog> create(const std::filesystem::path& path, std::uint64_t capacity);
  EmitLog(EmitLog&& other) noexcept;
  EmitLog& operator=(EmitLog&&) = delete;
  ~EmitLog();

  /// One thread.
  void add(std::string_view id, std::uint32_t event, std::uint32_t content, std::int64_t before_ns,
           std::int64_t after_ns);

 private:
  EmitLog(void* mapping, std::size_t bytes);
  EmitHeader& header() const { return *static_cast<EmitHeader*>(mapping_); }

  void* mapping_;
  std::size_t bytes_;
};

}  // namespace sluice::engine
