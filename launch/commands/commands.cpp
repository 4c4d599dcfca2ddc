#include "launch/commands/commands.h"

namespace growmerge::launch {

const std::vector<Command>& commands() {
  static const std::vector<Command> table = {
      tokenize_command(), train_command(),  merge_command(),    eval_command(),   run_command(),
      report_command(),   generate_command(), inspect_command(), artificial_command(),
  };
  return table;
}

}  // namespace growmerge::launch
