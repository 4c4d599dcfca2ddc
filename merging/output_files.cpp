#include "merging/output_files.h"

#include "core/base/files.h"
#include "core/base/json_text.h"
#include "core/base/log.h"
#include "core/store/hub_cache.h"
#include "merging/output_config.h"
#include "merging/vocabulary/chat_template.h"

namespace growmerge::merging {
namespace {

namespace fs = std::filesystem;

// What goes with one vocabulary. The first are true of no other.
constexpr const char* kVocabularyFiles[] = {"vocab.json",
                                            "merges.txt",
                                            "vocab.txt",
                                            "tokenizer.model",
                                            "tokenizer.model.v3",
                                            "spiece.model",
                                            "sentencepiece.bpe.model",
                                            "tekken.json",
                                            "qwen.tiktoken",
                                            "added_tokens.json"};
constexpr const char* kTokenizerFiles[] = {"tokenizer_config.json", "special_tokens_map.json"};

void copy_if_there(const fs::path& from, const fs::path& to, const char* name) {
  fs::remove(to / name);
  if (fs::exists(from / name)) {
    write_file_atomically(to / name, read_file(from / name));
  }
}

void write_vocabulary(const VocabularyPlan& vocabulary, const fs::path& dir) {
  for (const char* name : kVocabularyFiles) {
    fs::remove(dir / name);
    if (vocabulary.is_a_models_own) {
      copy_if_there(vocabulary.companions_from, dir, name);
    }
  }
  for (const char* name : kTokenizerFiles) {
    copy_if_there(vocabulary.companions_from, dir, name);
  }
  write_file_atomically(dir / "tokenizer.json", vocabulary.tokenizer_json);
  write_file_atomically(dir / "vocabulary.tsv", vocabulary.report);
  const fs::path generation = dir / "generation_config.json";
  if (fs::exists(generation)) {
    write_file_atomically(generation,
                          with_new_token_ids(read_json_text(generation), vocabulary.new_ids));
  }
}

void write_chat_template(const MergePlan& plan, const fs::path& dir) {
  std::string text = *plan.recipe.chat_template;
  if (text == "auto") {
    std::vector<fs::path> models;
    for (const auto* list : {&plan.models, &plan.bases}) {
      for (const SourceModel& model : *list) {
        models.push_back(model.dir());
      }
    }
    const auto found = most_common_template(models);
    if (!found) {
      log_warning("chat_template: auto, but no model has a chat template: none is written");
      return;
    }
    text = *found;
  }
  write_file_atomically(dir / "chat_template.jinja", text);
}

}  // namespace

void write_other_files(const MergePlan& plan, const fs::path& dir) {
  write_file_atomically(dir / "config.json",
                        model_config_json(plan.config, dtype_name(plan.out_dtype)));
  copy_companions(plan.companions_from, dir);
  if (plan.vocabulary) {
    write_vocabulary(*plan.vocabulary, dir);
  }
  if (plan.recipe.chat_template) {
    write_chat_template(plan, dir);
  }
  std::string name = without_trailing_slash(dir).filename().string();
  if (name.ends_with(".tmp")) {  // a stage's, until it is finished
    name.resize(name.size() - 4);
  }
  write_file_atomically(dir / "README.md", model_card(plan, name));
  write_file_atomically(dir / "mergekit_config.yml", plan.recipe.yaml);
}

std::string model_card(const MergePlan& plan, const std::string& name) {
  std::string bases;
  std::string list;
  const auto add = [&](const SourceModel& model, const char* role) {
    const std::string directory = model_dir_name(model.dir());
    bases += "- " + yaml_quote(directory) + "\n";
    list += "* " + directory + (model.adapter() == nullptr ? "" : " with an adapter") + role + "\n";
  };
  for (const SourceModel& base : plan.bases) {
    add(base, " (base)");
  }
  for (const SourceModel& model : plan.models) {
    add(model, "");
  }
  const Method& method = *plan.recipe.method;
  return "---\nbase_model:\n" + bases +
         "library_name: transformers\ntags:\n- growmerge\n- mergekit\n- merge\n---\n# " + name +
         "\n\nMade by growmerge from\n\n" + list + "\nwith `" + method.name + "` (" + method.doc +
         "; " + method.source +
         "). This recipe makes it again, with `growmerge merge --config mergekit_config.yml`:\n\n"
         "```yaml\n" +
         plan.recipe.yaml + "```\n";
}

}  // namespace growmerge::merging
