#include "eval/tasks/choice.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/random.h"
#include "core/store/hashes.h"
#include "eval/table_reader.h"
#include "eval/template.h"

namespace growmerge::eval {
namespace {

struct Layout {
  const char* name;
  const char* context;
  std::vector<std::string> choices;
  const char* choices_from;
  const char* gold;
  std::int64_t first_gold;
  const char* clean;
  const char* cluster;
};

// As lm-evaluation-harness 0.4.13 asks them.
const Layout kLayouts[] = {
    {"belebele",
     "P: {{flores_passage}}\nQ: {{question|strip}}\nA: {{mc_answer1}}\nB: {{mc_answer2}}\n"
     "C: {{mc_answer3}}\nD: {{mc_answer4}}\nAnswer:",
     {"A", "B", "C", "D"},
     "",
     "{{correct_answer_num}}",
     1,
     "",
     "flores_passage"},
    {"xcopa",
     "{{premise|strip|drop_last}} {{question|CONNECTOR}}",
     {"{{choice1|lower_first}}", "{{choice2|lower_first}}"},
     "",
     "{{label}}",
     0,
     "",
     ""},
    {"hellaswag",
     "{{activity_label}}: {{ctx_a}} {{ctx_b|capitalize}}",
     {},
     "endings",
     "{{label}}",
     0,
     "wikihow",
     ""},
};

/// What stands between XCOPA's premise and its cause or effect.
struct Connectors {
  const char* language;
  const char* cause;
  const char* effect;
};
// The harness has all but the English ones, which XCOPA itself does not need.
constexpr std::array<Connectors, 12> kConnectors = {{{"en", "because", "therefore"},
                                                     {"et", "sest", "seetõttu"},
                                                     {"ht", "poukisa", "donk sa"},
                                                     {"id", "karena", "maka"},
                                                     {"it", "perché", "quindi"},
                                                     {"qu", "imataq", "chaymi"},
                                                     {"sw", "kwa sababu", "kwa hiyo"},
                                                     {"ta", "காரணமாக", "எனவே"},
                                                     {"th", "เพราะ", "ดังนั้น"},
                                                     {"tr", "çünkü", "bu yüzden"},
                                                     {"vi", "bởi vì", "vì vậy"},
                                                     {"zh", "因为", "所以"}}};

std::string with_connector(std::string text, const std::string& language) {
  // The connectors are a filter on the column that says "cause" or "effect".
  const std::string mark = "CONNECTOR";
  std::string all;
  for (const Connectors& row : kConnectors) {
    if (language == row.language) {
      return text.replace(text.find(mark), mark.size(),
                          concat("cause=", row.cause, "|effect=", row.effect));
    }
    all += (all.empty() ? "" : ", ") + std::string(row.language);
  }
  fail(ErrorCode::kInvalidArgument, "layout xcopa: language is '", language, "', expected one of ",
       all, "; for another give choice.context, as '",
       text.replace(text.find(mark), mark.size(), "cause=WORD|effect=WORD"), "'");
}

/// The layout with the user's own templates in its place where there are any.
ChoiceConfig resolve(const TaskConfig& task) {
  ChoiceConfig config = task.choice;
  // Without a layout everything must be given; check_choices says what is missing.
  if (config.layout.empty()) {
    return config;
  }
  std::string all;
  for (const Layout& layout : kLayouts) {
    if (config.layout == layout.name) {
      const bool connected = std::string(layout.context).find("CONNECTOR") != std::string::npos;
      if (!config.context) {
        config.context = connected ? with_connector(layout.context, task.language) : layout.context;
      }
      // The two are one setting: either replaces both of the layout's.
      if (config.choices.empty() && config.choices_from.empty()) {
        config.choices = layout.choices;
        config.choices_from = layout.choices_from;
      }
      if (config.gold.empty()) {
        config.gold = layout.gold;
        config.first_gold = layout.first_gold;
      }
      config.clean = config.clean.empty() ? layout.clean : config.clean;
      config.cluster = config.cluster.empty() ? layout.cluster : config.cluster;
      return config;
    }
    all += (all.empty() ? "" : ", ") + std::string(layout.name);
  }
  fail(ErrorCode::kInvalidArgument, "choice.layout is '", config.layout, "', expected one of ",
       all);
}

/// A row as it is asked.
struct Question {
  std::string context;
  std::vector<std::string> choices;
  std::int64_t gold = 0;
  std::string cluster{};

  bool operator==(const Question&) const = default;
};

class QuestionReader {
 public:
  explicit QuestionReader(const ChoiceConfig& config)
      : config_(config), context_(config.context.value_or("")), gold_(config.gold) {
    want(context_.columns());
    for (const std::string& choice : config.choices) {
      choices_.emplace_back(choice);
      want(choices_.back().columns());
    }
    if (!config.choices_from.empty()) {
      want({config.choices_from});
    }
    want(gold_.columns());
    if (!config.cluster.empty()) {
      want({config.cluster});
    }
  }

  /// What was read is added to `counts`.
  std::vector<Question> read(const std::filesystem::path& path, bool quoted,
                             TableCounts& counts) const {
    std::vector<Question> questions;
    const auto add = [&](const TableRow& row) {
      questions.push_back(
          with_context(concat(path.string(), ":", row.line), [&] { return question_from(row); }));
    };
    counts.add(read_table(path, columns_, add, quoted));
    GM_CHECK(!questions.empty(), kCorrupt, path.string(), ": no rows in this file");
    return questions;
  }

 private:
  void want(const std::vector<std::string>& names) {
    for (const std::string& name : names) {
      if (std::none_of(columns_.begin(), columns_.end(),
                       [&](const WantedColumn& column) { return column.name == name; })) {
        columns_.push_back({.name = name, .required = true, .may_be_empty = true});
      }
    }
  }

  // As the harness: the rendered text is cleaned, not the columns it came from.
  std::string clean(std::string text) const {
    return config_.clean.empty() ? text : clean_wikihow(text);
  }

  Question question_from(const TableRow& row) const {
    const auto value_of = [&](const std::string& name) -> const std::string& {
      std::size_t i = 0;
      while (columns_[i].name != name) {
        ++i;
      }
      return row.fields[i];
    };
    Question question;
    question.context = clean(context_.render(value_of));
    for (const Template& choice : choices_) {
      question.choices.push_back(clean(choice.render(value_of)));
    }
    if (!config_.choices_from.empty()) {
      add_list(question, value_of(config_.choices_from));
    }
    // Rows may differ in how many choices they have.
    const auto count = static_cast<std::int64_t>(question.choices.size());
    GM_CHECK(count >= 2, kCorrupt, count, " choices, expected at least two");
    for (const std::string& choice : question.choices) {
      GM_CHECK(!choice.empty(), kCorrupt, "a choice is empty");
    }
    const std::string gold = gold_.render(value_of);
    const std::int64_t last = config_.first_gold + count - 1;
    // Digits alone, and few enough for stoll.
    const bool whole = !gold.empty() && gold.size() < 10 &&
                       gold.find_first_not_of("0123456789") == std::string::npos;
    GM_CHECK(whole && std::stoll(gold) >= config_.first_gold && std::stoll(gold) <= last, kCorrupt,
             "the right choice is '", gold, "', expected ", config_.first_gold, " to ", last);
    question.gold = std::stoll(gold) - config_.first_gold;
    if (!config_.cluster.empty()) {  // a name of it: passages are long
      const std::string& text = value_of(config_.cluster);
      question.cluster = hash_bytes(text.data(), text.size());
    }
    return question;
  }

  // TSV files hold lists as JSON text, too.
  void add_list(Question& question, const std::string& text) const {
    const auto list = nlohmann::json::parse(text, nullptr, false);
    GM_CHECK(list.is_array() && std::all_of(list.begin(), list.end(),
                                            [](const auto& entry) { return entry.is_string(); }),
             kCorrupt, "column '", config_.choices_from, "' is no list of texts");
    for (const std::string entry : list) {
      question.choices.push_back(clean(entry));
    }
  }

  const ChoiceConfig& config_;
  Template context_;
  Template gold_;
  std::vector<Template> choices_;
  std::vector<WantedColumn> columns_;
};

/// Which rows of `pool` stand in front of question `number`: the first k, or k drawn without
/// replacement, a function of (seed, number). Rows that equal the question are left out.
std::vector<const Question*> pick_shots(const std::vector<Question>& pool, const Question& question,
                                        std::size_t number, const ChoiceConfig& config) {
  const auto wanted = static_cast<std::size_t>(config.shots);
  const auto size = static_cast<std::uint64_t>(pool.size());
  const std::uint64_t stream = stream_id("eval/shots/" + std::to_string(number));
  // The stream is the item's own, so that neither a limit nor another item moves its examples.
  const bool random = config.sampler == "random";
  std::vector<const Question*> shots;
  for (std::uint64_t i = 0; i < size && shots.size() < wanted; ++i) {
    const std::uint64_t row =
        random ? permuted_index(i, size, static_cast<std::uint64_t>(config.shots_seed), stream) : i;
    // By content, not by place: a row that stands in the file twice would give its answer away.
    if (!(pool[row] == question)) {
      shots.push_back(&pool[row]);
    }
  }
  GM_CHECK(shots.size() == wanted, kInvalidArgument, "choice.shots is ", wanted, ", but only ",
           shots.size(), " other rows are there to show");
  return shots;
}

}  // namespace

void check_choices(const TaskConfig& task) {
  // Of the layout and the user's own settings together.
  const ChoiceConfig config = resolve(task);
  GM_CHECK(config.context.has_value() && !config.gold.empty(), kInvalidArgument,
           "choice needs a layout, or context, choices (or choices_from) and gold");
  GM_CHECK(config.choices.empty() != config.choices_from.empty(), kInvalidArgument,
           "choice needs one of choices and choices_from");
  GM_CHECK(config.choices.size() != 1, kInvalidArgument,
           "choice.choices holds one choice, expected at least two");
  GM_CHECK(config.clean.empty() || config.clean == "wikihow", kInvalidArgument, "choice.clean is '",
           config.clean, "', expected wikihow or nothing");
  GM_CHECK(config.sampler == "first" || config.sampler == "random", kInvalidArgument,
           "choice.sampler is '", config.sampler, "', expected first or random");
  GM_CHECK(config.shots >= 0, kInvalidArgument, "choice.shots is ", config.shots,
           ", expected 0 or more");
  (void)QuestionReader(config);  // complains of templates
}

Task load_choices(const TaskConfig& task_config, const TextLoader&) {
  const ChoiceConfig config = resolve(task_config);
  const QuestionReader reader(config);
  const std::string delimiter =
      resolve_rules(task_config.preset, task_config.kind, task_config.rules).delimiter;
  Task task;
  task.shots = config.shots;
  ItemCollector collector(task, task_config.limit);
  std::vector<Question> others;
  if (!config.shots_from.empty() && config.shots > 0) {
    TableCounts unshown;
    others = reader.read(config.shots_from, task_config.reads_quotes(), unshown);
  }
  // Over all files, so that two files do not draw the same examples.
  std::size_t number = 0;
  for (const std::filesystem::path path : task_config.path) {
    collector.begin_part("");
    const std::string front = task_config.path.size() > 1 ? path.stem().string() + "/" : "";
    const std::vector<Question> questions =
        reader.read(path, task_config.reads_quotes(), task.read);
    // A file of a task without a split for examples gives them itself.
    const std::vector<Question>& pool = config.shots_from.empty() ? questions : others;
    for (const Question& question : questions) {
      if (!collector.wants()) {
        continue;
      }
      std::string context;
      for (const Question* shot : pick_shots(pool, question, number++, config)) {
        context += shot->context + delimiter + shot->choices[static_cast<std::size_t>(shot->gold)] +
                   config.shots_delimiter;
      }
      const std::string id = front + std::to_string(collector.count());
      collector.add({.id = id,
                     .paradigm = "",
                     .phenomenon = "",
                     .cluster = question.cluster.empty() ? id : question.cluster,
                     .context = context + question.context,
                     .choices = question.choices,
                     .gold = question.gold},
                    path, collector.count() + 1);
    }
  }
  return task;
}

}  // namespace growmerge::eval
