#include "eval/table_reader.h"

#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "eval/task_config.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::eval {
namespace {

using Rows = std::vector<std::vector<std::string>>;

class TableReaderTest : public ::testing::Test {
 protected:
  Rows read(const std::string& text, bool quoted = false, const std::string& name = "q.tsv") {
    const auto path = dir_.path() / name;
    std::ofstream(path, std::ios::binary) << text;
    const std::array<WantedColumn, 2> columns = {
        {{.name = "a", .required = true, .may_be_empty = true},
         {.name = "b", .required = true, .may_be_empty = true}}};
    Rows rows;
    counts_ = read_table(
        path, columns, [&](const TableRow& row) { rows.push_back(row.fields); }, quoted);
    EXPECT_EQ(counts_.rows, static_cast<std::int64_t>(rows.size()));
    return rows;
  }

  testing::TemporaryDirectory dir_;
  TableCounts counts_;
};

TEST_F(TableReaderTest, AQuoteIsACharacterUnlessAskedFor) {
  const Rows rows = read(
      "a\tb\nFirst one\tfirst one\n\"Second one\tsecond one\nThird \"word\" here\tx\n"
      "\"\t\"\n\"whole\"\t\"\"\nlast\tlast");
  EXPECT_EQ(rows, (Rows{{"First one", "first one"},
                        {"\"Second one", "second one"},
                        {"Third \"word\" here", "x"},
                        {"\"", "\""},
                        {"\"whole\"", "\"\""},
                        {"last", "last"}}));
  EXPECT_EQ(counts_.lines, 7);
  EXPECT_EQ(counts_.rows_of_quotes, 0);
  EXPECT_EQ(counts_.text(), "1 file, 7 lines, 6 rows");
}

TEST_F(TableReaderTest, QuotedFieldsReadAsPythonsCsvModuleReadsThem) {
  const Rows rows = read(
      "a\tb\r\n\"He said \"\"no\"\".\"\tHe \"say\" no.\r\n\"a\tb\r\nc\"\t\"\"\r\n\r\nlast\t\"x\"",
      true);
  EXPECT_EQ(rows, (Rows{{"He said \"no\".", "He \"say\" no."}, {"a\tb\nc", ""}, {"last", "x"}}));
  EXPECT_EQ(counts_.lines, 6);
}

TEST_F(TableReaderTest, AStrayQuoteSwallowsNothingWhereFieldsAreQuoted) {
  const std::string head = "a\tb\nfine\tfine\n";
  for (const std::string stray :
       {"\"Second one\tx\nThird \"word\" here\tx\n", "\"Second one\tx\nlast\tlast\n",
        "\"Second\" one\tx\n", "x\t\"\n"}) {
    EXPECT_ERROR(read(head + stray, true), kCorrupt,
                 "q.tsv:3: a quoted field that begins in this line", "quoted: false");
  }
}

TEST_F(TableReaderTest, FilesThatLookQuotedAreCounted) {
  (void)read("a\tb\n\"He said \"\"no\"\".\"\tx\n\"Go!\"\ty\n");
  EXPECT_EQ(counts_.rows_of_quotes, 1);
}

TEST_F(TableReaderTest, LineEndsMarksNulAndBlankLines) {
  const Rows expected = {{"1", "2"}, {std::string("x\0y", 3), ""}};
  const std::string nul("x\0y\t", 4);
  for (const std::string& text : {"a\tb\n1\t2\n" + nul + "\n", "a\tb\r\n1\t2\r\n\r\n" + nul,
                                  "\xEF\xBB\xBF"
                                  "a\tb\n\n1\t2\n" +
                                      nul + "\n\n"}) {
    EXPECT_EQ(read(text), expected) << text;
    EXPECT_EQ(read(text, true), expected) << text;
  }
  const std::string huge(2'000'000, 'x');
  EXPECT_EQ(read("a\tb\n" + huge + "\t" + huge)[0][1], huge);
  EXPECT_ERROR(read("a\tb\n1\t2\n1\n"), kCorrupt, "q.tsv:3: 1 fields, expected 2");
  EXPECT_ERROR(read("a\tb\n1\t2\ncaf\xE9\t2\n"), kCorrupt, "q.tsv:3", "not UTF-8");
  EXPECT_ERROR(read(""), kCorrupt, "q.tsv:1");
}

TEST_F(TableReaderTest, JsonOverSeveralLinesIsRefusedWithTheCommand) {
  for (const std::string text : {"[\n{\"a\": 1}\n]", "{\n\"a\": 1\n}", "[{\"a\": 1}]"}) {
    EXPECT_ERROR(read(text, false, "q.json"), kCorrupt, "q.json:1", "jq -c '.[]'");
  }
  const std::string deep = std::string(60'000, '[') + std::string(60'000, ']');
  EXPECT_ERROR(read("{\"a\": 1, \"b\": 2}\n{\"a\": 1, \"b\": " + deep + "}", false, "q.jsonl"),
               kCorrupt, "q.jsonl:2", "nested");
  EXPECT_EQ(read("\xEF\xBB\xBF{\"a\": \"x\", \"b\": 1.5}\r\n\r\n", false, "q.jsonl"),
            (Rows{{"x", "1.5"}}));
}

TEST(Quoted, IsForTsvAndCountsWhereItChangesWhatIsRead) {
  const auto task = [](const std::string& text) {
    return config_from_yaml<TaskConfig>(parse_yaml_text(text, "t"));
  };
  EXPECT_FALSE(task("{kind: pairs, path: [a.tsv]}").reads_quotes());
  EXPECT_TRUE(task("{kind: pairs, path: [a.tsv], quoted: true}").reads_quotes());
  EXPECT_TRUE(task("{kind: multiblimp, path: [a]}").reads_quotes()) << "as it is published";
  EXPECT_FALSE(task("{kind: multiblimp, path: [a], quoted: false}").reads_quotes());
  EXPECT_ERROR(task("{kind: pairs, path: [a.jsonl], quoted: true}"), kInvalidArgument, ".tsv");
  EXPECT_ERROR(task("{kind: blimp, path: [a], quoted: true}"), kInvalidArgument, "quoted is for");
  // Before, every TSV was taken to be quoted.
  const auto counts = [&](const std::string& text) {
    TaskConfig config = task(text);
    for (const DescribedField& field : list_fields([&](FieldVisitor& v) { config.describe(v); })) {
      if (field.key == "quoted") {
        return true;
      }
    }
    return false;
  };
  EXPECT_TRUE(counts("{kind: pairs, path: [a.tsv]}"));
  EXPECT_FALSE(counts("{kind: pairs, path: [a.tsv], quoted: true}"));
  EXPECT_FALSE(counts("{kind: pairs, path: [a.jsonl]}"));
  EXPECT_FALSE(counts("{kind: multiblimp, path: [a]}"));
  EXPECT_FALSE(counts("{kind: bpb, path: [a]}"));
}

}  // namespace
}  // namespace growmerge::eval
