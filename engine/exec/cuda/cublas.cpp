#include "engine/exec/cuda/cublas.h"

#include <cublasLt.h>
#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <string>

namespace sluice::engine::cuda {

struct Blas::Functions {
  void* library = nullptr;
  cublasLtHandle_t handle = nullptr;
#define SLUICE_CUBLAS(name) decltype(&::cublasLt##name) name = nullptr
  SLUICE_CUBLAS(Create);
  SLUICE_CUBLAS(Destroy);
  SLUICE_CUBLAS(MatmulDescCreate);
  SLUICE_CUBLAS(MatmulDescDestroy);
  SLUICE_CUBLAS(MatmulDescSetAttribute);
  SLUICE_CUBLAS(MatrixLayoutCreate);
  SLUICE_CUBLAS(MatrixLayoutDestroy);
  SLUICE_CUBLAS(MatmulPreferenceCreate);
  SLUICE_CUBLAS(MatmulPreferenceDestroy);
  SLUICE_CUBLAS(MatmulPreferenceSetAttribute);
  SLUICE_CUBLAS(MatmulAlgoGetHeuristic);
  SLUICE_CUBLAS(MatmulAlgoConfigGetAttribute);
  SLUICE_CUBLAS(Matmul);
#undef SLUICE_CUBLAS

  template <class Function>
  bool find(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(library, name));
    return function != nullptr;
  }
  bool open() {
    for (const char* name : {"libcublasLt.so.13", "/usr/local/cuda/lib64/libcublasLt.so.13"}) {
      library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
      if (library != nullptr) break;
    }
    if (library == nullptr) return false;
    const bool all =
        find(Create, "cublasLtCreate") && find(Destroy, "cublasLtDestroy") &&
        find(MatmulDescCreate, "cublasLtMatmulDescCreate") && find(MatmulDescDestroy, "cublasLtMatmulDescDestroy") &&
        find(MatmulDescSetAttribute, "cublasLtMatmulDescSetAttribute") &&
        find(MatrixLayoutCreate, "cublasLtMatrixLayoutCreate") &&
        find(MatrixLayoutDestroy, "cublasLtMatrixLayoutDestroy") &&
        find(MatmulPreferenceCreate, "cublasLtMatmulPreferenceCreate") &&
        find(MatmulPreferenceDestroy, "cublasLtMatmulPreferenceDestroy") &&
        find(MatmulPreferenceSetAttribute, "cublasLtMatmulPreferenceSetAttribute") &&
        find(MatmulAlgoGetHeuristic, "cublasLtMatmulAlgoGetHeuristic") &&
        find(MatmulAlgoConfigGetAttribute, "cublasLtMatmulAlgoConfigGetAttribute") && find(Matmul, "cublasLtMatmul");
    return all && Create(&handle) == CUBLAS_STATUS_SUCCESS;
  }
  ~Functions() {
    if (handle != nullptr) Destroy(handle);
    // The library stays open: unloading it while the driver lives is not safe.
  }
};

/// Column-major, as the library thinks: out^T [n, rows] = w^T^T [n, k] * a^T [k, rows].
class BlasPlan {
 public:
  explicit BlasPlan(Blas::Functions& functions) : f(functions) {}
  BlasPlan(const BlasPlan&) = delete;
  BlasPlan& operator=(const BlasPlan&) = delete;
  ~BlasPlan() {
    for (cublasLtMatrixLayout_t layout : {w, a, out})
      if (layout != nullptr) f.MatrixLayoutDestroy(layout);
    if (operation != nullptr) f.MatmulDescDestroy(operation);
  }
  bool make(const BlasShape& shape) {
    const cudaDataType_t out_type = shape.fp32 ? CUDA_R_32F : CUDA_R_16BF;
    const cublasOperation_t transposed = CUBLAS_OP_T;
    add = shape.add;
    return f.MatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS &&
           f.MatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed) ==
               CUBLAS_STATUS_SUCCESS &&
           f.MatrixLayoutCreate(&w, CUDA_R_16BF, shape.k, shape.n, shape.k) == CUBLAS_STATUS_SUCCESS &&
           f.MatrixLayoutCreate(&a, CUDA_R_16BF, shape.k, shape.rows, shape.k) == CUBLAS_STATUS_SUCCESS &&
           f.MatrixLayoutCreate(&out, out_type, shape.n, shape.rows, static_cast<std::int64_t>(shape.out_stride)) ==
               CUBLAS_STATUS_SUCCESS;
  }

  Blas::Functions& f;
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t w = nullptr, a = nullptr, out = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
  bool add = false;
};

Blas::Blas() : functions_(std::make_unique<Functions>()) {}
Blas::~Blas() = default;

std::unique_ptr<Blas> Blas::open(void* workspace, std::size_t workspace_bytes) {
  std::unique_ptr<Blas> blas(new Blas);
  if (!blas->functions_->open()) return nullptr;
  blas->workspace_ = workspace;
  blas->workspace_bytes_ = workspace_bytes;
  return blas;
}

std::vector<std::shared_ptr<BlasPlan>> Blas::plans(const BlasShape& shape, int most) {
  Functions& f = *functions_;
  std::vector<std::shared_ptr<BlasPlan>> found;
  auto first = std::make_shared<BlasPlan>(f);
  if (!first->make(shape)) return found;
  cublasLtMatmulPreference_t preference = nullptr;
  if (f.MatmulPreferenceCreate(&preference) != CUBLAS_STATUS_SUCCESS) return found;
  const std::uint32_t no_reduction = CUBLASLT_REDUCTION_SCHEME_NONE;  // K in one piece
  f.MatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes_,
                                 sizeof workspace_bytes_);
  f.MatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &no_reduction,
                                 sizeof no_reduction);
  std::array<cublasLtMatmulHeuristicResult_t, 16> results{};
  int count = 0;
  f.MatmulAlgoGetHeuristic(f.handle, first->operation, first->w, first->a, first->out, first->out, preference,
                           std::min<int>(most, static_cast<int>(results.size())), results.data(), &count);
  f.MatmulPreferenceDestroy(preference);
  for (int i = 0; i < count; ++i) {
    if (results[static_cast<std::size_t>(i)].state != CUBLAS_STATUS_SUCCESS) continue;
    const cublasLtMatmulAlgo_t& algorithm = results[static_cast<std::size_t>(i)].algo;
    std::int32_t split = 0;
    std::size_t written = 0;
    f.MatmulAlgoConfigGetAttribute(&algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &split, sizeof split, &written);
    if (split > 1) continue;
    auto plan = std::make_shared<BlasPlan>(f);
    if (!plan->make(shape)) continue;
    plan->algorithm = algorithm;
    found.push_back(std::move(plan));
  }
  return found;
}

bool Blas::run(const BlasPlan& plan, const void* a, const void* w, void* out, cudaStream_t stream) {
  const float one = 1, beta = plan.add ? 1 : 0;
  return functions_->Matmul(functions_->handle, plan.operation, &one, w, plan.w, a, plan.a, &beta, out, plan.out, out,
                            plan.out, &plan.algorithm, workspace_, workspace_bytes_, stream) == CUBLAS_STATUS_SUCCESS;
}

}  // namespace sluice::engine::cuda
