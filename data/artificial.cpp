#include "data/artificial.h"

#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "core/base/error.h"
#include "data/positioned_file.h"

namespace growmerge::data {
namespace {

namespace fs = std::filesystem;

/// A way to be wrong, which languages know it, and which meanings show it.
struct Phenomenon {
  const char* name;
  Mistakes mistakes;
  bool (*in_language)(const LanguageConfig&);
  bool (*in_meaning)(const LanguageConfig&, const Meaning&);
};

bool always(const LanguageConfig&) { return true; }
bool has_adjective(const LanguageConfig&, const Meaning& meaning) {
  return meaning.agent.adjective >= 0;
}
/// Where no article marks where a phrase begins, a misplaced adjective could belong to a neighbour
/// that has none of its own; such sentences are no mistakes.
bool has_telling_adjective(const LanguageConfig& language, const Meaning& meaning) {
  return meaning.agent.adjective >= 0 &&
         (language.article == "before" ||
          ((!meaning.has_object || meaning.object.adjective >= 0) &&
           (meaning.preposition < 0 || meaning.place.adjective >= 0)));
}

// A language is asked only what it marks, and a meaning only shows what it holds: a pair whose two
// sentences were equal would be scored as a coin toss.
const std::array<Phenomenon, 7> kPhenomena{{
    {"subject_verb_number",
     {.verb_number = true},
     [](const LanguageConfig& language) { return language.verb_agrees; },
     [](const LanguageConfig&, const Meaning& m) {
       return m.preposition < 0 || m.place.plural == m.agent.plural;
     }},
    {"subject_verb_number_attractor",  // a noun of the other number stands in between
     {.verb_number = true},
     [](const LanguageConfig& language) {
       return language.verb_agrees && language.place == "after_subject" &&
              language.word_order.find('S') < language.word_order.find('V');
     },
     [](const LanguageConfig&, const Meaning& m) {
       return m.preposition >= 0 && m.place.plural != m.agent.plural;
     }},
    {"adjective_number",
     {.adjective_number = true},
     [](const LanguageConfig& language) { return language.adjective_agrees; },
     has_adjective},
    {"adjective_gender",
     {.adjective_gender = true},
     [](const LanguageConfig& language) {
       return language.adjective_agrees && language.genders > 1;
     },
     has_adjective},
    {"article_gender",
     {.article_gender = true},
     [](const LanguageConfig& language) { return language.genders > 1; },
     [](const LanguageConfig&, const Meaning& m) { return m.agent.definite; }},
    {"adjective_order", {.adjective_order = true}, always, has_telling_adjective},
    {"word_order",
     {.word_order = true},
     always,
     [](const LanguageConfig&, const Meaning& m) { return m.has_object; }},
}};

void write_file(const fs::path& path, const std::string& text) {
  PositionedFile file(path, PositionedFile::Mode::kCreate);
  file.write_at(0, text.data(), text.size());
  file.close();
}

/// JSON lines of one split. Returns its bits and bytes.
std::pair<double, double> write_split(const ArtificialLanguage& language, const std::string& split,
                                      std::int64_t count, const fs::path& dir) {
  const std::string& name = language.config().name;
  std::string text;
  double bits = 0.0;
  double bytes = 0.0;
  for (std::int64_t i = 0; i < count; ++i) {
    const ArtificialDocument document = language.document(split, static_cast<std::uint64_t>(i));
    nlohmann::ordered_json line;
    line["id"] = concat(name, "/", split, "/", i);
    line["text"] = document.text;
    line["language"] = name;
    text += line.dump() + "\n";
    // The text's exact information: what a perfect model would pay for this split.
    bits += document.bits;
    bytes += static_cast<double>(document.text.size());
  }
  write_file(dir / (split + ".jsonl"), text);
  return {bits, bytes};
}

nlohmann::ordered_json write_language(const ArtificialLanguage& language,
                                      std::int64_t sentences_per_document, const fs::path& dir) {
  const LanguageConfig& config = language.config();
  std::error_code error;
  fs::create_directories(dir, error);
  GM_CHECK(!error, kIo, dir.string(), ": cannot be made: ", error.message());
  const auto train = write_split(language, "train", config.train_documents, dir);
  const auto held_out = write_split(language, "held_out", config.held_out_documents, dir);
  std::string lines;
  for (const ArtificialPair& pair : language.pairs(config.pairs)) {
    nlohmann::ordered_json line;
    line["sentence_good"] = pair.good;
    line["sentence_bad"] = pair.bad;
    line["phenomenon"] = pair.phenomenon;
    line["UID"] = config.name + "_" + pair.phenomenon;
    line["language"] = config.name;
    lines += line.dump() + "\n";
  }
  write_file(dir / "pairs.jsonl", lines);
  const SentenceExpectation expected = language.expectation();
  nlohmann::ordered_json entry;
  entry["bits_per_sentence"] = expected.bits;
  entry["bytes_per_sentence"] = expected.bytes;
  entry["sentences_per_document"] = sentences_per_document;
  entry["bits_per_byte"] = language.bits_per_byte();
  entry["train_bytes"] = train.second;
  entry["held_out_bytes"] = held_out.second;
  entry["held_out_bits_per_byte"] = held_out.first / held_out.second;
  return entry;
}

}  // namespace

// As languages of a study lie: a large base, and two with less text that differ from it more.
std::vector<LanguageConfig> ArtificialConfig::default_languages() {
  LanguageConfig base;
  base.name = "base";
  base.train_documents = 8000;
  LanguageConfig medium;
  medium.name = "medium";
  medium.word_order = "SOV";
  medium.article = "suffix";
  medium.genders = 2;
  medium.place = "start";
  medium.adjective_agrees = true;
  medium.cognates = 0.4;
  medium.train_documents = 2500;
  LanguageConfig small;
  small.name = "small";
  small.word_order = "VSO";
  small.adjective_first = false;
  small.genders = 3;
  small.place = "end";
  small.adjective_agrees = true;
  small.cognates = 0.2;
  small.train_documents = 600;
  return {base, medium, small};
}

void ArtificialConfig::validate() const {
  GM_CHECK(!languages.empty(), kInvalidArgument, "languages: at least one is needed");
  GM_CHECK(sentences_per_document >= 1 && sentences_per_document <= 10000, kInvalidArgument,
           "sentences_per_document: ", sentences_per_document, " is not between 1 and 10000");
  std::set<std::string> names;
  for (const LanguageConfig& language : languages) {
    language.validate();
    GM_CHECK(names.insert(language.name).second, kInvalidArgument, "languages: '", language.name,
             "' is there twice");
  }
}

ArtificialLanguage::ArtificialLanguage(const ArtificialConfig& config,
                                       const LanguageConfig& language,
                                       const ArtificialLanguage* base)
    : seed_(static_cast<std::uint64_t>(config.seed)),
      sentences_per_document_(config.sentences_per_document),
      grammar_(config.size(), seed_),
      surface_(language, config.size(), seed_, base != nullptr ? &base->surface_ : nullptr) {}

ArtificialDocument ArtificialLanguage::document(const std::string& split,
                                                std::uint64_t index) const {
  // Splits draw from streams of their own, so a longer one changes no other.
  const Philox random(seed_, stream_id(concat("artificial ", config().name, " ", split)));
  Draws draws(random, index);
  ArtificialDocument document;
  for (std::int64_t i = 0; i < sentences_per_document_; ++i) {
    const Meaning meaning = grammar_.sample(draws);
    document.text += (i == 0 ? "" : " ") + surface_.say(meaning);
    document.bits += grammar_.bits(meaning);
  }
  return document;
}

SentenceExpectation ArtificialLanguage::expectation() const {
  SentenceExpectation expected = grammar_.expected_sentence(surface_.lengths());
  // The full stop; a sentence's words bring their own spaces.
  expected.bytes += 1.0;
  return expected;
}

double ArtificialLanguage::bits_per_byte() const {
  const SentenceExpectation expected = expectation();
  const auto sentences = static_cast<double>(sentences_per_document_);
  // The spaces between sentences cost bytes and tell nothing.
  return sentences * expected.bits / (sentences * expected.bytes + sentences - 1.0);
}

std::vector<ArtificialPair> ArtificialLanguage::pairs(std::int64_t count) const {
  std::vector<const Phenomenon*> phenomena;
  for (const Phenomenon& phenomenon : kPhenomena) {
    if (phenomenon.in_language(config())) {
      phenomena.push_back(&phenomenon);
    }
  }
  constexpr std::uint64_t kMostMisses = 1000;  // in a row
  std::uint64_t misses = 0;
  const Philox random(seed_, stream_id(concat("artificial ", config().name, " pairs")));
  std::vector<ArtificialPair> pairs;
  std::set<std::string> seen;
  for (std::uint64_t draw = 0; static_cast<std::int64_t>(pairs.size()) < count; ++draw) {
    GM_CHECK(misses++ < kMostMisses, kInvalidArgument, "languages: '", config().name, "': ", count,
             " different pairs were not found; ask for fewer, or for more words");
    // In turn, so that each has its share; a meaning that does not show it is drawn again.
    const Phenomenon& phenomenon = *phenomena[pairs.size() % phenomena.size()];
    Draws draws(random, draw);
    const Meaning meaning = grammar_.sample(draws);
    if (!phenomenon.in_meaning(config(), meaning)) {
      continue;
    }
    ArtificialPair pair{surface_.say(meaning), surface_.say(meaning, phenomenon.mistakes),
                        phenomenon.name};
    if (seen.insert(pair.good).second) {
      pairs.push_back(std::move(pair));
      misses = 0;
    }
  }
  return pairs;
}

void write_artificial(const ArtificialConfig& config, const fs::path& dir) {
  config.validate();
  nlohmann::ordered_json entropy;
  entropy["unit"] = "bits; bytes are UTF-8; bits_per_byte is the mean no model can go below";
  std::optional<ArtificialLanguage> base;
  for (const LanguageConfig& language : config.languages) {
    // The first language is the base that the others borrow their cognates from.
    const ArtificialLanguage made(config, language, base ? &*base : nullptr);
    entropy["languages"][language.name] =
        write_language(made, config.sentences_per_document, dir / language.name);
    if (!base) {
      base.emplace(made);
    }
  }
  write_file(dir / "entropy.json", entropy.dump(2) + "\n");
}

}  // namespace growmerge::data
