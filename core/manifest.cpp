#include "core/manifest.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "growmerge_version.h"

namespace growmerge {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

[[noreturn]] void io_error(const fs::path& path, const char* doing, int error) {
  fail(ErrorCode::kIo, doing, " '", path.string(), "': ", std::strerror(error),
       error == ENOSPC || error == EDQUOT ? ": disk full, free some space" : "");
}

std::string hexadecimal(XXH128_hash_t hash) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const unsigned char byte : canonical.digest) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

/// Fields that go into a hash, each with its length in front so that no two lists collide.
class FieldHash {
 public:
  void add(const std::string& field) { text_ += std::to_string(field.size()) + ":" + field + ";"; }
  [[nodiscard]] std::string digest() const { return hash_bytes(text_.data(), text_.size()); }

 private:
  std::string text_;
};

struct FileStamp {
  std::uint64_t bytes = 0;
  std::int64_t modified_ns = 0;
  bool operator==(const FileStamp&) const = default;
};

FileStamp stamp_of(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    io_error(path, "reading", errno);
  }
  return {.bytes = static_cast<std::uint64_t>(status.st_size),
          .modified_ns = static_cast<std::int64_t>(status.st_mtim.tv_sec) * 1'000'000'000 +
                         status.st_mtim.tv_nsec};
}

/// Hashes of outside files by path, size and modification time. A text file that is only appended
/// to: "HASH BYTES MODIFIED_NS PATH" a line, the last line of a path wins, broken lines are
/// skipped.
class HashCache {
 public:
  void open(const fs::path& file) {
    const std::lock_guard lock(mutex_);
    file_ = file;
    entries_.clear();
    std::ifstream in(file);
    std::string line;
    while (std::getline(in, line)) {
      std::istringstream fields(line);
      std::string hash;
      FileStamp stamp;
      std::string path;
      if (fields >> hash >> stamp.bytes >> stamp.modified_ns && fields.get() == ' ' &&
          std::getline(fields, path) && hash.size() == 32) {
        entries_[path] = {stamp, hash};
      }
    }
  }

  /// Threads may hash at the same time.
  std::string hash(const fs::path& path) {
    const FileStamp stamp = stamp_of(path);
    if (const auto known = find(path, stamp)) {
      return *known;
    }
    std::string hash = hash_file(path);
    if (is_open()) {
      remember(path, stamp, hash);
    }
    return hash;
  }

  std::optional<std::string> find(const fs::path& path, const FileStamp& stamp) {
    const std::string key = fs::weakly_canonical(path).string();
    const std::lock_guard lock(mutex_);
    const auto it = entries_.find(key);
    return it != entries_.end() && it->second.first == stamp ? std::optional(it->second.second)
                                                             : std::nullopt;
  }

  void remember(const fs::path& path, const FileStamp& stamp, const std::string& hash) {
    const std::string key = fs::weakly_canonical(path).string();
    const std::lock_guard lock(mutex_);
    entries_[key] = {stamp, hash};
    if (!file_.empty() && key.find('\n') == std::string::npos) {
      std::error_code ignored;  // a cache that cannot be written costs time, nothing else
      fs::create_directories(file_.parent_path(), ignored);
      std::ofstream out(file_, std::ios::app);
      out << concat(hash, " ", stamp.bytes, " ", stamp.modified_ns, " ", key, "\n") << std::flush;
    }
  }

 private:
  bool is_open() {
    const std::lock_guard lock(mutex_);
    return !file_.empty();
  }

  std::mutex mutex_;
  fs::path file_;
  std::unordered_map<std::string, std::pair<FileStamp, std::string>> entries_;
};

HashCache& hash_cache() {
  static HashCache cache;
  return cache;
}

/// Regular files below dir as sorted relative paths; hidden ones and manifest.json are left out.
std::vector<std::string> list_files(const fs::path& dir) {
  std::vector<std::string> out;
  const auto options = fs::directory_options::follow_directory_symlink;
  for (auto it = fs::recursive_directory_iterator(dir, options); it != fs::end(it); ++it) {
    const std::string name = it->path().filename().string();
    if (name.starts_with('.')) {
      it.disable_recursion_pending();
    } else if (it->is_regular_file()) {
      const std::string relative = it->path().lexically_relative(dir).string();
      if (relative != "manifest.json") {
        out.push_back(relative);
      }
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

Json to_json(const Manifest& m) {
  Json inputs = Json::array();
  for (const InputRecord& input : m.inputs) {
    inputs.push_back({{"role", input.role}, {"path", input.path}, {"identity", input.identity}});
  }
  Json files = Json::array();
  for (const FileRecord& file : m.files) {
    files.push_back({{"path", file.path}, {"bytes", file.bytes}, {"hash", file.hash}});
  }
  return {{"format_version", Manifest::kVersion},
          {"stage", m.stage},
          {"identity", m.identity},
          {"growmerge_version", m.growmerge_version},
          {"git_hash", m.git_hash},
          {"seed", m.seed},
          {"world_size", m.world_size},
          {"flops", m.flops},
          {"flops_total", m.flops_total},
          {"flops_sunk", m.flops_sunk},
          {"tokens", m.tokens},
          {"tokens_total", m.tokens_total},
          {"notes", m.notes},
          {"inputs", inputs},
          {"config", m.config},
          {"files", files}};
}

Manifest from_json(const Json& json) {
  Manifest m;
  m.stage = json.at("stage").get<std::string>();
  m.identity = json.at("identity").get<std::string>();
  m.growmerge_version = json.at("growmerge_version").get<std::string>();
  m.git_hash = json.at("git_hash").get<std::string>();
  m.seed = json.at("seed").get<std::uint64_t>();
  m.world_size = json.at("world_size").get<int>();
  m.flops = json.at("flops").get<double>();
  m.flops_total = json.at("flops_total").get<double>();
  m.flops_sunk = json.at("flops_sunk").get<double>();
  m.tokens = json.at("tokens").get<std::int64_t>();
  m.tokens_total = json.at("tokens_total").get<std::int64_t>();
  m.notes = json.at("notes").get<std::map<std::string, std::string>>();
  m.config = json.at("config").get<std::string>();
  for (const Json& input : json.at("inputs")) {
    m.inputs.push_back({input.at("role").get<std::string>(), input.at("path").get<std::string>(),
                        input.at("identity").get<std::string>()});
  }
  for (const Json& file : json.at("files")) {
    m.files.push_back({file.at("path").get<std::string>(), file.at("bytes").get<std::uint64_t>(),
                       file.at("hash").get<std::string>()});
  }
  return m;
}

constexpr const char* kLockName = ".lock";

std::string this_process() {
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  return concat("process ", ::getpid(), " on ", host);
}

/// Whether `path` still names the file that is open as `fd`.
bool is_same_file(const fs::path& path, int fd) {
  struct stat named {};
  struct stat opened {};
  return ::stat(path.c_str(), &named) == 0 && ::fstat(fd, &opened) == 0 &&
         named.st_ino == opened.st_ino && named.st_dev == opened.st_dev;
}

/// Makes the directory `tmp` and locks tmp/.lock; -1 where the file system has no locks. A file and
/// not the directory itself, because NFS locks only what is open for writing.
int lock_partial(const fs::path& tmp) {
  const fs::path path = tmp / kLockName;
  // Again where the owner has renamed or removed the directory between two of our calls.
  for (int attempt = 0; attempt < 10; ++attempt) {
    std::error_code error;
    fs::create_directories(tmp, error);
    GM_CHECK(fs::is_directory(tmp), kIo, "cannot create '", tmp.string(), "': ", error.message());
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
      if (errno == ENOENT) {
        continue;
      }
      io_error(path, "creating", errno);
    }
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      const bool is_taken = errno == EWOULDBLOCK;
      char owner[320] = "";
      const ssize_t count = is_taken ? ::pread(fd, owner, sizeof owner - 1, 0) : 0;
      ::close(fd);
      GM_CHECK(!is_taken, kInvalidArgument, "'", tmp.string(),
               "' is being written by another process",
               count > 0 ? concat(" (", owner, ")") : std::string(),
               ": wait for it, or choose another --out");
      return -1;
    }
    if (!is_same_file(path, fd)) {
      ::close(fd);
      continue;
    }
    const std::string owner = this_process();  // for the message of another one
    (void)!::ftruncate(fd, 0);
    (void)!::pwrite(fd, owner.data(), owner.size(), 0);
    return fd;
  }
  fail(ErrorCode::kIo, "cannot lock '", path.string(), "': it is removed again and again");
}

/// "a/b/" names the same directory as "a/b".
fs::path without_trailing_slash(fs::path path) {
  return path.has_filename() ? path : path.parent_path();
}

}  // namespace

std::optional<Manifest> read_manifest(const fs::path& dir) {
  const fs::path path = dir / "manifest.json";
  if (!fs::exists(path)) {
    return std::nullopt;
  }
  try {
    const Json json = Json::parse(read_file(path));
    const int version = json.at("format_version").get<int>();
    GM_CHECK(version == Manifest::kVersion, kUnsupported, "'", path.string(),
             "' has format version ", version, ", this growmerge reads version ",
             Manifest::kVersion, ": use the growmerge that wrote it (",
             json.value("growmerge_version", "unknown"), ")");
    return from_json(json);
  } catch (const Json::exception& e) {
    fail(ErrorCode::kCorrupt, "'", path.string(), "' is no manifest: ", e.what());
  }
}

std::string stage_identity(const Manifest& manifest) {
  FieldHash hash;
  hash.add("growmerge stage 1");
  hash.add(manifest.stage);
  hash.add(manifest.config);
  hash.add(std::to_string(manifest.seed));
  for (const InputRecord& input : manifest.inputs) {
    hash.add(input.role);
    hash.add(input.identity);
  }
  return hash.digest();
}

void check_has_identity(const fs::path& path) {
  const fs::path clean = without_trailing_slash(path);
  GM_CHECK(!(clean.extension() == ".tmp" && fs::is_directory(clean)), kMismatch, "'",
           clean.string(), "' is an unfinished stage: run the stage that writes it again");
  if (!fs::exists(clean)) {
    const bool unfinished = fs::exists(clean.string() + ".tmp");
    fail(ErrorCode::kNotFound, "no '", clean.string(), "'",
         unfinished ? ": the stage that writes it is unfinished, run it again" : "");
  }
}

std::string path_identity(const fs::path& path) {
  check_has_identity(path);
  const fs::path clean = without_trailing_slash(path);
  if (!fs::is_directory(clean)) {
    return hash_cache().hash(clean);
  }
  if (const auto manifest = read_manifest(clean)) {
    return manifest->identity;
  }
  FieldHash hash;
  hash.add("growmerge directory 1");
  for (const std::string& file : list_files(clean)) {
    hash.add(file);
    hash.add(hash_cache().hash(clean / file));
  }
  return hash.digest();
}

void set_hash_cache(const fs::path& file) { hash_cache().open(file); }

void verify_directory(const fs::path& dir) {
  const auto manifest = read_manifest(dir);
  GM_CHECK(manifest.has_value(), kNotFound, "'", dir.string(),
           "' has no manifest.json: it is no finished stage");
  for (const FileRecord& record : manifest->files) {
    const fs::path path = dir / record.path;
    GM_CHECK(fs::is_regular_file(path), kCorrupt, "'", path.string(),
             "' is missing, but the manifest lists it");
    const std::uint64_t bytes = fs::file_size(path);
    GM_CHECK(bytes == record.bytes, kCorrupt, "'", path.string(), "' has ", bytes,
             " bytes, the manifest says ", record.bytes);
    const std::string hash = hash_file(path);
    GM_CHECK(hash == record.hash, kCorrupt, "'", path.string(), "' has hash ", hash,
             ", the manifest says ", record.hash, ": the file has changed");
  }
}

std::string hash_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  GM_CHECK(in.good(), kNotFound, "cannot open '", path.string(),
           "': no such file, or no permission");
  StreamHash hash;
  std::vector<char> buffer(std::size_t{1} << 18);  // half an L2 cache
  while (in.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || in.gcount() > 0) {
    hash.update(std::as_bytes(std::span(buffer).first(static_cast<std::size_t>(in.gcount()))));
  }
  GM_CHECK(!in.bad(), kIo, "reading '", path.string(), "' failed");
  return hash.digest();
}

std::string hash_bytes(const void* data, std::size_t size) {
  return hexadecimal(XXH3_128bits(data, size));
}

struct StreamHash::State {
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> xxh{XXH3_createState(), &XXH3_freeState};
};

StreamHash::StreamHash() : state_(std::make_unique<State>()) {
  GM_ASSERT(state_->xxh != nullptr);
  XXH3_128bits_reset(state_->xxh.get());
}
StreamHash::~StreamHash() = default;
StreamHash::StreamHash(StreamHash&&) noexcept = default;
StreamHash& StreamHash::operator=(StreamHash&&) noexcept = default;

void StreamHash::update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_->xxh.get(), bytes.data(), bytes.size());
}

std::string StreamHash::digest() const {
  return hexadecimal(XXH3_128bits_digest(state_->xxh.get()));
}

FileHasher::FileHasher(fs::path path) : path_(std::move(path)) {
  const FileStamp stamp = stamp_of(path_);
  bytes_ = stamp.bytes;
  modified_ns_ = stamp.modified_ns;
  is_wanted_ = !hash_cache().find(path_, stamp);
}

void FileHasher::update(std::span<const std::byte> bytes) {
  hash_.update(bytes);
  hashed_ += bytes.size();
}

void FileHasher::finish() {
  const FileStamp stamp{.bytes = bytes_, .modified_ns = modified_ns_};
  if (hashed_ == bytes_ && stamp_of(path_) == stamp) {
    hash_cache().remember(path_, stamp, hash_.digest());
  }
}

StageOutput::StageOutput(fs::path name, bool keep_partial)
    : name_(without_trailing_slash(std::move(name))), tmp_(name_.string() + ".tmp") {
  GM_CHECK(!name_.empty(), kInvalidArgument, "the output directory has no name: give --out DIR");
  GM_CHECK(!fs::exists(name_), kInvalidArgument, "output '", name_.string(),
           "' exists already: choose another --out, or remove it");
  lock_ = lock_partial(tmp_);
  if (fs::exists(name_)) {  // finished by another process since the check above
    fs::remove_all(tmp_);
    ::close(lock_);
    fail(ErrorCode::kInvalidArgument, "output '", name_.string(),
         "' was finished by another process just now");
  }
  if (!keep_partial) {
    for (const auto& entry : fs::directory_iterator(tmp_)) {
      if (entry.path().filename() != kLockName) {
        fs::remove_all(entry.path());
      }
    }
  }
}

StageOutput::~StageOutput() {
  if (lock_ >= 0) {
    ::close(lock_);
  }
}

void StageOutput::record_file(FileRecord record) {
  std::erase_if(recorded_, [&record](const FileRecord& r) { return r.path == record.path; });
  recorded_.push_back(std::move(record));
}

void StageOutput::finish(Manifest manifest) {
  GM_CHECK(lock_ < 0 || is_same_file(tmp_ / kLockName, lock_), kInvalidArgument, "'", tmp_.string(),
           "' was removed or replaced while it was being written: run this stage again");
  manifest.growmerge_version = growmerge_version();
  manifest.git_hash = git_hash();
  manifest.identity = stage_identity(manifest);
  manifest.files.clear();
  for (const std::string& file : list_files(tmp_)) {
    const fs::path path = tmp_ / file;
    const auto known = std::find_if(recorded_.begin(), recorded_.end(),
                                    [&file](const FileRecord& r) { return r.path == file; });
    if (known != recorded_.end()) {
      const std::uint64_t bytes = fs::file_size(path);
      GM_CHECK(known->bytes == bytes, kInternal, "'", path.string(), "' has ", bytes,
               " bytes, recorded were ", known->bytes);
      manifest.files.push_back(*known);
    } else {
      manifest.files.push_back({file, fs::file_size(path), hash_file(path)});
    }
    sync_path(path);
  }
  for (const FileRecord& record : recorded_) {
    GM_CHECK(fs::exists(tmp_ / record.path), kInternal, "'", (tmp_ / record.path).string(),
             "' was recorded but is not there");
  }
  write_file_atomically(
      tmp_ / "manifest.json",
      to_json(manifest).dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  for (const auto& entry : fs::recursive_directory_iterator(tmp_)) {
    if (entry.is_directory()) {
      sync_path(entry.path());
    }
  }
  sync_path(tmp_);
  if (::rename(tmp_.c_str(), name_.c_str()) != 0) {
    io_error(name_, "renaming to", errno);
  }
  ::unlink((name_ / kLockName).c_str());  // only now: NAME.tmp is ours until it has gone
  sync_path(fs::absolute(name_).parent_path());
}

void discard_unfinished(const fs::path& name) {
  const fs::path tmp = without_trailing_slash(name).string() + ".tmp";
  if (!fs::exists(tmp)) {
    return;
  }
  const int lock = lock_partial(tmp);
  fs::remove_all(tmp);
  if (lock >= 0) {
    ::close(lock);
  }
}

void sync_path(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    io_error(path, "syncing", errno);
  }
  const int status = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  // Some file systems cannot sync a directory and say so with EINVAL.
  if (status != 0 && error != EINVAL) {
    io_error(path, "syncing", error);
  }
}

void write_file_atomically(const fs::path& path, const std::string& text) {
  const fs::path partial = path.string() + ".partial";
  const int fd = ::open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) {
    io_error(partial, "creating", errno);
  }
  std::size_t done = 0;
  int error = 0;
  while (done < text.size() && error == 0) {
    const ssize_t count = ::write(fd, text.data() + done, text.size() - done);
    if (count >= 0) {
      done += static_cast<std::size_t>(count);
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  if (error == 0 && ::fsync(fd) != 0) {
    error = errno;
  }
  ::close(fd);
  if (error == 0 && ::rename(partial.c_str(), path.c_str()) != 0) {
    error = errno;
  }
  if (error != 0) {
    ::unlink(partial.c_str());
    io_error(path, "writing", error);
  }
}

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  GM_CHECK(in.good(), kNotFound, "cannot open '", path.string(),
           "': no such file, or no permission");
  std::ostringstream out;
  out << in.rdbuf();
  GM_CHECK(!in.bad() && !out.bad(), kIo, "reading '", path.string(), "' failed");
  return std::move(out).str();
}

std::string growmerge_version() { return GROWMERGE_VERSION; }
std::string git_hash() { return GROWMERGE_GIT_HASH; }

}  // namespace growmerge
