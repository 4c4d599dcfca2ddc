// Tokenizer::encode and decode for the Python scripts that compare them with the `tokenizers`
// package.
//
//   growmerge_tokenizer_tool encode TOKENIZER [special] < JSONL > IDS
//   growmerge_tokenizer_tool decode TOKENIZER [skip] < IDS > JSONL
//   growmerge_tokenizer_tool time TOKENIZER THREADS < JSONL      (prints bytes, tokens, seconds)
//   growmerge_tokenizer_tool words TOKENIZER THREADS < JSONL     (the same of pre-tokenizing alone)
//   growmerge_tokenizer_tool spans TOKENIZER < JSONL             (begin and end in bytes of each
//   token) growmerge_tokenizer_tool replace PIECE < PAIRS > JSONL       (every match of a pattern
//   by PIECE)
//
// JSONL: one JSON string a line. IDS: for each line its count and its ids, int32. PAIRS: [pattern,
// text] a line; a pattern that is refused gives {"refused": message}.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/tokenizer/normalizer.h"
#include "core/tokenizer/pattern.h"
#include "core/tokenizer/pre_tokenizer.h"
#include "core/tokenizer/spec.h"
#include "core/tokenizer/tokenizer.h"

namespace {

using growmerge::Tokenizer;

void write_ids(const std::vector<std::int32_t>& ids) {
  const auto count = static_cast<std::int32_t>(ids.size());
  std::fwrite(&count, sizeof(count), 1, stdout);
  std::fwrite(ids.data(), sizeof(std::int32_t), ids.size(), stdout);
}

std::vector<std::string> read_texts() {
  std::vector<std::string> texts;
  for (std::string line; std::getline(std::cin, line);) {
    texts.push_back(nlohmann::json::parse(line).get<std::string>());
  }
  return texts;
}

void decode(const Tokenizer& tokenizer, bool skip_special) {
  std::int32_t count = 0;
  while (std::fread(&count, sizeof(count), 1, stdin) == 1) {
    std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
    if (std::fread(ids.data(), sizeof(std::int32_t), ids.size(), stdin) != ids.size()) {
      growmerge::fail(growmerge::ErrorCode::kCorrupt, "ids end early");
    }
    std::puts(nlohmann::json(tokenizer.decode(ids, skip_special)).dump().c_str());
  }
}

/// Prints the bytes of all texts, the sum of what count(text) returns, and seconds.
template <class Count>
void time_texts(int num_threads, const Count& count) {
  const std::vector<std::string> texts = read_texts();
  std::uint64_t bytes = 0;
  for (const std::string& text : texts) {
    bytes += text.size();
  }
  std::atomic<std::size_t> next{0};
  std::atomic<std::uint64_t> sum{0};
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (int t = 0; t < num_threads; ++t) {
    threads.emplace_back([&] {
      for (std::size_t i = 0; (i = next.fetch_add(1)) < texts.size();) {
        sum += count(texts[i]);
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  std::printf("%llu %llu %.6f\n", static_cast<unsigned long long>(bytes),
              static_cast<unsigned long long>(sum.load()), seconds.count());
}

void time_words(const std::string& tokenizer, int num_threads) {
  const growmerge::tok::PreTokenizer pre_tokenizer(
      growmerge::tok::parse_spec(growmerge::read_file(tokenizer)).pre_tokenizers);
  time_texts(num_threads, [&](const std::string& text) {
    std::uint64_t words = 0;
    pre_tokenizer.for_each_word(text, true, [&](std::string_view) { ++words; });
    return words;
  });
}

void print_spans(const Tokenizer& tokenizer) {
  for (const std::string& text : read_texts()) {
    std::vector<std::int32_t> spans;
    const auto ids = tokenizer.encode(text, false);
    std::size_t i = 0;
    for (const growmerge::TokenSpan& token : tokenizer.encode_spans(text, false)) {
      if (i >= ids.size() || ids[i++] != token.id) {
        growmerge::fail(growmerge::ErrorCode::kInternal, "spans are of other ids than encode's");
      }
      spans.push_back(static_cast<std::int32_t>(token.begin));
      spans.push_back(static_cast<std::int32_t>(token.end));
    }
    write_ids(spans);
  }
}

void replace(const std::string& piece) {
  for (std::string line; std::getline(std::cin, line);) {
    const auto pair = nlohmann::json::parse(line);
    nlohmann::json out;
    try {
      const growmerge::tok::Pattern pattern(pair[0].get<std::string>());
      out = growmerge::tok::replace_matches(pair[1].get<std::string>(), pattern, piece);
    } catch (const growmerge::Error& e) {
      out = {{"refused", e.what()}};
    }
    std::puts(out.dump().c_str());
  }
}

int run(const std::vector<std::string>& args) {
  if (args.size() < 2) {
    std::cerr << "usage: growmerge_tokenizer_tool encode|decode|time|words|spans|replace TOKENIZER "
                 "[OPTION]\n";
    return 2;
  }
  if (args[0] == "words") {
    time_words(args[1], args.size() > 2 ? std::stoi(args[2]) : 1);
    return 0;
  }
  if (args[0] == "replace") {
    replace(args[1]);
    return 0;
  }
  const Tokenizer tokenizer = Tokenizer::load(args[1]);
  const std::string option = args.size() > 2 ? args[2] : "";
  if (args[0] == "encode") {
    for (const std::string& text : read_texts()) {
      write_ids(tokenizer.encode(text, option == "special"));
    }
  } else if (args[0] == "decode") {
    decode(tokenizer, option == "skip");
  } else if (args[0] == "spans") {
    print_spans(tokenizer);
  } else {
    time_texts(option.empty() ? 1 : std::stoi(option),
               [&](const std::string& text) { return tokenizer.encode(text, false).size(); });
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  try {
    return run(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception& e) {
    std::cerr << "error: " << e.what() << '\n';
    return 1;
  }
}
