// A text made out of another, with where each of its bytes came from; and writers that make one
// text out of another, with and without that.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace growmerge::tok {

/// Bytes begin..end of the original text.
struct Span {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
};

struct TracedText {
  std::string text;
  std::vector<Span> origin;  // of each byte; empty where nothing is traced

  [[nodiscard]] static TracedText of_original(std::string_view text) {
    TracedText out{std::string(text), {}};
    for (std::uint32_t i = 0; i < text.size(); ++i) {
      out.origin.push_back({i, i + 1});
    }
    return out;
  }
  /// Where bytes begin..end came from. What was put in without a source stands between its
  /// neighbours.
  [[nodiscard]] Span origin_of(std::size_t begin, std::size_t end) const {
    if (begin < end) {
      return {origin[begin].begin, origin[end - 1].end};
    }
    const std::uint32_t at = begin < origin.size() ? origin[begin].begin
                             : origin.empty()      ? 0
                                                   : origin.back().end;
    return {at, at};
  }
  [[nodiscard]] TracedText slice(std::size_t begin, std::size_t end) const {
    TracedText out{text.substr(begin, end - begin), {}};
    if (!origin.empty()) {
      out.origin.assign(origin.begin() + static_cast<std::ptrdiff_t>(begin),
                        origin.begin() + static_cast<std::ptrdiff_t>(end));
    }
    return out;
  }
};

/// Writes text alone.
class TextWriter {
 public:
  static constexpr bool kTraces = false;
  TextWriter(std::string_view source, std::string& out) : source_(source), out_(out) {}
  /// Bytes begin..end of the source, as they are.
  void keep(std::size_t begin, std::size_t end) { out_.append(source_, begin, end - begin); }
  /// A text that stands for bytes begin..end of the source.
  void put(std::string_view text, std::size_t /*begin*/, std::size_t /*end*/) { out_ += text; }

 private:
  std::string_view source_;
  std::string& out_;
};

/// Writes text and where it came from.
class TracingWriter {
 public:
  static constexpr bool kTraces = true;
  TracingWriter(const TracedText& source, TracedText& out) : source_(source), out_(out) {}
  void keep(std::size_t begin, std::size_t end) {
    out_.text.append(source_.text, begin, end - begin);
    const auto first = source_.origin.begin();
    out_.origin.insert(out_.origin.end(), first + static_cast<std::ptrdiff_t>(begin),
                       first + static_cast<std::ptrdiff_t>(end));
  }
  void put(std::string_view text, std::size_t begin, std::size_t end) {
    out_.text += text;
    out_.origin.insert(out_.origin.end(), text.size(), source_.origin_of(begin, end));
  }

 private:
  const TracedText& source_;
  TracedText& out_;
};

}  // namespace growmerge::tok
