// EXPECT_ERROR(statement, code, "part", ...): the statement throws an Error of this code whose
// message holds every part. error_of(work) is the message, for tests that look closer.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>

#include "core/base/error.h"

namespace growmerge::testing {

template <class Fn>
void expect_error(Fn&& fn, ErrorCode code, std::initializer_list<std::string> parts,
                  const char* file, int line) {
  try {
    fn();
  } catch (const Error& e) {
    if (e.code() != code) {
      ADD_FAILURE_AT(file, line) << "wrong code: " << error_code_name(e.code()) << ": " << e.what();
    }
    for (const std::string& part : parts) {
      if (std::string(e.what()).find(part) == std::string::npos) {
        ADD_FAILURE_AT(file, line) << "message lacks '" << part << "': " << e.what();
      }
    }
    return;
  } catch (const std::exception& e) {
    ADD_FAILURE_AT(file, line) << "another exception: " << e.what();
    return;
  }
  ADD_FAILURE_AT(file, line) << "nothing was thrown";
}

/// The message of the Error that `work` throws; a test failure when it throws none, or another
/// code.
template <class Fn>
std::string error_of(ErrorCode code, Fn&& work) {
  try {
    (void)work();
  } catch (const Error& e) {
    EXPECT_STREQ(error_code_name(e.code()), error_code_name(code)) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "nothing was thrown, expected " << error_code_name(code);
  return "";
}

/// The same for an Error of any code.
template <class Fn>
std::string error_of(Fn&& work) {
  try {
    (void)work();
  } catch (const Error& e) {
    return e.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

}  // namespace growmerge::testing

#define EXPECT_ERROR(statement, code, ...)                                                     \
  ::growmerge::testing::expect_error([&] { (void)(statement); }, ::growmerge::ErrorCode::code, \
                                     {__VA_ARGS__}, __FILE__, __LINE__)
