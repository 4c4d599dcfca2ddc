#include "core/tokenizer/model_spec.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "core/base/error.h"

namespace growmerge::tok {
namespace {

/// The tokens of a model (which outlives it), by text and by id, and the id that follows them.
struct Vocabulary {
  std::unordered_map<std::string, std::int32_t> ids;
  std::unordered_map<std::int32_t, const std::string*> contents;
  std::int32_t size = 0;
};

Vocabulary vocabulary_of(const BpeSpec& model) {
  Vocabulary out;
  for (const auto& [token, id] : model.vocab) {
    out.ids.emplace(token, id);
    out.contents.emplace(id, &token);
  }
  out.size = static_cast<std::int32_t>(model.vocab.size());
  return out;
}

Vocabulary vocabulary_of(const UnigramSpec& model) {
  Vocabulary out;
  for (const auto& [piece, score] : model.vocab) {
    out.ids.insert_or_assign(piece, out.size);  // of equal pieces the last one counts
    out.contents.emplace(out.size++, &piece);
  }
  return out;
}

std::pair<std::string, std::string> parse_merge(const Json& merge, std::size_t index) {
  // Older files write "left right", newer ones [left, right], where tokens may hold spaces.
  if (merge.is_string()) {
    const std::string both = merge.get<std::string>();
    const std::size_t space = both.find(' ');
    GM_CHECK(space != std::string::npos && both.find(' ', space + 1) == std::string::npos, kCorrupt,
             "model merges: entry ", index, " '", both, "': expected two tokens and one space");
    return {both.substr(0, space), both.substr(space + 1)};
  }
  GM_CHECK(merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string(),
           kCorrupt, "model merges: entry ", index, ": expected a string or two, got ",
           shown(merge));
  return {merge[0].get<std::string>(), merge[1].get<std::string>()};
}

void check_empty_affix(const Json& model, const char* key) {
  const Json* value = find_field(model, key);
  GM_CHECK(value == nullptr || (value->is_string() && value->get<std::string>().empty()),
           kUnsupported, "model: ", key, " is not understood, only '' or null");
}

BpeSpec parse_bpe(const Json& model) {
  const Json* dropout = find_field(model, "dropout");
  // It would make encoding random.
  GM_CHECK(dropout == nullptr || (dropout->is_number() && dropout->get<double>() == 0.0),
           kUnsupported, "model: dropout is not supported: set it to null");
  check_empty_affix(model, "continuing_subword_prefix");
  check_empty_affix(model, "end_of_word_suffix");
  BpeSpec bpe;
  if (find_field(model, "unk_token") != nullptr) {
    bpe.unk_token = string_field(model, "unk_token", "model");
  }
  bpe.fuse_unk = bool_field(model, "fuse_unk", false, "model");
  bpe.byte_fallback = bool_field(model, "byte_fallback", false, "model");
  bpe.ignore_merges = bool_field(model, "ignore_merges", false, "model");
  const Json& vocab = require_field(model, "vocab", "model");
  require_object(vocab, "model vocab");
  // Two tokens of one id could not be decoded.
  std::unordered_set<std::int32_t> seen;
  for (const auto& [token, id] : vocab.items()) {
    const std::int32_t value = id_value(id, concat("model vocab: token '", token, "'"));
    GM_CHECK(seen.insert(value).second, kCorrupt, "model vocab: token '", token, "': id ", value,
             " belongs to another token, too");
    bpe.vocab.emplace_back(token, value);
  }
  std::size_t index = 0;
  for (const Json& merge : require_array(model, "merges", "model")) {
    bpe.merges.push_back(parse_merge(merge, index++));
  }
  return bpe;
}

UnigramSpec parse_unigram(const Json& model) {
  UnigramSpec unigram;
  unigram.byte_fallback = bool_field(model, "byte_fallback", false, "model");
  for (const Json& entry : require_array(model, "vocab", "model")) {
    GM_CHECK(entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_number(),
             kCorrupt, "model vocab: entry ", unigram.vocab.size(),
             ": expected [piece, score], got ", shown(entry));
    unigram.vocab.emplace_back(entry[0].get<std::string>(), entry[1].get<double>());
  }
  if (const Json* unk = find_field(model, "unk_id")) {
    unigram.unk_id = id_value(*unk, "model unk_id");
    GM_CHECK(static_cast<std::size_t>(*unigram.unk_id) < unigram.vocab.size(), kCorrupt,
             "model: unk_id ", *unigram.unk_id, " of ", unigram.vocab.size(), " pieces");
  }
  return unigram;
}

/// Very old files leave the type out; the package then takes the first kind whose fields are there.
std::string model_type(const Json& model) {
  if (find_field(model, "type") != nullptr) {
    return string_field(model, "type", "model");
  }
  const Json& vocab = require_field(model, "vocab", "model");
  if (vocab.is_array()) {
    return "Unigram";
  }
  const bool merges = find_field(model, "merges") != nullptr;
  if (merges || find_field(model, "unk_token") == nullptr) {
    return "BPE";
  }
  return find_field(model, "max_input_chars_per_word") != nullptr ? "WordPiece" : "WordLevel";
}

AddedTokenSpec parse_added_token(const Json& entry) {
  require_object(entry, "added token");
  AddedTokenSpec token;
  token.content = string_field(entry, "content", "added token");
  const std::string what = concat("added token '", token.content, "'");
  token.id = id_value(require_field(entry, "id", what), what);
  token.single_word = bool_field(entry, "single_word", false, what);
  token.lstrip = bool_field(entry, "lstrip", false, what);
  token.rstrip = bool_field(entry, "rstrip", false, what);
  token.special = bool_field(entry, "special", false, what);
  token.normalized = bool_field(entry, "normalized", !token.special, what);
  return token;
}

/// The package gives a token that is not in the model's vocabulary the next free id, in the order
/// of the list and whatever the file says: where the two differ the file is refused.
std::vector<AddedTokenSpec> added_tokens_of(const Json& root, const Vocabulary& vocabulary) {
  std::vector<AddedTokenSpec> out;
  const Json* list = find_field(root, "added_tokens");
  if (list == nullptr) {
    return out;
  }
  GM_CHECK(list->is_array(), kCorrupt, "added_tokens: expected a list, got ", list->type_name());
  const auto& [ids, contents, size] = vocabulary;
  std::unordered_set<std::string> seen;
  // The package's next free id: behind the vocabulary, and behind all added ones so far.
  std::int32_t max_added = -1;
  for (const Json& entry : *list) {
    AddedTokenSpec token = parse_added_token(entry);
    const std::string what = concat("added token '", token.content, "'");
    GM_CHECK(!token.content.empty(), kCorrupt, "added token ", token.id, " is empty");
    GM_CHECK(seen.insert(token.content).second, kCorrupt, what, " is there twice");
    const auto known = ids.find(token.content);
    GM_CHECK(known == ids.end() || known->second == token.id, kCorrupt, what, " has id ", token.id,
             ", in the model's vocabulary it has ", known->second);
    const std::int32_t next = std::max(max_added + 1, size);
    GM_CHECK(known != ids.end() || token.id == next, kUnsupported, what, " has id ", token.id,
             ", and the tokenizers package would give it ", next,
             ": number added tokens without gaps, in the order of the list");
    const auto owner = contents.find(token.id);
    GM_CHECK(owner == contents.end() || *owner->second == token.content, kCorrupt, what, ": id ",
             token.id, " belongs to '", *owner->second, "'");
    max_added = std::max(max_added, token.id);
    out.push_back(std::move(token));
  }
  return out;
}

}  // namespace

std::variant<BpeSpec, UnigramSpec> parse_model(const Json& root) {
  const Json& model = require_field(root, "model", "tokenizer");
  require_object(model, "model");
  const std::string type = model_type(model);
  if (type == "BPE") {
    return parse_bpe(model);
  }
  // Both are of encoders such as BERT; no decoder that is read here has them.
  GM_CHECK(type != "WordPiece" && type != "WordLevel", kUnsupported, "model '", type,
           "' is not supported, only BPE and Unigram: take the tokenizer of a decoder model, or "
           "train one (growmerge tokenizer train)");
  GM_CHECK(type == "Unigram", kUnsupported, "model '", type,
           "' is not understood, only BPE and Unigram");
  return parse_unigram(model);
}

std::vector<AddedTokenSpec> parse_added_tokens(const Json& root,
                                               const std::variant<BpeSpec, UnigramSpec>& model) {
  return std::visit([&](const auto& m) { return added_tokens_of(root, vocabulary_of(m)); }, model);
}

}  // namespace growmerge::tok
