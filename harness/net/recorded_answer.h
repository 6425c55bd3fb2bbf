// A recorded answer, judged as if it came now: all at once, so that nothing can be said of its times.
#pragma once

#include "harness/metrics/record.h"
#include "harness/stream/recorded_stream.h"
#include "harness/stream/stream_rules.h"

namespace sluice {

RequestRecord answer_of(const RecordedStream& recording, StreamApi api, const RuleSet& noted);

}  // namespace sluice
