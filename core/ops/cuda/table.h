// The operators of libgrowmerge_cuda.so, by file; see core/ops/cuda_ops.h.
#pragma once

#include "core/ops/cuda_ops.h"

namespace growmerge::ops::cuda {

void fill_row_ops(CudaOps& ops);        // everything that is element-wise or works on rows
void fill_linear_ops(CudaOps& ops);     // products, by cuBLASLt
void fill_attention_ops(CudaOps& ops);  // flash attention, or our own kernels
void fill_adamw_ops(CudaOps& ops);

[[nodiscard]] inline CudaOps make_cuda_ops() {
  CudaOps ops;
  fill_row_ops(ops);
  fill_linear_ops(ops);
  fill_attention_ops(ops);
  fill_adamw_ops(ops);
  return ops;
}

}  // namespace growmerge::ops::cuda
