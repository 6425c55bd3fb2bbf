// Everything that can grow has its bound here, with the reason.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sluice::engine::limits {

inline constexpr std::uint32_t block_tokens =
    64;  // KV block: a 16 KiB tile a head at dim 64; page size hardly matters, sharing does
inline constexpr std::size_t safetensors_header_bytes_max = 100u << 20;  // the format's own bound
inline constexpr std::size_t json_file_bytes_max = 64u << 20;  // tokenizer.json of 256k-entry vocabularies is 35 MB
inline constexpr std::size_t http_header_bytes_max = 16u << 10;
inline constexpr std::size_t http_body_bytes_max = 8u << 20;  // 413 beyond: a 128k-token prompt is under 1 MB
inline constexpr std::size_t stop_strings_max = 16;
inline constexpr std::size_t stop_string_bytes_max = 1024;
inline constexpr std::size_t logit_bias_max = 1024;
inline constexpr std::size_t top_logprobs_max = 20;  // OpenAI's own bound
inline constexpr std::size_t messages_max = 4096;
inline constexpr std::size_t timeline_steps_max = 4096;             // of one request; the rest is counted
inline constexpr std::size_t timeline_writes_max = 4096;            // likewise
inline constexpr std::size_t timelines_finished_max = 4096;         // requests whose timelines stay, the last to finish
inline constexpr std::size_t timelines_bytes_max = 64ull << 20;     // of those together: 300 tokens each fill it
inline constexpr std::size_t recording_bytes_max = 1u << 30;        // of a file, held in memory while it is replayed
inline constexpr std::size_t recording_line_bytes_max = 64u << 20;  // a piece is one read or one chunk
inline constexpr std::size_t recording_streams_max = 1'000'000;

}  // namespace sluice::engine::limits
