#include "core/store/hashes.h"

#include <xxhash.h>

#include <chrono>
#include <fstream>
#include <map>
#include <mutex>
#include <optional>
#include <sstream>
#include <thread>
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

// File systems keep times in steps, of 10 ms at most on Linux: what was changed within one step
// after it was hashed would look unchanged. Only a file that has rested for longer has a hash worth
// remembering.
constexpr std::int64_t kRest_ns = 20'000'000;
// Hashing so much takes as long as that rest.
constexpr std::uint64_t kWorthARest = std::uint64_t{32} << 20;

/// Whether the file has rested; where it is large and has not, after waiting for it.
bool has_rested(const FileStamp& stamp) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const std::int64_t rested =
      std::chrono::duration_cast<std::chrono::nanoseconds>(now).count() - stamp.changed_ns;
  if (rested >= kRest_ns) {
    return true;
  }
  // Below 0 the file system's clock is another's and ahead of ours, or ours was set back.
  if (rested < 0 || stamp.bytes < kWorthARest) {
    return false;
  }
  std::this_thread::sleep_for(std::chrono::nanoseconds(kRest_ns - rested));
  return true;
}

/// Hashes of files. A text file that is only appended to: "HASH DEVICE INODE BYTES MODIFIED_NS
/// CHANGED_NS" a line, the last line of a file wins, broken lines are skipped.
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
      // A line that another process is writing, or that a crash cut, is no error: its file is
      // hashed again.
      if (fields >> hash >> stamp.device >> stamp.inode >> stamp.bytes >> stamp.modified_ns >>
              stamp.changed_ns &&
          hash.size() == 32 && fields.peek() == std::istringstream::traits_type::eof()) {
        entries_[{stamp.device, stamp.inode}] = {stamp, hash};
      }
    }
  }

  /// Threads may hash at the same time.
  std::string hash(const fs::path& path) {
    const FileStamp stamp = stamp_of(path);
    if (const auto known = find(stamp)) {
      return *known;
    }
    // Outside the lock: this is what takes time.
    std::string hash = hash_file(path);
    GM_CHECK(stamp_of(path) == stamp, kIo, "'", path.string(), "' changed while it was read");
    remember(path, stamp, hash);
    return hash;
  }

  std::optional<std::string> find(const FileStamp& stamp) {
    const std::lock_guard lock(mutex_);
    const auto it = entries_.find({stamp.device, stamp.inode});
    return it != entries_.end() && it->second.first == stamp ? std::optional(it->second.second)
                                                             : std::nullopt;
  }

  void remember(const fs::path& path, const FileStamp& stamp, const std::string& hash) {
    if (!has_rested(stamp) || stamp_of(path) != stamp) {
      return;
    }
    const std::lock_guard lock(mutex_);
    entries_[{stamp.device, stamp.inode}] = {stamp, hash};
    if (!file_.empty()) {
      std::error_code ignored;  // a cache that cannot be written costs time, nothing else
      fs::create_directories(file_.parent_path(), ignored);
      std::ofstream out(file_, std::ios::app);
      out << concat(hash, " ", stamp.device, " ", stamp.inode, " ", stamp.bytes, " ",
                    stamp.modified_ns, " ", stamp.changed_ns, "\n")
          << std::flush;
    }
  }

 private:
  std::mutex mutex_;
  fs::path file_;
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::pair<FileStamp, std::string>> entries_;
};

HashCache& hash_cache() {
  static HashCache cache;
  return cache;
}

}  // namespace

void set_hash_cache(const fs::path& file) { hash_cache().open(file); }

std::string cached_file_hash(const fs::path& path) { return hash_cache().hash(path); }

void remember_file_hash(const fs::path& path, const std::string& hash) {
  try {
    hash_cache().remember(path, stamp_of(path), hash);
  } catch (const Error&) {  // gone again: nothing to remember
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

FileHasher::FileHasher(fs::path path)
    : path_(std::move(path)), stamp_(stamp_of(path_)), is_wanted_(!hash_cache().find(stamp_)) {}

void FileHasher::update(std::span<const std::byte> bytes) {
  hash_.update(bytes);
  hashed_ += bytes.size();
}

void FileHasher::finish() {
  // What was read in part, or changed meanwhile, has no hash that is worth remembering.
  if (hashed_ == stamp_.bytes) {
    hash_cache().remember(path_, stamp_, hash_.digest());
  }
}

}  // namespace growmerge
