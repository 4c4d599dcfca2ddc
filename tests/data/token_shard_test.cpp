#include "data/token_shard.h"

#include <gtest/gtest.h>
#include <hdf5.h>

#include <fstream>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "data/hdf5_file.h"
#include "tests/data/shard_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::data {
namespace {

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void flip_byte(const std::filesystem::path& path, std::uint64_t offset) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(static_cast<std::streamoff>(offset));
  const char byte = static_cast<char>(file.get() ^ 0x40);
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(byte);
}

std::uint64_t offset_of(const std::filesystem::path& path, const std::string& dataset) {
  return Hdf5File::open(path, false).dataset(dataset).file_offset;
}

TEST(TokenShard, GivesBackWhatWasWritten) {
  const testing::TemporaryDirectory dir;
  for (const std::int64_t vocab_size : {65536, 65537}) {
    const auto path = dir.path() / "en.h5";
    const auto documents = counting_documents(300, 40, 1);
    TokenShardInfo info = test_info(vocab_size);
    info.bos_id = 7;
    write_documents(path, info, documents);
    const TokenShard shard = TokenShard::open(path);
    EXPECT_EQ(shard.info().token_bytes(), vocab_size == 65536 ? 2u : 4u);
    EXPECT_EQ(shard.info().language, "en");
    EXPECT_EQ(shard.info().sources, "made by a test");
    EXPECT_EQ(shard.info().tokenizer_hash, "abc123");
    EXPECT_EQ(shard.info().vocab_size, vocab_size);
    EXPECT_EQ(shard.info().bos_id, 7);
    ASSERT_EQ(shard.num_documents(), documents.size());
    std::uint64_t tokens = 0;
    for (std::size_t i = 0; i < documents.size(); ++i) {
      EXPECT_EQ(shard.document(i),
                (std::vector<std::int64_t>(documents[i].begin(), documents[i].end())));
      EXPECT_EQ(shard.document_bytes(i), 2 * documents[i].size());
      tokens += documents[i].size();
    }
    EXPECT_EQ(shard.num_tokens(), tokens);
    EXPECT_EQ(shard.info().num_bytes, 2 * tokens);
    EXPECT_EQ(shard.info().num_characters, tokens);
    shard.verify();
    EXPECT_FALSE(std::filesystem::exists(path.string() + ".spill"));
  }
}

TEST(TokenShard, EqualContentsAreEqualBytesAndEqualIdentity) {
  const testing::TemporaryDirectory dir;
  auto documents = counting_documents(100, 40, 1);
  write_documents(dir.path() / "a.h5", test_info(9000), documents);
  write_documents(dir.path() / "b.h5", test_info(9000), documents);
  EXPECT_EQ(bytes_of(dir.path() / "a.h5"), bytes_of(dir.path() / "b.h5"));
  EXPECT_EQ(TokenShard::open(dir.path() / "a.h5").identity(),
            TokenShard::open(dir.path() / "b.h5").identity());
  documents[50][0] += 1;
  write_documents(dir.path() / "b.h5", test_info(9000), documents);
  EXPECT_NE(TokenShard::open(dir.path() / "a.h5").identity(),
            TokenShard::open(dir.path() / "b.h5").identity());
}

TEST(TokenShard, SpansSeveralChecksumBlocks) {
  const testing::TemporaryDirectory dir;
  const auto path = dir.path() / "en.h5";
  std::vector<std::vector<std::int32_t>> documents(3, std::vector<std::int32_t>(400'000, 5));
  for (auto& document : documents) {
    document.back() = 0;
  }
  write_documents(path, test_info(100), documents);
  TokenShard::open(path).verify();
  flip_byte(path, offset_of(path, "tokens") + kCrcBlockBytes + 17);
  const std::string message =
      testing::error_of(ErrorCode::kCorrupt, [&] { TokenShard::open(path).verify(); });
  EXPECT_NE(message.find("/tokens block 1 "), std::string::npos) << message;

  // Reading notices as well, but only where it reads.
  const TokenShard shard = TokenShard::open(path);
  std::vector<std::int64_t> tokens(10);
  shard.read(0, tokens);
  const std::uint64_t damaged = (kCrcBlockBytes + 17) / shard.info().token_bytes();
  EXPECT_EQ(testing::error_of(ErrorCode::kCorrupt, [&] { shard.read(damaged, tokens); }), message);
}

TEST(TokenShard, RefusesTokensOutsideTheVocabulary) {
  const testing::TemporaryDirectory dir;
  TokenShardWriter writer(dir.path() / "en.h5", test_info(10));
  const std::vector<std::int32_t> large{3, 10, 0};
  const std::vector<std::int32_t> negative{-1, 0};
  EXPECT_NE(testing::error_of(ErrorCode::kInvalidArgument, [&] { writer.add(large, 1, 1); })
                .find("token 10 is outside the vocabulary of 10"),
            std::string::npos);
  (void)testing::error_of(ErrorCode::kInvalidArgument, [&] { writer.add(negative, 1, 1); });
}

TEST(TokenShard, RefusesAnEmptyShard) {
  const testing::TemporaryDirectory dir;
  TokenShardWriter writer(dir.path() / "en.h5", test_info(10));
  EXPECT_NE(
      testing::error_of(ErrorCode::kInvalidArgument, [&] { (void)writer.finish(); }).find("'en'"),
      std::string::npos);
}

TEST(TokenShard, DamageIsNamed) {
  const testing::TemporaryDirectory dir;
  const auto path = dir.path() / "en.h5";
  const auto documents = counting_documents(100, 40, 1);
  const auto rewrite = [&] { write_documents(path, test_info(9000), documents); };

  EXPECT_NE(
      testing::error_of(ErrorCode::kNotFound, [&] { (void)TokenShard::open(path); }).find("en.h5"),
      std::string::npos);
  rewrite();
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  (void)testing::error_of(ErrorCode::kCorrupt, [&] { (void)TokenShard::open(path); });
  std::ofstream(path) << "this is text";
  (void)testing::error_of(ErrorCode::kCorrupt, [&] { (void)TokenShard::open(path); });

  rewrite();
  flip_byte(path, offset_of(path, "document_offsets") + 8 * 50 + 7);
  EXPECT_NE(testing::error_of(ErrorCode::kCorrupt, [&] { (void)TokenShard::open(path); })
                .find("does not ascend at document 50"),
            std::string::npos);
  rewrite();
  flip_byte(path, offset_of(path, "document_bytes") + 4);
  EXPECT_NE(testing::error_of(ErrorCode::kCorrupt, [&] { TokenShard::open(path).verify(); })
                .find("/document_bytes"),
            std::string::npos);
  rewrite();
  flip_byte(path, offset_of(path, "tokens") + 1);
  EXPECT_NE(
      testing::error_of(ErrorCode::kCorrupt, [&] { (void)TokenShard::open(path).document(0); })
          .find("/tokens block 0 "),
      std::string::npos);
}

TEST(TokenShard, RefusesUnfinishedAndUnknownVersions) {
  const testing::TemporaryDirectory dir;
  const auto path = dir.path() / "en.h5";
  TokenShardInfo info = test_info(100);
  info.num_documents = 1;
  info.num_tokens = 2;
  (void)create_token_shard(path, info);
  EXPECT_NE(testing::error_of(ErrorCode::kCorrupt, [&] { (void)TokenShard::open(path); })
                .find("is unfinished"),
            std::string::npos);
  Hdf5File file = Hdf5File::open(path, true);
  file.set_attribute("format_version", std::int64_t{2});
  file.close();
  EXPECT_NE(testing::error_of(ErrorCode::kUnsupported, [&] { (void)TokenShard::open(path); })
                .find("format version 2"),
            std::string::npos);
}

/// The layout of shards that were written before their headers had checksums.
void rewrite_in_old_layout(const std::filesystem::path& path) {
  const std::string old = path.string() + ".old";
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_libver_bounds(access, H5F_LIBVER_EARLIEST, H5F_LIBVER_V18);
  H5Pset_alignment(access, 1, 64);
  const hid_t to = H5Fcreate(old.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
  const hid_t from = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  H5Aiterate2(
      from, H5_INDEX_NAME, H5_ITER_INC, nullptr,
      [](hid_t at, const char* name, const H5A_info_t*, void* out) -> herr_t {
        const hid_t attribute = H5Aopen(at, name, H5P_DEFAULT);
        const hid_t type = H5Aget_type(attribute);
        const hid_t space = H5Aget_space(attribute);
        std::vector<char> value(H5Tget_size(type));
        H5Aread(attribute, type, value.data());
        const hid_t copy =
            H5Acreate2(*static_cast<hid_t*>(out), name, type, space, H5P_DEFAULT, H5P_DEFAULT);
        H5Awrite(copy, type, value.data());
        H5Aclose(copy);
        H5Sclose(space);
        H5Tclose(type);
        return H5Aclose(attribute);
      },
      const_cast<hid_t*>(&to));
  H5Literate(
      from, H5_INDEX_NAME, H5_ITER_INC, nullptr,
      [](hid_t at, const char* name, const H5L_info_t*, void* out) -> herr_t {
        return H5Ocopy(at, name, *static_cast<hid_t*>(out), name, H5P_DEFAULT, H5P_DEFAULT);
      },
      const_cast<hid_t*>(&to));
  H5Fclose(from);
  H5Fclose(to);
  H5Pclose(access);
  std::filesystem::rename(old, path);
}

/// Whether the shard with this byte changed is refused as corrupt, or gives what it gave before.
/// Anything else, a crash above all, fails the test.
void try_byte(const std::filesystem::path& path, const std::string& whole, std::size_t at,
              char value, const std::vector<std::int64_t>& tokens) {
  SCOPED_TRACE(concat("byte ", at, " of ", whole.size()));
  std::string changed = whole;
  changed[at] = value;
  std::ofstream(path, std::ios::binary) << changed;
  try {
    const TokenShard shard = TokenShard::open(path);
    shard.verify();
    std::vector<std::int64_t> read(shard.num_tokens());
    shard.read(0, read);
    EXPECT_EQ(read, tokens);
  } catch (const Error& e) {
    EXPECT_TRUE(e.code() == ErrorCode::kCorrupt || e.code() == ErrorCode::kUnsupported) << e.what();
  }
}

TEST(TokenShard, NoSingleByteOfItsMetadataCrashesAnything) {
  const testing::TemporaryDirectory dir;
  const auto path = dir.path() / "en.h5";
  for (const bool is_old : {false, true}) {
    SCOPED_TRACE(is_old ? "old layout" : "layout with checksums");
    write_documents(path, test_info(1000), counting_documents(5, 9, 1));
    if (is_old) {
      rewrite_in_old_layout(path);
    }
    const std::string whole = bytes_of(path);
    std::vector<std::int64_t> tokens(TokenShard::open(path).num_tokens());
    TokenShard::open(path).read(0, tokens);
    // A child process for each byte of the old layout: a part of them here, all of them in the
    // campaign.
    const std::size_t step = is_old ? 11 : 1;
    for (std::size_t at = 0; at < whole.size(); at += step) {
      for (const int value : {whole[at] ^ 0x01, whole[at] ^ 0x80, 0xff}) {
        try_byte(path, whole, at, static_cast<char>(value), tokens);
      }
    }
  }
}

TEST(TokenShard, VerifyChecksThatDocumentsEndWithEos) {
  const testing::TemporaryDirectory dir;
  const auto path = dir.path() / "en.h5";
  write_documents(path, test_info(100), {{1, 2, 0}, {3, 4}});
  EXPECT_NE(testing::error_of(ErrorCode::kCorrupt, [&] { TokenShard::open(path).verify(); })
                .find("document 1 ends with token 4"),
            std::string::npos);
}

TEST(TokenShard, ReadsOutsideAreRefused) {
  const testing::TemporaryDirectory dir;
  const auto path = dir.path() / "en.h5";
  write_documents(path, test_info(100), {{1, 2, 0}});
  const TokenShard shard = TokenShard::open(path);
  std::vector<std::int64_t> window(2);
  shard.read(1, window);
  EXPECT_EQ(window, (std::vector<std::int64_t>{2, 0}));
  (void)testing::error_of(ErrorCode::kInvalidArgument, [&] { shard.read(2, window); });
  (void)testing::error_of(ErrorCode::kInvalidArgument, [&] { (void)shard.document(1); });
}

}  // namespace
}  // namespace growmerge::data
