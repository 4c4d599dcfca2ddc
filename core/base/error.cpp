#include "core/base/error.h"

namespace growmerge {

// 2: the user's mistake, 3: bad data, 4: goes on when started again, 5: a rank died or timed out,
// 6: disk full or I/O failed, 70: our bug. No switch here has a default, so the compiler names a
// code that was forgotten.
int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kNotFound:
    case ErrorCode::kUnsupported:
      return 2;
    case ErrorCode::kMismatch:
    case ErrorCode::kCorrupt:
      return 3;
    case ErrorCode::kInterrupted:
      return 4;
    case ErrorCode::kDistributed:
      return 5;
    case ErrorCode::kIo:
      return 6;
    case ErrorCode::kInternal:
      return 70;
  }
  return 70;
}

const char* error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "invalid argument";
    case ErrorCode::kNotFound:
      return "not found";
    case ErrorCode::kMismatch:
      return "mismatch";
    case ErrorCode::kCorrupt:
      return "corrupt data";
    case ErrorCode::kIo:
      return "input/output";
    case ErrorCode::kUnsupported:
      return "unsupported";
    case ErrorCode::kDistributed:
      return "distributed";
    case ErrorCode::kInterrupted:
      return "interrupted";
    case ErrorCode::kInternal:
      return "internal error";
  }
  return "unknown";
}

}  // namespace growmerge
