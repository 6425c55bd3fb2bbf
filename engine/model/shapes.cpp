#include "engine/model/shapes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <string_view>
#include <vector>

namespace sluice::engine {
namespace {

struct Named {
  std::string_view name;
  const char* architecture;
  std::uint32_t vocab, hidden, layers, heads, kv_heads, head_dim, intermediate, context;
  bool tied, qk_norm;
};

constexpr std::array<Named, 5> kShapes = {{
    {"tiny-15m", "LlamaForCausalLM", 32000, 288, 6, 6, 6, 48, 768, 2048, true, false},
    {"tiny-coder", "LlamaForCausalLM", 4096, 256, 8, 8, 4, 32, 704, 2048, true, false},
    {"llama3.2-1b", "LlamaForCausalLM", 128256, 2048, 16, 32, 8, 64, 8192, 131072, true, false},
    {"llama3-8b", "LlamaForCausalLM", 128256, 4096, 32, 32, 8, 128, 14336, 8192, false, false},
    {"qwen3-8b", "Qwen3ForCausalLM", 151936, 4096, 36, 32, 8, 128, 12288, 40960, false, true},
}};

}  // namespace

Result<ModelConfig> shape_named(const std::string& name) {
  for (const Named& shape : kShapes) {
    if (shape.name != name) continue;
    ModelConfig config;
    config.architecture = shape.architecture;
    config.vocab_size = shape.vocab;
    config.hidden_size = shape.hidden;
    config.layers = shape.layers;
    config.heads = shape.heads;
    config.kv_heads = shape.kv_heads;
    config.head_dim = shape.head_dim;
    config.intermediate_size = shape.intermediate;
    config.context_max = shape.context;
    config.tied_head = shape.tied;
    config.qk_norm = shape.qk_norm;
    return config;
  }
  std::vector<std::string_view> names;
  for (const Named& shape : kShapes) names.push_back(shape.name);
  return fail(fmt::format("'{}' is not a shape: write one of {}", name, fmt::join(names, ", ")));
}

}  // namespace sluice::engine
