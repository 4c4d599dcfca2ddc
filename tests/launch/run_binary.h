// Runs the growmerge binary as a person does.
#pragma once

#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace growmerge::testing {

struct Ran {
  int code = 0;
  std::string output;  // stdout and stderr

  [[nodiscard]] bool says(const std::string& text) const {
    return output.find(text) != std::string::npos;
  }
};

inline std::string binary() {
  const char* given = std::getenv("GROWMERGE_BINARY");
  return given != nullptr ? given : "build/dev/bin/growmerge";
}

/// `words` as a shell would read them, behind the binary's path; `before` goes in front of it.
inline Ran growmerge(const std::string& words, const std::string& before = "") {
  const std::string command = before + " " + binary() + " " + words + " 2>&1";
  Ran out;
  std::FILE* pipe = popen(command.c_str(), "r");
  char buffer[4096];
  while (const std::size_t got = std::fread(buffer, 1, sizeof buffer, pipe)) {
    out.output.append(buffer, got);
  }
  const int status = pclose(pipe);
  out.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return out;
}

inline void write_text(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace growmerge::testing
