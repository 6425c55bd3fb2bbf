// What the host tells the device about one step: one packed block of memory, copied in one piece.
//
// Layout: StepHeader, then arrays at the header's offsets (in bytes from the header, 16-byte aligned). Kernels find
// everything through the header, so a captured graph can be replayed on any step of its size.
#pragma once

#include <cstdint>

namespace sluice::engine::cuda {

/// One token of the step. Rows that only pad a graph's batch have slot -1.
struct StepRow {
  std::int32_t token;  // -1: the token that the step before drew for this slot
  std::int32_t slot;
  std::int32_t position;
  std::int32_t last;  // position of the last row of the same slice: what lies behind it in its block is cleared
};

/// Consecutive rows of one sequence that prefill attention takes together.
struct PrefillItem {
  std::int32_t first_row;
  std::int32_t rows;
  std::int32_t slot;
  std::int32_t position;  // of the first row
};

/// One row and one split of its keys, for decode attention. Splits are counted from position 0.
struct DecodeItem {
  std::int32_t row;
  std::int32_t slot;
  std::int32_t position;
  std::int32_t split;
  std::int32_t first_split;  // of the row: the first that the window lets be seen
  std::int32_t splits;       // of the row, from first_split on
  std::int32_t partial;      // where the row's first partial result lies
  std::int32_t padding;
};

/// A decoding row, for the folding of its splits.
struct DecodeRow {
  std::int32_t row;
  std::int32_t splits;
  std::int32_t partial;
  std::int32_t padding;
};

/// A row whose logits are wanted.
struct StepSample {
  std::int32_t row;
  std::int32_t slot;
  std::int32_t position;  // of the token to be drawn
  std::int32_t padding;
};

/// A block joins a slot's table.
struct TableUpdate {
  std::int32_t slot;
  std::int32_t index;
  std::int32_t block;
  std::int32_t padding;
};

struct SlotParams {
  float temperature;
  float top_p;
  float min_p;
  float repetition_penalty;
  float presence_penalty;
  float frequency_penalty;
  std::int32_t top_k;
  std::int32_t top_logprobs;
  std::uint32_t seed_low, seed_high;
  std::uint32_t choice;
  std::int32_t counting;  // a penalty is on: uses[] are kept
  std::int32_t edits;     // entries in the slot's list of edits
  std::int32_t padding[3];
};

/// Edits come in order: biases are added first (before penalties), then bans set the logit to the lowest float.
struct Edit {
  std::int32_t token;
  float bias;
  std::int32_t banned;
  std::int32_t padding;
};

struct SlotUpdate {
  std::int32_t slot;
  std::int32_t first_edit;  // in the step's edits
  std::int32_t padding[2];
  SlotParams params;
};

struct StepHeader {
  std::int32_t rows;
  std::int32_t samples;
  std::int32_t prefill_items;
  std::int32_t decode_items;
  std::int32_t table_updates;
  std::int32_t slot_updates;
  std::int32_t ring;  // which result slot of the ring
  std::int32_t decode_rows;
  std::int32_t rows_at, samples_at, prefill_at, decode_at, tables_at, slots_at, edits_at;
  std::int32_t decode_rows_at;
};

constexpr std::int32_t kTopMax = 20;

/// What comes back for one sample, written straight into the host's memory.
struct StepResult {
  std::int32_t slot;
  std::int32_t token;
  float logprob;
  std::int32_t finite;
  std::uint64_t hash;
  std::int32_t top_count;
  std::int32_t padding;
  std::int32_t top_tokens[kTopMax];
  float top_logprobs[kTopMax];
};

}  // namespace sluice::engine::cuda
