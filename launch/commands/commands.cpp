#include "launch/commands/commands.h"

namespace growmerge::launch {

const std::vector<Command>& commands() {
  static const std::vector<Command> table = {
      tokenizer_command(), artificial_command(), tokenize_command(), upscale_command(),
      certify_command(),   train_command(),      stats_command(),    merge_command(),
      extract_command(),   eval_command(),       run_command(),      report_command(),
      generate_command(),  inspect_command(),
  };
  return table;
}

}  // namespace growmerge::launch
