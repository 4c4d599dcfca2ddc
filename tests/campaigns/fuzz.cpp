// Feeds changed files to the program's parsers: growmerge_fuzz TARGET SEEDS_DIR RUNS [SEED]
//
// Each run takes a seed file, changes it (bits, bytes, numbers, runs taken out, doubled, or put in
// from another seed), and reads it. Findings: an exception that is no Error, an Error that calls
// itself a bug, more than a second, more than 200 MB kept. A crash leaves its input in DIR/TARGET/
// beside the name of the target. With clang and -fsanitize=fuzzer, LLVMFuzzerTestOneInput (below)
// takes the place of this mutator: $GROWMERGE_FUZZ_TARGET names the parser.
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/random.h"
#include "tests/campaigns/fuzz_targets.h"

namespace growmerge::campaigns {
namespace {

namespace fs = std::filesystem;

constexpr double kSlow_s = 1.0;
constexpr std::int64_t kGrowth = 200'000'000;

const FuzzTarget& target_of(const std::string& name) {
  for (const FuzzTarget& target : fuzz_targets()) {
    if (name == target.name) {
      return target;
    }
  }
  fail(ErrorCode::kInvalidArgument, "no target '", name, "'");
}

std::int64_t resident_bytes() {
  std::int64_t pages = 0;
  std::int64_t resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

/// What a text's readers look for, and numbers at their ends.
constexpr const char* kWords[] = {"{",
                                  "}",
                                  "[",
                                  "]",
                                  "\"",
                                  ",",
                                  ":",
                                  "null",
                                  "true",
                                  "-1",
                                  "0",
                                  "1e999",
                                  "18446744073709551615",
                                  "9223372036854775808",
                                  "-9223372036854775809",
                                  "NaN",
                                  "\\u0000",
                                  "\\ud800",
                                  "<<: *a",
                                  "&a",
                                  "*a",
                                  "- ",
                                  "\n",
                                  "\t",
                                  "\r\n",
                                  "\xEF\xBB\xBF",
                                  "\xFF",
                                  "${x}",
                                  "for_each:",
                                  "!!str",
                                  "? ",
                                  "|",
                                  ">"};

class Mutator {
 public:
  Mutator(std::vector<std::string> seeds, std::uint64_t seed)
      : seeds_(std::move(seeds)), random_(seed, stream_id("fuzz")) {}

  std::string next() {
    std::string out = seeds_[below(seeds_.size())];
    for (std::uint64_t changes = 1 + below(4); changes > 0; --changes) {
      change(out);
    }
    return out;
  }

 private:
  std::uint64_t below(std::uint64_t n) { return n == 0 ? 0 : random_.below(count_++, n); }

  void change(std::string& text) {
    const std::size_t at = below(text.size() + 1);
    const std::size_t run = std::min<std::size_t>(text.size() - at, 1 + below(1 + below(64)));
    switch (below(8)) {
      case 0:
        if (at < text.size()) {
          text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
        }
        return;
      case 1:
        if (at < text.size()) {
          text[at] = static_cast<char>(below(256));
        }
        return;
      case 2:
        text.erase(at, run);
        return;
      case 3:
        text.insert(at, text.substr(at, run));
        return;
      case 4:
        text.insert(at, kWords[below(std::size(kWords))]);
        return;
      case 5:
        text.replace(at, run, kWords[below(std::size(kWords))]);
        return;
      case 6: {
        const std::string& other = seeds_[below(seeds_.size())];
        const std::size_t from = below(other.size() + 1);
        text.replace(at, run, other.substr(from, 1 + below(256)));
        return;
      }
      default:
        text.resize(at);
    }
  }

  std::vector<std::string> seeds_;
  Philox random_;
  std::uint64_t count_ = 0;
};

/// Empty, or what is wrong with how it was read.
std::string read_one(const FuzzTarget& target, const std::string& path) {
  const auto start = std::chrono::steady_clock::now();
  std::string finding;
  try {
    target.read(path);
  } catch (const Error& e) {
    if (e.code() == ErrorCode::kInternal) {
      finding = std::string("calls itself a bug: ") + e.what();
    }
  } catch (const fs::filesystem_error&) {  // exit code 6, as an Error would be
  } catch (const std::exception& e) {
    finding = std::string("no Error: ") + e.what();
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (finding.empty() && seconds > kSlow_s) {
    finding = concat("took ", seconds, " s");
  }
  return finding;
}

void write_bytes(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::vector<std::string> read_seeds(const fs::path& dir) {
  std::vector<std::string> out;
  for (const std::string& file : visible_files(dir)) {
    out.push_back(read_file(dir / file));
  }
  GM_CHECK(!out.empty(), kNotFound, "no seeds in ", dir.string());
  return out;
}

int run(const std::string& name, const fs::path& seeds, std::uint64_t runs, std::uint64_t seed) {
  const FuzzTarget& target = target_of(name);
  Mutator mutator(read_seeds(seeds), seed);
  // In memory: files are written as often as they are read.
  const fs::path work = fs::path("/dev/shm") / concat("growmerge-fuzz-", ::getpid());
  const fs::path path = work / target.file;
  fs::create_directories(path.parent_path());
  int findings = 0;
  std::int64_t before = 0;
  const auto start = std::chrono::steady_clock::now();
  for (std::uint64_t i = 0; i < runs; ++i) {
    const std::string input = mutator.next();
    write_bytes(path, input);
    const std::string finding = read_one(target, path.string());
    if (!finding.empty()) {
      ++findings;
      const fs::path kept = concat("finding-", name, "-", seed, "-", i);
      write_bytes(kept, input);
      std::printf("FINDING %s run %lu: %s (input in %s)\n", name.c_str(), i, finding.c_str(),
                  kept.c_str());
    }
    if (i == runs / 10) {
      ::malloc_trim(0);
      before = resident_bytes();
    }
  }
  ::malloc_trim(0);
  const std::int64_t growth = resident_bytes() - before;
  if (growth > kGrowth) {
    ++findings;
    std::printf("FINDING %s: %ld bytes more are kept after %lu runs\n", name.c_str(), growth, runs);
  }
  fs::remove_all(work);
  std::printf("%s: %lu runs, %d findings, %.0f a second\n", name.c_str(), runs, findings,
              static_cast<double>(runs) /
                  std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  return findings == 0 ? 0 : 1;
}

}  // namespace
}  // namespace growmerge::campaigns

#ifdef GROWMERGE_LIBFUZZER

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace growmerge::campaigns;
  static const FuzzTarget& target = target_of(std::getenv("GROWMERGE_FUZZ_TARGET"));
  static const fs::path path =
      fs::path("/dev/shm") / growmerge::concat("growmerge-fuzz-", ::getpid()) / target.file;
  fs::create_directories(path.parent_path());
  write_bytes(path, std::string(reinterpret_cast<const char*>(data), size));
  if (!read_one(target, path.string()).empty()) {
    std::abort();
  }
  return 0;
}

#else

int main(int argc, char** argv) {
  if (argc < 4) {
    for (const growmerge::campaigns::FuzzTarget& target : growmerge::campaigns::fuzz_targets()) {
      std::printf("%s %s\n", target.name, target.file);
    }
    return argc == 1 ? 0 : 2;
  }
  return growmerge::campaigns::run(argv[1], argv[2], std::strtoull(argv[3], nullptr, 10),
                                   argc > 4 ? std::strtoull(argv[4], nullptr, 10) : 1);
}

#endif
