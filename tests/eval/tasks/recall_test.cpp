#include "eval/tasks/recall.h"

#include <gtest/gtest.h>

#include <fstream>

#include "eval/tasks/kind.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::eval {
namespace {

class RecallTest : public ::testing::Test {
 protected:
  void SetUp() override {
    write("patterns/P1.jsonl",
          "{\"pattern\":\"[X] lives in [Y].\"}\n{\"pattern\":\"[Y] is [X]'s home\"}\n");
    write("tuples/P1.jsonl",
          "{\"sub_label\":\"Ann\",\"obj_label\":\"Rome\"}\n"
          "{\"sub_label\":\"Bob\",\"obj_label\":\"Oslo\"}\n"
          "{\"sub_label\":\"Ann\",\"obj_label\":\"Bonn\"}\n"
          "{\"sub_label\":\"Bob\",\"obj_label\":\"Oslo\"}\n");
    config_.kind = "recall";
    config_.path = {dir_.path().string()};
  }
  void write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((dir_.path() / name).parent_path());
    std::ofstream(dir_.path() / name) << text;
  }
  Task load() const {
    config_.validate();
    return task_kind("recall").load(config_, {});
  }

  testing::TemporaryDirectory dir_;
  TaskConfig config_;
};

TEST_F(RecallTest, AllObjectsOfARelationAreCandidatesButThoseTrueAsWell) {
  const Task task = load();
  ASSERT_EQ(task.items.size(), 6U) << "three facts in two sentences; one stands twice in the file";
  EXPECT_TRUE(task.macro);
  const Item& first = task.items[0];
  EXPECT_EQ(first.id, "P1/0/1");
  EXPECT_EQ(first.paradigm, "P1");
  EXPECT_EQ(first.context, "Ann lives in ");
  EXPECT_EQ(first.choices, (std::vector<std::string>{"Rome.", "Oslo."}))
      << "Ann lives in Bonn, too";
  EXPECT_EQ(first.gold, 0);
  const Item& front = task.items[3];
  EXPECT_EQ(front.context, "") << "the object opens the sentence";
  EXPECT_EQ(front.choices, (std::vector<std::string>{"Rome is Bob's home", "Oslo is Bob's home",
                                                     "Bonn is Bob's home"}));
  EXPECT_EQ(front.gold, 1);
  EXPECT_EQ(task.items[0].cluster, task.items[5].cluster) << "one subject";
}

TEST_F(RecallTest, APairIsTheTrueObjectAndAFalseOne) {
  config_.recall.candidates = "pair";
  config_.recall.patterns = "first";
  const Task task = load();
  ASSERT_EQ(task.items.size(), 3U);
  for (const Item& item : task.items) {
    EXPECT_EQ(item.gold, 0);
    EXPECT_EQ(item.choices.size(), 2U);
    EXPECT_NE(item.choices[0], item.choices[1]);
  }
  EXPECT_EQ(task.items[0].choices[1], "Oslo.") << "Bonn is true of Ann";
  config_.limit = 2;
  EXPECT_EQ(load().items.size(), 2U);
  EXPECT_EQ(load().available.at("P1"), 3);
}

TEST_F(RecallTest, ErrorsNameFileAndLine) {
  config_.recall.candidates = "some";
  EXPECT_ERROR(load(), kInvalidArgument, "recall.candidates is 'some', expected all or pair");
  config_.recall.candidates = "all";
  write("patterns/P1.jsonl", "{\"pattern\":\"[X] lives\"}\n");
  EXPECT_ERROR(load(), kCorrupt, "P1.jsonl:1: pattern '[X] lives', expected one with [X] and [Y]");
  write("patterns/P1.jsonl", "{\"pattern\":\"[X] lives in [Y].\"}\n");
  write("tuples/P1.jsonl", "{\"sub_label\":\"Ann\",\"obj_label\":\"Rome\"}\n");
  EXPECT_ERROR(load(), kCorrupt, "no fact here has a false object");
  write("tuples/P2.jsonl", "{\"sub_label\":\"Ann\",\"obj_label\":\"Rome\"}\n");
  write("tuples/P1.jsonl", "{\"sub_label\":\"Ann\"}\n");
  EXPECT_ERROR(load(), kCorrupt, "P1.jsonl:1: no field 'obj_label'");
  std::filesystem::remove_all(dir_.path() / "tuples");
  EXPECT_ERROR(load(), kNotFound, "tuples: no such folder");
}

}  // namespace
}  // namespace growmerge::eval
