#include "core/store/hashes.h"

#include <xxhash.h>

#include <fstream>
#include <mutex>
#include <optional>
#include <sstream>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/base/files.h"

namespace growmerge {
namespace {

namespace fs = std::filesystem;

std::string hexadecimal(XXH128_hash_t hash) {
  // Canonical is big-endian, so the text is the same on every machine.
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
      // A line that another process is writing, or that a crash cut, is no error: its file is
      // hashed again.
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
    // Outside the lock: this is what takes time.
    std::string hash = hash_file(path);
    if (is_open()) {
      remember(path, stamp, hash);
    }
    return hash;
  }

  std::optional<std::string> find(const fs::path& path, const FileStamp& stamp) {
    // One entry a file, by whatever path it was named.
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
    // A path with a line break would be read back as two lines.
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

}  // namespace

void set_hash_cache(const fs::path& file) { hash_cache().open(file); }

std::string cached_file_hash(const fs::path& path) { return hash_cache().hash(path); }

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
  // What was read in part, or changed meanwhile, has no hash that is worth remembering.
  if (hashed_ == bytes_ && stamp_of(path_) == stamp) {
    hash_cache().remember(path_, stamp, hash_.digest());
  }
}

}  // namespace growmerge
