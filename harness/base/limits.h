// Everything of the harness that can grow has its bound here, with the reason.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace sluice::limits {

// ---- scenario files
// ---------------------------------------------------------------------------------------------------
inline constexpr std::size_t scenario_bytes_max = 1u << 20;  // the longest written by hand are tens of kilobytes
inline constexpr int scenario_depth_max = 32;                // groups within groups; the reader recurses
inline constexpr std::size_t scenario_nodes_max = 100'000;
inline constexpr std::size_t problems_max = 100;  // beyond, the list helps nobody
inline constexpr std::size_t variable_bytes_max =
    64u << 10;  // one value after substitution, so that nesting cannot explode
inline constexpr std::size_t variables_max = 1'000;
inline constexpr std::size_t variable_chain_max = 20;  // defaults that use variables that use variables
inline constexpr std::size_t scenarios_max = 100;
inline constexpr std::size_t steps_max = 1'000;  // of one flow, groups included
inline constexpr std::size_t stages_max = 1'000;
inline constexpr std::size_t custom_metrics_max = 100;
inline constexpr std::size_t windows_max = 2'000;      // over all thresholds with over:, some 20 KiB each and thread
inline constexpr std::size_t stage_results_max = 100;  // stages with results of their own, some 100 KiB each and thread
inline constexpr std::uint32_t vus_max = 100'000;      // over all scenarios; files a process may open bound it further
inline constexpr std::uint64_t rate_max = 10'000'000;  // arrivals a time_unit: more than a machine can begin a second
inline constexpr std::size_t arrivals_waiting_max = 1'000'000;  // of a thread: a server so far behind does not recover
inline constexpr std::uint32_t threads_max = 256;
inline constexpr std::chrono::hours duration_max{24 * 30};  // of any one duration: far from overflow when summed

// ---- expressions
// ------------------------------------------------------------------------------------------------------
inline constexpr std::size_t expression_bytes_max = 4096;
inline constexpr int expression_depth_max = 50;  // the parser recurses
inline constexpr std::uint32_t regex_match_steps_max =
    1'000'000;  // some 10 ms: a pattern that backtracks more has no match
inline constexpr std::uint32_t regex_heap_kib_max = 4096;
inline constexpr std::size_t random_string_max = 10'000;  // characters of one random_string()

// ---- flows
// ------------------------------------------------------------------------------------------------------------
inline constexpr std::uint64_t repeat_rounds_max = 1'000'000;     // of one repeat: a `while` that never ends
inline constexpr std::size_t flow_variable_bytes_max = 1u << 20;  // of one captured or set value, in each VU
inline constexpr std::size_t captures_max = 100;                  // of one step
inline constexpr std::size_t json_path_steps_max = 64;
inline constexpr std::size_t json_path_visits_max = 100'000;  // members and items looked at for one `[*]` after another
inline constexpr std::size_t conversation_bytes_max = 4u << 20;  // of one conversation's messages as JSON, in each VU

// ---- data files
// -------------------------------------------------------------------------------------------------------
inline constexpr std::size_t data_file_bytes_max = 256u << 20;  // held in memory for the whole run
inline constexpr std::size_t data_rows_max = 2'000'000;
inline constexpr std::size_t data_fields_max = 256;
inline constexpr std::size_t data_item_bytes_max = 16u
                                                   << 20;  // of one item of a JSON file; conversations are under 1 MiB
inline constexpr std::uint64_t generated_tokens_max = 32u << 20;  // of all generated prompts together, some 200 MB
inline constexpr std::size_t trace_rows_max = 10'000'000;    // 32 bytes each; the longest published has half of them
inline constexpr std::size_t trace_blocks_max = 50'000'000;  // hash ids of all rows together, 400 MB
inline constexpr std::uint64_t trace_tokens_max = 1u << 22;  // of one prompt, some 20 MB of text

// ---- answers
// -----------------------------------------------------------------------------------------------------------
inline constexpr std::size_t body_bytes_kept = 4u << 20;  // of one answer, while its request lasts: for checks
inline constexpr std::size_t headers_kept = 100;
inline constexpr std::size_t content_events_kept = 1'000'000;  // of one stream: a million tokens at 40 bytes each
inline constexpr std::size_t stream_id_bytes_kept = 128;
inline constexpr std::chrono::hours server_time_max{24};  // of one that a server says: longer than any answer

// ---- code in answers
// -------------------------------------------------------------------------------------------------------
inline constexpr std::size_t code_bytes_max = 1u << 20;    // of one text that is parsed: some 20 ms
inline constexpr std::size_t python_brackets_max = 200;    // open at once; CPython's bound too
inline constexpr std::size_t python_indents_max = 100;     // CPython's bound too
inline constexpr std::size_t python_depth_max = 400;       // expressions in expressions; the parser recurses
inline constexpr std::size_t json_text_depth_max = 1'000;  // arrays and objects open at once

// ---- http, beside the answers' bodies
// ----------------------------------------------------------------------------------
inline constexpr std::size_t body_file_bytes_max = 64u << 20;  // held in memory, and sent whole
inline constexpr std::size_t cookie_bytes_max = 4096;          // name, value and attributes, as browsers bound them
inline constexpr std::size_t cookies_per_vu_max = 100;
inline constexpr std::size_t set_cookies_kept = 50;  // of one answer
inline constexpr std::size_t location_bytes_max = 8192;
inline constexpr std::uint64_t redirects_max = 50;
inline constexpr std::size_t redirect_hosts_max = 64;  // found by redirects, each looked up once a thread

// ---- websocket
// ---------------------------------------------------------------------------------------------------------
inline constexpr std::size_t ws_message_bytes_max = 16u << 20;  // one message put together
inline constexpr std::size_t ws_head_bytes_max = 32u << 10;     // of the answer to the upgrade
inline constexpr std::size_t ws_texts_max = 10'000;             // that one step sends
inline constexpr std::uint64_t ws_messages_max = 10'000'000;    // that one step waits for

// ---- answers that are compared
// -----------------------------------------------------------------------------------------
inline constexpr std::size_t ledger_entries_max = 65'536;  // requests with their answers, and nonces: some 8 MB

// ---- samples
// -----------------------------------------------------------------------------------------------------------
inline constexpr std::size_t sample_ring_bytes = 8u << 20;  // of one load thread: 0.4 s of 100,000 requests a second
inline constexpr std::size_t sample_error_bytes_max = 200;  // of an error's text

// ---- traces
// ------------------------------------------------------------------------------------------------------------
inline constexpr std::size_t trace_requests_max = 1'000;       // more than anybody looks at; 1 MB each at the very most
inline constexpr std::size_t trace_marks_max = 1'000;          // events, steps, writes of one request: of each so many
inline constexpr std::chrono::seconds timelines_time_max{10};  // to ask a server for those of all traced requests

// ---- recordings
// ----------------------------------------------------------------------------------------------------------
inline constexpr std::size_t recording_ring_bytes = 16u << 20;  // of one load thread: what comes while a disk is slow
inline constexpr std::size_t recording_bytes_max = 1u << 30;    // of a file, which readers hold in memory
inline constexpr std::size_t recording_line_bytes_max = 64u << 20;  // a piece is one read or one chunk
inline constexpr std::size_t recording_streams_max = 1'000'000;
inline constexpr std::size_t recorded_headers_bytes_max = 4096;  // of one answer

// ---- the co-hosted engine
// ---------------------------------------------------------------------------------------------
inline constexpr std::size_t engine_log_bytes_kept = 64u << 10;  // the tail that is shown when it fails
inline constexpr std::size_t local_body_bytes_max = 1u << 20;    // its metrics are some ten kilobytes
inline constexpr std::size_t system_samples_max = 100'000;       // 27 hours at one a second, some 20 MB

}  // namespace sluice::limits
