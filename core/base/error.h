// The one exception type of growmerge, and the checks that throw it.
//
// Message style: lower-case; what, expected and got, where (file, line, tensor), what to do next:
//   loading runs/a/model.safetensors: header: file is 3 bytes, needs at least 8
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace growmerge {

enum class ErrorCode {
  kInvalidArgument,  // the user's configuration or command line is wrong
  kNotFound,         // a named file, tensor or key is absent
  kMismatch,         // two inputs do not fit together (shapes, vocabularies, hashes)
  kCorrupt,          // a file breaks its format, or holds NaN where numbers must be
  kIo,               // the operating system refused (permission, disk full, ...)
  kUnsupported,      // understood, but not done by this version
  kDistributed,      // a rank died, timed out or disagreed
  kInterrupted,      // stopped on request; a checkpoint was written and resumes
  kInternal,         // our bug
};

/// Process exit code of an error: 2 user's mistake, 3 bad data, 4 interrupted but resumable, 5 a
/// rank died, 6 disk full or I/O failed, 70 our bug.
[[nodiscard]] int exit_code(ErrorCode code);
[[nodiscard]] const char* error_code_name(ErrorCode code);

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  [[nodiscard]] ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

template <class... Parts>
[[nodiscard]] std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

template <class... Parts>
[[noreturn]] void fail(ErrorCode code, const Parts&... parts) {
  throw Error(code, concat(parts...));
}

/// Runs fn and prefixes the message of an Error that leaves it: "context: message".
template <class Fn>
decltype(auto) with_context(const std::string& context, Fn&& fn) {
  try {
    return std::forward<Fn>(fn)();
  } catch (const Error& e) {
    throw Error(e.code(), context + ": " + e.what());
  }
}

}  // namespace growmerge

/// For whatever a user or a file can cause.
#define GM_CHECK(condition, code, ...)                              \
  do {                                                              \
    if (!(condition)) {                                             \
      ::growmerge::fail(::growmerge::ErrorCode::code, __VA_ARGS__); \
    }                                                               \
  } while (false)

/// For our own bugs.
#define GM_ASSERT(condition)                                                                 \
  do {                                                                                       \
    if (!(condition)) {                                                                      \
      ::growmerge::fail(::growmerge::ErrorCode::kInternal, __FILE__, ":", __LINE__,          \
                        ": assertion failed: " #condition " (please report this as a bug)"); \
    }                                                                                        \
  } while (false)
