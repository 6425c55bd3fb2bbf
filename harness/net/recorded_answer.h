// A recorded answer, judged as if it came now.
#pragma once

#include "harness/metrics/record.h"
#include "harness/stream/recorded_stream.h"
#include "harness/stream/recording.h"
#include "harness/stream/stream_rules.h"

namespace sluice {

/// All at once, so that nothing can be said of its times.
RequestRecord answer_of(const RecordedStream& recording, StreamApi api, const RuleSet& noted);
/// At the instants at which it was read, as if it had just ended.
RequestRecord answer_of(const TimedStream& recorded, StreamApi api, const RuleSet& noted);

}  // namespace sluice
