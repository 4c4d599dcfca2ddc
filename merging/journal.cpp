#include "merging/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <sstream>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/base/version.h"
#include "core/store/hashes.h"

namespace growmerge::merging {
namespace {

namespace fs = std::filesystem;

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string out;
  std::getline(file, out);
  return out;
}

void add_stamp(FieldHash& hash, const fs::path& path) {
  const FileStamp stamp = stamp_of(path);
  hash.add(path.string());
  hash.add(concat(stamp.device, " ", stamp.inode, " ", stamp.bytes, " ", stamp.modified_ns, " ",
                  stamp.changed_ns));
}

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string out;
  std::getline(file, out);
  return out;
}

}  // namespace

std::string journal_identity(const MergePlan& plan) {
  FieldHash hash;
  hash.add(plan.recipe.text);
  hash.add(growmerge_version());
  hash.add(git_hash());
  hash.add(boot_id());
  hash.add(std::to_string(plan.shard_bytes));
  const auto add_files = [&hash](const CheckpointReader& model) {
    std::set<fs::path> paths;
    for (const TensorInfo& info : model.tensors()) {
      paths.insert(model.file(info.name).path());
    }
    paths.insert(model.dir() / "config.json");
    for (const fs::path& path : paths) {
      add_stamp(hash, path);
    }
  };
  for (const auto* list : {&plan.models, &plan.bases}) {
    for (const SourceModel& model : *list) {
      add_files(model.checkpoint());
      if (model.adapter() != nullptr) {
        add_stamp(hash, model.adapter()->file().path());
        add_stamp(hash, model.adapter()->dir() / "adapter_config.json");
      }
    }
  }
  for (const SafetensorsFile& statistics : plan.statistics) {
    add_stamp(hash, statistics.path());
  }
  if (plan.vocabulary) {
    hash.add(plan.vocabulary->report);
  }
  return hash.digest();
}

bool can_go_on(const MergePlan& plan, const fs::path& dir) {
  return fs::exists(dir / kJournalName) && first_line(dir / kJournalName) == journal_identity(plan);
}

Journal::Journal(const fs::path& dir, const std::string& identity)
    : dir_(dir), path_(dir / kJournalName) {
  const bool is_known = fs::exists(path_) && first_line(path_) == identity;
  if (is_known) {
    std::istringstream lines(read_file(path_));
    std::string line;
    std::getline(lines, line);
    // A line without its end was cut off by the kill.
    while (std::getline(lines, line) && !lines.eof()) {
      std::istringstream fields(line);
      std::string kind;
      std::string name;
      fields >> kind >> name;
      if (kind == "tensor") {
        tensors_.insert(name);
      } else if (kind == "file") {
        FileRecord record;
        record.path = name;
        fields >> record.bytes >> record.hash;
        files_[name] = record;
      }
    }
    log_info(concat("going on with '", dir_.string(), "': ", tensors_.size(),
                    " tensors are there already"));
  }
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (is_known ? 0 : O_TRUNC),
               S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH);
  if (fd_ < 0) {
    io_error(path_, "creating", errno);
  }
  append(is_known ? "" : identity);
}

Journal::~Journal() {
  ::close(fd_);
  std::error_code ignored;
  fs::remove(path_, ignored);
}

void Journal::append(const std::string& line) {
  const std::string text = line + "\n";
  if (::write(fd_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    io_error(path_, "writing", errno);
  }
}

std::optional<FileRecord> Journal::find_file(const std::string& name) const {
  const auto it = files_.find(name);
  if (it == files_.end() || !fs::exists(dir_ / name) ||
      fs::file_size(dir_ / name) != it->second.bytes) {
    return std::nullopt;
  }
  return it->second;
}

bool Journal::begin_file(const std::string& name) {
  if (fs::exists(dir_ / (name + ".partial"))) {
    return true;
  }
  tensors_.clear();
  return false;
}

void Journal::add_tensor(const std::string& name) { append("tensor " + name); }

void Journal::add_file(const FileRecord& record) {
  append(concat("file ", record.path, " ", record.bytes, " ", record.hash));
}

}  // namespace growmerge::merging
