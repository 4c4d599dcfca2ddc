#include "eval/items_v1.h"

#include <nlohmann/json.hpp>

#include "core/base/error.h"

namespace growmerge::eval {
namespace {

using Json = nlohmann::ordered_json;

/// Headers of pairs alone had rules.
bool of_pairs(const Json& header) { return header.contains("rules"); }

/// What version 2 keeps as the kind's settings. A header may lack any of them: they came later.
Json settings_of(const Json& json) {
  Json settings = Json::object();
  for (const char* key : {"preset", "columns", "lines", "max_characters", "prefix_each_window"}) {
    if (json.contains(key)) {
      settings[key] = json.at(key);
    }
  }
  return settings;
}

}  // namespace

TaskHeader header_from_v1(const std::string& line) {
  const Json json = Json::parse(line);
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
  if (of_pairs(json)) {
    header.macro = json.at("macro");
    const Json& rules = json.at("rules");
    header.rules = {.prefix = rules.at("prefix"),
                    .delimiter = rules.at("delimiter"),
                    .tie = rules.at("tie"),
                    .first_token = rules.at("first_token"),
                    .normalisation = rules.at("normalisation"),
                    .overlong = rules.at("overlong")};
    header.rules.validate();
  } else {
    header.rules.prefix = json.at("prefix");
  }
  header.dtype = json.value("dtype", "");
  if (const auto limit = json.find("limit"); limit != json.end() && !limit->is_null()) {
    header.limit = limit->get<std::int64_t>();
  }
  if (const auto original = json.find("original"); original != json.end()) {
    original->get_to(header.original);
  }
  header.settings = settings_of(json).dump();
  return header;
}

ItemRecord record_from_v1(const std::string& line, const TaskHeader& header,
                          const std::string& where) {
  const Json json = Json::parse(line);
  const std::string line_kind = json.at("kind");
  // Texts alone had this setting, and always.
  const bool pairs = header.settings.find("\"prefix_each_window\"") == std::string::npos;
  GM_CHECK(line_kind.compare(pairs ? "pair" : "text") == 0, kCorrupt, where, ": kind '", line_kind,
           "', expected ", pairs ? "pair" : "text", " in a task of kind ", header.kind);
  ItemRecord item;
  item.id = json.at("id");
  if (pairs) {
    item.paradigm = json.value("paradigm", "");
    item.phenomenon = json.value("phenomenon", "");
    item.cluster = json.at("cluster");
    json.at("log_prob").get_to(item.log_prob);
    json.at("tokens").get_to(item.tokens);
    json.at("characters").get_to(item.characters);
    json.at("bytes").get_to(item.bytes);
    GM_CHECK(item.log_prob.size() == 2 && item.tokens.size() == 2 && item.characters.size() == 2 &&
                 item.bytes.size() == 2,
             kCorrupt, where, ": a pair needs two figures of each");
    item.gold = 0;
    item.correct = json.at("correct");
    item.tie = json.at("tie");
    item.windowed = json.at("windowed");
    return item;
  }
  item.log_prob = {0.0 - json.at("nll").get<double>()};
  item.tokens = {json.at("tokens").get<std::int64_t>()};
  item.characters = {json.at("characters").get<std::int64_t>()};
  item.bytes = {json.at("bytes").get<std::int64_t>()};
  item.words = json.at("words");
  item.windows = json.at("windows");
  item.windowed = item.windows > 1;
  return item;
}

}  // namespace growmerge::eval
