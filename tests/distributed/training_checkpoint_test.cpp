#include "distributed/training_checkpoint.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "core/base/files.h"
#include "tests/distributed/train_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::distributed {
namespace {

TEST(TrainingCheckpoint, ADamagedCheckpointIsPassedOver) {
  const testing::TemporaryDirectory dir;
  Setting setting;
  setting.config.checkpoint_every = 2;
  run_and_crash(dir.path(), setting, 7);
  EXPECT_FALSE(fs::exists(dir.path() / "step-2")) << "keep_last is 2";
  fs::resize_file(dir.path() / "step-6/model.safetensors", 100);
  EXPECT_EQ(newest_training_checkpoint(dir.path()), dir.path() / "step-4");
  fs::copy(dir.path(), dir.path().string() + "-copy", fs::copy_options::recursive);
  const fs::path copy = dir.path().string() + "-copy";
  {
    std::fstream file(copy / "step-4/trainer/moments.safetensors", std::ios::in | std::ios::out);
    file.seekp(-1, std::ios::end);
    file.put('?');
  }
  EXPECT_NE(testing::error_of(ErrorCode::kCorrupt, [&] { return newest_training_checkpoint(copy); })
                .find("none of its checkpoints is whole"),
            std::string::npos)
      << "starting afresh without a word would lose the run";
  fs::remove_all(copy);

  // With keep_last 1 the damaged later one must not make the new one go.
  setting.config.keep_last = 1;
  setting.config.checkpoint_every = 1;
  run_and_crash(dir.path(), setting, 6);
  EXPECT_EQ(newest_training_checkpoint(dir.path()), dir.path() / "step-5");
  EXPECT_FALSE(fs::exists(dir.path() / "step-6")) << "it would count as a checkpoint of this run";
  EXPECT_TRUE(fs::exists(dir.path() / "step-6.damaged/config.json"));
  fs::create_directories(dir.path() / "step-7.tmp");
  EXPECT_EQ(run(dir.path(), setting).resumed_from, 5);
  EXPECT_FALSE(fs::exists(dir.path() / "step-7.tmp")) << "not part of the finished directory";
  EXPECT_FALSE(fs::exists(dir.path() / "step-6.damaged"));
}

TEST(TrainingCheckpoint, AChangedStateIsNoticedAndAnOlderCheckpointTaken) {
  Setting setting;
  setting.config.checkpoint_every = 2;
  for (const char* field : {"\"step\": 6", "\"next_row\": ", "\"flops\": ", "\"tokens\": "}) {
    SCOPED_TRACE(field);
    const testing::TemporaryDirectory dir;
    run_and_crash(dir.path(), setting, 7);
    const fs::path state = dir.path() / "step-6/trainer/state.json";
    std::string text = read_file(state);
    const auto at = text.find(field);
    ASSERT_NE(at, std::string::npos);
    text[at + std::string(field).size() - (field == std::string("\"step\": 6") ? 1 : 0)] = '7';
    write_file_atomically(state, text);
    EXPECT_EQ(run(dir.path(), setting).resumed_from, 4);
  }
}

TEST(TrainingCheckpoint, ACheckpointThatChecksButBelongsToAnotherStepIsPassedOver) {
  const testing::TemporaryDirectory dir;
  Setting setting;
  setting.config.checkpoint_every = 2;
  run_and_crash(dir.path(), setting, 7);
  fs::remove_all(dir.path() / "step-6");
  fs::copy(dir.path() / "step-4", dir.path() / "step-7", fs::copy_options::recursive);
  EXPECT_EQ(run(dir.path(), setting).resumed_from, 4);
}

TEST(TrainingCheckpoint, TheClockAsksForCheckpointsAndChangesNothingElse) {
  const testing::TemporaryDirectory dir;
  Setting setting;
  setting.config.checkpoint_every = 4;
  setting.config.keep_checkpoints = true;
  fs::create_directories(dir.path() / "whole");
  fs::create_directories(dir.path() / "timed");
  EXPECT_EQ(run(dir.path() / "whole", setting).losses.size(), 8U);
  // Each look at the clock is ten minutes after the one before.
  double now = 0.0;
  setting.clock = [&now] { return now += 600.0; };
  run_and_crash(dir.path() / "timed", setting, 4);
  EXPECT_TRUE(fs::exists(dir.path() / "timed/step-3/trainer/state.json"))
      << "a run that is killed loses no more than half an hour";
  EXPECT_EQ(run(dir.path() / "timed", setting).resumed_from, 3);
  EXPECT_TRUE(
      same_bits(dir.path() / "timed/model.safetensors", dir.path() / "whole/model.safetensors"));
  for (const char* which : {"whole", "timed"}) {
    for (std::int64_t step = 1; step <= 8; ++step) {
      EXPECT_EQ(fs::exists(dir.path() / which / concat("step-", step)), step % 4 == 0)
          << which << " step " << step;
    }
  }
}

TEST(TrainingCheckpoint, ACheckpointFromTheFutureIsRefused) {
  const testing::TemporaryDirectory dir;
  Setting setting;
  setting.config.checkpoint_every = 2;
  run_and_crash(dir.path(), setting, 7);
  const fs::path state = dir.path() / "step-6/trainer/state.json";
  std::string text = read_file(state);
  text.replace(text.find("\"version\": 2"), 12, "\"version\": 9");
  write_file_atomically(state, text);
  EXPECT_NE(testing::error_of(ErrorCode::kUnsupported, [&] { run(dir.path(), setting); })
                .find("version 9"),
            std::string::npos);
}

TEST(TrainingCheckpoint, WhatAKilledEndLeftIsRemoved) {
  const testing::TemporaryDirectory dir;
  run(dir.path(), {});
  for (const char* left : {"step-4", "step-6.tmp", "step-7.damaged"}) {
    fs::create_directories(dir.path() / left / "trainer");
  }
  EXPECT_TRUE(run(dir.path(), {}).losses.empty());
  for (const char* left : {"step-4", "step-6.tmp", "step-7.damaged"}) {
    EXPECT_FALSE(fs::exists(dir.path() / left)) << left;
  }
  EXPECT_TRUE(fs::exists(dir.path() / "model.safetensors"));
}

TEST(TrainingCheckpoint, CheckpointsTakeWhatWasForetold) {
  for (const char* save_dtype : {"float32", "bfloat16"}) {
    const testing::TemporaryDirectory dir;
    Setting setting;
    setting.config.save_dtype = save_dtype;
    setting.config.checkpoint_every = 2;
    setting.config.keep_last = 2;
    setting.config.checkpoint_minutes = 0.0;
    run_and_crash(dir.path(), setting, 5);
    std::int64_t bytes = 0;
    for (const auto& entry : fs::recursive_directory_iterator(dir.path())) {
      if (entry.path().extension() == ".safetensors") {
        const std::string text = read_file(entry.path());
        std::uint64_t header = 0;
        std::memcpy(&header, text.data(), sizeof header);
        bytes += static_cast<std::int64_t>(text.size() - header - sizeof header);
      }
    }
    // Two are kept, and a third exists while it is written.
    const ModelConfig model = testing::tiny_config();
    EXPECT_EQ(checkpoint_bytes(setting.config, model, 8), bytes / 2 * 3) << save_dtype;
    EXPECT_EQ(checkpoint_bytes(setting.config, model, 4), bytes) << save_dtype;
    setting.config.checkpoint_every = 0;
    EXPECT_EQ(checkpoint_bytes(setting.config, model, 8), bytes / 2) << save_dtype;
    setting.config.checkpoint_minutes = 30.0;  // as many are kept of those that the clock asks for
    EXPECT_EQ(checkpoint_bytes(setting.config, model, 8), bytes / 2 * 3) << save_dtype;
  }
}

}  // namespace
}  // namespace growmerge::distributed
