// adamw DTYPE ROWS COLUMNS STEPS LR BETA1 BETA2 EPS DECAY DECAY_ALL: parameters and gradients of
//   each step as raw numbers on standard input, the last parameters on standard output.
// flops V d F L H K head_dim T TIED: forward and training FLOPs of T tokens, full attention.
// For tests/reference/optimizer_reference.py and flops_reference.py; not a test itself.
#include <ATen/ops/empty.h>

#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/model/flops.h"
#include "core/ops/adamw.h"

namespace growmerge {
namespace {

at::Tensor read_tensor(std::int64_t rows, std::int64_t columns, at::ScalarType dtype) {
  at::Tensor t = at::empty({rows, columns}, dtype);
  const std::size_t bytes = t.nbytes();
  GM_CHECK(std::fread(t.data_ptr(), 1, bytes, stdin) == bytes, kIo, "standard input is too short");
  return t;
}

void run_adamw(const std::vector<std::string>& args) {
  const at::ScalarType dtype =
      args.at(1) == "float64" ? at::ScalarType::Double : at::ScalarType::Float;
  const std::int64_t rows = std::stoll(args.at(2));
  const std::int64_t columns = std::stoll(args.at(3));
  AdamWConfig config;
  config.beta1 = std::stod(args.at(6));
  config.beta2 = std::stod(args.at(7));
  config.eps = std::stod(args.at(8));
  config.weight_decay = std::stod(args.at(9));
  config.decay_all = args.at(10) == "1";
  ParamMap params;
  params.set("w", read_tensor(rows, columns, dtype));
  AdamWState state = make_adamw_state(params);
  for (std::int64_t step = 0; step < std::stoll(args.at(4)); ++step) {
    ParamMap grads;
    grads.set("w", read_tensor(rows, columns, dtype));
    adamw_step_(params, grads, state, std::stod(args.at(5)), 1.0, config, {});
  }
  std::fwrite(params.at("w").data_ptr(), 1, params.at("w").nbytes(), stdout);
}

void print_flops(const std::vector<std::string>& args) {
  ModelConfig c;
  c.vocab_size = std::stoll(args.at(1));
  c.hidden_size = std::stoll(args.at(2));
  c.intermediate_size = std::stoll(args.at(3));
  c.num_layers = std::stoll(args.at(4));
  c.num_heads = std::stoll(args.at(5));
  c.num_kv_heads = std::stoll(args.at(6));
  c.head_dim = std::stoll(args.at(7));
  const std::int64_t tokens = std::stoll(args.at(8));
  c.tie_word_embeddings = args.at(9) == "1";
  const double n = static_cast<double>(tokens);
  std::printf("%.0f %.0f\n", n * forward_flops_per_token(c, n),
              n * train_flops_per_token(c, tokens, FlopConvention::kFullAttention));
}

}  // namespace
}  // namespace growmerge

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  try {
    if (args.at(0) == "adamw") {
      growmerge::run_adamw(args);
    } else {
      growmerge::print_flops(args);
    }
  } catch (const std::exception& e) {
    std::cerr << e.what() << "\n";
    return 1;
  }
  return 0;
}
