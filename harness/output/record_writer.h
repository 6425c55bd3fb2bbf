// A recording: every stream of a run in one file, as docs/recordings.md says.
//
// Load threads leave streams in sinks (record_sink.h); one thread of this class takes them from there, makes lines of
// them and writes those as they come. The load threads never wait for the file: a stream for which there was no room
// has no end in it, and is counted. What would make the file longer than its bound is left out, and that is said.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "harness/base/result.h"
#include "harness/output/byte_file.h"
#include "harness/output/record_sink.h"

namespace sluice {

struct RecordCounts {
  std::uint64_t streams = 0;  // whole in the file
  std::uint64_t missing = 0;  // not there, or not whole
  std::uint64_t pieces = 0, bytes = 0;
  std::string problem;  // why some are missing; empty: none is
};

class RecordWriter {
 public:
  struct Options {
    std::string by;                                  // who records: "sluice 1.0"
    bool with_request = false;                       // the requests' bodies too
    std::size_t ring_bytes = 0, bytes_max = 0;       // 0: those of limits.h
    Nanoseconds patience = std::chrono::seconds(2);  // at the end, with a file that takes nothing
  };
  /// "-" is standard output. `sinks`: how many threads will add streams.
  static Result<std::unique_ptr<RecordWriter>> open(const std::string& path, std::size_t sinks, const Options& options);
  ~RecordWriter();
  RecordWriter(const RecordWriter&) = delete;
  RecordWriter& operator=(const RecordWriter&) = delete;

  /// Sink number `k`, for one thread.
  RecordSink& sink(std::size_t k) { return *sinks_[k]; }
  /// Writes what has been added and ends; call it when nobody adds any more.
  RecordCounts finish();

 private:
  RecordWriter(ByteFile file, std::size_t sinks, const Options& options);
  void work();
  bool take_some();
  void take(std::span<const std::byte> bytes);
  void put();

  ByteFile file_;
  const Options options_;
  const Instant origin_;
  std::vector<std::unique_ptr<RecordSink>> sinks_;
  std::string line_;
  bool full_ = false, failed_ = false;
  RecordCounts counts_;
  std::atomic<bool> finishing_{false};
  std::thread thread_;
};

}  // namespace sluice
