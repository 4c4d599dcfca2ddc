#include "eval/tasks/bpb.h"

#include "core/base/error.h"
#include "eval/bits_per_byte.h"
#include "eval/encode.h"
#include "eval/request_set.h"

namespace growmerge::eval {

Task load_texts(const TaskConfig& config, const TextLoader& loader) {
  std::vector<Document> documents = loader(config);
  Task task;
  // Counted before the limit: results say how much there was.
  task.available = {{"", static_cast<std::int64_t>(documents.size())}};
  if (config.limit && static_cast<std::int64_t>(documents.size()) > *config.limit) {
    documents.resize(static_cast<std::size_t>(*config.limit));
  }
  if (config.max_characters) {
    // Code points: a cut must not fall into a character.
    for (Document& document : documents) {
      document.text = std::string(first_characters(document.text, *config.max_characters));
    }
  }
  // As `tokenize` does: what is empty is no document.
  task.empty_documents =
      std::erase_if(documents, [](const Document& document) { return document.text.empty(); });
  task.items = text_items(std::move(documents));
  return task;
}

void check_texts(const TaskConfig& config) {
  GM_CHECK(config.rules.prefix.value_or("auto") != "none", kInvalidArgument,
           "bpb needs a prefix: auto, bos or eos");
  GM_CHECK(config.overlong == "windows" || config.overlong == "error", kInvalidArgument,
           "overlong is '", config.overlong,
           "', expected windows or error (a cut in tokens would score other text under each "
           "tokenizer: max_characters cuts documents)");
  // Of the model's own context nothing is known yet.
  const std::int64_t context = config.context > 0 ? config.context : INT64_MAX / 2;
  (void)window_stride(config.stride, context, config.prefix_each_window);
}

std::string plan_texts(const TaskConfig& config, const ScoringRules& rules, std::int64_t context,
                       const std::string& dtype) {
  // Windows move by part of what they hold; later ones may give one input to the prefix.
  const std::string windows =
      config.overlong == "error" ? "one window for each"
      : context == 0             ? concat("context of the model, stride ", config.stride,
                              config.stride == "half" ? " of it" : "")
                                 : concat("context ", context, ", stride ",
                                          window_stride(config.stride, context, config.prefix_each_window));
  const std::string cut = config.max_characters
                              ? concat("first ", *config.max_characters, " characters of each")
                              : "whole documents";
  return concat("prefix ", rules.prefix,
                config.prefix_each_window ? " of each window, " : " of each document, ", windows,
                ", ", cut, "; ", dtype, " products, float32 log p");
}

}  // namespace growmerge::eval
