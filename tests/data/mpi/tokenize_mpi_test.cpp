// Tokenizing on several ranks writes the bytes that one process writes.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>

#include "core/base/error.h"
#include "core/contracts/communicator.h"
#include "data/token_shard.h"
#include "data/tokenize.h"
#include "tests/data/text_fixture.h"
#include "tests/distributed/mpi/world.h"
#include "tests/support/paths.h"

namespace growmerge::data {
namespace {

using growmerge::testing::world;

class TokenizeOnRanks : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_GT(world().size(), 1) << "start it with mpirun -n 2";
    std::string path;
    if (world().is_root()) {
      dir_ = std::make_unique<growmerge::testing::TemporaryDirectory>();
      path = dir_->path().string();
      write_text(dir_->path() / "a.jsonl", json_lines(4000, "en"));
      write_text(dir_->path() / "b.jsonl.gz", gzip_bytes(json_lines(2000, "sv")));
      std::filesystem::create_directories(dir_->path() / "all");
      std::filesystem::create_directories(dir_->path() / "one");
    }
    world().broadcast_bytes(path, 0);
    root_ = path;
    for (const auto& [language, file] : {std::pair{"en", "a.jsonl"}, {"sv", "b.jsonl.gz"}}) {
      TextInput input;
      input.path = (root_ / file).string();
      input.language = language;
      config_.inputs.push_back(input);
    }
  }
  void TearDown() override { world().barrier(); }

  std::unique_ptr<growmerge::testing::TemporaryDirectory> dir_;
  std::filesystem::path root_;
  TokenizeConfig config_;
};

TEST_F(TokenizeOnRanks, BytesAreThoseOfOneProcess) {
  std::atomic<int> encoded = 0;
  DocumentEncoder encoder = byte_encoder();
  encoder.encode = [&encoded, encode = encoder.encode](std::string_view text) {
    ++encoded;
    return encode(text);
  };
  const TokenizeSummary summary = tokenize_text(config_, encoder, root_ / "all", world(), 2);
  EXPECT_GT(encoded, 0);  // every rank took part
  EXPECT_LT(encoded, 6000);
  EXPECT_EQ(summary.languages[0].documents, 4000u);
  if (world().is_root()) {
    const auto alone = make_single_process_communicator();
    (void)tokenize_text(config_, byte_encoder(), root_ / "one", *alone, 1);
    for (const char* name : {"en.h5", "sv.h5", "summary.json"}) {
      EXPECT_TRUE(read_text(root_ / "all" / name) == read_text(root_ / "one" / name)) << name;
    }
    TokenShard::open(root_ / "all/en.h5").verify();
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(root_ / "all"), {}), 3);
  }
}

TEST_F(TokenizeOnRanks, SkippedDocumentsAreThoseOfOneProcess) {
  if (world().is_root()) {
    std::string text;
    for (int i = 0; i < 6000; ++i) {  // many chunks, more bad lines than are listed
      text += i % 3 == 1 ? "{\"text\": " + std::to_string(i) + "}\n"
                         : "{\"text\": \"" + std::string(300, 'x') + std::to_string(i) + "\"}\n";
    }
    write_text(root_ / "a.jsonl", text);
  }
  world().barrier();
  config_.tokenizer = "of the encoder";
  config_.bad_lines = {.policy = "skip", .limit = "34%"};
  const TokenizeSummary summary = tokenize_text(config_, byte_encoder(), root_ / "all", world(), 2);
  EXPECT_EQ(summary.languages[0].documents, 4000u);
  EXPECT_EQ(summary.languages[0].skipped_documents, 2000u);
  std::string alone_says;
  if (world().is_root()) {
    const auto alone = make_single_process_communicator();
    (void)tokenize_text(config_, byte_encoder(), root_ / "one", *alone, 1);
    for (const char* name : {"en.h5", "sv.h5", "summary.json", "en.skipped.jsonl"}) {
      EXPECT_TRUE(read_text(root_ / "all" / name) == read_text(root_ / "one" / name)) << name;
    }
    config_.bad_lines.limit = "33%";
    try {
      (void)tokenize_text(config_, byte_encoder(), root_ / "one", *alone, 1);
    } catch (const Error& e) {
      alone_says = e.what();
    }
    EXPECT_NE(alone_says.find("2000 of 6000 documents"), std::string::npos) << alone_says;
  }
  world().broadcast_bytes(alone_says, 0);
  config_.bad_lines.limit = "33%";
  try {
    (void)tokenize_text(config_, byte_encoder(), root_ / "all", world(), 1);
    FAIL() << "no error was thrown";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(alone_says), std::string::npos) << e.what();
  }
}

TEST_F(TokenizeOnRanks, AnErrorOnOneRankReachesAll) {
  DocumentEncoder encoder = byte_encoder();
  encoder.encode = [encode = encoder.encode](std::string_view text) {
    GM_CHECK(!text.starts_with("3999"), kCorrupt, "no");  // one document, so one rank
    return encode(text);
  };
  try {
    (void)tokenize_text(config_, encoder, root_ / "all", world(), 1);
    FAIL() << "no error was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kCorrupt);
    EXPECT_NE(std::string(e.what()).find("en3999: no"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace growmerge::data
