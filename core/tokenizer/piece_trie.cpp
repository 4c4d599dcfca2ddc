#include "core/tokenizer/piece_trie.h"

#include <algorithm>

namespace growmerge::tok {
namespace {

/// The pieces begin..end all start with the `depth` bytes that lead to a node.
struct Open {
  std::size_t begin;
  std::size_t end;
  std::size_t depth;
};

}  // namespace

PieceTrie::PieceTrie(std::vector<std::pair<std::string_view, std::int32_t>> pieces) {
  std::stable_sort(pieces.begin(), pieces.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Open> open;  // one for each node
  // Appends a node for every byte that follows in begin..end.
  const auto append_children = [&](const Open& range) {
    std::size_t begin = range.begin;
    while (begin < range.end) {
      const char byte = pieces[begin].first[range.depth];
      std::size_t end = begin + 1;
      while (end < range.end && pieces[end].first[range.depth] == byte) {
        ++end;
      }
      nodes_.emplace_back();
      bytes_.push_back(static_cast<unsigned char>(byte));
      open.push_back({begin, end, range.depth + 1});
      begin = end;
    }
  };
  std::size_t first = 0;
  while (first < pieces.size() && pieces[first].first.empty()) {
    ++first;
  }
  append_children({first, pieces.size(), 0});
  roots_.fill(-1);
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    roots_[bytes_[i]] = static_cast<std::int32_t>(i);
  }
  // Breadth first, so that the children of a node are appended together.
  for (std::size_t i = 0; i < open.size(); ++i) {
    Open range = open[i];
    while (range.begin < range.end && pieces[range.begin].first.size() == range.depth) {
      nodes_[i].number = pieces[range.begin++].second;  // it ends here
    }
    nodes_[i].first_child = static_cast<std::uint32_t>(nodes_.size());
    append_children(range);
    nodes_[i].num_children = static_cast<std::uint32_t>(nodes_.size()) - nodes_[i].first_child;
  }
}

}  // namespace growmerge::tok
