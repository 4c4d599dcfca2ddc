#include "launch/experiment/child.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>

#include "core/base/error.h"

extern char** environ;  // NOLINT

namespace growmerge::launch {
namespace {

/// Our environment with some variables replaced.
std::vector<std::string> merged_environment(const std::map<std::string, std::string>& changes) {
  std::vector<std::string> out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (changes.count(text.substr(0, text.find('='))) == 0) {
      out.push_back(text);
    }
  }
  for (const auto& [name, value] : changes) {
    out.push_back(name + "=" + value);
  }
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (std::string& text : texts) {
    out.push_back(text.data());
  }
  out.push_back(nullptr);
  return out;
}

}  // namespace

Child::Child(const std::vector<std::string>& arguments,
             const std::map<std::string, std::string>& environment,
             const std::filesystem::path& log) {
  const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  GM_CHECK(fd >= 0, kIo, "creating '", log.string(), "': ", std::strerror(errno));
  // Tells a program that could not be started from one that started and failed: exec closes it.
  int report[2];
  GM_CHECK(pipe2(report, O_CLOEXEC) == 0, kIo, "pipe: ", std::strerror(errno));
  std::vector<std::string> words = arguments;
  std::vector<std::string> variables = merged_environment(environment);
  const std::vector<char*> argv = pointers(words);
  const std::vector<char*> envp = pointers(variables);
  const pid_t parent = getpid();
  pid_ = fork();
  GM_CHECK(pid_ >= 0, kIo, "starting '", arguments.front(), "': ", std::strerror(errno));
  if (pid_ == 0) {  // only async-signal-safe calls from here on
    // A group of its own: Ctrl-C at the terminal reaches us alone, and we decide what to pass on.
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    // The parent may have died before the line above took hold.
    if (getppid() != parent) {
      _exit(127);
    }
    // Blocked signals are inherited, and the stage must hear of ours.
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    const int null = open("/dev/null", O_RDONLY);
    dup2(null, STDIN_FILENO);
    execvpe(argv[0], argv.data(), envp.data());
    const int error = errno;
    (void)!write(report[1], &error, sizeof error);
    _exit(127);
  }
  close(report[1]);
  close(fd);
  int error = 0;
  const ssize_t got = read(report[0], &error, sizeof error);
  close(report[0]);
  if (got == static_cast<ssize_t>(sizeof error)) {
    waitpid(pid_, &status_, 0);
    ended_ = true;
    fail(ErrorCode::kNotFound, "cannot start '", arguments.front(), "': ", std::strerror(error),
         " (is it installed and in PATH?)");
  }
}

Child::~Child() {
  if (!ended_ && pid_ > 0) {
    kill(-pid_, SIGKILL);
    waitpid(pid_, &status_, 0);
  }
}

bool Child::poll() {
  if (!ended_ && waitpid(pid_, &status_, WNOHANG) == pid_) {
    ended_ = true;
  }
  return ended_;
}

void Child::signal(int number) const {
  if (!ended_) {
    // mpirun passes signals on to its ranks itself; SIGKILL must reach the whole group.
    kill(number == SIGKILL ? -pid_ : pid_, number);
  }
}

std::string Child::how_it_ended() const {
  if (WIFSIGNALED(status_)) {
    return concat("killed by signal ", WTERMSIG(status_), " (", strsignal(WTERMSIG(status_)), ")");
  }
  return concat("exit code ", WEXITSTATUS(status_));
}

int Child::exit_code() const {
  return WIFSIGNALED(status_) ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_);
}

std::vector<std::string> tail_of(const std::filesystem::path& file, std::size_t num_lines,
                                 std::uint64_t from) {
  std::ifstream in(file, std::ios::binary);
  std::vector<std::string> lines;
  if (!in) {
    return lines;
  }
  in.seekg(0, std::ios::end);
  const auto size = static_cast<std::uint64_t>(in.tellg());
  // A log may be long and is asked for several times a second: only its end is read.
  const std::uint64_t window = 400 * std::max<std::uint64_t>(num_lines, 8);
  const std::uint64_t begin = std::max(from, size > window ? size - window : 0);
  in.seekg(static_cast<std::streamoff>(begin));
  for (std::string line; std::getline(in, line);) {
    lines.push_back(line);
  }
  if (begin > from && !lines.empty()) {
    lines.erase(lines.begin());  // it is cut
  }
  if (lines.size() > num_lines) {
    lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(num_lines));
  }
  return lines;
}

}  // namespace growmerge::launch
