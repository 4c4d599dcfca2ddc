#include "data/bad_lines.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "core/base/error.h"
#include "core/contracts/communicator.h"
#include "data/token_shard.h"
#include "data/tokenize.h"
#include "tests/data/text_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::data {
namespace {

TEST(BadLines, LimitsAreSharesOrNumbers) {
  const auto most = [](const std::string& limit, std::uint64_t documents) {
    const BadLinesConfig config{.policy = "skip", .limit = limit};
    config.validate();
    return config.most_of(documents);
  };
  EXPECT_EQ(most("10%", 30), 3U);
  EXPECT_EQ(most("10%", 29), 2U);
  EXPECT_EQ(most("0.1%", 1'000'000'000), 1'000'000U);
  EXPECT_EQ(most("0%", 5), 0U);
  EXPECT_EQ(most("100%", 7), 7U);
  EXPECT_EQ(most("12", 5), 12U);
  for (const std::string limit : {"", "%", "-1%", "101%", "1.5", "x", "5 %", "nan%", "1e400%"}) {
    EXPECT_ERROR(most(limit, 1), kInvalidArgument, "bad_lines.limit", limit);
  }
  EXPECT_ERROR((BadLinesConfig{.policy = "ignore"}.validate()), kInvalidArgument, "stop or skip");
  EXPECT_ERROR((BadLinesConfig{.policy = "stop", .limit = "5%"}.validate()), kInvalidArgument,
               "policy: skip");
}

class SkippingTest : public ::testing::Test {
 protected:
  TokenizeSummary run(const std::string& policy, const std::string& limit = "1%",
                      const std::filesystem::path& file = "a.jsonl") {
    TokenizeConfig config;
    config.tokenizer = "of the encoder";
    TextInput input;
    input.path = (dir_.path() / file).string();
    input.language = "en";
    config.inputs.push_back(input);
    config.bad_lines = {.policy = policy, .limit = limit};
    std::filesystem::remove_all(out_);
    std::filesystem::create_directories(out_);
    const auto comm = make_single_process_communicator();
    return tokenize_text(config, byte_encoder(), out_, *comm, 2);
  }

  testing::TemporaryDirectory dir_;
  std::filesystem::path out_ = dir_.path() / "out";
};

TEST_F(SkippingTest, EveryKindOfBadLineStopsOrIsSkipped) {
  const std::string good = "{\"text\": \"good\"}\n";
  const std::string deep = std::string(60'000, '[') + std::string(60'000, ']');
  for (const std::string& bad : std::vector<std::string>{
           "{\"text\": null}", "{\"text\": \"lone \\ud800 half\"}", "{\"text\": \"open", "[1]", "7",
           "{\"other\": \"x\"}", "{\"text\": \"caf\xE9\"}", std::string("\0\0", 2), "}",
           "{\"text\": \"b\", \"id\": " + deep + "}"}) {
    write_text(dir_.path() / "a.jsonl", good + bad + "\r\n\n" + good);
    EXPECT_THROW((void)run("stop"), Error) << bad.substr(0, 40);
    const TokenizeSummary summary = run("skip", "34%");
    EXPECT_EQ(summary.languages[0].documents, 2U) << bad.substr(0, 40);
    EXPECT_EQ(summary.languages[0].skipped_documents, 1U);
    EXPECT_EQ(TokenShard::open(out_ / "en.h5").num_documents(), 2U);
    const auto listed = nlohmann::json::parse(read_text(out_ / "en.skipped.jsonl"));
    EXPECT_EQ(listed["line"], 2);
    EXPECT_NE(listed["file"].get<std::string>().find("a.jsonl"), std::string::npos);
    EXPECT_NE(listed["reason"].get<std::string>().find("a.jsonl:2"), std::string::npos);
    EXPECT_EQ(nlohmann::json::parse(
                  read_text(out_ / "summary.json"))["languages"]["en"]["skipped_documents"],
              1);
  }
}

TEST_F(SkippingTest, MoreThanTheLimitIsAnErrorThatNamesTheFirst) {
  write_text(dir_.path() / "a.jsonl", "{\"text\": \"a\"}\n{\n{\"text\": \"b\"}\n[]\n");
  EXPECT_ERROR(run("skip", "49%"), kCorrupt, "'en': 2 of 4 documents cannot be read", "a.jsonl:2",
               "a.jsonl:4", "limit is 49%");
  EXPECT_TRUE(std::filesystem::is_empty(out_));
  EXPECT_EQ(run("skip", "50%").languages[0].skipped_documents, 2U);
  EXPECT_EQ(run("skip", "2").languages[0].documents, 2U);
  EXPECT_ERROR(run("skip", "1"), kCorrupt, "2 of 4 documents");
}

TEST_F(SkippingTest, EmptyDocumentsAreNoBadLines) {
  write_text(dir_.path() / "a.jsonl", "{\"text\": \"\"}\n{\"text\": \"a b\"}\n\n");
  const TokenizeSummary summary = run("skip", "0%");
  EXPECT_EQ(summary.languages[0].empty_documents, 1U);
  EXPECT_EQ(summary.languages[0].skipped_documents, 0U);
  EXPECT_EQ(summary.languages[0].words, 2U);
  EXPECT_FALSE(std::filesystem::exists(out_ / "en.skipped.jsonl"));
}

TEST_F(SkippingTest, DamagedFilesAreNotSkipped) {
  const std::string packed = gzip_bytes(json_lines(300, "en"));
  write_text(dir_.path() / "a.jsonl.gz", packed.substr(0, packed.size() / 2));
  EXPECT_ERROR(run("skip", "100%", "a.jsonl.gz"), kCorrupt, "truncated");
}

TEST_F(SkippingTest, AWholeFileOfTextIsOneDocument) {
  write_text(dir_.path() / "in" / "a.txt", "caf\xE9");
  write_text(dir_.path() / "in" / "b.txt", "fine");
  EXPECT_EQ(run("skip", "50%", "in").languages[0].documents, 1U);
  EXPECT_EQ(nlohmann::json::parse(read_text(out_ / "en.skipped.jsonl"))["line"], 0);
}

}  // namespace
}  // namespace growmerge::data
