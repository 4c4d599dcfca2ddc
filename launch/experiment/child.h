// A child process whose output goes to a file, started and watched by `run`.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace growmerge::launch {

class Child {
 public:
  /// Starts `arguments` (looked up in PATH) in a process group of its own, with `environment` laid
  /// over ours and stdout and stderr appended to `log`. It is asked to end (SIGTERM) when we die.
  /// Errors: kNotFound when the program is not there; kIo.
  Child(const std::vector<std::string>& arguments,
        const std::map<std::string, std::string>& environment, const std::filesystem::path& log);
  ~Child();  // a running child is killed
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// True once it has ended.
  [[nodiscard]] bool poll();
  void signal(int number) const;
  /// "exit code 3", "killed by signal 9 (Killed)". Only after it has ended.
  [[nodiscard]] std::string how_it_ended() const;
  [[nodiscard]] int exit_code() const;

 private:
  pid_t pid_ = -1;
  bool ended_ = false;
  int status_ = 0;
};

/// The last `num_lines` lines of a file, from byte `from` on.
[[nodiscard]] std::vector<std::string> tail_of(const std::filesystem::path& file,
                                               std::size_t num_lines, std::uint64_t from = 0);

}  // namespace growmerge::launch
