#include "eval/encode.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>

#include "core/base/error.h"

namespace growmerge::eval {
namespace {

// A byte inside a UTF-8 character.
bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

}  // namespace

EncodedTexts encode_all(const Tokenizer& tokenizer, const std::vector<std::string_view>& texts,
                        const std::function<std::string(std::int64_t)>& name_of, Communicator& comm,
                        bool add_special) {
  const auto total = static_cast<std::int64_t>(texts.size());
  EncodedTexts encoded(texts.size());
  // Contiguous shares, so that gathering them in rank order is their order.
  const std::int64_t first = total * comm.rank() / comm.size();
  const std::int64_t last = total * (comm.rank() + 1) / comm.size();
  run_agreed(comm, [&] {
    at::parallel_for(first, last, 256, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const auto place = static_cast<std::size_t>(i);
        try {
          encoded[place].ids = tokenizer.encode(texts[place], add_special);
          // The tokenizer knows a byte offset; which text it is, only we know.
        } catch (const Error& e) {
          throw Error(e.code(), name_of(i) + ": " + e.what());
        }
      }
    });
  });
  if (comm.size() == 1) {
    return encoded;
  }
  // Each rank's share as [length, ids...] of 32-bit numbers.
  std::vector<std::int32_t> mine;
  for (std::int64_t i = first; i < last; ++i) {
    const auto& text = encoded[static_cast<std::size_t>(i)].ids;
    mine.push_back(static_cast<std::int32_t>(text.size()));
    mine.insert(mine.end(), text.begin(), text.end());
  }
  const std::string bytes(reinterpret_cast<const char*>(mine.data()),
                          mine.size() * sizeof(std::int32_t));
  std::size_t place = 0;
  for (const std::string& part : comm.all_gather_bytes(bytes)) {
    std::vector<std::int32_t> numbers(part.size() / sizeof(std::int32_t));
    if (!numbers.empty()) {  // a rank may have no text
      std::memcpy(numbers.data(), part.data(), part.size());
    }
    for (std::size_t at = 0; at < numbers.size();) {
      const auto length = static_cast<std::size_t>(numbers[at]);
      const auto begin = numbers.begin() + static_cast<std::ptrdiff_t>(at) + 1;
      encoded.at(place++).ids.assign(begin, begin + static_cast<std::ptrdiff_t>(length));
      at += length + 1;
    }
  }
  GM_ASSERT(place == encoded.size());
  return encoded;
}

std::int64_t count_characters(std::string_view text) {
  std::int64_t count = 0;
  for (const char c : text) {
    count += is_continuation(c) ? 0 : 1;
  }
  return count;
}

std::string_view first_characters(std::string_view text, std::int64_t count) {
  std::size_t i = 0;
  for (; i < text.size(); ++i) {
    if (!is_continuation(text[i]) && count-- == 0) {
      break;
    }
  }
  return text.substr(0, i);
}

}  // namespace growmerge::eval
