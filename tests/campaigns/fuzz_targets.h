// The program's parsers, each as a function of the bytes of one file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace growmerge::campaigns {

struct FuzzTarget {
  const char* name;
  const char* file;  // the name that a file of its kind has
  /// Reads `path`, which holds the bytes, as the program does; returns where they are refused by an
  /// Error, and lets every other exception out.
  void (*read)(const std::string& path);
};

[[nodiscard]] std::span<const FuzzTarget> fuzz_targets();

}  // namespace growmerge::campaigns
