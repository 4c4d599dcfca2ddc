// How an artificial language says what is meant: its lexicon, word order and agreement.
//
// All word forms of a language differ from each other, whatever lemma and features they carry, and
// the order of the parts is fixed, so a sentence can be read back in exactly one way: no two
// meanings sound alike.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "data/semantic_grammar.h"

namespace growmerge::data {

struct LanguageConfig {
  std::string name;
  std::string word_order = "SVO";
  bool adjective_first = true;
  std::string article = "before";
  std::string place = "after_subject";
  std::int64_t genders = 1;
  bool verb_agrees = true;
  bool adjective_agrees = false;
  double cognates = 0.0;
  std::int64_t train_documents = 1000;
  std::int64_t held_out_documents = 100;
  std::int64_t pairs = 300;

  template <class V>
  void describe(V& v) {
    v("name", name, "", "what the language is called; its folder");
    v("word_order", word_order, "", "SVO, SOV, VSO, VOS, OVS or OSV");
    v("adjective_first", adjective_first, "", "adjectives stand before their noun");
    v("article", article, "",
      "before: a word of its own in front of the phrase; suffix: on the noun");
    v("place", place, "", "where a place stands: after_subject, start or end of the sentence");
    v("genders", genders, "", "noun classes that articles and adjectives agree with, 1 to 3");
    v("verb_agrees", verb_agrees, "", "verbs agree with their subject in number");
    v("adjective_agrees", adjective_agrees, "", "adjectives agree in number and gender");
    v("cognates", cognates, "", "share of word stems that are the first language's, sound-shifted");
    v("train_documents", train_documents, "documents", "size of train.jsonl");
    v("held_out_documents", held_out_documents, "documents", "size of held_out.jsonl");
    v("pairs", pairs, "pairs", "size of pairs.jsonl");
  }
  /// Errors: kInvalidArgument naming the language and the field.
  void validate() const;
};

/// Ways to say a sentence wrongly, for minimal pairs.
struct Mistakes {
  bool verb_number = false;       // the verb agrees with the other number
  bool adjective_number = false;  // so does the subject's adjective
  bool adjective_gender = false;  // the subject's adjective agrees with another gender
  bool article_gender = false;    // the subject's article agrees with another gender
  bool adjective_order = false;   // the subject's adjective stands on the other side
  bool word_order = false;        // verb and object change places
};

class Phonology;

class SurfaceGrammar {
 public:
  /// `base` gives the stems of cognates; nullptr for the first language. Errors: kInvalidArgument
  /// when no lexicon without homonyms is found (ask for fewer words).
  SurfaceGrammar(const LanguageConfig& config, const GrammarSize& size, std::uint64_t seed,
                 const SurfaceGrammar* base);

  /// The sentence, its first letter large, with a full stop.
  [[nodiscard]] std::string say(const Meaning& meaning, const Mistakes& mistakes = {}) const;
  [[nodiscard]] SurfaceLengths lengths() const;
  [[nodiscard]] std::int32_t gender_of(std::int32_t noun) const {
    return genders_[static_cast<std::size_t>(noun)];
  }
  [[nodiscard]] const LanguageConfig& config() const { return config_; }

 private:
  struct Stems {
    std::vector<std::string> nouns, verbs, adjectives, prepositions;
  };
  void make_affixes(Phonology& sounds);
  void make_stems(Phonology& sounds, const GrammarSize& size, const Stems* base);
  [[nodiscard]] std::string noun_form(std::int32_t noun, bool plural, bool definite,
                                      std::int32_t article_gender) const;
  [[nodiscard]] std::string adjective_form(std::int32_t adjective, std::int32_t gender,
                                           bool plural) const;
  [[nodiscard]] std::string verb_form(std::int32_t verb, bool past, bool plural) const;
  [[nodiscard]] std::string phrase(const NounPhrase& phrase, const Mistakes& mistakes) const;

  LanguageConfig config_;
  Stems stems_;
  std::vector<std::int32_t> genders_;  // [noun]
  // Affixes and articles, by [gender][plural].
  using ByGenderAndNumber = std::array<std::array<std::string, 2>, 3>;
  ByGenderAndNumber noun_ending_;
  ByGenderAndNumber definite_ending_;   // article: suffix
  ByGenderAndNumber definite_article_;  // article: before
  ByGenderAndNumber indefinite_article_;
  ByGenderAndNumber adjective_ending_;
  std::array<std::string, 2> tense_ending_;   // [past]
  std::array<std::string, 2> number_ending_;  // [plural], of verbs
};

}  // namespace growmerge::data
