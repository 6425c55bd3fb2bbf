// Which instruction sets there are kernels for, and which of them this processor runs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "engine/exec/cpu/kernels.h"

namespace sluice::engine::cpu {

enum class Isa : std::uint8_t { best, avx512bf16, avx2, portable };

/// Those this processor (and its system) runs, the fastest first; never empty, never holds `best`.
std::vector<Isa> supported_isas();

/// The kernels of `isa`; an error when this processor lacks it.
Result<const Kernels*> kernels_for(Isa isa);

/// "best", "avx512bf16", "avx2", "portable".
Result<Isa> parse_isa(std::string_view name);
std::string_view to_string(Isa isa);

/// The processor's name for people, e.g. "AMD EPYC".
std::string processor_name();

}  // namespace sluice::engine::cpu
