#include "launch/stage_driver.h"
#include "core/base/format.h"
#include "launch/stage_identity.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <barrier>
#include <thread>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/store/hashes.h"
#include "core/store/manifest.h"
#include "tests/launch/run_binary.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::launch {
namespace {

using testing::TemporaryDirectory;
using testing::write_text;

StagePlan plan_of(const std::string& model, const std::string& rest = "lr: 1\n") {
  StagePlan out;
  out.stage = "train";
  out.config = "model: " + yaml_quote(model) + "\n" + rest;
  static const std::vector<std::string> kInputKeys = {"model"};
  out.fields = list_fields(parse_yaml_text(out.config, "config"), kInputKeys);
  out.inputs = {{"model", model}};
  return out;
}

/// A config with a place.
struct PlacedConfig {
  struct Run {
    std::string device = "cpu";
    void describe(FieldVisitor& v) { v("device", device, "", "not a place"); }
  };
  std::string device = "auto";
  std::int64_t lr = 0;
  std::int64_t devices = 1;
  Run run;
  void describe(FieldVisitor& v) {
    v("device", device, "", "where", v.kPlace);
    v("lr", lr, "", "rate");
    v("devices", devices, "", "how many");
    v("run", run, "", "more");
  }
};

TEST(StageIdentity, DoesNotDependOnWhereInputsLie) {
  TemporaryDirectory dir;
  write_text(dir.path() / "a/model.txt", "same");
  write_text(dir.path() / "b/other/model.txt", "same");
  const Manifest a = planned_manifest(plan_of((dir.path() / "a").string()));
  const Manifest b = planned_manifest(plan_of((dir.path() / "b/other").string()));
  EXPECT_EQ(a.identity, b.identity);
  EXPECT_EQ(a.config, "model: <model>\nlr: 1\n");
  EXPECT_EQ(describe_change(a, b), "");
}

TEST(StageIdentity, DoesNotDependOnWhereWorkIsDone) {
  TemporaryDirectory dir;
  write_text(dir.path() / "m/model.txt", "one");
  const auto planned = [&](const std::string& rest) {
    StagePlan plan = plan_of((dir.path() / "m").string());
    auto config = config_from_yaml<PlacedConfig>(parse_yaml_text(rest, "config"));
    plan.fields = list_fields([&config](FieldVisitor& v) { config.describe(v); });
    return planned_manifest(plan);
  };
  const Manifest without = planned("lr: 1\n");
  EXPECT_EQ(planned("device: cuda\nlr: 1\n").identity, without.identity);
  EXPECT_EQ(planned("lr: 1\ndevice: auto\n").identity, without.identity);
  EXPECT_NE(planned("lr: 1\nrun:\n  device: cuda\n").identity, without.identity)
      << "another key of that name";
  EXPECT_NE(planned("lr: 1\ndevices: 2\n").identity, without.identity);
}

TEST(StageIdentity, ChangesAreNamed) {
  TemporaryDirectory dir;
  write_text(dir.path() / "m/model.txt", "one");
  const std::string model = (dir.path() / "m").string();
  const Manifest before = planned_manifest(plan_of(model));
  const Manifest other_lr = planned_manifest(plan_of(model, "lr: 2\n"));
  EXPECT_NE(before.identity, other_lr.identity);
  EXPECT_NE(describe_change(before, other_lr).find("config - lr: 1"), std::string::npos);
  EXPECT_NE(describe_change(before, other_lr).find("config + lr: 2"), std::string::npos);
  write_text(dir.path() / "m/model.txt", "two, and longer");
  const Manifest other_model = planned_manifest(plan_of(model));
  EXPECT_NE(describe_change(before, other_model).find("input 'model' has changed"),
            std::string::npos);
}

TEST(StageIdentity, MissingInputIsNamed) {
  try {
    (void)planned_manifest(plan_of("/nowhere/model"));
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kNotFound);
    EXPECT_NE(std::string(e.what()).find("/nowhere/model"), std::string::npos);
  }
}

/// Two ranks as threads, with what the stage driver needs of a communicator.
struct Pair {
  std::barrier<> gate{2};
  std::array<double, 2> values{};
  std::array<std::string, 2> texts;
};

class RankOfPair final : public Communicator {
 public:
  RankOfPair(Pair& pair, int rank) : pair_(pair), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return 2; }
  int local_rank() const override { return rank_; }
  int local_size() const override { return 2; }
  std::unique_ptr<Work> all_reduce_async(at::Tensor tensor, ReduceOp op) override {
    EXPECT_EQ(op, ReduceOp::kMin);
    pair_.values[static_cast<std::size_t>(rank_)] = *tensor.data_ptr<double>();
    pair_.gate.arrive_and_wait();
    *tensor.data_ptr<double>() = std::min(pair_.values[0], pair_.values[1]);
    pair_.gate.arrive_and_wait();
    return std::make_unique<Done>();
  }
  void reduce_scatter(const at::Tensor&, at::Tensor, ReduceOp) override { FAIL(); }
  void all_gather(const at::Tensor&, at::Tensor) override { FAIL(); }
  void broadcast(at::Tensor, int) override { FAIL(); }
  void barrier() override { pair_.gate.arrive_and_wait(); }
  std::unique_ptr<Communicator> split(int, int) override { return nullptr; }
  void broadcast_bytes(std::string& bytes, int root) override {
    bytes = all_gather_bytes(bytes)[static_cast<std::size_t>(root)];
  }
  std::vector<std::string> all_gather_bytes(const std::string& bytes) override {
    pair_.texts[static_cast<std::size_t>(rank_)] = bytes;
    pair_.gate.arrive_and_wait();
    std::vector<std::string> out(pair_.texts.begin(), pair_.texts.end());
    pair_.gate.arrive_and_wait();
    return out;
  }

 private:
  struct Done final : public Work {
    void wait() override {}
  };
  Pair& pair_;
  int rank_;
};

/// Exit codes of a stage that two ranks run, each of which sees its own folder as the input: what
/// another machine's file system may show, a moment later.
struct TwoRanks {
  std::array<int, 2> codes{-1, -1};
  std::array<std::string, 2> identities;
  std::array<bool, 2> worked{};
};

TwoRanks run_on_two(const std::filesystem::path& dir, const std::array<std::string, 2>& inputs) {
  configure_log({.level = LogLevel::kError});
  TwoRanks out;
  Pair pair;
  const auto rank = [&](int number) {
    const auto self = static_cast<std::size_t>(number);
    RankOfPair comm(pair, number);
    Command command;
    command.name = "train";
    command.stage.plan = [&, self](const YamlNode&) { return plan_of(inputs[self], ""); };
    command.stage.work = [&, self](const YamlNode&, StageRun& run) {
      out.worked[self] = true;
      out.identities[self] = run.manifest.inputs.front().identity + run.manifest.identity;
    };
    CommandLine line;
    line.out = (dir / "out").string();
    try {
      out.codes[self] = run_stage(command, line, {}, comm);
    } catch (const Error& e) {
      ADD_FAILURE() << "rank " << number << ": " << e.what();
    }
  };
  std::thread other(rank, 1);
  rank(0);
  other.join();
  return out;
}

TEST(RunStage, RankZeroLooksAtInputsAndAllDoAsItSays) {
  TemporaryDirectory dir;
  write_text(dir.path() / "a/model.txt", "one");
  const std::string seen = (dir.path() / "a").string();
  const TwoRanks first = run_on_two(dir.path(), {seen, "/nowhere/model"});
  EXPECT_EQ(first.codes, (std::array<int, 2>{0, 0}));
  EXPECT_EQ(first.worked, (std::array<bool, 2>{true, true}));
  EXPECT_EQ(first.identities[0], first.identities[1]);
  EXPECT_NE(first.identities[0], "");
  const TwoRanks second = run_on_two(dir.path(), {seen, "/nowhere/model"});
  EXPECT_EQ(second.codes, (std::array<int, 2>{0, 0}));
  EXPECT_EQ(second.worked, (std::array<bool, 2>{false, false})) << "up to date on both";
}

TEST(RunStage, IdentitiesTakenAfterTheWorkAreTheSame) {
  TemporaryDirectory dir;
  write_text(dir.path() / "m/model.txt", "one");
  configure_log({.level = LogLevel::kError});
  const auto comm = make_single_process_communicator();
  Command command;
  command.name = "merge";
  StagePlan plan = plan_of((dir.path() / "m").string());
  plan.hashes_while_working = true;
  int works = 0;
  command.stage.plan = [&](const YamlNode&) { return plan; };
  command.stage.work = [&](const YamlNode&, StageRun& run) {
    ++works;
    write_text(run.dir / "out.txt", "two");
    run.files.push_back({"out.txt", 3, hash_bytes("two", 3)});
  };
  CommandLine line;
  line.out = (dir.path() / "out").string();
  EXPECT_EQ(run_stage(command, line, {}, *comm), 0);
  const auto finished = read_manifest(line.out);
  ASSERT_TRUE(finished.has_value());
  EXPECT_EQ(finished->identity, planned_manifest(plan).identity);
  const auto out_file = std::find_if(finished->files.begin(), finished->files.end(),
                                     [](const FileRecord& f) { return f.path == "out.txt"; });
  ASSERT_NE(out_file, finished->files.end());
  EXPECT_EQ(out_file->hash, hash_bytes("two", 3));
  EXPECT_EQ(run_stage(command, line, {}, *comm), 0);
  EXPECT_EQ(works, 1) << "up to date";
  write_text(dir.path() / "m/model.txt", "another");
  EXPECT_ERROR(run_stage(command, line, {}, *comm), kInvalidArgument, "has changed");
  plan.inputs.front().path = (dir.path() / "none").string();
  line.out = (dir.path() / "new").string();
  EXPECT_ERROR(run_stage(command, line, {}, *comm), kNotFound, "none", "input 'model'");
  EXPECT_FALSE(std::filesystem::exists(dir.path() / "new.tmp"));
}

TEST(RunStage, AnInputThatChangesMeanwhileFailsIt) {
  TemporaryDirectory dir;
  configure_log({.level = LogLevel::kError});
  const auto comm = make_single_process_communicator();
  const auto file = dir.path() / "m/model.txt";
  Command command;
  command.name = "merge";
  CommandLine line;
  for (const bool hashes_while_working : {false, true}) {
    SCOPED_TRACE(hashes_while_working);
    write_text(file, "one");
    StagePlan plan = plan_of((dir.path() / "m").string());
    plan.hashes_while_working = hashes_while_working;
    command.stage.plan = [&](const YamlNode&) { return plan; };
    line.out = (dir.path() / (hashes_while_working ? "late" : "early")).string();
    const auto fails = [&](const std::function<void()>& change, const std::string& said) {
      command.stage.work = [&](const YamlNode&, StageRun&) { change(); };
      EXPECT_ERROR(run_stage(command, line, {}, *comm), kIo, "input 'model'", said);
      EXPECT_FALSE(std::filesystem::exists(line.out));
    };
    const auto time = std::filesystem::last_write_time(file);
    fails(
        [&] {
          write_text(file, "two");
          std::filesystem::last_write_time(file, time);
        },
        "was written to");
    fails([&] { write_text(dir.path() / "m/more.txt", "new"); }, "is new");
    fails([&] { std::filesystem::remove(dir.path() / "m/more.txt"); }, "is gone");
    command.stage.work = [&](const YamlNode&, StageRun& run) {
      write_text(file, "three");
      run.check_inputs();
      FAIL() << "nothing is kept that was made from two contents";
    };
    EXPECT_ERROR(run_stage(command, line, {}, *comm), kIo, "model.txt");
  }
  // Written anew with the same bytes: what was read is what is there.
  line.out = (dir.path() / "touched").string();
  StagePlan plan = plan_of((dir.path() / "m").string());
  command.stage.plan = [&](const YamlNode&) { return plan; };
  command.stage.work = [&](const YamlNode&, StageRun&) { write_text(file, "three"); };
  EXPECT_EQ(run_stage(command, line, {}, *comm), 0);
}

TEST(RunStage, AFinishedOutputWhoseFilesAreNotItsOwnIsNotUpToDate) {
  TemporaryDirectory dir;
  configure_log({.level = LogLevel::kError});
  const auto comm = make_single_process_communicator();
  write_text(dir.path() / "m/model.txt", "one");
  Command command;
  command.name = "train";
  command.stage.plan = [&](const YamlNode&) { return plan_of((dir.path() / "m").string()); };
  command.stage.work = [&](const YamlNode&, StageRun& run) {
    write_text(run.dir / "out.txt", "two");
  };
  CommandLine line;
  line.out = (dir.path() / "out").string();
  EXPECT_EQ(run_stage(command, line, {}, *comm), 0);
  write_text(dir.path() / "out/out.txt", "six");
  EXPECT_ERROR(run_stage(command, line, {}, *comm), kCorrupt, "out.txt", "damaged", "Remove it");
  std::filesystem::remove(dir.path() / "out/out.txt");
  EXPECT_ERROR(run_stage(command, line, {}, *comm), kCorrupt, "out.txt", "missing");
  EXPECT_TRUE(std::filesystem::exists(dir.path() / "out")) << "nothing of it is removed";
}

TEST(Formats, NumbersReadWell) {
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1.5e9), "1.5 GB");
  EXPECT_EQ(format_flops(2.5e15), "2.50 PFLOP");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_count(-1234), "-1,234");
  EXPECT_EQ(format_count(12), "12");
}

}  // namespace
}  // namespace growmerge::launch
