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

TEST(CommandLine, OutputThatIsNotTakenIsAFailure) {
  for (const char* words : {"--help", "--version", "train --help", "merge --help"}) {
    // The shell's redirection comes behind ours, which joins the two.
    const Ran ran = growmerge(std::string(words) + " 3>&1 >/dev/full 2>&3 #");
    EXPECT_EQ(ran.code, 6) << words << ": " << ran.output;
    EXPECT_TRUE(ran.says("writing standard output")) << ran.output;
  }
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

/// A SentencePiece-style tokenizer of the letters a to c, with bytes behind them and <s> in front.
const char* small_tokenizer() {
  return R"({
    "added_tokens": [{"id": 0, "content": "<s>", "special": true}],
    "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never"},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
    "decoder": {"type": "Sequence", "decoders": [{"type": "Replace",
      "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]},
    "model": {"type": "BPE", "byte_fallback": true, "unk_token": "<unk>",
      "vocab": {"<s>": 0, "a": 1, "b": 2, "\u2581": 3, "ab": 4, "<0xC3>": 5, "<0xA4>": 6, "<unk>": 7},
      "merges": ["a b"]}})";
}

TEST(TokenizerCommand, EncodesAndDecodesTextAndFiles) {
  TemporaryDirectory dir;
  const std::string tokenizer = (dir.path() / "tokenizer.json").string();
  const std::string lines = (dir.path() / "lines.jsonl").string();
  write_text(tokenizer, small_tokenizer());
  const Ran text = growmerge("tokenizer encode " + tokenizer + " 'ab ä' a");
  EXPECT_EQ(text.code, 0) << text.output;
  EXPECT_EQ(text.output,
            "{\"ids\":[0,4,3,5,6],\"pieces\":[\"<s>\",\"ab\",\"\u2581\",\"<0xC3>\",\"<0xA4>\"],"
            "\"offsets\":[[0,0],[0,2],[2,3],[3,4],[3,4]]}\n"
            "{\"ids\":[0,1],\"pieces\":[\"<s>\",\"a\"],\"offsets\":[[0,0],[0,1]]}\n");
  write_text(lines, text.output);
  EXPECT_EQ(growmerge("tokenizer decode " + tokenizer + " " + lines + " '[4, 3]'").output,
            "{\"text\":\"<s>ab ä\"}\n{\"text\":\"<s>a\"}\n{\"text\":\"ab \"}\n");
  write_text(dir.path() / "texts.jsonl", "{\"text\": \"ab\"}\n{\"text\": \"b\\u009b\"}\n");
  const Ran file =
      growmerge("tokenizer encode " + tokenizer + " " + (dir.path() / "texts.jsonl").string());
  EXPECT_TRUE(file.says("{\"ids\":[0,4],")) << file.output;
  EXPECT_TRUE(file.says("{\"ids\":[0,2,7],")) << file.output;
  const Ran wrong = growmerge("tokenizer decode " + tokenizer + " x");
  EXPECT_EQ(wrong.code, 2) << wrong.output;
  EXPECT_TRUE(wrong.says("expected token ids as [1, 2, 3]")) << wrong.output;
  EXPECT_TRUE(growmerge("tokenizer encode " + tokenizer).says("TOKENIZER TEXT..."));
}

TEST(TokenizerCommand, StatsCountWhatTokensMakeOfText) {
  TemporaryDirectory dir;
  const std::string tokenizer = (dir.path() / "tokenizer.json").string();
  write_text(tokenizer, small_tokenizer());
  write_text(dir.path() / "de.txt", "ab ä öb");
  const Ran ran =
      growmerge("tokenizer stats " + tokenizer + " de=" + (dir.path() / "de.txt").string());
  EXPECT_EQ(ran.code, 0) << ran.output;
  // ab _ <0xC3> <0xA4> _ <unk> b: 7 tokens, 3 words, 7 characters of 9 bytes; one character is cut.
  for (const char* cell : {"de", "7", "3", "2.333", "1.000", "1.286", "14.286", "28.571"}) {
    EXPECT_TRUE(ran.says(cell)) << cell << ran.output;
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
