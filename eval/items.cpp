#include "eval/items.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/files.h"

namespace growmerge::eval {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const PairRecord& item) {
  Json json = {{"kind", "pair"}, {"id", item.id}};
  if (!item.paradigm.empty()) {
    json["paradigm"] = item.paradigm;
  }
  if (!item.phenomenon.empty()) {
    json["phenomenon"] = item.phenomenon;
  }
  json["cluster"] = item.cluster;
  json["log_prob"] = item.log_prob;
  json["tokens"] = item.tokens;
  json["characters"] = item.characters;
  json["bytes"] = item.bytes;
  json["correct"] = item.correct;
  json["tie"] = item.tie;
  json["windowed"] = item.windowed;
  return json;
}

Json to_json(const TextRecord& item) {
  return {{"kind", "text"},
          {"id", item.id},
          {"nll", item.nll},
          {"tokens", item.tokens},
          {"characters", item.characters},
          {"words", item.words},
          {"bytes", item.bytes},
          {"windows", item.windows}};
}

PairRecord pair_from(const Json& json) {
  PairRecord item;
  item.id = json.at("id");
  item.paradigm = json.value("paradigm", "");
  item.phenomenon = json.value("phenomenon", "");
  item.cluster = json.at("cluster");
  json.at("log_prob").get_to(item.log_prob);
  json.at("tokens").get_to(item.tokens);
  json.at("characters").get_to(item.characters);
  json.at("bytes").get_to(item.bytes);
  item.correct = json.at("correct");
  item.tie = json.at("tie");
  item.windowed = json.at("windowed");
  return item;
}

TextRecord text_from(const Json& json) {
  TextRecord item;
  item.id = json.at("id");
  item.nll = json.at("nll");
  item.tokens = json.at("tokens");
  item.characters = json.at("characters");
  item.words = json.at("words");
  item.bytes = json.at("bytes");
  item.windows = json.at("windows");
  return item;
}

Json optional_json(const std::optional<std::int64_t>& value) {
  return value ? Json(*value) : Json();
}

std::optional<std::int64_t> optional_from(const Json& json, const char* name) {
  const auto found = json.find(name);
  return found == json.end() || found->is_null()
             ? std::nullopt
             : std::optional<std::int64_t>(found->get<std::int64_t>());
}

/// What chose the items; a reader does without it where an older program wrote none.
void add_choice(Json& json, const TaskHeader& header) {
  json["dtype"] = header.dtype;
  json["limit"] = optional_json(header.limit);
  json["original"] = header.original;
  if (header.kind == "bpb") {
    json["lines"] = header.lines;
    json["max_characters"] = optional_json(header.max_characters);
    return;
  }
  json["preset"] = header.preset;
  if (header.kind == "pairs") {
    json["columns"] = {{"good", header.columns.good},
                       {"bad", header.columns.bad},
                       {"id", header.columns.id},
                       {"phenomenon", header.columns.phenomenon},
                       {"cluster", header.columns.cluster}};
  }
}

void read_choice(TaskHeader& header, const Json& json) {
  header.dtype = json.value("dtype", "");
  header.preset = json.value("preset", "");
  header.lines = json.value("lines", false);
  header.limit = optional_from(json, "limit");
  header.max_characters = optional_from(json, "max_characters");
  if (const auto original = json.find("original"); original != json.end()) {
    original->get_to(header.original);
  }
  if (const auto columns = json.find("columns"); columns != json.end()) {
    header.columns = {.good = columns->at("good"),
                      .bad = columns->at("bad"),
                      .id = columns->at("id"),
                      .phenomenon = columns->at("phenomenon"),
                      .cluster = columns->at("cluster")};
  }
}

Json to_json(const TaskHeader& header) {
  Json json = {{"kind", "task"},
               {"format_version", TaskHeader::kVersion},
               {"name", header.name},
               {"task_kind", header.kind},
               {"language", header.language},
               {"context", header.context},
               {"data_hash", header.data_hash},
               {"bootstrap",
                {{"resamples", header.bootstrap.resamples},
                 {"seed", header.bootstrap.seed},
                 {"confidence", header.bootstrap.confidence}}}};
  if (header.kind == "bpb") {
    json["prefix"] = header.prefix;
    json["prefix_each_window"] = header.prefix_each_window;
  } else {
    json["macro"] = header.macro;
    json["rules"] = {{"prefix", header.rules.prefix},
                     {"delimiter", header.rules.delimiter},
                     {"tie", header.rules.tie},
                     {"first_token", header.rules.first_token},
                     {"normalisation", header.rules.normalisation},
                     {"overlong", header.rules.overlong}};
  }
  add_choice(json, header);
  return json;
}

TaskHeader header_from(const Json& json, const std::string& where) {
  const int version = json.at("format_version");
  GM_CHECK(version == TaskHeader::kVersion, kUnsupported, where, ": items of format version ",
           version, ", this program reads version ", TaskHeader::kVersion);
  TaskHeader header;
  header.name = json.at("name");
  header.kind = json.at("task_kind");
  header.language = json.at("language");
  header.context = json.at("context");
  header.data_hash = json.at("data_hash");
  const Json& bootstrap = json.at("bootstrap");
  header.bootstrap = {.resamples = bootstrap.at("resamples"),
                      .seed = bootstrap.at("seed"),
                      .confidence = bootstrap.at("confidence")};
  if (header.kind == "bpb") {
    header.prefix = json.at("prefix");
    header.prefix_each_window = json.at("prefix_each_window");
  } else {
    header.macro = json.at("macro");
    const Json& rules = json.at("rules");
    header.rules = {.prefix = rules.at("prefix"),
                    .delimiter = rules.at("delimiter"),
                    .tie = rules.at("tie"),
                    .first_token = rules.at("first_token"),
                    .normalisation = rules.at("normalisation"),
                    .overlong = rules.at("overlong")};
    header.rules.validate();
  }
  read_choice(header, json);
  return header;
}

}  // namespace

void write_items(const std::filesystem::path& path, const TaskItems& items) {
  GM_ASSERT(items.pairs.empty() || items.texts.empty());
  std::string text = to_json(items.header).dump() + "\n";
  for (const PairRecord& item : items.pairs) {
    text += to_json(item).dump() + "\n";
  }
  for (const TextRecord& item : items.texts) {
    text += to_json(item).dump() + "\n";
  }
  write_file_atomically(path, text);
}

TaskItems read_items(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  GM_CHECK(in.good(), kNotFound, path.string(), ": cannot be opened");
  TaskItems items;
  std::string text;
  std::int64_t line = 0;
  while (std::getline(in, text)) {
    const std::string where = concat(path.string(), ":", ++line);
    try {
      const Json json = Json::parse(text);
      const std::string kind = json.at("kind");
      GM_CHECK((kind == "task") == (line == 1), kCorrupt, where,
               ": the first line, and no other, is of kind task");
      if (kind == "task") {
        items.header = header_from(json, where);
        continue;
      }
      const bool is_text = items.header.kind == "bpb";
      GM_CHECK(kind == (is_text ? "text" : "pair"), kCorrupt, where, ": kind '", kind,
               "', expected ", is_text ? "text" : "pair", " in a task of kind ", items.header.kind);
      if (is_text) {
        items.texts.push_back(text_from(json));
      } else {
        items.pairs.push_back(pair_from(json));
      }
    } catch (const nlohmann::json::exception& e) {
      fail(ErrorCode::kCorrupt, where, ": ", e.what());
    }
  }
  GM_CHECK(line > 0, kCorrupt, path.string(), ": the file is empty");
  return items;
}

}  // namespace growmerge::eval
