#include "core/store/safetensors.h"

#include <ATen/ops/empty.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>

#include "core/base/config.h"
#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/mapped_file.h"
#include "core/store/hashes.h"
#include "core/store/safetensors_header.h"

namespace growmerge {
namespace {

struct DtypeRow {
  const char* file_name;    // as safetensors headers name it
  const char* config_name;  // as configs name it
  at::ScalarType type;
};
constexpr DtypeRow kDtypes[] = {
    {"F64", "float64", at::ScalarType::Double}, {"F32", "float32", at::ScalarType::Float},
    {"F16", "float16", at::ScalarType::Half},   {"BF16", "bfloat16", at::ScalarType::BFloat16},
    {"I64", "int64", at::ScalarType::Long},     {"I32", "int32", at::ScalarType::Int},
    {"I16", "int16", at::ScalarType::Short},    {"I8", "int8", at::ScalarType::Char},
    {"U8", "uint8", at::ScalarType::Byte},      {"BOOL", "bool", at::ScalarType::Bool}};

struct FileDescriptor {
  explicit FileDescriptor(int fd_in) : fd(fd_in) {}
  ~FileDescriptor() { reset(); }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  void reset() {
    if (fd >= 0) {
      ::close(fd);
    }
    fd = -1;
  }
  int fd;
};

}  // namespace

std::int64_t TensorInfo::num_elements() const {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) {
    count *= size;
  }
  return count;
}

struct SafetensorsFile::Impl {
  void map();
  void parse();

  std::filesystem::path path;
  MappedFile mapped;
  std::vector<TensorInfo> tensors;
  std::unordered_map<std::string, std::size_t> index;
  std::map<std::string, std::string> metadata;
};

void SafetensorsFile::Impl::map() {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.fd < 0 && errno == ENOENT) {
    fail(ErrorCode::kNotFound, "no such file");
  }
  if (file.fd < 0) {
    fail(ErrorCode::kIo, "cannot open: ", std::strerror(errno));
  }
  struct stat status {};
  GM_CHECK(::fstat(file.fd, &status) == 0, kIo, "cannot stat: ", std::strerror(errno));
  GM_CHECK(S_ISREG(status.st_mode), kIo, "is no regular file");
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size < 8) {
    fail(ErrorCode::kCorrupt, "header: file is ", size, " bytes, needs at least 8");
  }
  // Mapped, so that a tensor is read from disk when it is used and a merge of many models needs no
  // memory for them.
  mapped = MappedFile(path, file.fd, size, MappedFile::Sharing::kPrivate);
}

void SafetensorsFile::Impl::parse() {
  SafetensorsHeader header = parse_safetensors_header({mapped.data(), mapped.size()});
  tensors = std::move(header.tensors);
  metadata = std::move(header.metadata);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    index.emplace(tensors[i].name, i);
  }
}

SafetensorsFile::SafetensorsFile() : impl_(std::make_unique<Impl>()) {}
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;
SafetensorsFile::~SafetensorsFile() = default;

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  SafetensorsFile file;
  file.impl_->path = path;
  with_context("loading '" + path.string() + "'", [&file] {
    file.impl_->map();
    file.impl_->parse();
  });
  return file;
}

const std::filesystem::path& SafetensorsFile::path() const { return impl_->path; }
const std::vector<TensorInfo>& SafetensorsFile::tensors() const { return impl_->tensors; }
bool SafetensorsFile::contains(const std::string& name) const {
  return impl_->index.count(name) != 0;
}
const std::map<std::string, std::string>& SafetensorsFile::metadata() const {
  return impl_->metadata;
}

const TensorInfo& SafetensorsFile::info(const std::string& name) const {
  const auto it = impl_->index.find(name);
  if (it == impl_->index.end()) {
    std::vector<std::string> names;
    for (const TensorInfo& tensor : impl_->tensors) {
      names.push_back(tensor.name);
    }
    const std::string nearest = nearest_name(name, names);
    fail(ErrorCode::kNotFound, "'", impl_->path.string(), "' has no tensor '", name, "'",
         nearest.empty() ? "" : "; the nearest name is '" + nearest + "'");
  }
  return impl_->tensors[it->second];
}

std::span<const std::byte> SafetensorsFile::bytes(const TensorInfo& info) const {
  GM_ASSERT(info.begin <= info.end && info.end <= impl_->mapped.size());
  return {impl_->mapped.data() + info.begin, info.num_bytes()};
}

std::span<const std::byte> SafetensorsFile::all_bytes() const {
  return {impl_->mapped.data(), impl_->mapped.size()};
}

at::Tensor SafetensorsFile::load(const std::string& name) const {
  const TensorInfo& wanted = info(name);
  at::Tensor out = at::empty(wanted.shape, at::TensorOptions().dtype(wanted.dtype));
  const auto source = bytes(wanted);
  if (!source.empty()) {
    std::memcpy(out.data_ptr(), source.data(), source.size());
  }
  return out;
}

void SafetensorsFile::drop(const TensorInfo& info) const {
  // What has been used need not stay in memory while the rest is read.
  // Only whole pages inside the tensor: its neighbours may still be in use.
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t begin = (info.begin + page - 1) / page * page;
  const std::uint64_t end = info.end / page * page;
  if (begin < end) {
    ::madvise(const_cast<std::byte*>(impl_->mapped.data()) + begin, end - begin, MADV_DONTNEED);
  }
}

struct SafetensorsWriter::Impl {
  ~Impl() {
    if (file.fd >= 0 && !finished) {
      ::unlink(partial.c_str());
    }
  }
  struct Slot {
    Entry entry;
    std::uint64_t begin = 0;  // absolute in the file
    std::uint64_t bytes = 0;
    // Threads write parts of one tensor at the same time.
    std::atomic<std::uint64_t> written{0};
  };

  Slot& slot(const std::string& name) {
    const auto it = index.find(name);
    GM_CHECK(it != index.end(), kInvalidArgument, "writing '", path.string(), "': no tensor '",
             name, "' was announced");
    return *it->second;
  }
  void put(std::uint64_t offset, const std::byte* data, std::uint64_t size) {
    while (size > 0) {
      // pwrite() carries its own offset, so threads share the descriptor without a lock.
      const ssize_t done = ::pwrite(file.fd, data, size, static_cast<off_t>(offset));
      if (done < 0 && errno == EINTR) {
        continue;
      }
      if (done < 0) {
        io_error(path, "writing", errno);
      }
      data += done;
      offset += static_cast<std::uint64_t>(done);
      size -= static_cast<std::uint64_t>(done);
      start_writeback(static_cast<std::uint64_t>(done));
    }
  }
  /// Has the kernel write what is there while more is computed, so that syncing at the end waits
  /// for little. No promise: an error shows in fsync().
  void start_writeback(std::uint64_t bytes) {
    constexpr std::uint64_t kEvery = std::uint64_t{32} << 20;
    const std::uint64_t before = handed_over.fetch_add(bytes);
    if (before / kEvery != (before + bytes) / kEvery) {
      (void)::sync_file_range(file.fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    }
  }

  void check_complete() const {
    for (const Slot& slot : slots) {
      GM_CHECK(slot.written == slot.bytes, kInternal, "writing '", path.string(), "': tensor '",
               slot.entry.name, "' has ", slot.written.load(), " of ", slot.bytes, " bytes");
    }
  }
  void hash_to(std::uint64_t end) {
    // What was written a moment ago is read back from the page cache: parts may have come in any
    // order, and a hash takes bytes in theirs.
    std::vector<std::byte> buffer(std::min<std::uint64_t>(end - std::min(end, hashed), kHashBytes));
    while (hashed < end) {
      const std::size_t wanted = std::min<std::uint64_t>(end - hashed, buffer.size());
      const ssize_t done = ::pread(file.fd, buffer.data(), wanted, static_cast<off_t>(hashed));
      if (done < 0 && errno == EINTR) {
        continue;
      }
      if (done <= 0) {
        io_error(path, "reading back", done < 0 ? errno : EIO);
      }
      hash.update(std::span(buffer).first(static_cast<std::size_t>(done)));
      hashed += static_cast<std::uint64_t>(done);
    }
  }

  static constexpr std::uint64_t kHashBytes = std::uint64_t{1} << 18;  // half an L2 cache
  std::atomic<std::uint64_t> handed_over{0};
  std::filesystem::path path;
  std::filesystem::path partial;  // what is written until finish() renames it
  FileDescriptor file{-1};
  std::deque<Slot> slots;
  std::unordered_map<std::string, Slot*> index;
  bool finished = false;
  std::uint64_t size = 0;  // of the whole file
  StreamHash hash;
  std::uint64_t hashed = 0;    // bytes
  std::size_t first_open = 0;  // slots before it are complete
};

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     std::span<const Entry> entries,
                                     const std::map<std::string, std::string>& metadata,
                                     bool goes_on)
    : impl_(std::make_unique<Impl>()) {
  impl_->path = path;
  impl_->partial = path.string() + ".partial";
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) {
    header["__metadata__"] = metadata;
  }
  std::uint64_t position = 0;
  for (const Entry& entry : entries) {
    // A deque's elements stay where they are, so the index may point at them.
    Impl::Slot& slot = impl_->slots.emplace_back();
    slot.entry = entry;
    slot.begin = position;
    slot.bytes = c10::elementSize(entry.dtype);
    for (const std::int64_t size : entry.shape) {
      slot.bytes *= static_cast<std::uint64_t>(size);
    }
    position += slot.bytes;
    GM_CHECK(entry.name != "__metadata__" && impl_->index.emplace(entry.name, &slot).second,
             kInvalidArgument, "writing '", path.string(), "': tensor name '", entry.name,
             "' is used twice or reserved");
    header[entry.name] = {{"dtype", safetensors_dtype_name(entry.dtype)},
                          {"shape", entry.shape},
                          {"data_offsets", {slot.begin, position}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // data begins aligned, as the format recommends
  // The header's length, little-endian.
  std::string prefix(8, '\0');
  for (int i = 0; i < 8; ++i) {
    prefix[i] = static_cast<char>((text.size() >> (8 * i)) & 0xff);
  }
  prefix += text;
  for (Impl::Slot& slot : impl_->slots) {
    slot.begin += prefix.size();
  }
  impl_->file.fd =
      ::open(impl_->partial.c_str(), O_RDWR | O_CREAT | (goes_on ? 0 : O_TRUNC) | O_CLOEXEC,
             S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH);
  if (impl_->file.fd < 0) {
    io_error(impl_->partial, "creating", errno);
  }
  // Space is claimed now, so that a full disk shows before hours of work. Where the file system
  // cannot do that, writing tells later.
  impl_->size = position + prefix.size();
  if (::fallocate(impl_->file.fd, 0, 0, static_cast<off_t>(impl_->size)) != 0 &&
      (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)) {
    io_error(path, "writing", errno);
  }
  impl_->put(0, reinterpret_cast<const std::byte*>(prefix.data()), prefix.size());
}

SafetensorsWriter::~SafetensorsWriter() = default;

void SafetensorsWriter::write(const std::string& name, const at::Tensor& tensor) {
  const Impl::Slot& slot = impl_->slot(name);
  GM_CHECK(tensor.scalar_type() == slot.entry.dtype && tensor.sizes() == slot.entry.shape,
           kMismatch, "writing '", impl_->path.string(), "': tensor '", name, "' is ",
           dtype_name(tensor.scalar_type()), " ", tensor.sizes(), ", announced was ",
           dtype_name(slot.entry.dtype), " ", at::IntArrayRef(slot.entry.shape));
  // The format knows dense tensors in row-major order alone.
  const at::Tensor source = tensor.cpu().contiguous();
  write_bytes(name, 0, {static_cast<const std::byte*>(source.data_ptr()), slot.bytes});
}

void SafetensorsWriter::write_bytes(const std::string& name, std::uint64_t offset,
                                    std::span<const std::byte> bytes) {
  Impl::Slot& slot = impl_->slot(name);
  GM_ASSERT(offset <= slot.bytes && bytes.size() <= slot.bytes - offset);
  impl_->put(slot.begin + offset, bytes.data(), bytes.size());
  slot.written += bytes.size();
}

void SafetensorsWriter::mark_written(const std::string& name) {
  Impl::Slot& slot = impl_->slot(name);
  slot.written = slot.bytes;
}

void SafetensorsWriter::hash_complete_part(std::uint64_t max_bytes) {
  // Up to the first tensor that is not whole: behind it bytes may still come.
  std::size_t& open = impl_->first_open;
  while (open < impl_->slots.size() && impl_->slots[open].written == impl_->slots[open].bytes) {
    ++open;
  }
  const std::uint64_t complete =
      open < impl_->slots.size() ? impl_->slots[open].begin : impl_->size;
  impl_->hash_to(std::min(complete, impl_->hashed + max_bytes));
}

std::string SafetensorsWriter::hash() {
  GM_ASSERT(!impl_->finished);
  impl_->check_complete();
  // The kernel writes while the rest is hashed; errors show in finish().
  (void)::sync_file_range(impl_->file.fd, 0, 0, SYNC_FILE_RANGE_WRITE);
  impl_->hash_to(impl_->size);
  return impl_->hash.digest();
}

void SafetensorsWriter::finish() {
  // Data first, then the name, so that a file of this name is always whole.
  impl_->check_complete();
  if (::fsync(impl_->file.fd) != 0) {
    io_error(impl_->path, "syncing", errno);
  }
  if (::rename(impl_->partial.c_str(), impl_->path.c_str()) != 0) {
    io_error(impl_->path, "renaming", errno);
  }
  impl_->finished = true;
  impl_->file.reset();
}

void save_safetensors(const std::filesystem::path& path, const ParamMap& tensors,
                      const std::map<std::string, std::string>& metadata) {
  std::vector<SafetensorsWriter::Entry> entries;
  for (const auto& [name, tensor] : tensors) {
    entries.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
  }
  SafetensorsWriter writer(path, entries, metadata);
  for (const auto& [name, tensor] : tensors) {
    writer.write(name, tensor);
  }
  writer.finish();
}

ParamMap load_safetensors(const std::filesystem::path& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  ParamMap out;
  for (const TensorInfo& info : file.tensors()) {
    out.set(info.name, file.load(info.name));
  }
  return out;
}

std::string safetensors_dtype_name(at::ScalarType dtype) {
  for (const DtypeRow& row : kDtypes) {
    if (row.type == dtype) {
      return row.file_name;
    }
  }
  fail(ErrorCode::kUnsupported, "dtype ", c10::toString(dtype), " has no safetensors name here");
}

at::ScalarType parse_safetensors_dtype(const std::string& name) {
  std::string known;
  for (const DtypeRow& row : kDtypes) {
    if (name == row.file_name) {
      return row.type;
    }
    known += std::string(known.empty() ? "" : ", ") + row.file_name;
  }
  fail(ErrorCode::kUnsupported, "dtype '", name, "' is not supported (known: ", known,
       "); quantised models must be converted to bfloat16 or float32 first");
}

at::ScalarType parse_dtype(const std::string& name, const std::string& what) {
  for (const DtypeRow& row : kDtypes) {
    if (name == row.config_name && c10::isFloatingType(row.type)) {
      return row.type;
    }
  }
  fail(ErrorCode::kInvalidArgument, what, ": unknown dtype '", name,
       "', expected float32, bfloat16, float16 or float64");
}

std::string dtype_name(at::ScalarType dtype) {
  for (const DtypeRow& row : kDtypes) {
    if (row.type == dtype) {
      return row.config_name;
    }
  }
  return c10::toString(dtype);
}

}  // namespace growmerge
