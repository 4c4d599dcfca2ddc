#include "eval/tasks/recall.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "core/base/error.h"
#include "core/base/random.h"
#include "eval/table_reader.h"

namespace growmerge::eval {
namespace {

struct Fact {
  std::string subject;
  std::string object;
  std::int64_t line = 0;
};

struct Relation {
  std::string name;
  std::filesystem::path file;                            // of its facts
  std::vector<std::string> patterns;                     // with [X] and [Y]
  std::vector<Fact> facts;                               // each once
  std::vector<std::string> objects;                      // each once, in order of the file
  std::map<std::string, std::set<std::string>> true_of;  // subject -> its objects
};

std::string replaced(std::string text, const std::string& mark, const std::string& value) {
  return text.replace(text.find(mark), mark.size(), value);
}

Relation read_relation(const std::filesystem::path& folder, const std::string& name) {
  Relation relation;
  relation.name = name;
  const std::filesystem::path patterns = folder / "patterns" / (name + ".jsonl");
  const std::array<WantedColumn, 1> pattern_column = {{{"pattern", true}}};
  read_table(patterns, pattern_column, [&](const TableRow& row) {
    const std::string& text = row.fields[0];
    GM_CHECK(text.find("[X]") != std::string::npos && text.find("[Y]") != std::string::npos,
             kCorrupt, patterns.string(), ":", row.line, ": pattern '", text,
             "', expected one with [X] and [Y]");
    relation.patterns.push_back(text);
  });
  GM_CHECK(!relation.patterns.empty(), kCorrupt, patterns.string(), ": no patterns in this file");
  relation.file = folder / "tuples" / (name + ".jsonl");
  const std::array<WantedColumn, 2> labels = {{{"sub_label", true}, {"obj_label", true}}};
  std::set<std::string> seen;
  read_table(relation.file, labels, [&](const TableRow& row) {
    Fact fact{row.fields[0], row.fields[1], row.line};
    // Candidates keep the order of the file, so that results do not depend on a sort of their
    // script.
    if (seen.insert(fact.object).second) {
      relation.objects.push_back(fact.object);
    }
    if (relation.true_of[fact.subject].insert(fact.object).second) {
      relation.facts.push_back(std::move(fact));
    }
  });
  return relation;
}

/// Objects that are not true of the fact's subject.
std::vector<std::string> false_objects(const Relation& relation, const Fact& fact) {
  const std::set<std::string>& true_ones = relation.true_of.at(fact.subject);
  std::vector<std::string> out;
  for (const std::string& object : relation.objects) {
    if (true_ones.count(object) == 0) {
      out.push_back(object);
    }
  }
  return out;
}

/// The choices of a fact and the place of the true one.
std::pair<std::vector<std::string>, std::int64_t> candidates(const Relation& relation,
                                                             const Fact& fact,
                                                             const RecallConfig& config) {
  const std::vector<std::string> wrong = false_objects(relation, fact);
  // A relation in which a subject has every object asks nothing about that subject.
  if (wrong.empty()) {
    return {};
  }
  if (config.candidates == "pair") {
    // Which one is a function of the fact and the seed, so that a limit changes none.
    const Philox random(static_cast<std::uint64_t>(config.seed),
                        stream_id(relation.name + "/" + fact.subject + "/" + fact.object));
    return {{fact.object, wrong[random.below(0, wrong.size())]}, 0};
  }
  std::vector<std::string> all;
  std::int64_t gold = 0;
  for (const std::string& object : relation.objects) {
    if (object == fact.object) {
      gold = static_cast<std::int64_t>(all.size());
      all.push_back(object);
    } else if (std::find(wrong.begin(), wrong.end(), object) != wrong.end()) {
      all.push_back(object);
    }
  }
  return {std::move(all), gold};
}

void add_facts(const Relation& relation, const RecallConfig& config, ItemCollector& collector) {
  collector.begin_part(relation.name);
  const std::size_t patterns = config.patterns == "first" ? 1 : relation.patterns.size();
  // A fact is asked in every sentence of its relation; its items are of one cluster.
  for (const Fact& fact : relation.facts) {
    auto [objects, gold] = candidates(relation, fact, config);
    if (objects.empty()) {
      continue;
    }
    for (std::size_t p = 0; p < patterns; ++p) {
      if (!collector.wants()) {
        continue;
      }
      // The object keeps its mark: what stands before and behind it is cut below.
      const std::string text = replaced(relation.patterns[p], "[X]", fact.subject);
      const std::size_t place = text.find("[Y]");
      Item item{.id = concat(relation.name, "/", p, "/", fact.line),
                .paradigm = relation.name,
                .phenomenon = "",
                .cluster = relation.name + "/" + fact.subject,
                .context = text.substr(0, place),
                .choices = {},
                .gold = gold};
      for (const std::string& object : objects) {
        item.choices.push_back(object + text.substr(place + 3));
      }
      collector.add(std::move(item), relation.file, fact.line);
    }
  }
  GM_CHECK(collector.count() > 0, kCorrupt, relation.file.string(),
           ": no fact here has a false object to be told from");
}

}  // namespace

void check_facts(const TaskConfig& task) {
  GM_CHECK(task.recall.candidates == "all" || task.recall.candidates == "pair", kInvalidArgument,
           "recall.candidates is '", task.recall.candidates, "', expected all or pair");
  GM_CHECK(task.recall.patterns == "all" || task.recall.patterns == "first", kInvalidArgument,
           "recall.patterns is '", task.recall.patterns, "', expected all or first");
}

Task load_facts(const TaskConfig& config, const TextLoader&) {
  const std::filesystem::path folder = config.path.front();
  for (const char* part : {"patterns", "tuples"}) {
    GM_CHECK(std::filesystem::is_directory(folder / part), kNotFound, (folder / part).string(),
             ": no such folder (expected mParaRel's patterns/ and tuples/ of one language)");
  }
  const auto files = files_in(folder / "tuples", {".jsonl"});
  GM_CHECK(!files.empty(), kNotFound, (folder / "tuples").string(), ": no .jsonl files here");
  Task task;
  // Relations are of very different sizes; each weighs the same.
  task.macro = true;
  ItemCollector collector(task, config.limit);
  for (const std::filesystem::path& file : files) {
    add_facts(read_relation(folder, file.stem().string()), config.recall, collector);
  }
  return task;
}

}  // namespace growmerge::eval
