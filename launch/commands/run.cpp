// growmerge run: a whole experiment.
#include "launch/experiment/run.h"

#include "launch/commands/commands.h"
#include "launch/experiment/experiment.h"

namespace growmerge::launch {

Command run_command() {
  Command out;
  out.name = "run";
  out.doc = "a whole experiment: a graph of the stages above, each under mpirun with its ranks";
  out.usage = "EXPERIMENT.yaml [--out DIR]";
  out.details =
      "The file is described in docs/experiment.md. --set takes its keys and its variables.\n"
      "--dry-run says what every stage would do; --print-config prints every stage's config.\n";
  out.describe = [](FieldVisitor& v) {
    std::string name;
    RunSettings settings;
    std::map<std::string, StageDocs> stages;
    v("name", name, "", "of the experiment; output goes to runs/NAME where --out is not given");
    v("run", settings, "", "how stages are started");
    v("stages", stages, "", "the graph; also `config`, `for_each`: docs/experiment.md");
  };
  out.run = run_experiment;
  return out;
}

}  // namespace growmerge::launch
