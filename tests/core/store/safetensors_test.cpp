#include "core/store/safetensors.h"
#include "core/store/hashes.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/rand.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <iterator>

#include "core/base/random.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryDirectory;

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string read_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// A file of this header and this many data bytes.
std::string file_of(const std::string& header, std::size_t data_bytes) {
  std::string out(8, '\0');
  for (int i = 0; i < 8; ++i) {
    out[static_cast<std::size_t>(i)] = static_cast<char>((header.size() >> (8 * i)) & 0xff);
  }
  return out + header + std::string(data_bytes, '\1');
}

class BadFile : public ::testing::Test {
 protected:
  void expect(const std::string& bytes, const std::string& part,
              ErrorCode code = ErrorCode::kCorrupt) {
    const fs::path path = dir_.path() / "bad.safetensors";
    write_text(path, bytes);
    testing::expect_error([&] { (void)SafetensorsFile::open(path); }, code,
                          {"bad.safetensors", "header", part}, __FILE__, __LINE__);
  }
  void expect_header(const std::string& header, std::size_t data_bytes, const std::string& part) {
    expect(file_of(header, data_bytes), part);
  }
  TemporaryDirectory dir_;
};

const char* const kGood = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";

TEST_F(BadFile, TruncatedOrHostileLength) {
  expect("", "file is 0 bytes, needs at least 8");
  expect("abc", "file is 3 bytes, needs at least 8");
  expect(std::string(8, '\xff') + "{}", "allows at most");
  expect(std::string("\x10\0\0\0\0\0\0\0{}", 10), "truncated");
  expect(std::string("\0\0\0\0\0\0\0\0", 8), "must begin with '{'");
  expect(file_of(kGood, 7), "the file is truncated");
  expect(file_of(" {}", 0), "must begin with '{'");
}

TEST_F(BadFile, BrokenJson) {
  expect_header("{\"a\":", 0, "not valid JSON");
  expect_header("{\"a\xff\":1}", 0, "not valid JSON");
  expect_header("{} {}", 0, "not valid JSON");
  expect_header(R"({"a":[[[[[[[[[[[[[1]]]]]]]]]]]]]})", 0, "nested deeper");
}

TEST_F(BadFile, WrongEntries) {
  expect_header(R"({"a":1})", 0, "tensor 'a': its entry is no object");
  expect_header(R"({"a":{"dtype":"F32","shape":[2]}})", 8, "key 'data_offsets' is missing");
  expect_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", 8,
                "unknown key 'x'");
  expect_header(R"({"a":{"dtype":1,"shape":[2],"data_offsets":[0,8]}})", 8, "dtype is no string");
  expect_header(R"({"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})", 8, "shape is no list");
  expect_header(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8, "shape holds -2");
  expect_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, "begin <= end");
  expect_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", 8, "[begin, end]");
  expect_header(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8,
                "need 12 bytes, data_offsets give 8");
  expect_header(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,0]}})",
                0, "too many elements");
  expect(file_of(R"({"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}})", 2),
         "tensor 'a': dtype 'F8_E4M3' is not supported", ErrorCode::kUnsupported);
  expect_header(R"({"__metadata__":{"a":1}})", 0, "__metadata__ key 'a' is no string");
  expect_header(R"({"__metadata__":[]})", 0, "__metadata__ is no object");
}

TEST_F(BadFile, DuplicateNames) {
  expect_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                8, "name 'a' stands twice");
  expect_header(R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4,
                "name 'dtype' stands twice");
}

TEST_F(BadFile, OverlapHoleAndTrailingBytes) {
  const auto two = [](int b0, int e0, int b1, int e1) {
    return concat(R"({"a":{"dtype":"U8","shape":[)", e0 - b0, R"(],"data_offsets":[)", b0, ",", e0,
                  R"(]},"b":{"dtype":"U8","shape":[)", e1 - b1, R"(],"data_offsets":[)", b1, ",",
                  e1, "]}}");
  };
  expect_header(two(0, 4, 2, 6), 6, "tensor 'b' overlaps");
  expect_header(two(0, 4, 6, 8), 8, "hole of 2 bytes in front of tensor 'b'");
  expect_header(two(1, 4, 4, 8), 8, "hole of 1 bytes in front of tensor 'a'");
  expect_header(two(0, 4, 4, 8), 9, "1 bytes behind the last tensor");
  expect_header("{}", 3, "3 bytes behind the last tensor");
}

TEST(Safetensors, AbsentFileIsNotFound) {
  EXPECT_ERROR(SafetensorsFile::open("/nonexistent/x.safetensors"), kNotFound, "no such file",
               "/nonexistent/x.safetensors");
  EXPECT_ERROR(SafetensorsFile::open("/"), kIo, "regular file");
}

TEST(Safetensors, RoundTripsEveryDtypeAndEmptyTensors) {
  const TemporaryDirectory dir;
  ParamMap tensors;
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong,
                                     at::kInt, at::kShort, at::kChar, at::kByte, at::kBool}) {
    tensors.set(dtype_name(dtype), at::arange(7).to(dtype).reshape({7, 1}));
    EXPECT_EQ(parse_safetensors_dtype(safetensors_dtype_name(dtype)), dtype);
  }
  tensors.set("empty", at::empty({0, 3}, at::TensorOptions().dtype(at::kFloat)));
  tensors.set("scalar", at::arange(1).to(at::kFloat).reshape({}));
  save_safetensors(dir.path() / "x.safetensors", tensors, {{"key", "value \"quoted\""}});
  const SafetensorsFile file = SafetensorsFile::open(dir.path() / "x.safetensors");
  EXPECT_EQ(file.metadata().at("key"), "value \"quoted\"");
  EXPECT_EQ(file.tensors().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor loaded = file.load(name);
    EXPECT_EQ(loaded.scalar_type(), tensor.scalar_type());
    EXPECT_TRUE(at::equal(loaded, tensor)) << name;
  }
  file.drop(file.info("float32"));
  EXPECT_TRUE(at::equal(file.load("float32"), tensors.at("float32")));
  EXPECT_ERROR(file.info("float3"), kNotFound, "no tensor 'float3'", "nearest name is 'float32'");
  const ParamMap all = load_safetensors(dir.path() / "x.safetensors");
  check_same_layout(all, tensors, "round trip");
}

TEST(SafetensorsWriter, PiecesInAnyOrderMakeTheFile) {
  const TemporaryDirectory dir;
  const fs::path path = dir.path() / "x.safetensors";
  const std::vector<SafetensorsWriter::Entry> entries = {{"a", at::kFloat, {4}},
                                                         {"b", at::kInt, {2}}};
  {
    SafetensorsWriter writer(path, entries, {});
    const std::int32_t b[] = {5, 6};
    const float a[] = {1, 2, 3, 4};
    const auto bytes = std::as_bytes(std::span(a));
    writer.write_bytes("b", 0, std::as_bytes(std::span(b)));
    writer.write_bytes("a", 8, bytes.subspan(8));
    EXPECT_ERROR(writer.finish(), kInternal, "tensor 'a' has 8 of 16 bytes");
    writer.write_bytes("a", 0, bytes.first(8));
    EXPECT_FALSE(fs::exists(path)) << "nothing looks whole before finish()";
    EXPECT_ERROR(writer.write_bytes("c", 0, bytes), kInvalidArgument, "no tensor 'c'");
    writer.finish();
  }
  const ParamMap loaded = load_safetensors(path);
  EXPECT_EQ(loaded.at("a")[3].item<float>(), 4.0F);
  EXPECT_EQ(loaded.at("b")[1].item<int>(), 6);
}

TEST(SafetensorsWriter, HashIsThatOfTheFileInWhateverOrderItIsWritten) {
  const TemporaryDirectory dir;
  const fs::path path = dir.path() / "x.safetensors";
  const std::vector<SafetensorsWriter::Entry> entries = {
      {"a", at::kFloat, {4}}, {"b", at::kFloat, {300000}}, {"c", at::kFloat, {2}}};
  SafetensorsWriter writer(path, entries, {});
  writer.hash_complete_part(1 << 20);  // the header alone
  writer.write("c", at::rand({2}));
  writer.write("a", at::rand({4}));
  writer.hash_complete_part(1 << 20);
  EXPECT_ERROR((void)writer.hash(), kInternal, "tensor 'b' has 0 of 1200000 bytes");
  writer.write("b", at::rand({300000}));
  writer.hash_complete_part(1000);
  const std::string hash = writer.hash();
  writer.finish();
  EXPECT_EQ(hash, hash_file(path));
}

TEST(SafetensorsWriter, RefusesWrongTensorsAndLeavesNothing) {
  const TemporaryDirectory dir;
  const fs::path path = dir.path() / "x.safetensors";
  const std::vector<SafetensorsWriter::Entry> twice = {{"a", at::kFloat, {4}},
                                                       {"a", at::kInt, {2}}};
  EXPECT_ERROR(SafetensorsWriter(path, twice, {}), kInvalidArgument, "'a' is used twice");
  {
    SafetensorsWriter writer(path, std::span(twice).first(1), {});
    EXPECT_ERROR(writer.write("a", at::rand({5})), kMismatch, "float32 [5]", "float32 [4]");
    EXPECT_ERROR(writer.write("a", at::rand({4}).to(at::kHalf)), kMismatch, "float16");
  }
  EXPECT_TRUE(fs::is_empty(dir.path()));
  EXPECT_ERROR(SafetensorsWriter(dir.path() / "no/x", std::span(twice).first(1), {}), kIo,
               "creating", "No such file");
}

TEST(SafetensorsWriter, FullDiskIsAnErrorAndKeepsWhatWasThere) {
  const TemporaryDirectory dir;
  const fs::path path = dir.path() / "x.safetensors";
  write_text(path, "old");
  // A limit on file size fails at the same call as a full disk (EFBIG instead of ENOSPC).
  struct rlimit old {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = old;
  small.rlim_cur = 4096;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  ParamMap tensors;
  tensors.set("a", at::rand({4096}));
  EXPECT_ERROR(save_safetensors(path, tensors, {}), kIo, "x.safetensors");
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(read_text(path), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), {}), 1);
}

TEST(SafetensorsWriter, DevFullSaysDiskFull) {
  if (!fs::exists("/dev/full")) {
    GTEST_SKIP() << "needs /dev/full";
  }
  const TemporaryDirectory dir;
  fs::create_symlink("/dev/full", dir.path() / "x.safetensors.partial");
  ParamMap tensors;
  tensors.set("a", at::rand({4}));
  EXPECT_ERROR(save_safetensors(dir.path() / "x.safetensors", tensors, {}), kIo, "disk full",
               "x.safetensors");
}

// Whatever happens to a file, opening it either works or throws an Error; it never crashes and
// never reads outside. (Run under the asan preset, this is the memory check.)
TEST(Safetensors, DamagedFilesNeverCrash) {
  const TemporaryDirectory dir;
  const fs::path path = dir.path() / "x.safetensors";
  ParamMap tensors;
  tensors.set("model.embed", at::rand({5, 3}));
  tensors.set("model.norm", at::rand({3}).to(at::kBFloat16));
  tensors.set("empty", at::empty({0}));
  save_safetensors(path, tensors, {{"format", "pt"}});
  const std::string good = read_text(path);
  const Philox random(11, stream_id("damage"));
  int refused = 0;
  constexpr int kRounds = 3000;
  for (int round = 0; round < kRounds; ++round) {
    const auto at = static_cast<std::uint64_t>(round) * 16;
    std::string bad = good;
    const auto flips = 1 + random.below(at, 3);
    for (std::uint64_t i = 0; i < flips; ++i) {
      const auto byte = random.below(at + 1 + 2 * i, bad.size());
      bad[byte] = static_cast<char>(bad[byte] ^ (1 << random.below(at + 2 + 2 * i, 8)));
    }
    if (round % 3 == 0) {
      bad.resize(random.below(at + 15, bad.size()));
    }
    write_text(path, bad);
    try {
      const SafetensorsFile file = SafetensorsFile::open(path);
      for (const TensorInfo& info : file.tensors()) {
        EXPECT_EQ(file.load(info.name).nbytes(), info.num_bytes());
      }
    } catch (const Error& e) {
      EXPECT_TRUE(e.code() == ErrorCode::kCorrupt || e.code() == ErrorCode::kUnsupported)
          << e.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, kRounds / 2);
}

TEST(Dtypes, NamesBothWays) {
  EXPECT_EQ(parse_dtype("bfloat16", "x"), at::kBFloat16);
  EXPECT_EQ(dtype_name(at::kDouble), "float64");
  EXPECT_ERROR(parse_dtype("int64", "save_dtype"), kInvalidArgument, "save_dtype", "int64",
               "bfloat16");
  EXPECT_ERROR(safetensors_dtype_name(at::kComplexFloat), kUnsupported, "ComplexFloat");
}

}  // namespace
}  // namespace growmerge
