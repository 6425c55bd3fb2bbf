#include "engine/serve/emit_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace sluice::engine {

Result<EmitLog> EmitLog::create(const std::filesystem::path& path, std::uint64_t capacity) {
  const std::size_t bytes = sizeof(EmitHeader) + capacity * sizeof(EmitRecord);
  const auto failed = [&](const char* what) {
    return fail(fmt::format("{}: cannot {} a log of {} bytes: {}", path.string(), what, bytes, std::strerror(errno)));
  };
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) return failed("create");
  // Real blocks, not a hole: running out of space later would be a SIGBUS in the middle of a measurement.
  if (const int error = ::posix_fallocate(file, 0, static_cast<off_t>(bytes)); error != 0) {
    ::close(file);
    errno = error;
    return failed("reserve");
  }
  void* mapping = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, 0);
  const int mapping_errno = errno;
  ::close(file);
  if (mapping == MAP_FAILED) {
    errno = mapping_errno;
    return failed("map");
  }
  auto* header = new (mapping) EmitHeader{};
  std::memcpy(header->magic, "SLUICE-EMIT-1", 13);
  header->record_bytes = sizeof(EmitRecord);
  header->capacity = capacity;
  return EmitLog(mapping, bytes);
}

EmitLog::EmitLog(void* mapping, std::size_t bytes) : mapping_(mapping), bytes_(bytes) {}

EmitLog::EmitLog(EmitLog&& other) noexcept : mapping_(std::exchange(other.mapping_, nullptr)), bytes_(other.bytes_) {}

EmitLog::~EmitLog() {
  if (mapping_ != nullptr) ::munmap(mapping_, bytes_);
}

void EmitLog::add(std::string_view id, std::uint32_t event, std::uint32_t content, std::int64_t before_ns,
                  std::int64_t after_ns) {
  const std::uint64_t index = header().written.load(std::memory_order_relaxed);
  EmitRecord record{.id = {}, .event = event, .content = content, .before_ns = before_ns, .after_ns = after_ns};
  std::memcpy(record.id, id.data(), std::min(id.size(), sizeof record.id - 1));
  std::byte* records = static_cast<std::byte*>(mapping_) + sizeof(EmitHeader);
  std::memcpy(records + (index % header().capacity) * sizeof record, &record, sizeof record);
  header().written.store(index + 1, std::memory_order_release);
}

}  // namespace sluice::engine
