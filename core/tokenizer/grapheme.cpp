#include "core/tokenizer/grapheme.h"

#include <cstdint>

#include "core/tokenizer/page_table.h"
#include "core/tokenizer/unicode.h"

namespace growmerge::tok {
namespace {

// In the order in which generate_property_table.py numbers them. kExtend, kConjunctExtend and
// kLinker are Unicode's Extend, told apart by Indic_Conjunct_Break, as are kOther and kConsonant.
enum Class : std::uint8_t {
  kOther,
  kControl,
  kExtend,
  kConjunctExtend,
  kLinker,
  kZwj,
  kRegionalIndicator,
  kPrepend,
  kSpacingMark,
  kL,
  kV,
  kT,
  kLv,
  kLvt,
  kPictographic,
  kConsonant,
};

constexpr TableRow kRows[] = {
#include "core/tokenizer/grapheme_table.inc"
};

Class class_at(std::string_view text, std::size_t at, std::size_t* length) {
  static const PageTable table(kRows);
  return static_cast<Class>(table[decode_utf8(text.data() + at, length)]);
}

bool extends(Class c) { return c == kExtend || c == kConjunctExtend || c == kLinker; }

/// What the cluster so far means for the next character, beyond its last class.
class ClusterState {
 public:
  explicit ClusterState(Class first) { take(first); }

  [[nodiscard]] bool joins(Class next) const {
    if (last_ == kControl || next == kControl) {
      return false;  // GB4, GB5
    }
    if (extends(next) || next == kZwj || next == kSpacingMark || last_ == kPrepend) {
      return true;  // GB9, GB9a, GB9b
    }
    const bool vowel_follows = next == kV && (last_ == kL || last_ == kLv || last_ == kV);
    const bool final_follows =
        next == kT && (last_ == kV || last_ == kLv || last_ == kLvt || last_ == kT);
    const bool lead_follows = last_ == kL && (next == kL || next == kLv || next == kLvt);
    return vowel_follows || final_follows || lead_follows ||         // GB6 to GB8
           (next == kConsonant && linked_) ||                        // GB9c
           (next == kPictographic && picture_ == kPictureAndZwj) ||  // GB11
           (next == kRegionalIndicator && odd_indicators_);          // GB12, GB13
  }

  void take(Class c) {
    if (c == kConsonant) {
      consonant_ = true;
      linked_ = false;
    } else if (c == kLinker) {
      linked_ = consonant_;
    } else if (c != kConjunctExtend && c != kZwj) {
      consonant_ = linked_ = false;
    }
    if (c == kPictographic) {
      picture_ = kPicture;
    } else if (c == kZwj && picture_ == kPicture) {
      picture_ = kPictureAndZwj;
    } else if (!extends(c) || picture_ != kPicture) {
      picture_ = kNoPicture;
    }
    odd_indicators_ = c == kRegionalIndicator && !odd_indicators_;
    last_ = c;
  }

 private:
  Class last_ = kOther;
  bool consonant_ = false;  // a consonant, then only linkers and what may stand among them
  bool linked_ = false;     // ... with at least one linker
  enum { kNoPicture, kPicture, kPictureAndZwj } picture_ = kNoPicture;
  bool odd_indicators_ = false;
};

}  // namespace

std::size_t grapheme_end(std::string_view text, std::size_t begin) {
  std::size_t length = 0;
  const Class first = class_at(text, begin, &length);
  std::size_t end = begin + length;
  if (text[begin] == '\r') {
    return end + (end < text.size() && text[end] == '\n' ? 1 : 0);  // GB3
  }
  if (end == text.size()) {
    return end;
  }
  ClusterState state(first);
  while (end < text.size()) {
    const Class next = class_at(text, end, &length);
    if (!state.joins(next)) {
      break;
    }
    state.take(next);
    end += length;
  }
  return end;
}

}  // namespace growmerge::tok
