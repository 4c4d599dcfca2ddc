// Attention: the CUDA twin against the CPU's. Linked into the emulated and the device's test; on a
// device, bfloat16 heads of a multiple of 8 go through flash attention.
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <string>

#include "core/base/error.h"
#include "core/ops/dispatch.h"
#include "tests/core/ops/cuda/device_under_test.h"
#include "tests/support/expect_error.h"

namespace growmerge::ops::cuda {
namespace {

constexpr std::int64_t kPositions = 105;
/// A segment of one key more than a warp's, of one, of a warp's, of more.
const std::vector<std::int32_t> kStarts = {0, 33, 34, 34 + 32, kPositions};

struct Case {
  AttentionShape shape;
  at::ScalarType dtype;
  double rtol;
  at::Tensor q, k, v, dout;

  Case(const AttentionShape& s, const Precision& precision)
      : shape(s), dtype(precision.dtype), rtol(precision.rtol) {
    const auto random = [&](std::int64_t heads) {
      return at::randn({kPositions, heads * s.head_dim}, at::kDouble).to(dtype);
    };
    q = random(s.num_heads);
    k = random(s.num_kv_heads);
    v = random(s.num_kv_heads);
    dout = random(s.num_heads);
    // Flash attention and the CPU's vdpbf16ps round probabilities to bfloat16 before they multiply
    // by them.
    rtol = dtype == at::kBFloat16 ? 6e-2 : dtype == at::kFloat ? 2e-5 : rtol;
  }
  [[nodiscard]] std::string name() const {
    return concat(shape.num_kv_heads, " key-value heads of ", shape.head_dim, ", window ",
                  shape.window, ", cap ", shape.soft_cap, " in ", c10::toString(dtype));
  }
};

std::vector<Case> cases() {
  std::vector<Case> out;
  for (const Precision& precision : kPrecisions) {
    for (const AttentionShape& shape : {AttentionShape{4, 2, 22}, {4, 1, 40}}) {
      out.emplace_back(shape, precision);
    }
  }
  for (const AttentionShape& shape : {AttentionShape{2, 1, 264}, {2, 2, 1}}) {
    out.emplace_back(shape, kPrecisions[0]);
  }
  // A window inside a warp's keys, of more than those, of two keys; a cap; another scale.
  for (const Precision& precision : kPrecisions) {
    for (AttentionShape shape : {AttentionShape{4, 2, 16, 0.3, 0.0, 7},
                                 {4, 2, 22, 0.0, 1.5, 40},
                                 {2, 1, 8, 0.0, 0.0, 2},
                                 {2, 1, 24, 0.0, 0.7, 0}}) {
      out.emplace_back(shape, precision);
    }
  }
  return out;
}

/// Device starts whose last entries are empty segments.
Segments padded(const std::function<at::Tensor(const at::Tensor&)>& there) {
  std::vector<std::int32_t> starts = kStarts;
  starts.insert(starts.end(), 3, static_cast<std::int32_t>(kPositions));
  return {.starts = {}, .device_starts = there(at::tensor(starts, at::kInt)), .longest = 60};
}

TEST_F(CudaOpsTest, AttentionForwardAndBackward) {
  for (const Case& c : cases()) {
    const at::Tensor out = at::zeros(c.q.sizes(), c.dtype);
    const at::Tensor lse = at::zeros({c.shape.num_heads, kPositions}, acc_dtype(c.dtype));
    attention_forward(c.shape, {kStarts}, c.q, c.k, c.v, out, lse);
    const at::Tensor dq = at::zeros(c.q.sizes(), c.dtype);
    const at::Tensor dk = at::zeros(c.k.sizes(), c.dtype);
    const at::Tensor dv = at::zeros(c.k.sizes(), c.dtype);
    attention_backward(c.shape, {kStarts}, c.q, c.k, c.v, out, lse, c.dout, dq, dk, dv);
    const auto got = outputs([&] {
      const Segments segments = padded(there);
      const at::Tensor q = there(c.q);
      const at::Tensor k = there(c.k);
      const at::Tensor v = there(c.v);
      const at::Tensor o = there(at::zeros(c.q.sizes(), c.dtype));
      const at::Tensor l = there(at::zeros(lse.sizes(), lse.scalar_type()));
      twin().attention_forward(c.shape, segments, q, k, v, o, l, nullptr);
      const at::Tensor without = there(at::zeros(c.q.sizes(), c.dtype));
      twin().attention_forward(c.shape, segments, q, k, v, without, at::Tensor(), nullptr);
      // Backward from the CPU's forward pass, so that its own error alone is seen; first beside the
      // inputs, then in their places.
      const at::Tensor own_dq = there(at::zeros(c.q.sizes(), c.dtype));
      const at::Tensor own_dk = there(at::zeros(c.k.sizes(), c.dtype));
      const at::Tensor own_dv = there(at::zeros(c.k.sizes(), c.dtype));
      const at::Tensor cpu_out = there(out);
      const at::Tensor cpu_lse = there(lse);
      twin().attention_backward(c.shape, segments, q, k, v, cpu_out, cpu_lse, there(c.dout), own_dq,
                                own_dk, own_dv);
      twin().attention_backward(c.shape, segments, q, k, v, cpu_out, cpu_lse, there(c.dout), q, k,
                                v);
      return std::vector{o, l, without, own_dq, own_dk, own_dv, q, k, v};
    });
    expect_close(got[0], out, c.rtol, "out, " + c.name());
    // The CPU's exponentials of bfloat16 are within 3e-6, so is the logarithm of their sum, which
    // may be near 0.
    const double exact = c.dtype == at::kDouble ? 1e-12 : c.dtype == at::kFloat ? 1e-5 : 6e-5;
    expect_close(got[1], lse, exact, "lse, " + c.name());
    expect_same(got[2], got[0], "out without lse, " + c.name());
    expect_close(got[3], dq, c.rtol, "dq, " + c.name());
    expect_close(got[4], dk, c.rtol, "dk, " + c.name());
    expect_close(got[5], dv, c.rtol, "dv, " + c.name());
    for (std::size_t i = 3; i < 6; ++i) {
      expect_same(got[i + 3], got[i], concat("gradient ", i, " in place, ", c.name()));
    }
  }
}

TEST_F(CudaOpsTest, AttentionOnACache) {
  for (const Case& c : cases()) {
    const std::int64_t num_keys = 71;
    for (const std::int64_t queries : {1, 5}) {
      const at::Tensor q = c.q.narrow(0, 0, queries).contiguous();
      const at::Tensor out = at::zeros(q.sizes(), c.dtype);
      attention_cached(c.shape, num_keys, q, c.k, c.v, out);
      const auto got = outputs([&] {
        const at::Tensor o = there(at::zeros(q.sizes(), c.dtype));
        twin().attention_cached(c.shape, num_keys, there(q), there(c.k), there(c.v), o);
        return std::vector{o};
      });
      expect_close(got[0], out, c.rtol, c.name());
    }
  }
}

TEST_F(CudaOpsTest, AttentionNamesWhatItNeeds) {
  const Case c({2, 2, 4}, kPrecisions[1]);
  const at::Tensor out = there(c.q);
  const auto run = [&](const Segments& segments, const Prefixes* prefixes) {
    twin().attention_forward(c.shape, segments, there(c.q), there(c.k), there(c.v), out,
                             at::Tensor(), prefixes);
  };
  EXPECT_ERROR(run({kStarts}, nullptr), kInvalidArgument, "device_starts");
  const Prefixes prefixes;
  EXPECT_ERROR(run(padded(there), &prefixes), kUnsupported, "CPU only");
}

}  // namespace
}  // namespace growmerge::ops::cuda
