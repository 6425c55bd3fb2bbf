#include "harness/output/byte_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#define ZLIB_CONST
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "harness/base/check.h"

namespace sluice {
namespace {

// A pipe that poll() calls writable takes a page without waiting; one that others share cannot be made non-blocking.
constexpr std::size_t kPipeBytes = 4096;
constexpr std::size_t kFileBytes = 1u << 20;

}  // namespace

class ByteFile::Gzip {
 public:
  Gzip() {
    constexpr int kGzipFormat = 15 + 16;
    // The fastest level: the writer has to keep up with the load.
    SLUICE_CHECK(deflateInit2(&stream_, Z_BEST_SPEED, Z_DEFLATED, kGzipFormat, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  }
  Gzip(const Gzip&) = delete;
  Gzip& operator=(const Gzip&) = delete;
  ~Gzip() { deflateEnd(&stream_); }

  void add(std::string_view bytes, bool last, std::string& out) {
    std::array<unsigned char, 65536> block;
    stream_.next_in = reinterpret_cast<const unsigned char*>(bytes.data());
    stream_.avail_in = static_cast<unsigned>(bytes.size());
    do {
      stream_.next_out = block.data();
      stream_.avail_out = static_cast<unsigned>(block.size());
      deflate(&stream_, last ? Z_FINISH : Z_NO_FLUSH);
      out.append(reinterpret_cast<const char*>(block.data()), block.size() - stream_.avail_out);
    } while (stream_.avail_out == 0);
  }

 private:
  z_stream stream_{};
};

ByteFile::ByteFile() = default;
ByteFile::ByteFile(ByteFile&& other) noexcept
    : path_(std::move(other.path_)),
      error_(std::move(other.error_)),
      fd_(std::exchange(other.fd_, -1)),
      regular_(other.regular_),
      gzip_(std::move(other.gzip_)),
      pending_(std::move(other.pending_)),
      from_(std::exchange(other.from_, 0)) {}

ByteFile& ByteFile::operator=(ByteFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(error_, other.error_);
  std::swap(fd_, other.fd_);
  std::swap(regular_, other.regular_);
  std::swap(gzip_, other.gzip_);
  std::swap(pending_, other.pending_);
  std::swap(from_, other.from_);
  return *this;
}

ByteFile::~ByteFile() {
  if (fd_ > STDOUT_FILENO) ::close(fd_);
}

Result<ByteFile> ByteFile::open(const std::string& path) {
  ByteFile file;
  file.path_ = path;
  if (path == "-") {
    file.fd_ = STDOUT_FILENO;
  } else {
    struct stat status {};
    const bool pipe = ::stat(path.c_str(), &status) == 0 && S_ISFIFO(status.st_mode);
    // For reading too: else a pipe that nobody reads yet could not be opened without waiting.
    const int flags = pipe ? O_RDWR | O_NONBLOCK : O_WRONLY | O_CREAT | O_TRUNC;
    file.fd_ = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
    if (file.fd_ < 0) return fail(fmt::format("cannot write {}: {}", path, std::strerror(errno)));
    if (path.ends_with(".gz")) file.gzip_ = std::make_unique<Gzip>();
  }
  struct stat status {};
  file.regular_ = ::fstat(file.fd_, &status) == 0 && S_ISREG(status.st_mode);
  return {boost::system::in_place_value, std::move(file)};
}

void ByteFile::add(std::string_view bytes) {
  if (from_ > pending_.size() / 2) {
    pending_.erase(0, from_);
    from_ = 0;
  }
  if (gzip_ != nullptr) {
    gzip_->add(bytes, false, pending_);
  } else {
    pending_.append(bytes);
  }
}

void ByteFile::end() {
  if (gzip_ != nullptr) gzip_->add({}, true, pending_);
}

ByteFile::Wrote ByteFile::write(Nanoseconds patience) {
  const auto patience_ms = static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(patience).count());
  while (waiting() > 0) {
    pollfd ready{fd_, POLLOUT, 0};
    if (!regular_ && ::poll(&ready, 1, patience_ms) <= 0) return Wrote::some;
    const ssize_t written =
        ::write(fd_, pending_.data() + from_, std::min(waiting(), regular_ ? kFileBytes : kPipeBytes));
    if (written < 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      error_ = fmt::format("cannot write {}: {}", path_, std::strerror(errno));
      return Wrote::failed;
    }
    from_ += static_cast<std::size_t>(written);
  }
  pending_.clear();
  from_ = 0;
  return Wrote::all;
}

}  // namespace sluice
