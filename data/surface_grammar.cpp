#include "data/surface_grammar.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <string_view>
#include <utility>

#include "core/base/error.h"

namespace growmerge::data {

/// Sounds of a language, and words made of them.
class Phonology {
 public:
  Phonology(std::uint64_t seed, const std::string& name, bool plain)
      : random_(seed, stream_id("artificial language " + name)) {
    const std::vector<std::string> consonants{"p", "b", "t", "d", "k", "g", "m", "n", "s",
                                              "f", "v", "l", "r", "h", "j", "z", "w"};
    const std::vector<std::string> vowels{"a", "e", "i", "o", "u"};
    const std::vector<std::string> more_vowels{"a", "e", "i", "o", "u", "y", "å", "ö", "é", "ü"};
    // Languages share a part of their sounds, as neighbours do; the base's vowels are ASCII, those
    // of the others take two bytes in part, as in many European languages.
    consonants_ = choose(consonants, 11);
    vowels_ = plain ? vowels : choose(more_vowels, 6);
  }

  [[nodiscard]] double uniform() { return random_.uniform(next_++); }
  [[nodiscard]] std::string vowel() { return pick(vowels_); }
  [[nodiscard]] std::string consonant() { return pick(consonants_); }

  [[nodiscard]] std::string stem() {
    // Mostly two syllables.
    const double u = uniform();
    const int syllables = u < 0.3 ? 1 : u < 0.85 ? 2 : 3;
    std::string out;
    for (int i = 0; i < syllables; ++i) {
      out += consonant() + vowel();
    }
    return out + consonant();
  }
  /// A vowel, perhaps with a consonant: stems end in consonants.
  [[nodiscard]] std::string ending() {
    std::string out = vowel();
    return uniform() < 0.6 ? out + consonant() : out;
  }
  [[nodiscard]] std::string particle() {
    std::string out = uniform() < 0.5 ? consonant() + vowel() : vowel() + consonant();
    return uniform() < 0.3 ? out + consonant() : out;
  }
  /// Another language's word in this one's sounds: letters that are missing here become others,
  /// each always the same one.
  [[nodiscard]] std::string shifted(const std::string& word) const {
    std::string out;
    // By bytes: those of letters outside ASCII stay as they are, so both of a pair stay together.
    for (const char c : word) {
      const std::string sound(1, c);
      const bool known = static_cast<unsigned char>(c) >= 0x80 || contains(consonants_, sound) ||
                         contains(vowels_, sound);
      if (known) {
        out += c;
      } else {
        // A vowel becomes a vowel and a consonant a consonant, so the word stays one that can be
        // said.
        const auto& set =
            std::string_view("aeiouy").find(c) == std::string_view::npos ? consonants_ : vowels_;
        out += set[static_cast<std::size_t>(c) % set.size()];
      }
    }
    return out;
  }

 private:
  static bool contains(const std::vector<std::string>& set, const std::string& sound) {
    return std::find(set.begin(), set.end(), sound) != set.end();
  }
  std::vector<std::string> choose(std::vector<std::string> from, std::size_t count) {
    // Fisher-Yates, as far as it is needed.
    for (std::size_t i = 0; i < count; ++i) {
      std::swap(from[i], from[i + random_.below(next_++, from.size() - i)]);
    }
    from.resize(count);
    return from;
  }
  [[nodiscard]] std::string pick(const std::vector<std::string>& from) {
    return from[random_.below(next_++, from.size())];
  }

  Philox random_;
  std::uint64_t next_ = 0;
  std::vector<std::string> consonants_;
  std::vector<std::string> vowels_;
};

namespace {

constexpr int kAttempts = 2000;

/// A word or set of word forms none of which is in `used` yet; they are entered there.
template <class Make>
auto make_unused(std::set<std::string>& used, const std::string& language, Make&& make) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    auto [value, forms] = make(attempt);
    // Forms of one word must differ from each other too: a mistake must be visible.
    const std::set<std::string> own(forms.begin(), forms.end());
    const bool fresh = own.size() == forms.size() &&
                       std::none_of(own.begin(), own.end(),
                                    [&](const std::string& form) { return used.contains(form); });
    if (fresh) {
      used.insert(own.begin(), own.end());
      return value;
    }
  }
  fail(ErrorCode::kInvalidArgument, "artificial language '", language,
       "': no further word without homonyms was found; ask for fewer nouns, verbs or adjectives");
}

std::string capitalised(std::string text) {
  auto* bytes = reinterpret_cast<unsigned char*>(text.data());
  if (bytes[0] < 0x80) {
    bytes[0] = static_cast<unsigned char>(std::toupper(bytes[0]));
  } else {
    bytes[1] =
        static_cast<unsigned char>(bytes[1] - 0x20);  // Latin-1 letters: U+00E0 on -> U+00C0 on
  }
  return text;
}

}  // namespace

void LanguageConfig::validate() const {
  const auto check = [this](bool ok, const char* field, const auto& value, const char* expected) {
    GM_CHECK(ok, kInvalidArgument, "languages: '", name, "': ", field, ": ", value, " is not ",
             expected);
  };
  const bool named = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
  });
  check(named, "name", name, "a name of letters, digits, - and _");
  std::string order = word_order;
  std::sort(order.begin(), order.end());
  // Sorted, the three letters are this.
  check(order == "OSV", "word_order", word_order, "an order of S, V and O");
  check(article == "before" || article == "suffix", "article", article, "before or suffix");
  check(place == "after_subject" || place == "start" || place == "end", "place", place,
        "after_subject, start or end");
  check(genders >= 1 && genders <= 3, "genders", genders, "from 1 to 3");
  check(cognates >= 0.0 && cognates <= 1.0, "cognates", cognates, "from 0 to 1");
  check(train_documents >= 1, "train_documents", train_documents, "at least 1");
  check(held_out_documents >= 1, "held_out_documents", held_out_documents, "at least 1");
  check(pairs >= 0, "pairs", pairs, "at least 0");
}

SurfaceGrammar::SurfaceGrammar(const LanguageConfig& config, const GrammarSize& size,
                               std::uint64_t seed, const SurfaceGrammar* base)
    : config_(config) {
  config_.validate();
  Phonology sounds(seed, config_.name, base == nullptr);
  make_affixes(sounds);
  make_stems(sounds, size, base != nullptr ? &base->stems_ : nullptr);
}

void SurfaceGrammar::make_affixes(Phonology& sounds) {
  std::set<std::string> noun_endings;
  std::set<std::string> adjective_endings;
  std::set<std::string> verb_endings;
  const auto fresh = [&](std::set<std::string>& used) {
    return make_unused(used, config_.name, [&](int) {
      const std::string ending = sounds.ending();
      return std::pair(ending, std::vector<std::string>{ending});
    });
  };
  for (std::size_t gender = 0; gender < static_cast<std::size_t>(config_.genders); ++gender) {
    // Endings of one kind of word all differ, over genders and numbers, so that each agreement can
    // be seen.
    for (const std::size_t plural : {0u, 1u}) {
      noun_ending_[gender][plural] = plural == 0 ? "" : fresh(noun_endings);
      if (config_.article == "suffix") {
        definite_ending_[gender][plural] = fresh(noun_endings);
      }
      if (config_.adjective_agrees) {
        adjective_ending_[gender][plural] = fresh(adjective_endings);
      }
    }
  }
  // The present has none.
  tense_ending_[1] = fresh(verb_endings);
  if (config_.verb_agrees) {
    number_ending_[0] = fresh(verb_endings);
    number_ending_[1] = fresh(verb_endings);
  }
}

void SurfaceGrammar::make_stems(Phonology& sounds, const GrammarSize& size, const Stems* base) {
  // Over all kinds of words: a form belongs to one word, or a sentence could be read in two ways
  // and its bits would not be the meaning's.
  std::set<std::string> used;
  const auto word = [&](std::set<std::string>& words) {
    return make_unused(words, config_.name, [&](int) {
      const std::string particle = sounds.particle();
      return std::pair(particle, std::vector<std::string>{particle});
    });
  };
  if (config_.article == "before") {
    for (std::size_t gender = 0; gender < static_cast<std::size_t>(config_.genders); ++gender) {
      for (const std::size_t plural : {0u, 1u}) {
        definite_article_[gender][plural] = word(used);
        indefinite_article_[gender][plural] = word(used);
      }
    }
  }
  for (std::int64_t i = 0; i < size.prepositions; ++i) {
    stems_.prepositions.push_back(word(used));
  }
  // `forms` lists all forms of the stem at the back of its list.
  const auto add_stems = [&](std::vector<std::string>& stems, std::int64_t count,
                             const std::vector<std::string>* base_stems, const auto& forms) {
    for (std::int64_t i = 0; i < count; ++i) {
      const bool cognate = base_stems != nullptr && sounds.uniform() < config_.cognates;
      // `forms` builds them from the stem at the back, so a stem stands there while it is tried.
      stems.emplace_back();
      (void)make_unused(used, config_.name, [&](int attempt) {
        // A borrowed word that is taken here already gives way to a new one.
        stems.back() = cognate && attempt == 0
                           ? sounds.shifted((*base_stems)[static_cast<std::size_t>(i)])
                           : sounds.stem();
        return std::pair(0, forms(static_cast<std::int32_t>(i)));
      });
    }
  };
  const std::int64_t num_nouns = kNumNounKinds * size.nouns_per_kind;
  for (std::int64_t noun = 0; noun < num_nouns; ++noun) {
    genders_.push_back(
        static_cast<std::int32_t>(sounds.uniform() * static_cast<double>(config_.genders)));
  }
  add_stems(stems_.nouns, num_nouns, base != nullptr ? &base->nouns : nullptr,
            [this](std::int32_t noun) {
              std::vector<std::string> forms;
              for (const bool plural : {false, true}) {
                forms.push_back(noun_form(noun, plural, false, gender_of(noun)));
                if (config_.article == "suffix") {
                  for (std::int32_t gender = 0; gender < config_.genders; ++gender) {
                    // With the articles of other genders as well: they are what a gender mistake
                    // says.
                    forms.push_back(noun_form(noun, plural, true, gender));
                  }
                }
              }
              return forms;
            });
  add_stems(stems_.verbs, size.verbs, base != nullptr ? &base->verbs : nullptr,
            [this](std::int32_t verb) {
              std::vector<std::string> forms;
              for (const bool past : {false, true}) {
                forms.push_back(verb_form(verb, past, false));
                if (config_.verb_agrees) {
                  forms.push_back(verb_form(verb, past, true));
                }
              }
              return forms;
            });
  add_stems(stems_.adjectives, size.adjectives, base != nullptr ? &base->adjectives : nullptr,
            [this](std::int32_t adjective) {
              std::vector<std::string> forms{adjective_form(adjective, 0, false)};
              for (std::int32_t form = 1; config_.adjective_agrees && form < 2 * config_.genders;
                   ++form) {
                forms.push_back(adjective_form(adjective, form / 2, form % 2 == 1));
              }
              return forms;
            });
}

std::string SurfaceGrammar::noun_form(std::int32_t noun, bool plural, bool definite,
                                      std::int32_t article_gender) const {
  const auto own = static_cast<std::size_t>(gender_of(noun));
  std::string form = stems_.nouns[static_cast<std::size_t>(noun)] + noun_ending_[own][plural];
  if (definite && config_.article == "suffix") {
    form += definite_ending_[static_cast<std::size_t>(article_gender)][plural];
  }
  return form;
}

std::string SurfaceGrammar::adjective_form(std::int32_t adjective, std::int32_t gender,
                                           bool plural) const {
  return stems_.adjectives[static_cast<std::size_t>(adjective)] +
         adjective_ending_[static_cast<std::size_t>(gender)][plural];
}

std::string SurfaceGrammar::verb_form(std::int32_t verb, bool past, bool plural) const {
  return stems_.verbs[static_cast<std::size_t>(verb)] + tense_ending_[past] +
         number_ending_[plural];
}

std::string SurfaceGrammar::phrase(const NounPhrase& phrase, const Mistakes& mistakes) const {
  const auto genders = static_cast<std::int32_t>(config_.genders);
  const std::int32_t gender = gender_of(phrase.noun);
  const std::int32_t article_gender = (gender + (mistakes.article_gender ? 1 : 0)) % genders;
  std::string out = noun_form(phrase.noun, phrase.plural, phrase.definite, article_gender);
  if (phrase.adjective >= 0) {
    const std::string adjective =
        adjective_form(phrase.adjective, (gender + (mistakes.adjective_gender ? 1 : 0)) % genders,
                       phrase.plural != mistakes.adjective_number);
    const bool first = config_.adjective_first != mistakes.adjective_order;
    out = first ? adjective + " " + out : out + " " + adjective;
  }
  if (config_.article == "before") {
    const auto& articles = phrase.definite ? definite_article_ : indefinite_article_;
    out = articles[static_cast<std::size_t>(article_gender)][phrase.plural] + " " + out;
  }
  return out;
}

std::string SurfaceGrammar::say(const Meaning& meaning, const Mistakes& mistakes) const {
  std::string order = config_.word_order;
  if (mistakes.word_order) {
    // Verb and object change places: wrong in every order of the three.
    std::swap(order[order.find('V')], order[order.find('O')]);
  }
  std::string place;
  if (meaning.preposition >= 0) {
    place = stems_.prepositions[static_cast<std::size_t>(meaning.preposition)] + " " +
            phrase(meaning.place, {});
  }
  std::string out;
  const auto add = [&out](const std::string& part) {
    if (!part.empty()) {
      out += (out.empty() ? "" : " ") + part;
    }
  };
  if (config_.place == "start") {
    add(place);
  }
  for (const char part : order) {
    if (part == 'S') {
      // Mistakes of form are made in the agent's phrase and its verb alone.
      add(phrase(meaning.agent, mistakes));
      if (config_.place == "after_subject") {
        add(place);
      }
    } else if (part == 'V') {
      add(verb_form(meaning.verb, meaning.past, meaning.agent.plural != mistakes.verb_number));
    } else if (meaning.has_object) {
      add(phrase(meaning.object, {}));
    }
  }
  if (config_.place == "end") {
    add(place);
  }
  return capitalised(out) + ".";
}

SurfaceLengths SurfaceGrammar::lengths() const {
  const auto length = [](const std::string& text) { return static_cast<double>(text.size()); };
  SurfaceLengths out;
  out.noun = [this, length](std::int32_t noun, bool plural, bool definite) {
    // A phrase without its adjective: with the article where there is one.
    return length(phrase({noun, plural, definite, -1}, {}));
  };
  out.adjective = [this, length](std::int32_t adjective, std::int32_t noun, bool plural) {
    return length(adjective_form(adjective, gender_of(noun), plural));
  };
  out.verb = [this, length](std::int32_t verb, bool past, std::int32_t, bool plural) {
    return length(verb_form(verb, past, plural));
  };
  out.preposition = [this, length](std::int32_t preposition) {
    return length(stems_.prepositions[static_cast<std::size_t>(preposition)]);
  };
  return out;
}

}  // namespace growmerge::data
