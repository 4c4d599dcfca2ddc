#include "merging/vocabulary/tokenizer_recipe.h"

#include "core/base/error.h"
#include "merging/recipe_keys.h"

namespace growmerge::merging {
namespace {

/// Sets source and model. A name that is neither a word of mergekit's nor a directory is refused.
void take_source(const YamlNode& node, TokenizerRecipe& out) {
  out.where = node.where();
  if (node.is_scalar() && (node.scalar == "union" || node.scalar == "base")) {
    out.source =
        node.scalar == "union" ? TokenizerRecipe::Source::kUnion : TokenizerRecipe::Source::kBase;
    return;
  }
  out.source = TokenizerRecipe::Source::kModel;
  try {
    out.model = parse_model_reference(node);
  } catch (const Error& e) {
    if (e.code() != ErrorCode::kNotFound) {
      throw;
    }
    fail(ErrorCode::kUnsupported, e.what(),
         ". A tokenizer_source that is not supported: expected union, base, or the directory of a "
         "model or tokenizer");
  }
}

TokenRule parse_token_rule(const std::string& token, const YamlNode& node) {
  check_keys(node, {"source", "force"});
  TokenRule out;
  out.where = node.where();
  if (const YamlNode* force = find_value(node, "force")) {
    out.force = force->as_bool();
  }
  const YamlNode* source = find_value(node, "source");
  GM_CHECK(source != nullptr, kInvalidArgument, node.where(), ": token '", token,
           "': key 'source' is missing: a model, {kind: zero}, or {kind: model_token, model, token "
           "or token_id}");
  const YamlNode* kind = source->is_map() ? source->find("kind") : nullptr;
  if (kind == nullptr) {
    out.model = parse_model_reference(*source);
    return out;
  }
  if (kind->as_string() == "zero") {
    check_keys(*source, {"kind"});
    out.kind = TokenRule::Kind::kZero;
    return out;
  }
  GM_CHECK(kind->as_string() == "model_token", kInvalidArgument, kind->where(), ": kind '",
           kind->scalar, "' is none of zero, model_token");
  check_keys(*source, {"kind", "model", "token", "token_id"});
  out.kind = TokenRule::Kind::kModelToken;
  const YamlNode* model = find_value(*source, "model");
  GM_CHECK(model != nullptr, kInvalidArgument, source->where(), ": key 'model' is missing");
  out.model = parse_model_reference(*model);
  const YamlNode* text = find_value(*source, "token");
  const YamlNode* id = find_value(*source, "token_id");
  GM_CHECK((text != nullptr) != (id != nullptr), kInvalidArgument, source->where(),
           ": expected one of token and token_id");
  if (text != nullptr) {
    out.token = text->as_string();
  } else {
    out.row = id->as_int();
  }
  return out;
}

}  // namespace

std::optional<TokenizerRecipe> parse_tokenizer_recipe(const YamlNode& root) {
  const YamlNode* short_form = find_value(root, "tokenizer_source");
  const YamlNode* section = find_value(root, "tokenizer");
  TokenizerRecipe out;
  if (short_form != nullptr) {
    GM_CHECK(section == nullptr, kInvalidArgument, section->where(),
             ": a recipe has 'tokenizer' or 'tokenizer_source', not both");
    take_source(*short_form, out);
    return out;
  }
  if (section == nullptr) {
    return std::nullopt;
  }
  GM_CHECK(section->is_map(), kUnsupported, section->where(),
           ": 'tokenizer' as a single value is not supported: expected {source, tokens, "
           "pad_to_multiple_of}, or tokenizer_source");
  check_keys(*section, {"source", "tokens", "pad_to_multiple_of"});
  out.where = section->where();
  if (const YamlNode* source = find_value(*section, "source")) {
    take_source(*source, out);
  }
  if (const YamlNode* tokens = find_value(*section, "tokens")) {
    GM_CHECK(tokens->is_map(), kInvalidArgument, tokens->where(),
             ": 'tokens' must be a map of tokens to {source, force}");
    for (const auto& [token, rule] : tokens->entries) {
      out.tokens.emplace_back(token, parse_token_rule(token, rule));
    }
  }
  if (const YamlNode* multiple = find_value(*section, "pad_to_multiple_of")) {
    out.pad_to_multiple_of = multiple->as_int();
    GM_CHECK(out.pad_to_multiple_of > 0, kInvalidArgument, multiple->where(),
             ": pad_to_multiple_of must be 1 or more");
  }
  return out;
}

}  // namespace growmerge::merging
