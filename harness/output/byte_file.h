// A file, a pipe or standard output that bytes are appended to, perhaps compressed.
//
// A regular file's write may wait for the disk. A pipe is never waited for longer than the caller allows: what does not
// go in stays.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "harness/base/result.h"
#include "harness/base/time.h"

namespace sluice {

class ByteFile {
 public:
  /// `path`: "-" is standard output; one that ends in .gz is compressed. An existing file is replaced; into a named
  /// pipe it writes also while nobody reads it.
  static Result<ByteFile> open(const std::string& path);
  ByteFile(ByteFile&&) noexcept;
  ByteFile& operator=(ByteFile&&) noexcept;
  ~ByteFile();

  /// Takes the bytes that are to be written next; they are kept, whatever write() says.
  void add(std::string_view bytes);
  /// Nothing more will be added: the end of what is compressed follows.
  void end();

  enum class Wrote { all, some, failed };
  /// Writes what was added, waiting up to `patience` while nothing can be written.
  Wrote write(Nanoseconds patience);
  std::size_t waiting() const { return pending_.size() - from_; }  // bytes not yet written
  const std::string& error() const { return error_; }              // why write() failed
  const std::string& path() const { return path_; }

 private:
  class Gzip;
  ByteFile();

  std::string path_, error_;
  int fd_ = -1;
  bool regular_ = false;
  std::unique_ptr<Gzip> gzip_;  // null: as they are
  std::string pending_;
  std::size_t from_ = 0;  // what of it has been written
};

}  // namespace sluice
