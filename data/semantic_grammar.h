// What the sentences of the artificial languages mean: a probabilistic grammar of agents, actions,
// objects, places, number, definiteness, properties and tense, shared by all languages.
//
// A sentence's meaning is drawn choice by choice; what can follow depends on what came before (who
// acts decides what is done, what is done decides to what, and properties go with kinds of things).
// Every choice is visible in every language (data/surface_grammar.h), so a sentence's probability
// is the product of its choices', and the entropy of a sentence is exactly
// expected_sentence().bits.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/base/random.h"

namespace growmerge::data {

struct GrammarSize {
  std::int64_t nouns_per_kind = 24;
  std::int64_t verbs = 32;
  std::int64_t adjectives = 24;
  std::int64_t prepositions = 5;
};

/// Kinds of things. Only people, animals and tools act; only places follow prepositions.
enum class NounKind { kPerson, kAnimal, kTool, kPlace };
inline constexpr int kNumNounKinds = 4;

struct NounPhrase {
  std::int32_t noun = 0;  // kind * nouns_per_kind + index in its kind
  bool plural = false;
  bool definite = false;
  std::int32_t adjective = -1;  // -1: none
  bool operator==(const NounPhrase&) const = default;
};

struct Meaning {
  NounPhrase agent;
  std::int32_t verb = 0;
  bool past = false;
  bool has_object = false;
  NounPhrase object;
  std::int32_t preposition = -1;  // -1: no place is named
  NounPhrase place;
  bool operator==(const Meaning&) const = default;
};

/// A distribution over 0 .. n-1.
class Categorical {
 public:
  Categorical() = default;
  explicit Categorical(std::vector<double> weights);
  [[nodiscard]] std::int32_t sample(double uniform) const;
  [[nodiscard]] double probability(std::int32_t i) const {
    return probabilities_[static_cast<std::size_t>(i)];
  }
  [[nodiscard]] std::int32_t size() const {
    return static_cast<std::int32_t>(probabilities_.size());
  }
  [[nodiscard]] double entropy_bits() const;

 private:
  std::vector<double> probabilities_;
};

/// A sequence of uniform numbers: a pure function of (seed, stream, item).
class Draws {
 public:
  Draws(const Philox& random, std::uint64_t item) : random_(&random), next_(item << 24) {}
  [[nodiscard]] double uniform() { return random_->uniform(next_++); }

 private:
  const Philox* random_;
  std::uint64_t next_;
};

/// Bytes that each visible part of a sentence takes, as a language has it.
struct SurfaceLengths {
  std::function<double(std::int32_t noun, bool plural, bool definite)> noun;  // with its article
  std::function<double(std::int32_t adjective, std::int32_t noun, bool plural)> adjective;
  std::function<double(std::int32_t verb, bool past, std::int32_t agent, bool plural)> verb;
  std::function<double(std::int32_t preposition)> preposition;
};

struct SentenceExpectation {
  double bits = 0.0;   // entropy
  double bytes = 0.0;  // of words and the spaces between them, without the full stop
};

class SemanticGrammar {
 public:
  SemanticGrammar(const GrammarSize& size, std::uint64_t seed);

  [[nodiscard]] Meaning sample(Draws& draws) const;
  /// -log2 of the meaning's probability.
  [[nodiscard]] double bits(const Meaning& meaning) const;
  /// Exact entropy, and the exact mean length under a language's word forms, by enumeration.
  [[nodiscard]] SentenceExpectation expected_sentence(const SurfaceLengths& lengths) const;

  [[nodiscard]] const GrammarSize& size() const { return size_; }
  [[nodiscard]] std::int32_t num_nouns() const {
    return static_cast<std::int32_t>(kNumNounKinds * size_.nouns_per_kind);
  }
  [[nodiscard]] NounKind kind_of(std::int32_t noun) const {
    return static_cast<NounKind>(noun / size_.nouns_per_kind);
  }

 private:
  [[nodiscard]] NounPhrase sample_phrase(NounKind kind, Draws& draws) const;
  [[nodiscard]] double phrase_bits(const NounPhrase& phrase) const;
  [[nodiscard]] SentenceExpectation expected_phrase(NounKind kind,
                                                    const SurfaceLengths& lengths) const;

  GrammarSize size_;
  Categorical agent_kind_;
  std::vector<Categorical> noun_;         // [kind] index in the kind
  std::vector<Categorical> adjective_;    // [kind]
  std::vector<Categorical> verb_;         // [kind of the agent]
  std::vector<bool> transitive_;          // [verb]
  std::vector<Categorical> object_kind_;  // [verb]
  Categorical preposition_;
};

}  // namespace growmerge::data
