// growmerge tokenizer encode | decode | stats: what a tokenizer makes of text, and of ids.
#pragma once

#include <string>
#include <vector>

namespace growmerge::launch {

// `words` are what stands behind the command: a tokenizer, then texts or files. Each prints to
// standard output.

/// A JSON line for each text: ids, pieces, and the characters of the text that each stands for.
void print_encoded(const std::vector<std::string>& words);
/// A JSON line with the text of each list of ids.
void print_decoded(const std::vector<std::string>& words);
/// A table with a row for each text. Errors: kInvalidArgument for a file without text.
void print_tokenizer_stats(const std::vector<std::string>& words);

/// LANG=PATH, or a path alone, which names itself.
struct NamedText {
  std::string name;
  std::string path;
};
[[nodiscard]] NamedText named_text(const std::string& word);

}  // namespace growmerge::launch
