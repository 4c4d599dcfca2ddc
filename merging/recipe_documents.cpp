#include "merging/recipe_documents.h"

#include <algorithm>
#include <functional>

#include "core/base/error.h"
#include "merging/model_reference.h"

namespace growmerge::merging {
namespace {

/// Calls fn with every scalar that names a model.
void for_each_model(YamlNode& node, const std::function<void(YamlNode&)>& fn) {
  for (auto& [key, value] : node.entries) {
    if (names_model(key, value)) {
      fn(value);
    } else {
      for_each_model(value, fn);
    }
  }
  for (YamlNode& item : node.items) {
    for_each_model(item, fn);
  }
}

/// "name" of "name+adapter".
std::string model_part(const std::string& text) { return text.substr(0, text.find('+')); }

std::string name_of(const YamlNode& recipe) {
  const YamlNode* name = recipe.find("name");
  return name == nullptr || name->is_null() ? "" : name->as_string();
}

class Order {
 public:
  explicit Order(const std::vector<YamlNode>& documents) {
    for (const YamlNode& document : documents) {
      GM_CHECK(document.is_map(), kInvalidArgument, document.where(), ": expected a recipe");
      const std::string name = name_of(document);
      for (const RecipeDocument& other : given_) {
        GM_CHECK(other.name != name, kInvalidArgument, document.where(),
                 name.empty() ? ": a second recipe without a name: only the last result, which "
                                "goes to --out, needs none"
                              : ": a second recipe with the name '" + name + "'");
      }
      GM_CHECK(name.find('/') == std::string::npos && name != ".." && name != ".", kInvalidArgument,
               document.where(), ": name '", name, "' is no name of a directory");
      given_.push_back({name, document, {}});
    }
    for (RecipeDocument& document : given_) {
      for_each_model(document.recipe, [&](YamlNode& model) {
        for (std::size_t i = 0; i < given_.size(); ++i) {
          if (!given_[i].name.empty() && given_[i].name == model_part(model.scalar)) {
            document.needs.push_back(i);
          }
        }
      });
    }
  }

  std::vector<RecipeDocument> sorted() {
    state_.assign(given_.size(), State::kNew);
    place_.assign(given_.size(), 0);
    const std::size_t last = last_one();
    for (std::size_t i = 0; i < given_.size(); ++i) {
      if (i != last) {
        visit(i);
      }
    }
    visit(last);
    return std::move(out_);
  }

 private:
  enum class State { kNew, kOpen, kDone };

  std::size_t last_one() const {
    std::vector<std::size_t> ends;  // needed by no other
    for (std::size_t i = 0; i < given_.size(); ++i) {
      if (given_[i].name.empty()) {
        return i;
      }
      const bool is_needed =
          std::any_of(given_.begin(), given_.end(), [i](const RecipeDocument& other) {
            return std::find(other.needs.begin(), other.needs.end(), i) != other.needs.end();
          });
      if (!is_needed) {
        ends.push_back(i);
      }
    }
    GM_CHECK(!ends.empty(), kInvalidArgument, given_.front().recipe.where(),
             ": each of these recipes needs another: '", given_.front().name,
             "' comes round to "
             "itself");
    GM_CHECK(ends.size() == 1, kUnsupported, given_[ends[1]].recipe.where(), ": '",
             given_[ends[0]].name, "' and '", given_[ends[1]].name,
             "' are both results that no recipe needs: several results of one file are not "
             "supported, write a file for each");
    return ends.front();
  }

  void visit(std::size_t i) {
    if (state_[i] == State::kDone) {
      return;
    }
    GM_CHECK(state_[i] == State::kNew, kInvalidArgument, given_[i].recipe.where(), ": recipe '",
             given_[i].name, "' needs itself, by way of the models it names");
    state_[i] = State::kOpen;
    RecipeDocument document = given_[i];
    for (std::size_t& need : document.needs) {
      visit(need);
      need = place_[need];
    }
    state_[i] = State::kDone;
    place_[i] = out_.size();
    out_.push_back(std::move(document));
  }

  std::vector<RecipeDocument> given_;
  std::vector<State> state_;
  std::vector<std::size_t> place_;
  std::vector<RecipeDocument> out_;
};

}  // namespace

std::vector<RecipeDocument> order_recipes(const std::vector<YamlNode>& documents) {
  return Order(documents).sorted();
}

YamlNode with_parts(const YamlNode& recipe, const std::vector<RecipeDocument>& documents,
                    const std::string& dir) {
  YamlNode out = recipe;
  for_each_model(out, [&](YamlNode& model) {
    const std::string part = model_part(model.scalar);
    for (const RecipeDocument& document : documents) {
      if (!document.name.empty() && document.name == part) {
        model.scalar = dir + "/" + model.scalar;
        return;
      }
    }
  });
  return out;
}

}  // namespace growmerge::merging
