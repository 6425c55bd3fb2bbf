// The files of `--out`: every sample of a run, as k6's JSON points or its CSV rows.
//
// Load threads leave samples in sinks (sample_sink.h); one thread of this class takes them from there, makes lines of
// them and writes those in batches. Whatever the files do, the load threads never wait: what finds no room is dropped
// and counted.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "harness/base/result.h"
#include "harness/output/byte_file.h"
#include "harness/output/sample_format.h"
#include "harness/output/sample_sink.h"

namespace sluice {

struct SampleFile {
  enum class Format : std::uint8_t { ndjson, csv };
  Format format = Format::ndjson;
  std::string path;  // "-": standard output; ends in .gz: compressed

  /// "ndjson=FILE" or "csv=FILE".
  static Result<SampleFile> parse(const std::string& text);
};

/// What one request, check, group or iteration left is one sample, however many lines it makes.
struct SampleCounts {
  std::uint64_t samples = 0, dropped = 0;  // dropped: not in every file
  std::vector<std::string> problems;       // a file that could not be written, a sentence each
};

class SampleWriter {
 public:
  struct Options {
    std::size_t ring_bytes = 0;                      // of each sink; 0: limits::sample_ring_bytes
    Nanoseconds patience = std::chrono::seconds(2);  // at the end, with a file that takes nothing
    std::optional<std::int64_t> wall_offset = {};    // the wall clock minus the monotonic one, ns; none: as it is now
  };

  /// Opens the files. `sinks`: how many threads will add samples.
  static Result<std::unique_ptr<SampleWriter>> open(const std::vector<SampleFile>& files,
                                                    std::shared_ptr<const TallyLayout> layout,
                                                    const std::vector<SampleThreshold>& thresholds, std::size_t sinks,
                                                    const Options& options);
  ~SampleWriter();
  SampleWriter(const SampleWriter&) = delete;
  SampleWriter& operator=(const SampleWriter&) = delete;

  /// Sink number `k`, for one thread.
  SampleSink& sink(std::size_t k) { return *sinks_[k]; }
  /// Writes what has been added and ends; call it when nobody adds any more. A file that takes nothing for as long as
  /// `patience` is given up.
  SampleCounts finish();

 private:
  struct Output {
    ByteFile file;
    std::unique_ptr<samples::SampleFormat> format;
    std::string lines;             // not yet handed to the file
    std::uint64_t held = 0;        // samples in `lines` and in the file's buffer
    Instant stuck_since = kNever;  // since when it has taken nothing
    bool given_up = false, ended = false;
  };

  SampleWriter(std::shared_ptr<const TallyLayout> layout, std::size_t sinks, const Options& options);
  void work();
  enum class Took { all, some, blocked };  // all: nothing was there; blocked: a file takes no more at present
  Took take_some();
  void take(std::span<const std::byte> bytes);
  void take_request(const samples::RequestView& view);
  void put(std::size_t static_tags, const samples::AnswerTags& answer);
  void write(bool at_once, bool last);
  bool write_one(Output& output);

  const std::shared_ptr<const TallyLayout> layout_;
  const samples::StaticTags tags_;
  const Options options_;
  const std::int64_t wall_offset_;  // wall clock minus monotonic, ns
  std::vector<std::unique_ptr<SampleSink>> sinks_;
  std::vector<Output> outputs_;
  std::vector<samples::Point> points_;
  std::uint64_t lost_ = 0;  // taken, but not in every file
  std::vector<std::string> problems_;
  std::atomic<bool> finishing_{false};
  std::thread thread_;
};

}  // namespace sluice
