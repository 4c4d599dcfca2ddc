// What is counted in text, asked of it before it is parsed, and changed before it is shown.
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "core/base/error.h"
#include "core/base/terminal_text.h"
#include "core/base/json_text.h"
#include "core/base/white_space.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge {
namespace {

TEST(EscapeControls, NothingCommandsTheTerminal) {
  EXPECT_EQ(escape_controls("plain aß€😀\n\tx"), "plain aß€😀\n\tx");
  EXPECT_EQ(escape_controls("\x1b]0;owned\x07\x1b[2J"), "\\x1b]0;owned\\x07\\x1b[2J");
  EXPECT_EQ(escape_controls(std::string("a\0\r\x7f", 4)), "a\\x00\\x0d\\x7f");
  EXPECT_EQ(escape_controls("\u0085\u009b31m\u00a0"), "\\u0085\\u009b31m\u00a0");
  // A lone byte is a control character where a terminal does not read UTF-8.
  EXPECT_EQ(escape_controls("\x9b"
                            "31m \xff \xc3 \xe2\x82"),
            "\\x9b31m \\xff \\xc3 \\xe2\\x82");
}

TEST(EscapeControls, TextMayComeInPieces) {
  const std::string text = "a€\x1b😀\u0085b";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    std::string begun;
    std::string out = escape_controls(text.substr(0, cut), &begun);
    out += escape_controls(begun + text.substr(cut));
    EXPECT_EQ(out, "a€\\x1b😀\\u0085b") << cut;
  }
}

TEST(JsonText, DeepNestingIsRefusedWithFileAndLine) {
  const auto nested = [](std::size_t depth, char open, char close) {
    return std::string(depth, open) + std::string(depth, close);
  };
  check_json_depth(nested(kDeepestJson, '[', ']'), "a.json");
  check_json_depth("{\"a\": \"" + nested(9000, '[', ']') + "\\\"" + nested(9000, '{', '}') + "\"}",
                   "a.json");  // of text alone
  std::string flat = "[";
  for (int i = 0; i < 9000; ++i) {
    flat += "[],{},";
  }
  check_json_depth(flat + "0]", "a.json");
  EXPECT_ERROR(check_json_depth("{\n\"x\":\n" + nested(60'000, '[', ']') + "}", "a.json"), kCorrupt,
               "a.json:3", "nested");
  EXPECT_ERROR(check_json_depth(nested(60'000, '{', '}'), "a.jsonl", 7), kCorrupt, "a.jsonl:7");
  const testing::TemporaryDirectory dir;
  std::ofstream(dir.path() / "a.json") << nested(60'000, '[', ']');
  EXPECT_ERROR(read_json_text(dir.path() / "a.json"), kCorrupt, "a.json:1", "nested");
}

TEST(JsonText, ListsBecomeLinesByACommand) {
  EXPECT_NE(json_lines_advice("d/a.json").find("jq -c '.[]' 'd/a.json' > 'd/a.lines.jsonl'"),
            std::string::npos);
  EXPECT_NE(
      json_lines_advice("a.json", "xz -dc 'a.json.xz'").find("xz -dc 'a.json.xz' | jq -c '.[]' >"),
      std::string::npos);
}

TEST(WhiteSpace, IsPythons) {
  // All that str.split() splits at, and its neighbours.
  EXPECT_EQ(count_words("a\x1c"
                        "b\x1f"
                        "c\u0085d\u00a0e\u1680f\u2000g\u200ah\u2028i\u2029j\u202fk\u205fl\u3000m"),
            13);
  EXPECT_EQ(count_words("a\x1b"
                        "b\u200bc\u180ed\ufeffe"),
            1);
  EXPECT_EQ(strip("\u3000 a b\u2028\n"), "a b");
  EXPECT_EQ(strip(" \t"), "");
}

}  // namespace
}  // namespace growmerge
