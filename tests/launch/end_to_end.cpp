// From artificial text to a report, by `growmerge run`, and what happens when things go wrong.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/store/manifest.h"
#include "core/store/safetensors.h"
#include "launch/experiment/child.h"
#include "tests/launch/run_binary.h"
#include "tests/support/paths.h"

namespace growmerge::launch {
namespace {

namespace fs = std::filesystem;
using testing::growmerge;
using testing::Ran;
using testing::read_text;
using testing::source_dir;
using testing::TemporaryDirectory;
using testing::write_text;

/// One finished experiment for all tests.
class MicroExperiment : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new TemporaryDirectory();
    yaml_ = (source_dir() / "tests/launch/micro.yaml").string();
    first_ = growmerge("run --config " + yaml_ + " --out " + out());
  }
  static void TearDownTestSuite() { delete dir_; }
  static std::string out() { return (dir_->path() / "run").string(); }
  static std::string path(const std::string& name) { return out() + "/" + name; }
  static Ran again(const std::string& more = "") {
    return growmerge("run --config " + yaml_ + " --out " + out() + " " + more);
  }

  static TemporaryDirectory* dir_;
  static std::string yaml_;
  static Ran first_;
};
TemporaryDirectory* MicroExperiment::dir_ = nullptr;
std::string MicroExperiment::yaml_;
Ran MicroExperiment::first_;

TEST_F(MicroExperiment, RunsToItsReport) {
  ASSERT_EQ(first_.code, 0) << first_.output;
  for (const char* stage : {"text", "tokenizer", "shards", "base", "grown", "medium-cloned",
                            "joint", "merge-ties", "merge-fisher", "eval", "report"}) {
    EXPECT_TRUE(read_manifest(path(stage)).has_value()) << stage;
    EXPECT_NO_THROW(verify_directory(path(stage))) << stage;
  }
  EXPECT_TRUE(first_.says("report.html")) << first_.output;
  const std::string html = read_text(path("report/report.html"));
  EXPECT_NE(html.find("Loss against FLOPs"), std::string::npos);
  EXPECT_NE(html.find("Asymmetry of cloned blocks"), std::string::npos);
  EXPECT_NE(html.find("Merge against joint"), std::string::npos);
}

TEST_F(MicroExperiment, TheLedgerIsCarriedAlong) {
  ASSERT_EQ(first_.code, 0);
  const Manifest base = *read_manifest(path("base"));
  const Manifest grown = *read_manifest(path("grown"));
  const Manifest small = *read_manifest(path("medium-1x"));
  const Manifest cloned = *read_manifest(path("medium-cloned"));
  const Manifest joint = *read_manifest(path("joint"));
  EXPECT_EQ(base.world_size, 2);
  EXPECT_GT(base.flops, 0.0);
  EXPECT_EQ(base.flops_total, base.flops);
  EXPECT_EQ(grown.flops_sunk, base.flops);
  EXPECT_EQ(cloned.flops_sunk, base.flops);
  EXPECT_DOUBLE_EQ(cloned.flops_total, base.flops + cloned.flops);
  // The grown model costs more a token, so the same FLOPs are fewer tokens; whole steps round.
  EXPECT_LT(cloned.tokens, small.tokens);
  EXPECT_NEAR(cloned.flops / small.flops, 1.0, 0.3);
  EXPECT_DOUBLE_EQ(joint.flops, 2.0 * small.flops);
  const Manifest merged = *read_manifest(path("merge-ties"));
  EXPECT_DOUBLE_EQ(merged.flops_total, base.flops + 2.0 * small.flops);
}

TEST_F(MicroExperiment, ASecondStartSkipsEverything) {
  ASSERT_EQ(first_.code, 0);
  const Ran second = again();
  EXPECT_EQ(second.code, 0) << second.output;
  EXPECT_TRUE(second.says("skipped, up to date"));
  EXPECT_FALSE(second.says(" done\n")) << second.output;
}

TEST_F(MicroExperiment, RunsWithoutAnyNetworkInterface) {
  const std::string bare = "unshare --map-root-user --net";
  if (std::system((bare + " true 2>/dev/null").c_str()) != 0) {
    GTEST_SKIP() << "no network namespaces here";
  }
  const Ran ran =
      growmerge("run --config " + yaml_ + " --out " + (dir_->path() / "bare").string(), bare);
  EXPECT_EQ(ran.code, 0) << ran.output;
  EXPECT_TRUE(ran.says("loopback interface")) << ran.output;
  EXPECT_EQ(read_manifest(dir_->path() / "bare/base")->world_size, 2);
}

TEST_F(MicroExperiment, AnotherNewModelDoesNotGoOnFromACheckpoint) {
  ASSERT_EQ(first_.code, 0);
  const std::string command =
      "train --out " + path("never-ends") +
      " --set budget.steps=10M --set 'init={tokenizer: " + path("tokenizer") +
      ", hidden_size: 16, num_layers: 1, num_heads: 2, activation: ";
  const std::string data = "}' --set 'mixture={row_tokens: 32, sources: [{path: " + path("shards") +
                           ", language: base, weight: 1}]}'";
  const Ran stopped = growmerge(command + "silu" + data, "timeout --signal=USR1 4");
  ASSERT_TRUE(stopped.says("is written")) << stopped.output;
  const Ran other = growmerge(command + "gelu" + data);
  EXPECT_EQ(other.code, 3) << other.output;
  EXPECT_TRUE(other.says("another starting model")) << other.output;
  const Ran same =
      growmerge(command + "silu" + data, "env --default-signal=INT timeout --signal=INT 4");
  EXPECT_TRUE(same.says("resuming from") && same.says("stopped after step")) << same.output;
}

TEST_F(MicroExperiment, ChangedSettingsAreNamedAndRerunReplaces) {
  ASSERT_EQ(first_.code, 0);
  const Ran refused = again("--set stages.samples.config.count=1");
  EXPECT_EQ(refused.code, 2);
  EXPECT_TRUE(refused.says("config + count: 1")) << refused.output;
  EXPECT_TRUE(refused.says("run.rerun=true"));
  EXPECT_TRUE(refused.says("FAILED") && refused.says("stages finished")) << refused.output;
  const Ran replaced = again("--set stages.samples.config.count=1 --set run.rerun=true");
  EXPECT_EQ(replaced.code, 0) << replaced.output;
  EXPECT_NE(replaced.output.find("samples"), std::string::npos);
  EXPECT_EQ(again("--set run.rerun=true").code, 0);
}

TEST_F(MicroExperiment, DryRunsSayWhatAndDoNothing) {
  ASSERT_EQ(first_.code, 0);
  const Ran all = again("--dry-run");
  EXPECT_EQ(all.code, 0) << all.output;
  EXPECT_TRUE(all.says("up to date: nothing would be done"));
  const Ran fresh =
      growmerge("run --config " + yaml_ + " --dry-run --out " + (dir_->path() / "new").string());
  EXPECT_EQ(fresh.code, 0) << fresh.output;
  EXPECT_TRUE(fresh.says("waits for its inputs"));
  // Stages whose inputs are still to be made say what they will read and write.
  const std::string fresh_base = (dir_->path() / "new/base").string();
  EXPECT_TRUE(fresh.says("reads     model: " + fresh_base + " (made by another stage)"))
      << fresh.output;
  EXPECT_TRUE(fresh.says("writes    " + fresh_base + "\n")) << fresh.output;
  EXPECT_FALSE(fs::exists(dir_->path() / "new"));
  const Ran train = growmerge("train --dry-run --config " + path("medium-1x.yaml") + " --out x");
  EXPECT_EQ(train.code, 0) << train.output;
  EXPECT_TRUE(train.says("FLOP") && train.says("epochs") && train.says("memory")) << train.output;
  // A model of some 20 thousand parameters needs next to nothing beside the program.
  for (const std::string& command :
       {"upscale " + path("base"), "stats --config " + path("stats-medium.yaml"),
        "eval --config " + path("eval.yaml"), "generate " + path("base"),
        "certify " + path("base") + " " + path("grown")}) {
    const Ran dry = growmerge(command + " --dry-run");
    EXPECT_EQ(dry.code, 0) << dry.output;
    const std::size_t at = dry.output.find("memory ");
    ASSERT_NE(at, std::string::npos) << dry.output;
    const std::string line = dry.output.substr(at, dry.output.find('\n', at) - at);
    const double megabytes = std::stod(line.substr(line.find_first_of("0123456789")));
    EXPECT_TRUE(line.find(" MB") != std::string::npos && megabytes > 120.0 && megabytes < 400.0)
        << command << ": " << line;
  }
}

TEST_F(MicroExperiment, TheDeviceIsNoPartOfWhatTrainingMakes) {
  ASSERT_EQ(first_.code, 0);
  EXPECT_EQ(read_manifest(path("base"))->notes.at("device"), "CPU");
  const std::string train =
      "train --config " + path("medium-1x.yaml") + " --set device=cuda --out ";
  const std::string without_gpus = "CUDA_VISIBLE_DEVICES=";
  const Ran same = growmerge(train + path("medium-1x"), without_gpus);
  EXPECT_EQ(same.code, 0) << same.output;
  EXPECT_TRUE(same.says("up to date")) << same.output;
  const Ran dry = growmerge(train + path("never") + " --dry-run", without_gpus);
  EXPECT_EQ(dry.code, 0) << dry.output;
  EXPECT_TRUE(dry.says("\nGPU       ")) << dry.output;
  const Ran none = growmerge(train + path("never"), without_gpus);
  EXPECT_EQ(none.code, 2) << none.output;
  EXPECT_TRUE(none.says("device: cuda is asked for, but")) << none.output;
  fs::remove_all(path("never") + ".tmp");
}

TEST_F(MicroExperiment, BadModelsAreRefusedWithWhatIsWrong) {
  ASSERT_EQ(first_.code, 0);
  const fs::path bad = dir_->path() / "bad";
  fs::copy(path("base"), bad);
  fs::remove(bad / "manifest.json");
  fs::resize_file(bad / "model.safetensors", fs::file_size(bad / "model.safetensors") / 2);
  const Ran truncated = growmerge("upscale " + bad.string() + " --out " + path("never"));
  EXPECT_EQ(truncated.code, 3) << truncated.output;
  EXPECT_TRUE(truncated.says("model.safetensors")) << truncated.output;

  ParamMap params = load_safetensors(path("base/model.safetensors")).clone();
  params.at("model.norm.weight").data_ptr<float>()[3] = NAN;
  save_safetensors(bad / "model.safetensors", params, {});
  const Ran nan = growmerge("eval " + bad.string() + " --config " + path("eval.yaml") +
                            " --set models= --out " + path("never"));
  EXPECT_NE(nan.code, 0);
  const Ran upscale = growmerge("upscale " + bad.string() + " --out " + path("never"));
  EXPECT_EQ(upscale.code, 3) << upscale.output;
  EXPECT_TRUE(upscale.says("model.norm.weight")) << upscale.output;
  EXPECT_FALSE(fs::exists(path("never")));
  fs::remove_all(bad);
}

TEST_F(MicroExperiment, AnotherTokenizersShardsAreRefused) {
  ASSERT_EQ(first_.code, 0);
  const std::string tokenizer = (dir_->path() / "tokenizer2").string();
  const std::string shards = (dir_->path() / "shards2").string();
  ASSERT_EQ(growmerge("tokenizer --config " + path("tokenizer.yaml") +
                      " --set vocab_size=450 --out " + tokenizer)
                .code,
            0);
  const Ran tokenized = growmerge("tokenize --config " + path("shards.yaml") +
                                  " --set tokenizer=" + tokenizer + " --out " + shards);
  ASSERT_EQ(tokenized.code, 0) << tokenized.output;
  const Ran ran = growmerge("train --config " + path("medium-1x.yaml") +
                            " --set mixture.sources.0.path=" + shards + " --out " + path("never"));
  EXPECT_EQ(ran.code, 3) << ran.output;
  EXPECT_TRUE(ran.says(shards)) << ran.output;
}

TEST_F(MicroExperiment, AFullDiskLosesNothing) {
  ASSERT_EQ(first_.code, 0);
  // A file size limit is what a full disk looks like to one file; SIGXFSZ is ignored so that write
  // fails.
  const Ran ran =
      growmerge("upscale " + path("base") + " --set width_factor=4 --out " + path("too-big"),
                "trap '' XFSZ; ulimit -f 100;");
  EXPECT_EQ(ran.code, 6) << ran.output;
  EXPECT_FALSE(fs::exists(path("too-big")));
  EXPECT_TRUE(ran.says("too-big")) << ran.output;
}

TEST_F(MicroExperiment, InspectShowsAndVerifies) {
  ASSERT_EQ(first_.code, 0);
  const Ran model = growmerge("inspect --verify " + path("grown"));
  EXPECT_EQ(model.code, 0) << model.output;
  EXPECT_TRUE(model.says("upscale") && model.says("model.norm.weight") && model.says("verified"));
  // What decides the computation, so that two spellings of one model can be compared by eye.
  EXPECT_TRUE(model.says("RoPE         default, rope_theta") && model.says("RMSNorm eps") &&
              model.says("BOS") && model.says("without embeddings"))
      << model.output;
  const Ran shards = growmerge("inspect --verify " + path("shards"));
  EXPECT_EQ(shards.code, 0) << shards.output;
  EXPECT_TRUE(shards.says("medium") && shards.says("tokens"));
  const Ran results = growmerge("inspect " + path("eval"));
  EXPECT_EQ(results.code, 0) << results.output;

  const fs::path copy = dir_->path() / "flipped";
  fs::copy(path("base"), copy, fs::copy_options::recursive);
  std::fstream file(copy / "model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-5, std::ios::end);
  file.put('\x7f');
  file.close();
  const Ran flipped = growmerge("inspect --verify " + copy.string());
  EXPECT_EQ(flipped.code, 3) << flipped.output;
  EXPECT_TRUE(flipped.says("model.safetensors"));

  std::string config = read_text(path("base/config.json"));
  config.insert(config.find('{') + 1, "\"residual_scale\": 2.0,");
  write_text(copy / "config.json", config);
  const Ran unknown = growmerge("inspect " + copy.string());
  EXPECT_EQ(unknown.code, 0) << unknown.output;
  EXPECT_TRUE(unknown.says("not acted on: 'residual_scale'")) << unknown.output;
}

TEST_F(MicroExperiment, ASampleIsPrinted) {
  ASSERT_EQ(first_.code, 0);
  const Ran a = growmerge("generate " + path("base") + " --set max_tokens=8 --set seed=3");
  const Ran b = growmerge("generate " + path("base") + " --set max_tokens=8 --set seed=3");
  EXPECT_EQ(a.code, 0) << a.output;
  EXPECT_EQ(a.output, b.output);
}

TEST_F(MicroExperiment, AnInterruptedEvaluationKeepsTheModelsThatAreDone) {
  ASSERT_EQ(first_.code, 0);
  const fs::path again = dir_->path() / "eval";
  const fs::path partial = again.string() + ".tmp";
  fs::create_directories(partial);
  fs::copy(path("eval") + "/base", partial / "base", fs::copy_options::recursive);
  write_text(partial / ".identity", read_manifest(path("eval"))->identity);
  const std::string command = "eval --config " + path("eval.yaml") + " --out " + again.string();
  const Ran resumed = growmerge(command);
  EXPECT_EQ(resumed.code, 0) << resumed.output;
  EXPECT_TRUE(resumed.says("base: done before")) << resumed.output;
  for (const auto& entry : fs::recursive_directory_iterator(path("eval"))) {
    const fs::path relative = entry.path().lexically_relative(path("eval"));
    if (entry.path().filename() == "results.json" || entry.path().extension() == ".jsonl") {
      EXPECT_EQ(read_text(entry.path()), read_text(again / relative))
          << relative << ": one rank and two must give the same bytes";
    }
  }
  fs::remove_all(again);
  fs::create_directories(partial);
  fs::copy(path("eval") + "/base", partial / "base", fs::copy_options::recursive);
  write_text(partial / ".identity", "of another evaluation");
  EXPECT_FALSE(growmerge(command).says("done before"));
}

/// An experiment of one long training stage on the micro experiment's shards.
std::string long_training(const std::string& run_dir) {
  return "stages:\n  long:\n    command: train\n    ranks: 2\n    threads: 1\n    config:\n"
         "      model: " +
         run_dir +
         "/base\n      budget: {steps: 4000}\n"
         "      device: cpu\n      batch_rows: 8\n      checkpoint_every: 20\n      log_every: 1\n"
         "      mixture: {row_tokens: 64, sources: [{path: " +
         run_dir + "/shards, language: base, weight: 1}]}\n";
}

bool wait_for_step(const fs::path& dir, double seconds) {
  for (int i = 0; i < static_cast<int>(seconds * 10); ++i) {
    if (fs::exists(dir)) {
      for (const auto& entry : fs::directory_iterator(dir)) {
        const std::string name = entry.path().filename().string();
        if (name.starts_with("step-") && !name.ends_with(".tmp")) {
          return true;
        }
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return false;
}

/// SIGKILL to one process whose command is `growmerge train --config CONFIG` (mpirun's is another).
bool kill_one_rank(const std::string& config) {
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string pid = entry.path().filename().string();
    if (pid.find_first_not_of("0123456789") != std::string::npos) {
      continue;
    }
    const std::string command = read_text(entry.path() / "cmdline");
    const std::string wanted = std::string("train\0--config\0", 15) + config;
    if (command.find(wanted) != std::string::npos && command.find("mpirun") == std::string::npos) {
      return kill(std::stoi(pid), SIGKILL) == 0;
    }
  }
  return false;
}

TEST_F(MicroExperiment, AStoppedRunLeavesACheckpointAndGoesOn) {
  ASSERT_EQ(first_.code, 0);
  write_text(dir_->path() / "long.yaml", long_training(out()));
  const std::string long_out = (dir_->path() / "long").string();
  const std::string config = (dir_->path() / "long.yaml").string();
  Child child({testing::binary(), "run", "--config", config, "--out", long_out}, {},
              dir_->path() / "stop.log");
  ASSERT_TRUE(wait_for_step(long_out + "/long.tmp", 60.0));
  const Ran beside =
      growmerge("train --config " + long_out + "/long.yaml --out " + long_out + "/long");
  EXPECT_EQ(beside.code, 2) << beside.output;
  EXPECT_TRUE(beside.says("is being written by another process (process ")) << beside.output;
  child.signal(SIGTERM);
  const auto start = std::chrono::steady_clock::now();
  while (!child.poll() && std::chrono::steady_clock::now() - start < std::chrono::seconds(60)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  ASSERT_TRUE(child.poll()) << "run did not stop";
  EXPECT_EQ(child.exit_code(), 4) << read_text(dir_->path() / "stop.log");
  EXPECT_FALSE(fs::exists(long_out + "/long"));
  const Ran resumed =
      growmerge("train --config " + long_out + "/long.yaml --dry-run --out " + long_out + "/long");
  EXPECT_TRUE(resumed.says("would be resumed")) << resumed.output;
  const Ran changed = growmerge("train --config " + long_out + "/long.yaml --dry-run --out " +
                                long_out + "/long --set dtype=bfloat16");
  EXPECT_TRUE(changed.says("begun with other settings")) << changed.output;

  const std::string other =
      "run --config " + config + " --out " + long_out +
      " --set stages.long.config.seed=9 --set stages.long.config.budget.steps=2";
  const Ran refused = growmerge(other);
  EXPECT_NE(refused.code, 0) << refused.output;
  EXPECT_TRUE(fs::exists(long_out + "/long.tmp"));
  const Ran replaced = growmerge(other + " --set run.rerun=true");
  EXPECT_EQ(replaced.code, 0) << replaced.output;
  EXPECT_TRUE(replaced.says("what is unfinished is dropped")) << replaced.output;
}

TEST_F(MicroExperiment, ARankThatStallsOutsideTrainingIsNoticed) {
  ASSERT_EQ(first_.code, 0);
  const fs::path pipe = dir_->path() / "pipe.json";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  // Reading it never returns, so rank 0 stalls while it hashes its inputs.
  const Ran ran = growmerge("tokenize base=" + path("text/base/train.jsonl") +
                                " --set tokenizer=" + pipe.string() + " --out " + path("never"),
                            "GROWMERGE_TIMEOUT_S=2 timeout 60 mpirun -n 2");
  EXPECT_EQ(ran.code, 5) << ran.output;
  EXPECT_TRUE(ran.says("no sign of rank 0")) << ran.output;
}

TEST_F(MicroExperiment, TrainingThatCannotFitIsRefusedBeforeItStarts) {
  ASSERT_EQ(first_.code, 0);
  const Ran ran = growmerge("train --out " + path("too-large") +
                            " --set budget.steps=1 --set 'init={tokenizer: " + path("tokenizer") +
                            ", hidden_size: 65536, num_layers: 200, num_heads: 512}'" +
                            " --set 'mixture={row_tokens: 32, sources: [{path: " + path("shards") +
                            ", language: base, weight: 1}]}'");
  EXPECT_EQ(ran.code, 2) << ran.output;
  EXPECT_TRUE(ran.says("TB of memory")) << ran.output;
}

TEST_F(MicroExperiment, ADeadRankFailsTheStageAndIsExplained) {
  ASSERT_EQ(first_.code, 0);
  write_text(dir_->path() / "kill.yaml", long_training(out()));
  const std::string kill_out = (dir_->path() / "kill").string();
  Child child({testing::binary(), "run", "--config", (dir_->path() / "kill.yaml").string(), "--out",
               kill_out},
              {}, dir_->path() / "kill.log");
  ASSERT_TRUE(wait_for_step(kill_out + "/long.tmp", 60.0));
  ASSERT_TRUE(kill_one_rank(kill_out + "/long.yaml"));
  const auto start = std::chrono::steady_clock::now();
  while (!child.poll() && std::chrono::steady_clock::now() - start < std::chrono::seconds(60)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  ASSERT_TRUE(child.poll()) << "a dead rank must not hang the run";
  EXPECT_EQ(child.exit_code(), 5) << read_text(dir_->path() / "kill.log");
  const std::string log = read_text(dir_->path() / "kill.log");
  EXPECT_NE(log.find("stage 'long' failed"), std::string::npos) << log;
  EXPECT_NE(log.find("goes on from its last checkpoint"), std::string::npos) << log;
}

}  // namespace
}  // namespace growmerge::launch
