// What this transformer makes of a checkpoint, for comparison in Python:
//   growmerge_model_dump CHECKPOINT DTYPE IN.safetensors OUT.safetensors
// IN holds tokens, targets [N] int64 and segment_starts int64; with `num_new` [1] the tokens are
// continued greedily instead. OUT holds logits, log_probs, loss and "grad.NAME", or `continued`.
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <cstdio>

#include "core/model/checkpoint.h"
#include "core/store/safetensors.h"
#include "core/transformer/transformer.h"

namespace growmerge {
namespace {

ParamMap continued(const Model& model, const ParamMap& in) {
  const auto* tokens = in.at("tokens").const_data_ptr<std::int64_t>();
  const std::int64_t prompt = in.at("tokens").numel();
  const std::int64_t num_new = in.at("num_new").const_data_ptr<std::int64_t>()[0];
  Decoder decoder(model.config, model.params, prompt + num_new);
  std::vector<std::int32_t> next(tokens, tokens + prompt);
  const at::Tensor out = at::empty({num_new}, at::ScalarType::Long);
  for (std::int64_t i = 0; i < num_new; ++i) {
    const at::Tensor logits = decoder.feed(next);
    next = {static_cast<std::int32_t>(logits.argmax().item<std::int64_t>())};
    out.mutable_data_ptr<std::int64_t>()[i] = next[0];
  }
  ParamMap result;
  result.set("continued", out);
  return result;
}

ParamMap everything(const Model& model, const ParamMap& in) {
  Batch batch;
  batch.tokens = in.at("tokens");
  batch.targets = in.at("targets");
  batch.num_rows = 1;
  batch.row_tokens = batch.tokens.numel();
  const at::Tensor starts = in.at("segment_starts");
  const auto* p = starts.const_data_ptr<std::int64_t>();
  batch.segment_starts.assign(p, p + starts.numel());
  const bool fp64 = model.params.at("model.norm.weight").scalar_type() == at::ScalarType::Double;
  const ParamMap grads =
      model.params.zeros_like(fp64 ? at::ScalarType::Double : at::ScalarType::Float);
  const LossResult loss =
      loss_and_gradients(model.config, model.params, batch, 1.0, grads, {}, nullptr);
  const at::Tensor hidden =
      hidden_states(model.config, model.params, batch.tokens, batch.segment_starts);
  ParamMap out;
  out.set("logits", head_logits(model.config, model.params, hidden));
  out.set("log_probs", target_log_probs(model.config, model.params, hidden, batch.targets));
  out.set("loss", at::full({1}, loss.loss_sum, at::ScalarType::Double));
  for (const auto& [name, tensor] : grads) {
    out.set("grad." + name, tensor);
  }
  return out;
}

}  // namespace
}  // namespace growmerge

int main(int argc, char** argv) {
  using namespace growmerge;
  if (argc != 5) {
    std::fprintf(stderr, "usage: %s CHECKPOINT DTYPE IN.safetensors OUT.safetensors\n", argv[0]);
    return 2;
  }
  try {
    const Model model = load_model(argv[1], parse_dtype(argv[2], "DTYPE"));
    const ParamMap in = load_safetensors(argv[3]);
    save_safetensors(argv[4], in.contains("num_new") ? continued(model, in) : everything(model, in),
                     {});
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
