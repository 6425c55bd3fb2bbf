// Shapes of well-known models by name, for benchmarks with random weights.
#pragma once

#include <string>

#include "engine/core/result.h"
#include "engine/model/config.h"

namespace sluice::engine {

/// tiny-15m, tiny-coder, llama3.2-1b, llama3-8b, qwen3-8b. The error lists the names.
Result<ModelConfig> shape_named(const std::string& name);

}  // namespace sluice::engine
