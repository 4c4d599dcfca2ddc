// The three products of a linear layer by cuBLASLt, which unlike at::mm adds a product of bfloat16
// matrices to a float32 matrix in place.
//
// cuBLASLt counts columns first: a row-major [r, c] matrix with rows of `stride` elements is its
// [c, r] matrix with leading dimension `stride`. So c = a b row by row is c^T = b^T a^T to it.
//
// Shapes (legend: core/ops/kernels/kernels.h): x, dx [N, I]; weight, dweight [O, I]; y, dy [N, O].
#include <ATen/cuda/CUDAContextLight.h>
#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <mutex>

#include "core/ops/cuda/here.h"
#include "core/ops/cuda/table.h"
#include "core/ops/dispatch.h"

namespace growmerge::ops::cuda {
namespace {

void check(cublasStatus_t status, const char* operation) {
  GM_CHECK(status == CUBLAS_STATUS_SUCCESS, kInternal, "cuBLASLt ", operation, ": ",
           cublasGetStatusString(status));
}

/// A cuBLASLt object with its two functions.
template <class Handle, cublasStatus_t (*kDestroy)(Handle)>
class Owned {
 public:
  Owned() = default;
  ~Owned() { kDestroy(handle_); }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  Handle* address() { return &handle_; }
  [[nodiscard]] Handle get() const { return handle_; }

 private:
  Handle handle_ = nullptr;
};
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Description = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

cudaDataType_t cuda_type(at::ScalarType dtype) {
  switch (dtype) {
    case at::ScalarType::Float:
      return CUDA_R_32F;
    case at::ScalarType::Double:
      return CUDA_R_64F;
    case at::ScalarType::BFloat16:
      return CUDA_R_16BF;
    default:
      fail(ErrorCode::kUnsupported, "products on CUDA: float32, float64 or bfloat16, not ",
           c10::toString(dtype));
  }
}

/// One row-major matrix.
struct Matrix {
  explicit Matrix(const at::Tensor& tensor)
      : data(tensor.data_ptr()),
        rows(tensor.size(0)),
        columns(tensor.size(1)),
        stride(rows > 1 ? tensor.stride(0) : columns),  // a single row's says nothing
        type(cuda_type(tensor.scalar_type())) {
    GM_CHECK(tensor.is_cuda() && (columns <= 1 || tensor.stride(1) == 1), kInvalidArgument,
             "products on CUDA take matrices on the device whose rows are contiguous");
  }
  /// The largest power of two up to 256 that the address is a multiple of.
  [[nodiscard]] std::uint32_t alignment() const {
    const auto address = reinterpret_cast<std::uintptr_t>(data);
    return static_cast<std::uint32_t>(
        std::min<std::uintptr_t>(256, address == 0 ? 256 : address & (~address + 1)));
  }
  void describe(Layout& layout) const {
    check(cublasLtMatrixLayoutCreate(layout.address(), type, static_cast<std::uint64_t>(columns),
                                     static_cast<std::uint64_t>(rows), stride),
          "MatrixLayoutCreate");
  }

  void* data;
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t stride;
  cudaDataType_t type;
};

/// c = a' b' + beta c, row-major; ' transposes where it is asked for.
struct Product {
  Matrix a;
  bool transpose_a;
  Matrix b;
  bool transpose_b;
  Matrix c;
  double beta;

  void check_shapes() const {
    const std::int64_t rows = transpose_a ? a.columns : a.rows;
    const std::int64_t inner = transpose_a ? a.rows : a.columns;
    const std::int64_t inner_b = transpose_b ? b.columns : b.rows;
    const std::int64_t columns = transpose_b ? b.rows : b.columns;
    GM_CHECK(rows == c.rows && columns == c.columns && inner == inner_b && a.type == b.type,
             kMismatch, "product on CUDA: [", rows, ", ", inner, "] times [", inner_b, ", ",
             columns, "] does not make [", c.rows, ", ", c.columns, "], or dtypes differ");
  }
};

using Key = std::array<std::int64_t, 16>;

/// What the choice of an algorithm depends on.
Key key_of(const Product& p, int device) {
  return {device,        p.transpose_a,
          p.transpose_b, p.beta != 0.0,
          p.a.rows,      p.a.columns,
          p.a.stride,    p.a.type,
          p.b.rows,      p.b.columns,
          p.b.stride,    p.a.alignment() << 16 | p.b.alignment(),
          p.c.rows,      p.c.columns << 9 | p.c.alignment(),
          p.c.stride,    p.c.type};
}

/// A product as cuBLASLt sees it: a and b change places.
struct Plan {
  explicit Plan(const Product& p) {
    const bool is_double = p.a.type == CUDA_R_64F;
    check(cublasLtMatmulDescCreate(description.address(),
                                   is_double ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F,
                                   is_double ? CUDA_R_64F : CUDA_R_32F),
          "MatmulDescCreate");
    const auto set = [&](cublasLtMatmulDescAttributes_t attribute, bool transpose) {
      const cublasOperation_t operation = transpose ? CUBLAS_OP_T : CUBLAS_OP_N;
      check(cublasLtMatmulDescSetAttribute(description.get(), attribute, &operation,
                                           sizeof operation),
            "MatmulDescSetAttribute");
    };
    set(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b);
    set(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a);
    p.b.describe(first);
    p.a.describe(second);
    p.c.describe(result);
  }
  Description description;
  Layout first, second, result;
};

/// By cuBLASLt's own heuristic; no product is tried.
cublasLtMatmulAlgo_t choose(const Product& p, const Plan& plan, std::size_t workspace) {
  Preference preference;
  check(cublasLtMatmulPreferenceCreate(preference.address()), "MatmulPreferenceCreate");
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    check(cublasLtMatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof value),
          "MatmulPreferenceSetAttribute");
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, p.b.alignment());
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, p.a.alignment());
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, p.c.alignment());
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, p.c.alignment());
  // Parts of a long inner dimension are never rounded to bfloat16 between.
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      std::uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  cublasLtMatmulHeuristicResult_t best{};
  int found = 0;
  check(
      cublasLtMatmulAlgoGetHeuristic(at::cuda::getCurrentCUDABlasLtHandle(), plan.description.get(),
                                     plan.first.get(), plan.second.get(), plan.result.get(),
                                     plan.result.get(), preference.get(), 1, &best, &found),
      "MatmulAlgoGetHeuristic");
  GM_CHECK(found > 0, kUnsupported, "cuBLASLt has no algorithm for a product that makes [",
           p.c.rows, ", ", p.c.columns, "]");
  return best.algo;
}

/// Chosen once for each key, so that equal products have equal bits in every step.
cublasLtMatmulAlgo_t algorithm(const Product& p, const Plan& plan, int device,
                               std::size_t workspace) {
  static std::mutex mutex;
  static std::map<Key, cublasLtMatmulAlgo_t> chosen;
  const std::scoped_lock lock(mutex);
  const Key key = key_of(p, device);
  const auto known = chosen.find(key);
  if (known != chosen.end()) {
    return known->second;
  }
  return chosen.emplace(key, choose(p, plan, workspace)).first->second;
}

/// Enqueues p where the tensor lies.
void multiply(const Product& p, const at::Tensor& where) {
  p.check_shapes();
  if (p.c.rows == 0 || p.c.columns == 0) {
    return;
  }
  const Here here(where);
  const Plan plan(p);
  // One a stream, from LibTorch's allocator.
  const std::size_t workspace = at::cuda::getCUDABlasLtWorkspaceSize();
  const cublasLtMatmulAlgo_t algo = algorithm(p, plan, where.get_device(), workspace);
  // alpha and beta are read as the type that the product computes in.
  constexpr double kOne = 1.0;
  constexpr float kOneFloat = 1.0F;
  const float beta_float = static_cast<float>(p.beta);
  const bool is_double = p.a.type == CUDA_R_64F;
  const void* alpha = is_double ? static_cast<const void*>(&kOne) : &kOneFloat;
  const void* beta = is_double ? static_cast<const void*>(&p.beta) : &beta_float;
  check(cublasLtMatmul(at::cuda::getCurrentCUDABlasLtHandle(), plan.description.get(), alpha,
                       p.b.data, plan.first.get(), p.a.data, plan.second.get(), beta, p.c.data,
                       plan.result.get(), p.c.data, plan.result.get(), &algo,
                       at::cuda::getCUDABlasLtWorkspace(), workspace, here.stream()),
        "Matmul");
}

void linear_forward(const at::Tensor& x_NI, const at::Tensor& weight_OI, const at::Tensor& y_NO,
                    double beta) {
  multiply({Matrix(x_NI), false, Matrix(weight_OI), true, Matrix(y_NO), beta}, x_NI);
}

void linear_backward_input(const at::Tensor& dy_NO, const at::Tensor& weight_OI,
                           const at::Tensor& dx_NI, double beta) {
  multiply({Matrix(dy_NO), false, Matrix(weight_OI), false, Matrix(dx_NI), beta}, dy_NO);
}

void linear_backward_weight(const at::Tensor& dy_NO, const at::Tensor& x_NI,
                            const at::Tensor& dweight_OI) {
  multiply({Matrix(dy_NO), true, Matrix(x_NI), false, Matrix(dweight_OI), 1.0}, dy_NO);
}

}  // namespace

void fill_linear_ops(CudaOps& ops) {
  ops.linear_forward = linear_forward;
  ops.linear_backward_input = linear_backward_input;
  ops.linear_backward_weight = linear_backward_weight;
}

}  // namespace growmerge::ops::cuda
