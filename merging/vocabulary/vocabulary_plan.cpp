#include "merging/vocabulary/vocabulary_plan.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/json_text.h"
#include "core/tokenizer/tokenizer.h"
#include "merging/vocabulary/output_tokenizer.h"
#include "merging/vocabulary/token_table.h"

namespace growmerge::merging {
namespace {

namespace fs = std::filesystem;

/// An adapter that was trained with more tokens brings its tokenizer along.
fs::path tokenizer_dir(const ModelReference& model) {
  return !model.adapter.empty() && fs::exists(model.adapter / "tokenizer.json") ? model.adapter
                                                                                : model.path;
}

RowMap::Row row_of(std::size_t model, std::int64_t row) {
  return {RowMap::Kind::kModel, static_cast<std::int32_t>(model), static_cast<std::int32_t>(row)};
}

class Planner {
 public:
  Planner(const TokenizerRecipe& recipe, std::span<const VocabularyModel> models, std::size_t base)
      : recipe_(recipe), models_(models), base_(base) {}

  VocabularyPlan plan() {
    read_tokenizers();
    make_output_tokenizer();
    out_.maps.resize(models_.size());
    const std::int64_t tokens = output_.size();
    const std::int64_t multiple = recipe_.pad_to_multiple_of;
    out_.num_rows = (tokens + multiple - 1) / multiple * multiple;
    for (RowMap& map : out_.maps) {
      map.rows.assign(static_cast<std::size_t>(out_.num_rows), {RowMap::Kind::kPadding, 0, 0});
    }
    for (const auto& [id, token] : output_.by_id) {
      place_token(id, token);
    }
    write_report();
    for (const auto& [id, token] : tables_[base_].by_id) {
      if (const auto place = output_.find(token)) {
        out_.new_ids[id] = *place;
      }
    }
    return std::move(out_);
  }

 private:
  void read_tokenizers() {
    const fs::path base = tokenizer_dir(models_[base_].reference);
    GM_CHECK(fs::exists(base / "tokenizer.json"), kNotFound, recipe_.where, ": no '",
             (base / "tokenizer.json").string(), "': the base (or first) model needs a tokenizer");
    for (const VocabularyModel& model : models_) {
      fs::path dir = tokenizer_dir(model.reference);
      if (!fs::exists(dir / "tokenizer.json")) {
        out_.warnings.push_back(concat("'", dir.string(),
                                       "' has no tokenizer.json: taken to have "
                                       "that of '",
                                       base.string(), "'"));
        dir = base;
      }
      const fs::path file = dir / "tokenizer.json";
      texts_.push_back({read_json_text(file), file.string(), model.rows});
      tables_.push_back(parse_token_table(texts_.back().json, texts_.back().name));
      dirs_.push_back(dir);
    }
  }

  void make_output_tokenizer() {
    std::string own;  // the file that it may be equal to
    switch (recipe_.source) {
      case TokenizerRecipe::Source::kModel: {
        const fs::path dir = tokenizer_dir(recipe_.model);
        const fs::path file = fs::is_directory(dir) ? dir / "tokenizer.json" : dir;
        GM_CHECK(fs::exists(file), kNotFound, recipe_.where, ": no '", file.string(), "'");
        own = read_json_text(file);
        out_.tokenizer_json = own;
        out_.companions_from = file.parent_path();
        break;
      }
      case TokenizerRecipe::Source::kBase:
        own = texts_[base_].json;
        out_.tokenizer_json = stripped_tokenizer(texts_[base_]);
        out_.companions_from = dirs_[base_];
        break;
      case TokenizerRecipe::Source::kUnion: {
        std::vector<TokenizerText> ordered = {texts_[base_]};
        for (std::size_t m = 0; m < texts_.size(); ++m) {
          if (m != base_) {
            ordered.push_back(texts_[m]);
          }
        }
        own = texts_[base_].json;
        out_.tokenizer_json = union_tokenizer(ordered);
        out_.companions_from = dirs_[base_];
        break;
      }
    }
    std::vector<std::string> wanted;
    for (const auto& [token, rule] : recipe_.tokens) {
      wanted.push_back(token);
    }
    out_.tokenizer_json = with_tokens(out_.tokenizer_json, wanted, recipe_.where);
    out_.is_a_models_own = out_.tokenizer_json == own;
    output_ = parse_token_table(out_.tokenizer_json, "the tokenizer of the result");
  }

  /// The model's own row of a token; nothing where it has none, or the row is beyond its last.
  [[nodiscard]] std::optional<std::int64_t> own_row(std::size_t model,
                                                    const std::string& token) const {
    const auto id = tables_[model].find(token);
    return id && *id < models_[model].rows ? id : std::nullopt;
  }

  void place_token(std::int64_t id, const std::string& token) {
    const auto is_its = [&token](const auto& entry) { return entry.first == token; };
    const auto found = std::find_if(recipe_.tokens.begin(), recipe_.tokens.end(), is_its);
    const TokenRule* rule = found == recipe_.tokens.end() ? nullptr : &found->second;
    std::vector<RowMap::Row> owners;
    for (std::size_t m = 0; m < models_.size(); ++m) {
      if (const auto row = own_row(m, token)) {
        owners.push_back(row_of(m, *row));
      }
    }
    const bool is_forced = rule != nullptr && rule->force;
    for (std::size_t m = 0; m < models_.size(); ++m) {
      RowMap& map = out_.maps[m];
      RowMap::Row& place = map.rows[static_cast<std::size_t>(id)];
      const auto own = own_row(m, token);
      if (own && !is_forced) {
        place = row_of(m, *own);
      } else if (rule != nullptr) {
        place = row_of_rule(token, *rule);
      } else if (owners.empty()) {
        place = row_of_pieces(m, id, token);
      } else if (owners.size() == 1) {
        place = owners.front();
      } else if (const auto base_row = own_row(base_, token)) {
        place = row_of(base_, *base_row);
      } else {
        place = mean_of(map, owners);
      }
    }
    num_own_ += owners.size() == models_.size() && !is_forced ? 1 : 0;
    num_missing_ += owners.empty() ? 1 : 0;
  }

  static RowMap::Row mean_of(RowMap& map, std::vector<RowMap::Row> rows) {
    if (rows.size() == 1) {
      return rows.front();
    }
    map.means.push_back(std::move(rows));
    return {RowMap::Kind::kMean, 0, static_cast<std::int32_t>(map.means.size() - 1)};
  }

  [[nodiscard]] RowMap::Row row_of_rule(const std::string& token, const TokenRule& rule) const {
    if (rule.kind == TokenRule::Kind::kZero) {
      return {RowMap::Kind::kZero, 0, 0};
    }
    const auto it = std::find_if(models_.begin(), models_.end(), [&rule](const auto& model) {
      return same_model(model.reference, rule.model);
    });
    GM_CHECK(it != models_.end(), kInvalidArgument, rule.where, ": token '", token, "': '",
             rule.model.text(), "' is no model of this merge");
    const auto model = static_cast<std::size_t>(it - models_.begin());
    std::optional<std::int64_t> row = rule.row;
    if (!row) {
      row = own_row(model, rule.token.value_or(token));
    }
    GM_CHECK(row && *row >= 0 && *row < models_[model].rows, kInvalidArgument, rule.where,
             ": token '", token, "': '", rule.model.text(), "' has no row of ",
             rule.row ? concat("id ", *rule.row) : "'" + rule.token.value_or(token) + "'");
    return row_of(model, *row);
  }

  /// Of a token that nobody has.
  RowMap::Row row_of_pieces(std::size_t model, std::int64_t id, const std::string& token) {
    std::vector<RowMap::Row> rows;
    const Tokenizer* output = tokenizer(models_.size(), out_.tokenizer_json);
    const Tokenizer* own = tokenizer(model, texts_[model].json);
    if (output != nullptr && own != nullptr) {
      const std::int32_t ids[] = {static_cast<std::int32_t>(id)};
      std::string text = output->decode(ids, /*skip_special=*/false);
      try {
        for (const std::int32_t piece : own->encode(text, /*add_special=*/false)) {
          if (piece < models_[model].rows && own->kind(piece) != TokenKind::kUnknown) {
            rows.push_back(row_of(model, piece));
          }
        }
      } catch (const Error&) {
        rows.clear();  // a part of a character: no text of its own
      }
    }
    if (rows.empty()) {
      ++num_zero_;
      return {RowMap::Kind::kZero, 0, 0};
    }
    return mean_of(out_.maps[model], std::move(rows));
  }

  /// Made when it is needed; null for a tokenizer that cannot be run here.
  const Tokenizer* tokenizer(std::size_t place, const std::string& json) {
    auto it = tokenizers_.find(place);
    if (it == tokenizers_.end()) {
      std::optional<Tokenizer> made;
      try {
        made = Tokenizer::parse(json, "tokenizer.json");
      } catch (const Error& e) {
        out_.warnings.push_back(
            concat("a tokenizer cannot be run here, so that tokens no model "
                   "has get rows of zeros: ",
                   e.what()));
      }
      it = tokenizers_.emplace(place, std::move(made)).first;
    }
    return it->second ? &*it->second : nullptr;
  }

  [[nodiscard]] std::string origin_text(const RowMap& map, const RowMap::Row& row,
                                        std::size_t model) const {
    switch (row.kind) {
      case RowMap::Kind::kModel:
        return static_cast<std::size_t>(row.model) == model
                   ? concat("own ", row.row)
                   : concat("model ", row.model, " ", row.row);
      case RowMap::Kind::kMean: {
        std::string out = "mean";
        for (const RowMap::Row& one : map.means[static_cast<std::size_t>(row.row)]) {
          out += concat(" ", one.model, ":", one.row);
        }
        return out;
      }
      case RowMap::Kind::kZero:
        return "zero";
      case RowMap::Kind::kPadding:
        return "padding";
    }
    return "";
  }

  void write_report() {
    std::string text = "id\ttoken";
    for (std::size_t m = 0; m < models_.size(); ++m) {
      text += concat("\tmodel ", m, ": ", models_[m].reference.text());
    }
    text += "\n";
    for (std::int64_t id = 0; id < out_.num_rows; ++id) {
      const auto it = output_.by_id.find(id);
      const nlohmann::json token =
          it == output_.by_id.end() ? nlohmann::json() : nlohmann::json(it->second);
      text +=
          concat(id, "\t", token.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
      for (std::size_t m = 0; m < models_.size(); ++m) {
        const RowMap& map = out_.maps[m];
        text += "\t" + origin_text(map, map.rows[static_cast<std::size_t>(id)], m);
      }
      text += "\n";
    }
    out_.report = std::move(text);
    out_.summary = concat("vocabulary of ", out_.num_rows, " rows: ", output_.by_id.size(),
                          " tokens, ", num_own_, " with a row of its own in every model, ",
                          num_missing_, " that no model has",
                          num_zero_ == 0 ? "" : concat(" (", num_zero_, " rows of zeros)"));
  }

  const TokenizerRecipe& recipe_;
  std::span<const VocabularyModel> models_;
  std::size_t base_;
  std::vector<TokenizerText> texts_;
  std::vector<TokenTable> tables_;
  std::vector<fs::path> dirs_;
  TokenTable output_;
  std::map<std::size_t, std::optional<Tokenizer>> tokenizers_;
  std::size_t num_own_ = 0;
  std::size_t num_missing_ = 0;
  std::size_t num_zero_ = 0;
  VocabularyPlan out_;
};

}  // namespace

VocabularyPlan plan_vocabulary(const TokenizerRecipe& recipe,
                               std::span<const VocabularyModel> models, std::size_t base) {
  return Planner(recipe, models, base).plan();
}

}  // namespace growmerge::merging
