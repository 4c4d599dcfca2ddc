// The safetensors format, read by mmap and written as a stream.
//
// Format: 8 bytes little-endian header length n, n bytes of JSON {name: {dtype, shape,
// data_offsets: [begin, end)},
// "__metadata__": {string: string}}, then the data. The reader checks every rule: header size (<=
// 100 MB and inside the file), JSON object, no duplicate names, known dtypes, shape x dtype size =
// end - begin, offsets inside the file, no overlap, no hole, nothing behind the last tensor.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/store/param_map.h"

namespace growmerge {

struct TensorInfo {
  std::string name;
  at::ScalarType dtype = at::ScalarType::Float;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;  // bytes, absolute in the file
  std::uint64_t end = 0;

  [[nodiscard]] std::uint64_t num_bytes() const { return end - begin; }
  [[nodiscard]] std::int64_t num_elements() const;
};

class SafetensorsFile {
 public:
  /// Maps and checks the file. Errors: kNotFound, kCorrupt ("path: header: ..." naming rule and
  /// tensor), kIo.
  [[nodiscard]] static SafetensorsFile open(const std::filesystem::path& path);
  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;
  ~SafetensorsFile();

  [[nodiscard]] const std::filesystem::path& path() const;
  /// In order of their offsets.
  [[nodiscard]] const std::vector<TensorInfo>& tensors() const;
  [[nodiscard]] bool contains(const std::string& name) const;
  [[nodiscard]] const TensorInfo& info(const std::string& name) const;
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const;
  /// The mapped bytes; valid while this object lives.
  [[nodiscard]] std::span<const std::byte> bytes(const TensorInfo& info) const;
  /// The whole file, header included.
  [[nodiscard]] std::span<const std::byte> all_bytes() const;
  /// A tensor that owns a copy.
  [[nodiscard]] at::Tensor load(const std::string& name) const;
  /// Tells the kernel that this tensor's pages are not needed any more.
  void drop(const TensorInfo& info) const;

 private:
  SafetensorsFile();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Layout first, data later: offsets are final when the object is made, so tensors may be written
/// in any order, whole or in pieces. The file is complete and synced after finish().
class SafetensorsWriter {
 public:
  struct Entry {
    std::string name;
    at::ScalarType dtype = at::ScalarType::Float;
    std::vector<std::int64_t> shape;
  };
  /// With `goes_on`, what a writer of the same layout that was killed has left is kept: see
  /// mark_written(). Errors: kIo (cannot create; disk full), kInvalidArgument (duplicate name).
  SafetensorsWriter(const std::filesystem::path& path, std::span<const Entry> entries,
                    const std::map<std::string, std::string>& metadata, bool goes_on = false);
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  void write(const std::string& name, const at::Tensor& tensor);
  /// Raw bytes at an offset inside the tensor. Thread-safe for distinct ranges.
  void write_bytes(const std::string& name, std::uint64_t offset, std::span<const std::byte> bytes);
  /// The whole tensor is there from before: the caller knows, this does not look.
  void mark_written(const std::string& name);
  /// Goes on with the hash of the file, by at most `max_bytes`, as far as its tensors are complete
  /// from the front, while they are still in the caches. One thread at a time; others may write.
  void hash_complete_part(std::uint64_t max_bytes);
  /// XXH3-128 of the file, as hash_file() gives it; call it before finish(). Reads back what
  /// hash_complete_part() has left. Errors: as finish().
  [[nodiscard]] std::string hash();
  /// Errors: kInternal when bytes are missing, kIo.
  void finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// One file of all tensors, in order. Errors as SafetensorsWriter.
void save_safetensors(const std::filesystem::path& path, const ParamMap& tensors,
                      const std::map<std::string, std::string>& metadata);
[[nodiscard]] ParamMap load_safetensors(const std::filesystem::path& path);

/// "F32", "BF16", ... and back. Errors: kUnsupported.
[[nodiscard]] std::string safetensors_dtype_name(at::ScalarType dtype);
[[nodiscard]] at::ScalarType parse_safetensors_dtype(const std::string& name);
/// "float32" | "bfloat16" | "float16" | "float64", as configs name them. Errors: kInvalidArgument
/// naming `what`.
[[nodiscard]] at::ScalarType parse_dtype(const std::string& name, const std::string& what);
[[nodiscard]] std::string dtype_name(at::ScalarType dtype);

}  // namespace growmerge
