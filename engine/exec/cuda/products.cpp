#include "engine/exec/cuda/products.h"

#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

namespace sluice::engine::cuda {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{64} << 20;
constexpr std::array<std::uint32_t, 5> kOwnRows = {8, 16, 32, 64, 128};

/// Rows that a product of `rows` rows is computed for: few different ones, so that each can be tuned.
std::uint32_t bucket(std::uint32_t rows) {
  for (const std::uint32_t size : {8u, 16u, 32u, 64u, 96u, 128u, 160u, 192u, 256u, 320u, 384u, 448u, 512u})
    if (rows <= size) return size;
  const std::uint32_t step = rows <= 2048 ? 128 : 2048;
  return (rows + step - 1) / step * step;
}

std::size_t own_index(std::uint32_t rows) {
  std::size_t i = 0;
  while (kOwnRows[i] < rows) ++i;
  return i;
}

CUtensorMap make_map(const void* data, std::uint32_t rows, std::uint32_t columns, std::uint32_t box_rows,
                     std::uint32_t boxes) {
  static PFN_cuTensorMapEncodeTiled_v12000 encode = nullptr;
  if (encode == nullptr) {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result{};
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &result),
          "looking up cuTensorMapEncodeTiled");
    if (function == nullptr || result != cudaDriverEntryPointSuccess)
      throw CudaError("the NVIDIA driver has no cuTensorMapEncodeTiled: version 525 or newer is needed");
    encode = reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
  }
  CUtensorMap map{};
  const cuuint64_t sizes[3] = {64, rows, columns / 64};
  const cuuint64_t strides[2] = {std::uint64_t{columns} * 2, 128};
  const cuuint32_t box[3] = {64, box_rows, boxes};
  const cuuint32_t element_strides[3] = {1, 1, 1};
  const CUresult result = encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void*>(data), sizes, strides,
                                 box, element_strides, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    throw CudaError(
        fmt::format("a tensor map of {} x {} was refused with code {}", rows, columns, static_cast<int>(result)));
  return map;
}

class Event {
 public:
  Event() { check(cudaEventCreate(&event_), "an event"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

/// Milliseconds of one call, the least of three rounds of `repeats`.
template <class Call>
float time_of(cudaStream_t stream, int repeats, Call call) {
  Event begin, end;
  float best = std::numeric_limits<float>::max();
  call(0);
  for (int round = 0; round < 3; ++round) {
    check(cudaEventRecord(begin.get(), stream), "timing");
    for (int i = 0; i < repeats; ++i) call(i);
    check(cudaEventRecord(end.get(), stream), "timing");
    check(cudaEventSynchronize(end.get()), "timing");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin.get(), end.get()), "timing");
    best = std::min(best, ms / static_cast<float>(repeats));
  }
  return best;
}

}  // namespace

Products::Products(const ProductsOptions& options) : options_(options) {
  prepare_few_rows();
  if (options.own_only) return;
  workspace_ = Block<unsigned char>(kWorkspaceBytes, "cuBLASLt's workspace");
  blas_ = Blas::open(workspace_.data(), workspace_.bytes());
}

Matrix Products::matrix(const void* data, std::uint32_t n, std::uint32_t k) const {
  Matrix matrix{data, n, k, {}, {}};
  for (std::uint32_t tiles = 1; tiles <= kWeightTiles; ++tiles) {
    matrix.deep.boxes[tiles - 1] = make_map(data, n, k, 16 * tiles, product_boxes(16));
    matrix.shallow.boxes[tiles - 1] = make_map(data, n, k, 16 * tiles, product_boxes(128));
  }
  return matrix;
}

RowsBuffer Products::rows_buffer(void* data, std::uint32_t rows, std::uint32_t k) const {
  RowsBuffer buffer{data, k, rows, {}};
  for (std::size_t i = 0; i < kOwnRows.size(); ++i)
    buffer.maps[i] = make_map(data, rows, k, kOwnRows[i], product_boxes(kOwnRows[i]));
  return buffer;
}

std::uint32_t Products::row_room(std::uint32_t rows) { return std::max(128u, (bucket(rows) + 127) / 128 * 128); }

void Products::own(const Launch& launch, const Matrix& w, const RowsBuffer& a, std::uint32_t rows, ProductOut kind,
                   void* out, std::size_t out_stride, std::uint32_t first_row) {
  const std::size_t element = kind == ProductOut::add || kind == ProductOut::fp32 ? 4 : 2;
  for (std::uint32_t done = 0; done < rows; done += 128) {
    const std::uint32_t part = std::min(rows - done, 128u);
    const std::size_t i = own_index(part);
    Product product{.n = w.n,
                    .k = w.k,
                    .rows = part,
                    .first_row = first_row + done,
                    .kind = kind,
                    .out = static_cast<unsigned char*>(out) + std::size_t{done} * out_stride * element,
                    .out_stride = out_stride};
    few_rows_product(launch, kOwnRows[i] <= 16 ? w.deep : w.shallow, a.maps[i], kOwnRows[i], product,
                     options_.multiprocessors);
  }
}

void Products::run(const Launch& launch, const Matrix& w, const RowsBuffer& a, std::uint32_t rows, ProductOut kind,
                   void* out, std::size_t out_stride, void* gate_up) {
  if (rows == 0) return;
  const auto plan = plans_.find({w.n, w.k, kind, bucket(rows)});
  if (plan == plans_.end()) return own(launch, w, a, rows, kind, out, out_stride, 0);
  void* to = kind == ProductOut::gated ? gate_up : out;
  if (!blas_->run(*plan->second, a.data, w.data, to, launch.stream)) throw CudaError("cuBLASLt refused a product");
  if (kind == ProductOut::gated)
    activate(launch, {.in = gate_up, .out = out, .width = static_cast<std::uint32_t>(out_stride), .gated = true}, rows);
}

void Products::tune(const std::vector<const Matrix*>& matrices, const RowsBuffer& a, ProductOut kind,
                    std::size_t out_stride, void* scratch, void* other, std::uint32_t rows_max, cudaStream_t stream) {
  if (blas_ == nullptr) return;
  const Launch plain{stream, false};
  const Matrix& w = *matrices.front();
  const bool fp32 = kind == ProductOut::add || kind == ProductOut::fp32;
  const std::size_t element = fp32 ? 4 : 2;
  // What cuBLASLt computes of a gated product: both halves, rounded.
  const ProductOut made = kind == ProductOut::gated ? ProductOut::bf16 : kind;
  const std::size_t made_stride = kind == ProductOut::gated ? w.n : out_stride;
  Block<std::uint32_t> differences(1, "tuning");
  fill_random(stream, a.data, a.rows, a.k, a.k, 1.0f, 99);
  std::string note = fmt::format("{} x {}:", w.n, w.k);
  std::vector<std::pair<Key, float>> times;
  for (std::uint32_t rows = 8; rows <= bucket(rows_max); rows = bucket(rows + 1)) {
    const Key key{w.n, w.k, kind, rows};
    if (plans_.contains(key)) continue;
    const auto each = [&](int i) -> const Matrix& { return *matrices[static_cast<std::size_t>(i) % matrices.size()]; };
    const int repeats = rows <= 256 ? 8 : 3;
    const float own_ms = rows <= 512
                             ? time_of(stream, repeats,
                                       [&](int i) {
                                         own(Launch{stream, true}, each(i), a, rows, made, scratch, made_stride, 0);
                                       })
                             : std::numeric_limits<float>::max();
    float best_ms = own_ms;
    std::shared_ptr<BlasPlan> best;
    const BlasShape shape{
        .n = w.n, .k = w.k, .rows = rows, .out_stride = made_stride, .fp32 = fp32, .add = kind == ProductOut::add};
    for (const auto& plan : blas_->plans(shape, 12)) {
      ++tried_;
      // The same start for both, should the product add to it.
      const std::size_t bytes = std::size_t{rows} * made_stride * element;
      fill_random(stream, scratch, 1, bytes / 2, bytes / 2, 1.0f, 7);
      check(cudaMemcpyAsync(other, scratch, bytes, cudaMemcpyDeviceToDevice, stream), "tuning");
      if (!blas_->run(*plan, a.data, w.data, scratch, stream)) continue;
      check(cudaMemsetAsync(differences.data(), 0, sizeof(std::uint32_t), stream), "tuning");
      // The first 64 rows and the last: without overlap, since a product may add to what is there.
      const std::uint32_t part = std::min(rows, 64u);
      for (std::uint32_t first = 0; first < rows; first = std::max(first + part, rows - part)) {
        const std::uint32_t count = std::min(part, rows - first);
        unsigned char* to = static_cast<unsigned char*>(other) + std::size_t{first} * made_stride * element;
        own(plain, w, a, count, made, to, made_stride, first);
        count_differences(stream, static_cast<unsigned char*>(scratch) + std::size_t{first} * made_stride * element,
                          made_stride, to, made_stride, count, w.n, static_cast<std::uint32_t>(element),
                          differences.data());
        if (first + count == rows) break;
      }
      std::uint32_t different = 0;
      check(cudaMemcpyAsync(&different, differences.data(), sizeof different, cudaMemcpyDeviceToHost, stream),
            "tuning");
      check(cudaStreamSynchronize(stream), "tuning");
      if (different != 0) {
        ++refused_;
        continue;
      }
      const float ms =
          time_of(stream, repeats, [&](int i) { blas_->run(*plan, a.data, each(i).data, scratch, stream); });
      // The own kernel starts on its weights while the kernel before still runs, and needs no pass for activations.
      if (ms < best_ms * (rows <= 128 && best == nullptr ? 0.93f : 1.0f)) best_ms = ms, best = plan;
    }
    if (best != nullptr) plans_.emplace(key, best);
    times.emplace_back(key, best_ms);
    if (rows <= 256 || rows == bucket(rows_max))
      note += fmt::format(" {}: {} {:.1f} us{};", rows, best != nullptr ? "cublas" : "own", best_ms * 1e3,
                          best != nullptr && rows <= 512 ? fmt::format(" (own {:.1f})", own_ms * 1e3) : std::string());
  }
  // A few more rows can be faster, where the library has a better algorithm for them.
  for (std::size_t i = times.size(); i-- > 1;) {
    auto& [key, ms] = times[i - 1];
    const auto larger = plans_.find(times[i].first);
    if (larger == plans_.end() || times[i].second >= 0.97f * ms) continue;
    plans_[key] = larger->second;
    ms = times[i].second;
  }
  notes_.push_back(std::move(note));
}

}  // namespace sluice::engine::cuda
