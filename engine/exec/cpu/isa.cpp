#include "engine/exec/cpu/isa.h"

#include <fmt/core.h>

#include <algorithm>
#include <fstream>

namespace sluice::engine::cpu {

std::vector<Isa> supported_isas() {
  std::vector<Isa> supported;
#ifdef SLUICE_X86_KERNELS
  __builtin_cpu_init();  // these ask for the system's support of the registers too
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bf16"))
    supported.push_back(Isa::avx512bf16);
  if (avx2) supported.push_back(Isa::avx2);
#endif
  supported.push_back(Isa::portable);
  return supported;
}

Result<const Kernels*> kernels_for(Isa isa) {
  const auto supported = supported_isas();
  if (isa == Isa::best) isa = supported.front();
  if (std::find(supported.begin(), supported.end(), isa) == supported.end())
    return fail(fmt::format("this processor has no '{}'; use 'best'", to_string(isa)));
#ifdef SLUICE_X86_KERNELS
  if (isa == Isa::avx512bf16) return &avx512_kernels();
  if (isa == Isa::avx2) return &avx2_kernels();
#endif
  return &portable_kernels();
}

Result<Isa> parse_isa(std::string_view name) {
  for (const Isa isa : {Isa::best, Isa::avx512bf16, Isa::avx2, Isa::portable})
    if (name == to_string(isa)) return isa;
  return fail(fmt::format("'{}' is not an instruction set: write best, avx512bf16, avx2 or portable", name));
}

std::string_view to_string(Isa isa) {
  switch (isa) {
    case Isa::best:
      return "best";
    case Isa::avx512bf16:
      return "avx512bf16";
    case Isa::avx2:
      return "avx2";
    case Isa::portable:
      return "portable";
  }
  return "best";
}

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name")) {
      const std::size_t colon = line.find(':');
      if (colon != std::string::npos && colon + 2 <= line.size()) return line.substr(colon + 2);
    }
  return "unknown processor";
}

}  // namespace sluice::engine::cpu
