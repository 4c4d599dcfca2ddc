#include "eval/task.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/store/hashes.h"

namespace growmerge::eval {

std::int64_t Task::num_paradigms() const {
  std::unordered_set<std::string> names;
  for (const Item& item : items) {
    names.insert(item.paradigm);
  }
  return static_cast<std::int64_t>(names.size());
}

ItemCollector::ItemCollector(Task& task, std::optional<std::int64_t> limit)
    : task_(task), limit_(limit) {
  GM_CHECK(!limit || *limit >= 1, kInvalidArgument, "limit is ", *limit, ", expected at least 1");
}

void ItemCollector::begin_part(const std::string& paradigm) {
  paradigm_ = paradigm;
  count_ = 0;
}

bool ItemCollector::wants() {
  // Beyond the limit items are still counted.
  ++task_.available[paradigm_];
  return !limit_ || count_ < *limit_;
}

void ItemCollector::add(Item item, const std::filesystem::path& path, std::int64_t line) {
  GM_CHECK(ids_.insert(item.id).second, kCorrupt, path.string(), ":", line, ": the id '", item.id,
           "' is there already");
  const bool identical = item.choices.size() > 1 &&
                         std::all_of(item.choices.begin(), item.choices.end(),
                                     [&](const auto& text) { return text == item.choices[0]; });
  task_.num_identical += identical ? 1 : 0;
  task_.items.push_back(std::move(item));
  ++count_;
}

std::vector<std::filesystem::path> files_in(const std::filesystem::path& dir,
                                            const std::vector<std::string>& extensions) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    const std::string extension = entry.path().extension().string();
    if (entry.is_regular_file() &&
        std::find(extensions.begin(), extensions.end(), extension) != extensions.end()) {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string hash_items(const std::vector<Item>& items) {
  std::string all;
  // Lengths in front, so that no two lists of texts run together to the same bytes.
  const auto add = [&all](const std::string& text) {
    all += std::to_string(text.size()) + ":";
    all += text;
  };
  for (const Item& item : items) {
    add(item.id);
    if (!item.context.empty()) {
      add(item.context);
    }
    for (const std::string& choice : item.choices) {
      add(choice);
    }
    // Only where it is not the first, as in every pair: their hashes are those of older results.
    if (item.gold.value_or(0) != 0) {
      add(std::to_string(*item.gold));
    }
  }
  return hash_bytes(all.data(), all.size());
}

}  // namespace growmerge::eval
