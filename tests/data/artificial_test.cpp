#include "data/artificial.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/base/error.h"
#include "data/document_reader.h"
#include "data/utf8.h"
#include "tests/data/text_fixture.h"
#include "tests/support/paths.h"

namespace growmerge::data {
namespace {

std::vector<ArtificialLanguage> family(const ArtificialConfig& config) {
  std::vector<ArtificialLanguage> languages;
  languages.reserve(config.languages.size());
  for (const LanguageConfig& language : config.languages) {
    languages.emplace_back(config, language, languages.empty() ? nullptr : &languages[0]);
  }
  return languages;
}

/// Few enough sentences that all likely ones are seen.
ArtificialConfig tiny() {
  ArtificialConfig config;
  config.nouns_per_kind = 2;
  config.verbs = 2;
  config.adjectives = 2;
  config.prepositions = 1;
  config.sentences_per_document = 1;
  return config;
}

template <class Fn>
void for_each_sentence(const ArtificialLanguage& language, int count, Fn&& fn) {
  const Philox random(99, stream_id("test sentences"));
  for (int i = 0; i < count; ++i) {
    Draws draws(random, static_cast<std::uint64_t>(i));
    const Meaning meaning = language.grammar().sample(draws);
    fn(meaning, language.surface().say(meaning));
  }
}

TEST(Artificial, EntropyAndLengthEqualTheirEmpiricalMeans) {
  for (const ArtificialLanguage& language : family(ArtificialConfig())) {
    constexpr int kCount = 100000;
    double bits = 0.0;
    double bits_squared = 0.0;
    double bytes = 0.0;
    double bytes_squared = 0.0;
    for_each_sentence(language, kCount, [&](const Meaning& meaning, const std::string& sentence) {
      const double b = language.grammar().bits(meaning);
      const auto n = static_cast<double>(sentence.size());
      bits += b;
      bits_squared += b * b;
      bytes += n;
      bytes_squared += n * n;
    });
    bits /= kCount;
    bytes /= kCount;
    const double bits_error = std::sqrt((bits_squared / kCount - bits * bits) / kCount);
    const double bytes_error = std::sqrt((bytes_squared / kCount - bytes * bytes) / kCount);
    const SentenceExpectation expected = language.expectation();
    EXPECT_NEAR(bits, expected.bits, 4.0 * bits_error) << language.config().name;
    EXPECT_NEAR(bytes, expected.bytes, 4.0 * bytes_error) << language.config().name;
    EXPECT_GT(expected.bits, 20.0);
    EXPECT_LT(language.bits_per_byte(), 2.0);
  }
}

// Knows nothing of the grammar's own probabilities: entropy of the distribution of strings.
TEST(Artificial, EntropyEqualsThatOfTheStrings) {
  for (const ArtificialLanguage& language : family(tiny())) {
    constexpr int kCount = 400'000;
    std::unordered_map<std::string, int> counts;
    for_each_sentence(language, kCount,
                      [&](const Meaning&, const std::string& sentence) { ++counts[sentence]; });
    double entropy = 0.0;
    for (const auto& [sentence, count] : counts) {
      const double p = static_cast<double>(count) / kCount;
      entropy -= p * std::log2(p);
    }
    // Miller and Madow's correction for the finite sample.
    entropy += static_cast<double>(counts.size() - 1) / (2.0 * kCount * std::log(2.0));
    EXPECT_NEAR(entropy, language.expectation().bits, 0.02 * entropy) << language.config().name;
  }
}

TEST(Artificial, NoTwoMeaningsSoundAlike) {
  for (const ArtificialConfig& config : {ArtificialConfig(), tiny()}) {
    for (const ArtificialLanguage& language : family(config)) {
      std::map<std::string, Meaning> meanings;
      for_each_sentence(language, 20000, [&](const Meaning& meaning, const std::string& sentence) {
        const auto [found, added] = meanings.emplace(sentence, meaning);
        ASSERT_TRUE(added || found->second == meaning) << sentence;
      });
    }
  }
}

TEST(Artificial, TheSameSeedGivesTheSameText) {
  ArtificialConfig config;
  const auto first = family(config);
  const auto second = family(config);
  config.seed = 1;
  const auto other = family(config);
  for (std::size_t i = 0; i < first.size(); ++i) {
    const ArtificialDocument document = first[i].document("train", 12345);
    EXPECT_EQ(document.text, second[i].document("train", 12345).text);
    EXPECT_NE(document.text, other[i].document("train", 12345).text);
    EXPECT_NE(document.text, first[i].document("held_out", 12345).text);
    EXPECT_FALSE(find_invalid_utf8(document.text));
    EXPECT_EQ(std::count(document.text.begin(), document.text.end(), '.'), 8);
  }
}

std::vector<std::string> sorted_words(std::string sentence) {
  std::transform(sentence.begin(), sentence.end(), sentence.begin(),
                 [](unsigned char c) { return static_cast<char>(c < 0x80 ? std::tolower(c) : c); });
  sentence.pop_back();
  std::istringstream in(sentence);
  std::vector<std::string> words{std::istream_iterator<std::string>(in), {}};
  std::sort(words.begin(), words.end());
  return words;
}

TEST(Artificial, PairsDifferMinimally) {
  for (const ArtificialLanguage& language : family(ArtificialConfig())) {
    std::map<std::string, int> phenomena;
    for (const ArtificialPair& pair : language.pairs(300)) {
      ++phenomena[pair.phenomenon];
      ASSERT_NE(pair.good, pair.bad);
      const auto good = sorted_words(pair.good);
      const auto bad = sorted_words(pair.bad);
      ASSERT_EQ(good.size(), bad.size());
      std::vector<std::string> changed;
      std::set_difference(good.begin(), good.end(), bad.begin(), bad.end(),
                          std::back_inserter(changed));
      const bool order = pair.phenomenon.ends_with("_order");
      // One word is another form, or the same words stand in another order. (A large first letter
      // beyond ASCII may make one word look changed.)
      EXPECT_LE(changed.size(), 1u) << pair.good << " / " << pair.bad;
      if (!order) {
        EXPECT_EQ(changed.size(), 1u) << pair.good << " / " << pair.bad;
      }
    }
    const bool base = language.config().name == "base";
    EXPECT_EQ(phenomena.count("subject_verb_number_attractor"), base ? 1u : 0u);
    EXPECT_EQ(phenomena.count("adjective_gender"), base ? 0u : 1u);
    for (const auto& [name, count] : phenomena) {
      EXPECT_NEAR(count, 300.0 / static_cast<double>(phenomena.size()), 1.0) << name;
    }
  }
}

TEST(Artificial, BadSentencesAreNeverSaid) {
  for (const ArtificialLanguage& language : family(tiny())) {
    std::unordered_set<std::string> said;
    for_each_sentence(language, 100000,
                      [&](const Meaning&, const std::string& sentence) { said.insert(sentence); });
    int known = 0;
    for (const ArtificialPair& pair : language.pairs(200)) {
      known += said.contains(pair.good) ? 1 : 0;
      EXPECT_FALSE(said.contains(pair.bad)) << language.config().name << ": " << pair.bad;
    }
    EXPECT_GT(known, 100);  // most good ones are
  }
}

TEST(Artificial, LanguagesDifferInOrderAndShareCognates) {
  const auto languages = family(ArtificialConfig());
  const Philox random(1, stream_id("one"));
  Draws draws(random, 0);
  const Meaning meaning = languages[0].grammar().sample(draws);
  std::set<std::string> sentences;
  for (const auto& language : languages) {
    sentences.insert(language.surface().say(meaning));
  }
  EXPECT_EQ(sentences.size(), 3u);
}

TEST(Artificial, WritesWhatTheReaderReads) {
  const testing::TemporaryDirectory dir;
  ArtificialConfig config;
  for (LanguageConfig& language : config.languages) {
    language.train_documents = 50;
    language.held_out_documents = 20;
    language.pairs = 30;
  }
  write_artificial(config, dir.path());
  const auto entropy = nlohmann::json::parse(read_text(dir.path() / "entropy.json"));
  for (const LanguageConfig& language : config.languages) {
    TextInput input;
    input.path = (dir.path() / language.name / "held_out.jsonl").string();
    DocumentReader reader(input);
    int documents = 0;
    double bytes = 0.0;
    while (const auto document = reader.next()) {
      ++documents;
      bytes += static_cast<double>(document->text.size());
    }
    EXPECT_EQ(documents, 20);
    const auto& entry = entropy["languages"][language.name];
    EXPECT_EQ(entry["held_out_bytes"].get<double>(), bytes);
    EXPECT_NEAR(entry["held_out_bits_per_byte"].get<double>(), entry["bits_per_byte"].get<double>(),
                0.1);
    const std::string pairs = read_text(dir.path() / language.name / "pairs.jsonl");
    EXPECT_EQ(std::count(pairs.begin(), pairs.end(), '\n'), 30);
    const auto pair = nlohmann::json::parse(pairs.substr(0, pairs.find('\n')));
    EXPECT_TRUE(pair.contains("sentence_good") && pair.contains("sentence_bad") &&
                pair.contains("phenomenon"));
  }
}

TEST(Artificial, NonsenseIsRefusedByName) {
  const auto message = [](const ArtificialConfig& config) -> std::string {
    try {
      config.validate();
      (void)family(config);
      (void)family(config)[0].pairs(config.languages[0].pairs);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
      return e.what();
    }
    return "";
  };
  ArtificialConfig config;
  config.languages[1].word_order = "SVV";
  EXPECT_NE(message(config).find("'medium': word_order: SVV"), std::string::npos);
  config = {};
  config.languages[2].name = "base";
  EXPECT_NE(message(config).find("'base' is there twice"), std::string::npos);
  config = {};
  config.prepositions = 5000;
  EXPECT_NE(message(config).find("ask for fewer"), std::string::npos);
  config = tiny();
  config.languages[0].pairs = 200000;
  EXPECT_NE(message(config).find("different pairs were not found"), std::string::npos);
}

}  // namespace
}  // namespace growmerge::data
