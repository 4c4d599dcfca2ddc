#include "core/store/manifest.h"
#include "core/base/files.h"
#include "core/base/version.h"
#include "core/store/hashes.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <thread>

#include "core/store/stage_output.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryDirectory;

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

Manifest example() {
  Manifest m;
  m.stage = "merge";
  m.config = "method: linear\n";
  m.inputs = {{"model", "runs/a", "aa"}, {"base", "runs/b", "bb"}};
  m.seed = 7;
  m.flops = 1.25e18;
  m.flops_total = 1e308;
  m.tokens_total = (std::int64_t{1} << 53) + 1;
  m.notes = {{"grown_from", "x\n\"y\""}};
  return m;
}

TEST(Hash, IsXxh3With128Bits) {
  // Known answer of the XXH3-128 specification: the empty input, seed 0.
  EXPECT_EQ(hash_bytes("", 0), "99aa06d3014798d86001c324468d497f");
  const TemporaryDirectory dir;
  const std::string text(3'000'000, 'x');
  write_text(dir.path() / "f", text);
  EXPECT_EQ(hash_file(dir.path() / "f"), hash_bytes(text.data(), text.size()));
  EXPECT_ERROR(hash_file(dir.path() / "g"), kNotFound, "g");
}

TEST(StageIdentity, DependsOnWhatIsComputedAlone) {
  const std::string identity = stage_identity(example());
  EXPECT_EQ(identity.size(), 32U);
  Manifest same = example();
  same.world_size = 64;
  same.inputs[0].path = "/elsewhere";
  same.flops = 0;
  same.notes.clear();
  EXPECT_EQ(stage_identity(same), identity);
  const auto changed = [&identity](auto&& change) {
    Manifest m = example();
    change(m);
    EXPECT_NE(stage_identity(m), identity);
  };
  changed([](Manifest& m) { m.stage = "train"; });
  changed([](Manifest& m) { m.config += " "; });
  changed([](Manifest& m) { m.seed = 8; });
  changed([](Manifest& m) { m.inputs[1].identity = "cc"; });
  changed([](Manifest& m) { m.inputs[1].role = "model"; });
  changed([](Manifest& m) { std::swap(m.inputs[0], m.inputs[1]); });
  changed([](Manifest& m) { m.inputs.pop_back(); });
}

TEST(StageIdentity, TheOrderOfFieldsDoesNotCount) {
  Manifest a = example();
  a.config = "lr: 1\nmodel: <model>\n";
  Manifest b = example();
  b.config = "model: <model>\nlr: 1\n";
  EXPECT_EQ(stage_identity(a), stage_identity(b));
  b.config = "model: <model>\n";
  EXPECT_NE(stage_identity(a), stage_identity(b));
}

TEST(StageOutput, IsWholeOnlyAfterFinish) {
  const TemporaryDirectory dir;
  const fs::path name = dir.path() / "runs" / "out";
  StageOutput output(name.string() + "/");
  EXPECT_EQ(output.dir(), name.string() + ".tmp");
  write_text(output.dir() / "a.txt", "alpha");
  fs::create_directories(output.dir() / "sub");
  write_text(output.dir() / "sub" / "b.txt", "beta");
  write_text(output.dir() / "c.txt", "gamma");
  output.record_file({"c.txt", 5, hash_bytes("gamma", 5)});
  EXPECT_FALSE(fs::exists(name));
  EXPECT_ERROR(path_identity(name), kNotFound, "unfinished");
  EXPECT_ERROR(path_identity(output.dir()), kMismatch, "unfinished stage");
  output.finish(example());
  EXPECT_FALSE(fs::exists(output.dir()));
  const auto m = read_manifest(name);
  ASSERT_TRUE(m.has_value());
  EXPECT_EQ(m->identity, stage_identity(example()));
  EXPECT_EQ(path_identity(name), m->identity);
  EXPECT_EQ(m->stage, "merge");
  EXPECT_EQ(m->config, example().config);
  EXPECT_EQ(m->notes, example().notes);
  EXPECT_EQ(m->tokens_total, example().tokens_total);
  EXPECT_DOUBLE_EQ(m->flops_total, 1e308);
  EXPECT_EQ(m->inputs.size(), 2U);
  EXPECT_EQ(m->inputs[1].identity, "bb");
  EXPECT_EQ(m->growmerge_version, growmerge_version());
  EXPECT_EQ(m->files.size(), 3U);
  verify_directory(name);
  EXPECT_ERROR(StageOutput(name), kInvalidArgument, "exists already", "--out");
}

TEST(StageOutput, PartialIsDroppedOrKept) {
  const TemporaryDirectory dir;
  const fs::path name = dir.path() / "out";
  { write_text(StageOutput(name).dir() / "left.txt", "x"); }
  { EXPECT_TRUE(fs::exists(StageOutput(name, true).dir() / "left.txt")); }
  { EXPECT_FALSE(fs::exists(StageOutput(name).dir() / "left.txt")); }
  EXPECT_ERROR(StageOutput(fs::path("/proc/nowhere/x")), kIo, "/proc/nowhere/x.tmp");
}

TEST(StageOutput, TakesAnEmptyDirectoryAndNoOther) {
  const TemporaryDirectory dir;
  const fs::path name = dir.path() / "out";
  fs::create_directories(name);
  {
    StageOutput output(name);
    write_text(output.dir() / "a.txt", "x");
    output.finish(example());
  }
  verify_directory(name);
  fs::create_directories(dir.path() / "empty");
  fs::create_directory_symlink(dir.path() / "empty", dir.path() / "link");
  EXPECT_ERROR(StageOutput(dir.path() / "link"), kInvalidArgument, "exists already");
  write_text(dir.path() / "empty" / "mine.txt", "x");
  EXPECT_ERROR(StageOutput(dir.path() / "empty"), kInvalidArgument, "exists already");
}

TEST(StageOutput, IsRefusedWhileAnotherWritesIt) {
  const TemporaryDirectory dir;
  const fs::path name = dir.path() / "out";
  StageOutput first(name);
  write_text(first.dir() / "half.txt", "x");
  EXPECT_ERROR(StageOutput(name), kInvalidArgument, "out.tmp", "another process",
               std::to_string(getpid()));
  EXPECT_ERROR(discard_unfinished(name), kInvalidArgument, "another process");
  EXPECT_ERROR(StageOutput(name, true), kInvalidArgument, "another process");
  EXPECT_TRUE(fs::exists(first.dir() / "half.txt"));
}

TEST(StageOutput, IsNotPublishedWhenItsDirectoryWasReplaced) {
  const TemporaryDirectory dir;
  const fs::path name = dir.path() / "out";
  StageOutput first(name);
  fs::remove_all(first.dir());
  const StageOutput second(name);
  write_text(second.dir() / "half.txt", "x");
  EXPECT_ERROR(first.finish(example()), kInvalidArgument, "replaced");
  EXPECT_FALSE(fs::exists(name));
}

TEST(StageOutput, WhatSomebodyElseCallsSoIsNeitherEmptiedNorTakenIn) {
  const TemporaryDirectory dir;
  const fs::path name = dir.path() / "out";
  const fs::path partial = dir.path() / "out.tmp";
  fs::create_directories(partial);
  write_text(partial / "precious.txt", "mine");
  for (const bool keep : {false, true}) {
    EXPECT_ERROR(StageOutput(name, keep), kInvalidArgument, "out.tmp", "did not make", "--out");
  }
  EXPECT_ERROR(discard_unfinished(name), kInvalidArgument, "did not make");
  EXPECT_TRUE(fs::exists(partial / "precious.txt"));
  fs::rename(partial, dir.path() / "victim");
  fs::create_directory_symlink(dir.path() / "victim", partial);
  EXPECT_ERROR(StageOutput(name), kInvalidArgument, "is a link");
  EXPECT_ERROR(discard_unfinished(name), kInvalidArgument, "is a link");
  EXPECT_TRUE(fs::exists(dir.path() / "victim" / "precious.txt"));
  fs::remove(partial);
  write_text(partial, "a file");
  EXPECT_ERROR(StageOutput(name), kInvalidArgument, "is a file");
  fs::remove(partial);
  fs::create_directories(partial);  // empty: nothing can be lost
  StageOutput(name).finish(example());
  EXPECT_TRUE(fs::exists(name));
}

TEST(StageOutput, LeavesNoLockBehindAndWhatIsUnfinishedCanBeDiscarded) {
  const TemporaryDirectory dir;
  const fs::path name = dir.path() / "out";
  StageOutput(name).finish(example());
  EXPECT_FALSE(fs::exists(name / ".lock"));
  const fs::path other = dir.path() / "other";
  { const StageOutput unfinished(other); }
  discard_unfinished(other);
  EXPECT_FALSE(fs::exists(other.string() + ".tmp"));
}

TEST(StageOutput, ARecordThatDoesNotFitIsOurBug) {
  const TemporaryDirectory dir;
  StageOutput output(dir.path() / "out");
  write_text(output.dir() / "a", "abc");
  output.record_file({"a", 4, "x"});
  EXPECT_ERROR(output.finish(example()), kInternal, "has 3 bytes, recorded were 4");
  output.record_file({"a", 3, hash_bytes("abc", 3)});
  output.record_file({"b", 3, "x"});
  EXPECT_ERROR(output.finish(example()), kInternal, "not there");
}

TEST(VerifyDirectory, NamesTheFirstBadFile) {
  const TemporaryDirectory dir;
  const fs::path name = dir.path() / "out";
  StageOutput output(name);
  write_text(output.dir() / "a.txt", "alpha");
  write_text(output.dir() / "b.txt", "beta");
  output.finish(example());
  write_text(name / "b.txt", "bet!");
  EXPECT_ERROR(verify_directory(name), kCorrupt, "b.txt", "has changed");
  write_text(name / "b.txt", "bet");
  EXPECT_ERROR(verify_directory(name), kCorrupt, "b.txt", "has 3 bytes, the manifest says 4");
  fs::remove(name / "a.txt");
  EXPECT_ERROR(verify_directory(name), kCorrupt, "a.txt", "missing");
  EXPECT_ERROR(verify_directory(dir.path()), kNotFound, "no manifest.json");
}

TEST(ReadManifest, RefusesWhatItDoesNotUnderstand) {
  const TemporaryDirectory dir;
  EXPECT_FALSE(read_manifest(dir.path()).has_value());
  write_text(dir.path() / "manifest.json",
             "{\"format_version\": 99, \"growmerge_version\": \"9\"}");
  EXPECT_ERROR(read_manifest(dir.path()), kUnsupported, "format version 99", "(9)");
  write_text(dir.path() / "manifest.json", "{\"format_version\": 1}");
  EXPECT_ERROR(read_manifest(dir.path()), kCorrupt, "is no manifest", "stage");
  write_text(dir.path() / "manifest.json", "{\"format_ver");
  EXPECT_ERROR(read_manifest(dir.path()), kCorrupt, "manifest.json");
}

TEST(PathIdentity, OfOutsideDirectoriesIsTheirContent) {
  const TemporaryDirectory dir;
  fs::create_directories(dir.path() / "m" / "sub");
  write_text(dir.path() / "m" / "a", "1");
  write_text(dir.path() / "m" / "sub" / "b", "2");
  const std::string identity = path_identity(dir.path() / "m");
  EXPECT_EQ(path_identity(dir.path() / "m/"), identity);
  write_text(dir.path() / "m" / ".hidden", "3");
  EXPECT_EQ(path_identity(dir.path() / "m"), identity);
  fs::rename(dir.path() / "m" / "a", dir.path() / "m" / "c");
  EXPECT_NE(path_identity(dir.path() / "m"), identity);
  fs::rename(dir.path() / "m", dir.path() / "n");
  fs::rename(dir.path() / "n" / "c", dir.path() / "n" / "a");
  EXPECT_EQ(path_identity(dir.path() / "n"), identity);
  EXPECT_EQ(path_identity(dir.path() / "n" / "a"), hash_bytes("1", 1));
  EXPECT_ERROR(path_identity(dir.path() / "m"), kNotFound, "no '");
}

/// Past the step in which file systems keep times: only then is a hash remembered.
void let_rest() { std::this_thread::sleep_for(std::chrono::milliseconds(30)); }

/// Puts a hash that no file has into the cache, so that it shows where the cache answered.
void falsify(const fs::path& cache, const std::string& hash) {
  std::string text = read_file(cache);
  for (auto at = text.find(hash); at != std::string::npos; at = text.find(hash)) {
    text.replace(at, hash.size(), std::string(hash.size(), 'f'));
  }
  write_text(cache, text);
  set_hash_cache(cache);  // reads it again, as a new process would
}

TEST(HashCache, AnswersForTheVeryFileWhileNobodyTouchesIt) {
  const TemporaryDirectory dir;
  const fs::path file = dir.path() / "with space";
  const fs::path cache = dir.path() / "cache" / "hashes";
  const std::string cached(32, 'f');
  write_text(file, "one");
  set_hash_cache(cache);
  EXPECT_EQ(path_identity(file), hash_bytes("one", 3));
  EXPECT_FALSE(fs::exists(cache)) << "it may still be written to within one step of its times";
  let_rest();
  EXPECT_EQ(path_identity(file), hash_bytes("one", 3));
  falsify(cache, hash_bytes("one", 3));
  EXPECT_EQ(path_identity(file), cached);
  fs::rename(file, dir.path() / "moved");  // which the file system counts as a change
  EXPECT_EQ(path_identity(dir.path() / "moved"), hash_bytes("one", 3));
  fs::rename(dir.path() / "moved", file);
  let_rest();
  EXPECT_EQ(path_identity(file), hash_bytes("one", 3));
  falsify(cache, hash_bytes("one", 3));
  EXPECT_EQ(path_identity(file), cached);

  const auto time = fs::last_write_time(file);
  fs::copy_file(file, dir.path() / "copy");
  fs::last_write_time(dir.path() / "copy", time);
  EXPECT_EQ(path_identity(dir.path() / "copy"), hash_bytes("one", 3)) << "another file";
  write_text(file, "two");
  fs::last_write_time(file, time);
  EXPECT_EQ(path_identity(file), hash_bytes("two", 3)) << "same size and modification time";
  std::ofstream(cache, std::ios::app) << "broken line\n" << cached << " 1 2 3 4\n";
  set_hash_cache(cache);
  EXPECT_EQ(path_identity(file), hash_bytes("two", 3));
  set_hash_cache({});
}

TEST(BelievedManifest, IsTheOneWhoseFilesAreWhatItSays) {
  const TemporaryDirectory dir;
  const fs::path name = dir.path() / "out";
  {
    StageOutput output(name);
    write_text(output.dir() / "model.safetensors", "weights");
    write_text(output.dir() / "config.json", "{}");
    output.finish(example());
  }
  const std::string identity = believed_manifest(name)->identity;
  EXPECT_EQ(path_identity(name), identity);
  write_text(name / "notes.txt", "mine");
  EXPECT_EQ(path_identity(name), identity) << "nothing reads it";
  fs::copy(name, dir.path() / "copy", fs::copy_options::recursive);
  EXPECT_EQ(path_identity(dir.path() / "copy"), identity) << "what is equal is equal";

  const auto refused = [&](const char* what, const std::function<void(const fs::path&)>& change) {
    SCOPED_TRACE(what);
    const fs::path other = dir.path() / what;
    fs::copy(name, other, fs::copy_options::recursive);
    change(other);
    EXPECT_ERROR(path_identity(other), kCorrupt, what, "remove its manifest.json");
    EXPECT_FALSE(file_fault(other, *read_manifest(other)).empty());
    fs::remove(other / "manifest.json");
    EXPECT_NE(path_identity(other), identity);
  };
  refused("has hash", [](const fs::path& d) { write_text(d / "model.safetensors", "WEIGHTS"); });
  refused("has 3 bytes", [](const fs::path& d) { write_text(d / "model.safetensors", "cut"); });
  refused("is missing", [](const fs::path& d) { fs::remove(d / "config.json"); });
  refused("is not in its manifest", [](const fs::path& d) {
    write_text(d / "model-00001-of-00002.safetensors", "of another tool");
  });
  std::string text = read_file(name / "manifest.json");
  text.replace(text.find("\"config.json\""), 13, "\"../config.json\"");
  write_text(name / "manifest.json", text);
  EXPECT_ERROR(path_identity(name), kCorrupt, "outside its directory", "manifest.json");
}

TEST(StreamHash, PiecesGiveTheHashOfTheWhole) {
  const std::string text(1000, 'x');
  const auto bytes = std::as_bytes(std::span(text));
  StreamHash hash;
  hash.update(bytes.first(300));
  hash.update(bytes.subspan(300));
  EXPECT_EQ(hash.digest(), hash_bytes(text.data(), text.size()));
}

TEST(FileHasher, AnswersForAFileThatWasReadWholeAndHasNotChanged) {
  const TemporaryDirectory dir;
  const fs::path file = dir.path() / "f";
  const std::string text = "one";
  write_text(file, text);
  let_rest();
  const auto time = fs::last_write_time(file);
  FileHasher part(file);
  EXPECT_TRUE(part.is_wanted());
  part.update(std::as_bytes(std::span(text)).first(2));
  part.finish();
  EXPECT_TRUE(FileHasher(file).is_wanted()) << "two of three bytes are no hash of the file";
  FileHasher whole(file);
  whole.update(std::as_bytes(std::span(text)));
  whole.finish();
  EXPECT_FALSE(FileHasher(file).is_wanted());
  write_text(file, "two");
  fs::last_write_time(file, time);
  EXPECT_EQ(path_identity(file), hash_bytes("two", 3));
  let_rest();
  FileHasher late(file);
  write_text(file, "three");
  late.update(std::as_bytes(std::span(text)));
  late.finish();
  EXPECT_EQ(path_identity(file), hash_bytes("three", 5));
  set_hash_cache({});
}

TEST(Files, AtomicWriteReplacesOrLeaves) {
  const TemporaryDirectory dir;
  const fs::path path = dir.path() / "f";
  write_file_atomically(path, "one");
  write_file_atomically(path, std::string("two\0x", 5));
  EXPECT_EQ(read_file(path), std::string("two\0x", 5));
  EXPECT_ERROR(write_file_atomically(dir.path() / "no" / "f", "x"), kIo, "creating");
  EXPECT_ERROR(read_file(dir.path() / "g"), kNotFound, "g");
  EXPECT_ERROR(sync_path(dir.path() / "g"), kIo, "g");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), {}), 1);
}

}  // namespace
}  // namespace growmerge
