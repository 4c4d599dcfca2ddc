// growmerge_merge_tool RECIPE OUT [key=value ...]: merges into the directory OUT, which it makes.
// growmerge_merge_tool --methods: prints docs/methods/merge-methods.md.
#include <filesystem>
#include <iostream>
#include <string>

#include "core/base/error.h"
#include "merging/merge.h"
#include "merging/method_docs.h"

int main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "--methods") {
    std::cout << growmerge::merging::method_page();
    return 0;
  }
  if (argc < 3) {
    std::cerr << "usage: growmerge_merge_tool RECIPE OUT [key=value ...] | --methods\n";
    return 2;
  }
  try {
    const std::vector<std::string> overrides(argv + 3, argv + argc);
    const auto plan = growmerge::merging::plan_merge(argv[1], overrides);
    std::cout << plan.describe();
    std::filesystem::create_directories(argv[2]);
    growmerge::Progress progress("merge", growmerge::num_parameters(plan.config), "parameters",
                                 false);
    growmerge::merging::run_merge(plan, argv[2], progress);
    return 0;
  } catch (const growmerge::Error& e) {
    std::cerr << "error: " << e.what() << "\n";
    return growmerge::exit_code(e.code());
  }
}
