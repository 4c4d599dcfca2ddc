// The pieces of a Unigram vocabulary, found by their beginnings.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace growmerge::tok {

/// A trie over bytes. A node's children lie behind one another in the order of their bytes.
class PieceTrie {
 public:
  /// Pieces, each with the number that is found. Of equal pieces the last one counts; an empty one
  /// is never found.
  explicit PieceTrie(std::vector<std::pair<std::string_view, std::int32_t>> pieces);

  /// Calls fn(length, number) for every piece that `text` begins with, the shortest first.
  template <class Fn>
  void for_each_prefix(std::string_view text, const Fn& fn) const {
    if (text.empty()) {
      return;
    }
    std::int32_t node = roots_[static_cast<unsigned char>(text[0])];
    for (std::size_t length = 1; node >= 0; ++length) {
      const Node& n = nodes_[static_cast<std::size_t>(node)];
      if (n.number >= 0) {
        fn(length, n.number);
      }
      if (length == text.size()) {
        return;
      }
      node = child(n, static_cast<unsigned char>(text[length]));
    }
  }

 private:
  struct Node {
    std::int32_t number = -1;
    std::uint32_t first_child = 0;
    std::uint32_t num_children = 0;
  };
  [[nodiscard]] std::int32_t child(const Node& node, unsigned char byte) const {
    std::uint32_t low = node.first_child;
    std::uint32_t high = low + node.num_children;
    while (high - low > 8) {
      const std::uint32_t middle = (low + high) / 2;
      (bytes_[middle] <= byte ? low : high) = middle;
    }
    for (; low < high; ++low) {
      if (bytes_[low] == byte) {
        return static_cast<std::int32_t>(low);
      }
    }
    return -1;
  }
  std::vector<Node> nodes_;
  std::vector<unsigned char> bytes_;  // of the step that leads to a node
  std::array<std::int32_t, 256> roots_{};
};

}  // namespace growmerge::tok
