// Text for experiments without any text: a seeded family of artificial languages that share what is
// meant (data/semantic_grammar.h) and differ in how it is said (data/surface_grammar.h), with known
// entropy, and minimal pairs from the same grammar.
//
// Writes, for each language, LANG/train.jsonl and LANG/held_out.jsonl (fields id, text, language; a
// document is a fixed number of sentences), LANG/pairs.jsonl (sentence_good, sentence_bad,
// phenomenon, UID, language), and entropy.json: for each language the exact entropy of a sentence,
// its exact mean length, their quotient in bits per byte (what no model can beat on average), and
// the same floor for the very documents of held_out.jsonl. All is a pure function of the config.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/semantic_grammar.h"
#include "data/surface_grammar.h"

namespace growmerge::data {

struct ArtificialConfig {
  std::int64_t seed = 0;
  std::int64_t nouns_per_kind = 24;
  std::int64_t verbs = 32;
  std::int64_t adjectives = 24;
  std::int64_t prepositions = 5;
  std::int64_t sentences_per_document = 8;
  /// English-like base, a medium and a small target.
  std::vector<LanguageConfig> languages = default_languages();

  template <class V>
  void describe(V& v) {
    v("seed", seed, "", "of the grammar, the lexicons and the sentences");
    v("nouns_per_kind", nouns_per_kind, "words",
      "nouns for people, animals, tools and places each");
    v("verbs", verbs, "words", "verbs");
    v("adjectives", adjectives, "words", "adjectives");
    v("prepositions", prepositions, "words", "prepositions");
    v("sentences_per_document", sentences_per_document, "sentences", "length of a document");
    v("languages", languages, "", "the first is the base that cognates come from");
  }
  /// Errors: kInvalidArgument naming the field.
  void validate() const;
  [[nodiscard]] GrammarSize size() const {
    return {nouns_per_kind, verbs, adjectives, prepositions};
  }
  [[nodiscard]] static std::vector<LanguageConfig> default_languages();
};

struct ArtificialDocument {
  std::string text;
  double bits = 0.0;  // -log2 of its probability
};

struct ArtificialPair {
  std::string good;
  std::string bad;
  std::string phenomenon;
};

/// One language of the family.
class ArtificialLanguage {
 public:
  /// `base` gives the stems of cognates and outlives nothing: it is only read here.
  ArtificialLanguage(const ArtificialConfig& config, const LanguageConfig& language,
                     const ArtificialLanguage* base);

  [[nodiscard]] const LanguageConfig& config() const { return surface_.config(); }
  /// Document `index` of a split ("train", "held_out").
  [[nodiscard]] ArtificialDocument document(const std::string& split, std::uint64_t index) const;
  /// `count` different pairs, the phenomena of the language in turn. Errors: kInvalidArgument when
  /// the language marks nothing or has too few words for so many.
  [[nodiscard]] std::vector<ArtificialPair> pairs(std::int64_t count) const;
  /// Of a sentence: entropy, and mean bytes with the full stop.
  [[nodiscard]] SentenceExpectation expectation() const;
  /// The entropy of a document over its mean bytes.
  [[nodiscard]] double bits_per_byte() const;
  [[nodiscard]] const SemanticGrammar& grammar() const { return grammar_; }
  [[nodiscard]] const SurfaceGrammar& surface() const { return surface_; }

 private:
  std::uint64_t seed_;
  std::int64_t sentences_per_document_;
  SemanticGrammar grammar_;
  SurfaceGrammar surface_;
};

/// Writes everything into `dir`, which exists. Errors: kInvalidArgument, kIo.
void write_artificial(const ArtificialConfig& config, const std::filesystem::path& dir);

}  // namespace growmerge::data
