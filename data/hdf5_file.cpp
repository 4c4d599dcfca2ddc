#include "data/hdf5_file.h"

#include <hdf5.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "data/positioned_file.h"

namespace growmerge::data {
namespace {

// The header keeps identifiers as int64, so that it need not include HDF5's.
static_assert(sizeof(hid_t) == sizeof(std::int64_t));

/// Owns one HDF5 identifier.
class Handle {
 public:
  using Closer = herr_t (*)(hid_t);
  Handle(hid_t id, Closer closer) : id_(id), closer_(closer) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (id_ >= 0) {
      closer_(id_);
    }
  }
  [[nodiscard]] hid_t get() const { return id_; }

 private:
  hid_t id_;
  Closer closer_;
};

/// HDF5 prints its error stack by default; here it is collected instead.
class QuietErrors {
 public:
  QuietErrors() {
    H5Eget_auto2(H5E_DEFAULT, &function_, &data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  QuietErrors(const QuietErrors&) = delete;
  QuietErrors& operator=(const QuietErrors&) = delete;
  ~QuietErrors() { H5Eset_auto2(H5E_DEFAULT, function_, data_); }

 private:
  H5E_auto2_t function_ = nullptr;
  void* data_ = nullptr;
};

std::string hdf5_message() {
  std::string text;
  H5Ewalk2(
      H5E_DEFAULT, H5E_WALK_UPWARD,
      [](unsigned n, const H5E_error2_t* entry, void* out) -> herr_t {
        if (n == 0 && entry->desc != nullptr) {  // the innermost failure says what happened
          *static_cast<std::string*>(out) = entry->desc;
        }
        return 0;
      },
      &text);
  H5Eclear2(H5E_DEFAULT);
  return text.empty() ? "no further message" : text;
}

hid_t memory_type(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::kUint16:
      return H5T_STD_U16LE;
    case Hdf5Type::kUint32:
      return H5T_STD_U32LE;
    case Hdf5Type::kUint64:
      return H5T_STD_U64LE;
  }
  fail(ErrorCode::kInternal, "unknown HDF5 type");
}

void require_ok(bool ok, ErrorCode code, const std::filesystem::path& path,
                const std::string& what) {
  if (!ok) {
    fail(code, path.string(), ": ", what, ": HDF5 says: ", hdf5_message());
  }
}

Handle file_access() {
  const hid_t list = H5Pcreate(H5P_FILE_ACCESS);
  // No locks: many cluster file systems have none, and ranks write disjoint places of one file.
  H5Pset_file_locking(list, false, true);
  // The first layout with checksums; every HDF5 1.8 or later reads it, and every version that knows
  // this bound writes the same bytes.
  H5Pset_libver_bounds(list, H5F_LIBVER_V18, H5F_LIBVER_V18);
  H5Pset_alignment(list, 1, 64);  // mapped data sets can be read as what they are
  return {list, H5Pclose};
}

/// Where the layout has no checksums: version 0 or 1 of the superblock.
bool is_without_checksums(const std::filesystem::path& path) {
  const PositionedFile file(path, PositionedFile::Mode::kRead);
  constexpr std::size_t kVersionAt = 8;  // behind the signature
  std::array<unsigned char, kVersionAt + 1> start{};
  if (file.size() < start.size()) {
    return false;  // HDF5 refuses it
  }
  file.read_at(0, start.data(), start.size());
  return start[kVersionAt] < 2;
}

/// Reads every attribute and the description of every data set. False where HDF5 reports an error.
bool walk(const std::filesystem::path& path) {
  const QuietErrors quiet;
  const Handle access = file_access();
  const Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
  if (file.get() < 0) {
    return false;
  }
  const auto read_attribute = [](hid_t at, const char* name, const H5A_info_t*, void*) -> herr_t {
    const Handle attribute(H5Aopen(at, name, H5P_DEFAULT), H5Aclose);
    const Handle type(H5Aget_type(attribute.get()), H5Tclose);
    std::vector<char> value(H5Aget_storage_size(attribute.get()) + H5Tget_size(type.get()));
    return H5Aread(attribute.get(), type.get(), value.data());
  };
  const auto open_set = [](hid_t at, const char* name, const H5L_info_t*, void*) -> herr_t {
    const Handle set(H5Dopen2(at, name, H5P_DEFAULT), H5Dclose);
    const Handle space(H5Dget_space(set.get()), H5Sclose);
    const Handle type(H5Dget_type(set.get()), H5Tclose);
    const Handle properties(H5Dget_create_plist(set.get()), H5Pclose);
    (void)H5Dget_offset(set.get());
    return set.get() < 0 || space.get() < 0 || type.get() < 0 || properties.get() < 0 ? -1 : 0;
  };
  return H5Aiterate2(file.get(), H5_INDEX_NAME, H5_ITER_INC, nullptr, read_attribute, nullptr) >=
             0 &&
         H5Literate(file.get(), H5_INDEX_NAME, H5_ITER_INC, nullptr, open_set, nullptr) >= 0;
}

/// Walks the file in a child process. Errors: kCorrupt where that ends otherwise than by itself.
void check_in_child(const std::filesystem::path& path) {
  constexpr unsigned kPatience_s = 10;
  const pid_t child = ::fork();
  GM_CHECK(child >= 0, kIo, path.string(),
           ": cannot start a process to check it: ", std::strerror(errno));
  if (child == 0) {
    for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM}) {
      std::signal(signal, SIG_DFL);  // no other's report of this crash
    }
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    ::alarm(kPatience_s);
    ::_exit(walk(path) ? 0 : 1);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  GM_CHECK(WIFEXITED(status), kCorrupt, path.string(), ": is damaged: HDF5 ",
           WTERMSIG(status) == SIGALRM ? "finds no end in" : "crashes on",
           " its metadata; tokenize again");
  GM_CHECK(WEXITSTATUS(status) == 0, kCorrupt, path.string(),
           ": is not a whole HDF5 file: its metadata cannot be read; tokenize again");
}

/// Of the root group: no time stamps, and all attributes in its header, however many there are.
Handle file_creation() {
  const hid_t list = H5Pcreate(H5P_FILE_CREATE);
  H5Pset_obj_track_times(list, false);
  constexpr unsigned kAttributes = 64;
  H5Pset_attr_phase_change(list, kAttributes, 0);
  return {list, H5Pclose};
}

}  // namespace

std::size_t hdf5_type_bytes(Hdf5Type type) {
  return type == Hdf5Type::kUint16 ? 2 : type == Hdf5Type::kUint32 ? 4 : 8;
}

Hdf5File Hdf5File::create(const std::filesystem::path& path) {
  const QuietErrors quiet;
  const Handle access = file_access();
  const Handle creation = file_creation();
  const hid_t id = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), access.get());
  require_ok(id >= 0, ErrorCode::kIo, path, "cannot be made");
  return {path, id};
}

Hdf5File Hdf5File::open(const std::filesystem::path& path, bool writable) {
  std::error_code ignored;
  GM_CHECK(std::filesystem::is_regular_file(path, ignored), kNotFound, path.string(),
           ": no such token shard");
  if (is_without_checksums(path)) {
    check_in_child(path);
  }
  const QuietErrors quiet;
  const Handle access = file_access();
  const hid_t id = H5Fopen(path.c_str(), writable ? H5F_ACC_RDWR : H5F_ACC_RDONLY, access.get());
  // What is open for writing was made by us just now: then the disk is at fault.
  require_ok(id >= 0, writable ? ErrorCode::kIo : ErrorCode::kCorrupt, path,
             writable ? "cannot be written (disk full?)" : "is not a whole HDF5 file");
  return {path, id};
}

Hdf5File::Hdf5File(Hdf5File&& other) noexcept
    : path_(std::move(other.path_)), id_(std::exchange(other.id_, -1)) {}

Hdf5File::~Hdf5File() {
  if (id_ >= 0) {
    const QuietErrors quiet;
    H5Fclose(id_);
  }
}

void Hdf5File::close() {
  const QuietErrors quiet;
  const hid_t id = std::exchange(id_, -1);
  require_ok(H5Fclose(id) >= 0, ErrorCode::kIo, path_, "cannot be written (disk full?)");
}

Hdf5Dataset Hdf5File::create_dataset(const std::string& name, Hdf5Type type, std::uint64_t size) {
  GM_ASSERT(size > 0);
  const QuietErrors quiet;
  const hsize_t extent = size;
  const Handle space(H5Screate_simple(1, &extent, nullptr), H5Sclose);
  const Handle properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  // One run of bytes, whose place is known now: it is then written beside HDF5, by all ranks at
  // once, and read by mapping.
  H5Pset_layout(properties.get(), H5D_CONTIGUOUS);
  H5Pset_alloc_time(properties.get(), H5D_ALLOC_TIME_EARLY);
  // Every byte will be written; zeros first would double the work.
  H5Pset_fill_time(properties.get(), H5D_FILL_TIME_NEVER);
  // Equal contents give equal bytes, whenever they were written.
  H5Pset_obj_track_times(properties.get(), false);
  const Handle set(H5Dcreate2(id_, name.c_str(), memory_type(type), space.get(), H5P_DEFAULT,
                              properties.get(), H5P_DEFAULT),
                   H5Dclose);
  require_ok(set.get() >= 0, ErrorCode::kIo, path_, "cannot make data set /" + name);
  const haddr_t offset = H5Dget_offset(set.get());
  require_ok(offset != HADDR_UNDEF, ErrorCode::kIo, path_, "no space for data set /" + name);
  return {type, size, offset};
}

Hdf5Dataset Hdf5File::dataset(const std::string& name) const {
  const QuietErrors quiet;
  const Handle set(H5Dopen2(id_, name.c_str(), H5P_DEFAULT), H5Dclose);
  require_ok(set.get() >= 0, ErrorCode::kCorrupt, path_, "data set /" + name + " is missing");
  const Handle space(H5Dget_space(set.get()), H5Sclose);
  hsize_t extent = 0;
  GM_CHECK(H5Sget_simple_extent_ndims(space.get()) == 1 &&
               H5Sget_simple_extent_dims(space.get(), &extent, nullptr) == 1,
           kCorrupt, path_.string(), ": data set /", name, " is not one-dimensional");
  const Handle properties(H5Dget_create_plist(set.get()), H5Pclose);
  const haddr_t offset = H5Dget_offset(set.get());
  // h5repack and the like may chunk or compress: then there is nothing to map.
  GM_CHECK(H5Pget_layout(properties.get()) == H5D_CONTIGUOUS && offset != HADDR_UNDEF, kCorrupt,
           path_.string(), ": data set /", name,
           " is not contiguous (it was rewritten by another program: tokenize again)");
  const Handle stored(H5Dget_type(set.get()), H5Tclose);
  for (const Hdf5Type type : {Hdf5Type::kUint16, Hdf5Type::kUint32, Hdf5Type::kUint64}) {
    if (H5Tequal(stored.get(), memory_type(type)) > 0) {
      return {type, extent, offset};
    }
  }
  fail(ErrorCode::kCorrupt, path_.string(), ": data set /", name,
       " has a type other than little-endian uint16, uint32 or uint64");
}

void Hdf5File::set_attribute(const std::string& name, std::int64_t value) {
  const QuietErrors quiet;
  const Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  const Handle attribute(
      H5Acreate2(id_, name.c_str(), H5T_STD_I64LE, space.get(), H5P_DEFAULT, H5P_DEFAULT),
      H5Aclose);
  require_ok(attribute.get() >= 0 && H5Awrite(attribute.get(), H5T_NATIVE_INT64, &value) >= 0,
             ErrorCode::kIo, path_, "cannot write attribute " + name);
}

void Hdf5File::set_attribute(const std::string& name, const std::string& value) {
  const QuietErrors quiet;
  const Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  const Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.get(), value.size() + 1);  // HDF5 has no strings of length 0
  H5Tset_strpad(type.get(), H5T_STR_NULLTERM);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  const Handle attribute(
      H5Acreate2(id_, name.c_str(), type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  require_ok(attribute.get() >= 0 && H5Awrite(attribute.get(), type.get(), value.c_str()) >= 0,
             ErrorCode::kIo, path_, "cannot write attribute " + name);
}

bool Hdf5File::has_attribute(const std::string& name) const {
  const QuietErrors quiet;
  return H5Aexists(id_, name.c_str()) > 0;
}

std::int64_t Hdf5File::int_attribute(const std::string& name) const {
  GM_CHECK(has_attribute(name), kCorrupt, path_.string(), ": attribute ", name, " is missing");
  const QuietErrors quiet;
  const Handle attribute(H5Aopen(id_, name.c_str(), H5P_DEFAULT), H5Aclose);
  const Handle type(H5Aget_type(attribute.get()), H5Tclose);
  const Handle space(H5Aget_space(attribute.get()), H5Sclose);
  GM_CHECK(
      H5Tget_class(type.get()) == H5T_INTEGER && H5Sget_simple_extent_npoints(space.get()) == 1,
      kCorrupt, path_.string(), ": attribute ", name, " is not a whole number");
  std::int64_t value = 0;
  require_ok(H5Aread(attribute.get(), H5T_NATIVE_INT64, &value) >= 0, ErrorCode::kCorrupt, path_,
             "cannot read attribute " + name);
  return value;
}

std::string Hdf5File::string_attribute(const std::string& name) const {
  GM_CHECK(has_attribute(name), kCorrupt, path_.string(), ": attribute ", name, " is missing");
  const QuietErrors quiet;
  const Handle attribute(H5Aopen(id_, name.c_str(), H5P_DEFAULT), H5Aclose);
  const Handle type(H5Aget_type(attribute.get()), H5Tclose);
  const Handle space(H5Aget_space(attribute.get()), H5Sclose);
  GM_CHECK(H5Tget_class(type.get()) == H5T_STRING && H5Tis_variable_str(type.get()) == 0 &&
               H5Sget_simple_extent_npoints(space.get()) == 1,
           kCorrupt, path_.string(), ": attribute ", name, " is not a string of fixed length");
  // One more than is stored: another writer need not have ended it with a zero.
  std::vector<char> buffer(H5Tget_size(type.get()) + 1, '\0');
  require_ok(H5Aread(attribute.get(), type.get(), buffer.data()) >= 0, ErrorCode::kCorrupt, path_,
             "cannot read attribute " + name);
  return {buffer.data()};
}

}  // namespace growmerge::data
