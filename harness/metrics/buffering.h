// Whether something holds answers back or merges their pieces: a verdict, and the figures it rests on.
//
// Pure functions of figures. Where the harness cannot know it says so: its own lateness is never a server's doing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "harness/metrics/chunk_figures.h"

namespace sluice {

enum class Buffering : std::uint8_t {
  none,
  server_merges,  // several tokens an event, and the events come evenly
  proxy_buffers,  // events come in bursts, with silence between
  whole_answer,   // all content comes at once
  unknown
};

std::string_view name_of(Buffering verdict);  // "server merges", as in reports

struct BufferingVerdict {
  Buffering verdict = Buffering::unknown;
  std::string evidence;  // for people: the figures that decided; of `unknown`: why
};

/// Fewer streams than are needed tell nothing of a server; of one stream alone, one does.
inline constexpr std::uint64_t kStreamsNeeded = 3;
BufferingVerdict judge_buffering(const ChunkFigures& figures, std::uint64_t streams_needed = kStreamsNeeded);

/// Who holds back, when the same was asked in two ways: directly and through something between.
enum class Layer : std::uint8_t {
  nobody,   // neither way is buffered
  server,   // both ways are, alike
  between,  // only the way through it
  unclear   // a verdict is missing, or the direct way is the worse one
};

std::string_view name_of(Layer layer);

struct LayerVerdict {
  Layer layer = Layer::unclear;
  std::string sentence;
};

LayerVerdict compare_ways(const ChunkFigures& direct, const ChunkFigures& via);

}  // namespace sluice
