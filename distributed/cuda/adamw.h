// AdamW on flat CUDA arrays, in one pass: what core/adamw.h defines. No torch, no CUDA types.
#pragma once

namespace growmerge::distributed {

struct AdamWStep {
  float* param = nullptr;  // [n] masters, updated
  const float* grad = nullptr;
  float* m = nullptr;
  float* v = nullptr;
  void* bf16_copy = nullptr;  // [n] bfloat16 of the new masters, or null
  long n = 0;
  float lr = 0.0F;
  float beta1 = 0.0F;
  float beta2 = 0.0F;
  float eps = 0.0F;
  float weight_decay = 0.0F;
  float bias_correction1 = 1.0F;  // 1 - beta1^t
  float bias_correction2 = 1.0F;  // 1 - beta2^t
  float grad_scale = 1.0F;        // clip factor / targets
};

/// Enqueues the step on `stream` (a cudaStream_t). Errors: kInternal with CUDA's text when the
/// launch fails.
void adamw_step_cuda(const AdamWStep& step, void* stream);
/// The same arithmetic on host arrays, for tests.
void adamw_step_host(const AdamWStep& step);

}  // namespace growmerge::distributed
