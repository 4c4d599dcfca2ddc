#include "eval/items.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/json_text.h"
#include "eval/items_v1.h"

namespace growmerge::eval {
namespace {

using Json = nlohmann::ordered_json;

/// For people who pick lines by a word; what is read again is told by its members.
const char* kind_of(const ItemRecord& item) {
  return !item.gold ? "text" : item.log_prob.size() == 2 ? "pair" : "choice";
}

Json to_json(const ItemRecord& item) {
  Json json = {{"kind", kind_of(item)}, {"id", item.id}};
  for (const auto& [name, value] :
       {std::pair("paradigm", &item.paradigm), std::pair("phenomenon", &item.phenomenon),
        std::pair("cluster", &item.cluster)}) {
    if (!value->empty()) {
      json[name] = *value;
    }
  }
  // Members that say nothing are left out: BLiMP has 67,000 lines.
  if (item.context_tokens > 0) {
    json["context_tokens"] = item.context_tokens;
  }
  json["log_prob"] = item.log_prob;
  json["tokens"] = item.tokens;
  json["characters"] = item.characters;
  json["bytes"] = item.bytes;
  if (item.gold) {
    json["gold"] = *item.gold;
    json["correct"] = item.correct;
    json["tie"] = item.tie;
  } else {
    json["words"] = item.words;
    json["windows"] = item.windows;
  }
  json["windowed"] = item.windowed;
  return json;
}

ItemRecord record_from(const Json& json, const std::string& where) {
  ItemRecord item;
  item.id = json.at("id");
  item.paradigm = json.value("paradigm", "");
  item.phenomenon = json.value("phenomenon", "");
  item.cluster = json.value("cluster", "");
  item.context_tokens = json.value("context_tokens", std::int64_t{0});
  json.at("log_prob").get_to(item.log_prob);
  json.at("tokens").get_to(item.tokens);
  json.at("characters").get_to(item.characters);
  json.at("bytes").get_to(item.bytes);
  // A line of another length would pair one choice's score with another's tokens.
  const std::size_t choices = item.log_prob.size();
  GM_CHECK(choices > 0 && item.tokens.size() == choices && item.characters.size() == choices &&
               item.bytes.size() == choices,
           kCorrupt, where, ": log_prob holds ", choices, " choices, tokens ", item.tokens.size(),
           ", characters ", item.characters.size(), ", bytes ", item.bytes.size(),
           "; expected as many of each, at least one");
  item.windowed = json.at("windowed");
  if (const auto gold = json.find("gold"); gold != json.end()) {
    item.gold = gold->get<std::int64_t>();
    GM_CHECK(*item.gold >= 0 && *item.gold < static_cast<std::int64_t>(choices), kCorrupt, where,
             ": gold is ", *item.gold, ", expected one of ", choices, " choices");
    item.correct = json.at("correct");
    item.tie = json.at("tie");
  } else {
    item.words = json.at("words");
    item.windows = json.at("windows");
  }
  return item;
}

Json to_json(const TaskHeader& header) {
  return {{"kind", "task"},
          {"format_version", TaskHeader::kVersion},
          {"name", header.name},
          {"task_kind", header.kind},
          {"language", header.language},
          {"context", header.context},
          {"data_hash", header.data_hash},
          {"bootstrap",
           {{"resamples", header.bootstrap.resamples},
            {"seed", header.bootstrap.seed},
            {"confidence", header.bootstrap.confidence}}},
          {"macro", header.macro},
          {"rules",
           {{"prefix", header.rules.prefix},
            {"delimiter", header.rules.delimiter},
            {"tie", header.rules.tie},
            {"first_token", header.rules.first_token},
            {"normalisation", header.rules.normalisation},
            {"overlong", header.rules.overlong}}},
          {"dtype", header.dtype},
          {"limit", header.limit ? Json(*header.limit) : Json()},
          {"original", header.original},
          {"empty_documents", header.empty_documents},
          {"settings", Json::parse(header.settings)},
          {"shots", header.shots},
          {"example", header.example}};
}

TaskHeader header_from(const Json& json) {
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
  header.macro = json.at("macro");
  const Json& rules = json.at("rules");
  header.rules = {.prefix = rules.at("prefix"),
                  .delimiter = rules.at("delimiter"),
                  .tie = rules.at("tie"),
                  .first_token = rules.at("first_token"),
                  .normalisation = rules.at("normalisation"),
                  .overlong = rules.at("overlong")};
  // A rule that this program does not know would decide nothing.
  header.rules.validate();
  header.dtype = json.at("dtype");
  if (const Json& limit = json.at("limit"); !limit.is_null()) {
    header.limit = limit.get<std::int64_t>();
  }
  json.at("original").get_to(header.original);
  header.empty_documents = json.value("empty_documents", std::int64_t{0});  // came later
  header.settings = json.at("settings").dump();
  header.shots = json.at("shots");
  header.example = json.at("example");
  return header;
}

/// Reads one line; `version` is the first line's, 0 before it.
void read_line(const Json& json, const std::string& where, int& version, TaskItems& items) {
  // The header comes first, since it says how the other lines are read.
  const bool is_header = json.at("kind") == "task";
  GM_CHECK(is_header == (version == 0), kCorrupt, where,
           ": the first line, and no other, is of kind task");
  if (is_header) {
    version = json.at("format_version");
    GM_CHECK(version == TaskHeader::kVersion || version == 1, kUnsupported, where,
             ": items of format version ", version, ", this program reads versions 1 and ",
             TaskHeader::kVersion);
    items.header = version == 1 ? header_from_v1(json.dump()) : header_from(json);
    return;
  }
  items.records.push_back(version == 1 ? record_from_v1(json.dump(), items.header, where)
                                       : record_from(json, where));
}

}  // namespace

double ItemRecord::margin() const {
  const auto right = static_cast<std::size_t>(gold.value_or(0));
  std::optional<double> other;
  for (std::size_t i = 0; i < log_prob.size(); ++i) {
    if (i != right && (!other || log_prob[i] > *other)) {
      other = log_prob[i];
    }
  }
  return log_prob[right] - other.value_or(0.0);
}

std::string TaskHeader::setting(const std::string& key) const {
  const Json json = Json::parse(settings);
  return json.contains(key) ? json.at(key).dump() : std::string();
}

void write_items(const std::filesystem::path& path, const TaskItems& items) {
  std::string text = to_json(items.header).dump() + "\n";
  for (const ItemRecord& item : items.records) {
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
  int version = 0;
  while (std::getline(in, text)) {
    const std::string where = concat(path.string(), ":", ++line);
    check_json_depth(text, path, static_cast<std::uint64_t>(line));
    try {
      read_line(Json::parse(text), where, version, items);
    } catch (const nlohmann::json::exception& e) {
      fail(ErrorCode::kCorrupt, where, ": ", e.what());
    }
  }
  GM_CHECK(line > 0, kCorrupt, path.string(), ": the file is empty");
  return items;
}

}  // namespace growmerge::eval
