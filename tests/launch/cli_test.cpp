// The command line as a person meets it: help, mistakes, exit codes.
#include "launch/cli.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <set>

#include "core/base/error.h"
#include "tests/launch/run_binary.h"
#include "tests/support/paths.h"

namespace growmerge::launch {
namespace {

using testing::growmerge;
using testing::Ran;
using testing::read_text;
using testing::source_dir;
using testing::TemporaryDirectory;
using testing::write_text;

TEST(CommandLine, PathsOptionsAndOverridesAreToldApart) {
  const std::vector<std::string> words = {"eval", "a",        "b",      "--set",
                                          "x=1",  "--out",    "o",      "--set",
                                          "y=2",  "--config", "c.yaml", "--dry-run"};
  const ParsedLine parsed = parse_command_line(words);
  EXPECT_EQ(parsed.line.command, "eval");
  EXPECT_EQ(parsed.line.paths, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(parsed.line.overrides, (std::vector<std::string>{"x=1", "y=2"}));
  EXPECT_EQ(parsed.line.out, "o");
  EXPECT_EQ(parsed.line.config_path, "c.yaml");
  EXPECT_TRUE(parsed.line.dry_run);
}

TEST(CommandLine, EveryCommandIsNamedOnceAndDocumented) {
  std::set<std::string> names;
  for (const Command& command : commands()) {
    EXPECT_TRUE(names.insert(command.name).second) << command.name;
    EXPECT_NE(help_text().find(command.doc), std::string::npos) << command.name;
    EXPECT_TRUE(command.is_stage() || command.run) << command.name;
    EXPECT_NE(command_help_text(command).find("--config"), std::string::npos);
  }
}

TEST(CommandLine, HelpIsFast) {
  const auto start = std::chrono::steady_clock::now();
  const Ran ran = growmerge("--help");
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_EQ(ran.code, 0);
  EXPECT_TRUE(ran.says("exit codes"));
  EXPECT_LT(seconds, 5.0);  // 0.2 s on an idle machine; this catches a CUDA library being loaded
}

TEST(CommandLine, MistakesEndWithCodeTwoAndNameTheNearest) {
  const Ran command = growmerge("evla x");
  EXPECT_EQ(command.code, 2);
  EXPECT_TRUE(command.says("unknown command 'evla'; did you mean 'eval'?")) << command.output;
  const Ran option = growmerge("eval x --confg f");
  EXPECT_EQ(option.code, 2);
  EXPECT_TRUE(option.says("did you mean '--config'?")) << option.output;
  EXPECT_EQ(growmerge("").code, 2);
  const Ran key = growmerge("report x --set titel=3");
  EXPECT_EQ(key.code, 2);
  EXPECT_TRUE(key.says("did you mean 'title'?")) << key.output;
  const Ran out = growmerge("tokenize nl=/dev/null --set tokenizer=/dev/null");
  EXPECT_EQ(out.code, 2);
  EXPECT_TRUE(out.says("give --out DIR")) << out.output;
}

TEST(CommandLine, AConfigMistakeNamesFileAndLine) {
  TemporaryDirectory dir;
  write_text(dir.path() / "c.yaml", "title: x\nresuts: [a]\n");
  const Ran ran = growmerge("report --config " + (dir.path() / "c.yaml").string());
  EXPECT_EQ(ran.code, 2);
  EXPECT_TRUE(ran.says("c.yaml:2")) << ran.output;
  EXPECT_TRUE(ran.says("did you mean 'results'?")) << ran.output;
  write_text(dir.path() / "c.yaml", "title: x\ntitle: y\n");
  EXPECT_TRUE(
      growmerge("report --config " + (dir.path() / "c.yaml").string()).says("duplicate key"));
}

TEST(CommandLine, MissingInputIsNamed) {
  const Ran ran = growmerge("inspect /nowhere/at/all");
  EXPECT_EQ(ran.code, 2) << ran.output;
  EXPECT_TRUE(ran.says("/nowhere/at/all"));
}

TEST(CommandLine, InspectOnlyPrintsAndSaysWhatItWouldRead) {
  TemporaryDirectory dir;
  write_text(dir.path() / "model.safetensors", "no safetensors at all");
  const std::string path = (dir.path() / "model.safetensors").string();
  const Ran dry = growmerge("inspect --dry-run --verify " + path);
  EXPECT_EQ(dry.code, 0) << dry.output;
  EXPECT_TRUE(dry.says("all of " + path + " (21 B), writes nothing")) << dry.output;
  EXPECT_EQ(growmerge("inspect " + path).code, 3);
  const Ran fertility = growmerge("tokenizer inspect --dry-run a nl=b.txt");
  EXPECT_EQ(fertility.code, 0) << fertility.output;
  EXPECT_TRUE(fertility.says("reads     b.txt")) << fertility.output;
  for (const char* more : {"--set a=b", "--out x", "--config c.yaml", "--print-config"}) {
    const Ran ran = growmerge("inspect " + path + " " + more);
    EXPECT_EQ(ran.code, 2) << more << ran.output;
    EXPECT_TRUE(ran.says("has no config")) << ran.output;
  }
}

TEST(CommandLine, PrintConfigIsAConfigAgain) {
  TemporaryDirectory dir;
  const Ran first = growmerge("report a b --set title=hello --print-config");
  ASSERT_EQ(first.code, 0) << first.output;
  write_text(dir.path() / "c.yaml", first.output);
  const Ran second =
      growmerge("report --config " + (dir.path() / "c.yaml").string() + " --print-config");
  EXPECT_EQ(first.output, second.output);
}

TEST(CommandLine, RunRefusesToRunUnderMpirun) {
  const Ran ran = growmerge("run --config e.yaml",
                            "OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=0 "
                            "GROWMERGE_TEST=1");
  EXPECT_EQ(ran.code, 2) << ran.output;
  EXPECT_TRUE(ran.says("growmerge run --config e.yaml")) << ran.output;
}

TEST(CommandLine, ProcessesThatSrunDidNotConnectAreRefused) {
  const std::string four = "env -u OMPI_COMM_WORLD_SIZE -u PMIX_RANK SLURM_STEP_NUM_TASKS=4";
  for (const char* words : {"artificial --out never", "run --config e.yaml --out never"}) {
    const Ran ran = growmerge(words, four);
    EXPECT_EQ(ran.code, 5) << ran.output;
    EXPECT_TRUE(ran.says("started 4 processes") && ran.says("--mpi=pmix")) << ran.output;
  }
  // A shell of `srun --pty` is one process, whatever its allocation.
  const Ran shell = growmerge("artificial --dry-run --out never", four + " SLURM_PTY_PORT=1");
  EXPECT_EQ(shell.code, 0) << shell.output;
}

TEST(CommandLine, AnOutputThatCannotBeWrittenIsNoBug) {
  for (const char* command : {"artificial", "run --config configs/experiments/artificial.yaml"}) {
    const Ran ran = growmerge(std::string(command) + " --out /proc/nowhere/x",
                              "cd " + source_dir().string() + " &&");
    EXPECT_EQ(ran.code, 6) << ran.output;
    EXPECT_TRUE(ran.says("/proc/nowhere")) << ran.output;
  }
}

TEST(CommandLine, TheConfigPageIsUpToDate) {
  EXPECT_EQ(read_text(source_dir() / "docs" / "config.md"), config_docs_text())
      << "write it again: build/dev/bin/growmerge --config-docs > docs/config.md";
}

}  // namespace
}  // namespace growmerge::launch
