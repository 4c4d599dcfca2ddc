#include "merging/methods/methods.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <limits>
#include <set>
#include <string>

#include "core/base/error.h"
#include "merging/method_docs.h"
#include "tests/merging/methods/method_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::merging {
namespace {

TEST(EveryMethod, HasAWholeRow) {
  std::set<std::string> names;
  for (const Method& method : methods()) {
    SCOPED_TRACE(method.name);
    EXPECT_TRUE(names.insert(method.name).second) << "two methods of one name";
    EXPECT_NE(std::string(method.doc), "");
    EXPECT_NE(std::string(method.definition), "");
    EXPECT_NE(std::string(method.source), "");
    EXPECT_EQ(method.granularity == Granularity::kModel, method.model_pass != nullptr);
    std::set<std::string> parameters;
    for (const Parameter& parameter : method.parameters) {
      SCOPED_TRACE(parameter.name);
      EXPECT_TRUE(parameters.insert(parameter.name).second) << "two parameters of one name";
      EXPECT_NE(std::string(parameter.doc), "");
      const double value = parameter.fallback.value_or(parameter.min);
      EXPECT_TRUE(value >= parameter.min && value <= parameter.max) << value;
    }
  }
}

/// A method whose row does not say that it needs the whole tensor makes any part of it alone.
TEST(EveryMethod, MergesAPartAsInTheWholeUnlessItNeedsTheTensor) {
  for (const Method& method : methods()) {
    if (method.granularity == Granularity::kTensor) {
      continue;
    }
    SCOPED_TRACE(method.name);
    Fixture f(method);
    const Values fisher(f.base.size(), 1.0F);
    for (TensorTask::Input& input : f.task.inputs) {
      input.fisher = source(fisher);
      input.model_value = 0.01;
    }
    method.merge(f.task);
    const Values whole = f.out;
    f.task.num_elements = kTileElements + 5;
    std::fill_n(f.out.begin(), f.task.num_elements, 0.0F);
    method.merge(f.task);
    EXPECT_EQ(f.out, whole);
  }
}

TEST(EveryMethod, ThePageIsUpToDate) {
  std::ifstream in(testing::source_dir() / "docs" / "methods" / "merge-methods.md");
  const std::string page((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  EXPECT_EQ(page, method_page()) << "write it again: build/dev/tests/merging/growmerge_merge_tool "
                                    "--methods > docs/methods/merge-methods.md";
  for (const Method& method : methods()) {
    EXPECT_NE(method_tables().find(concat("| `", method.name, "` |")), std::string::npos);
  }
}

TEST(Arguments, ReadingWhatTheRowDoesNotListIsABug) {
  const Fixture f(find_method("linear", "here"));
  EXPECT_ERROR(f.task.arguments.number(kLambda), kInternal, "'lambda'", "not in the method's row");
}

TEST(EveryMethod, ThreadsChangeNothing) {
  const int before = at::get_num_threads();
  for (const Method& method : methods()) {
    SCOPED_TRACE(method.name);
    std::vector<Values> results;
    for (const int threads : {1, 3}) {
      at::set_num_threads(threads);
      Fixture f(method);
      f.shape_as_rows(57);
      f.task.seed = 3;
      const Values fisher(f.models[0].size(), 1.0F);
      for (TensorTask::Input& input : f.task.inputs) {
        input.fisher = source(fisher);
        input.arguments.set(kDensity, 0.5);
        input.model_value = 0.01;
      }
      method.merge(f.task);
      results.push_back(f.out);
    }
    EXPECT_EQ(results[0], results[1]);
  }
  at::set_num_threads(before);
}

TEST(EveryMethod, NamesTheModelThatHoldsNaN) {
  for (const Method& method : methods()) {
    for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
      Fixture f(method);
      const Values fisher(f.base.size(), 1.0F);
      for (TensorTask::Input& input : f.task.inputs) {
        input.fisher = source(fisher);
        input.arguments.set(kDensity, 0.5);
      }
      const std::size_t last = f.task.inputs.size() - 1;
      f.models[last].back() = bad;
      EXPECT_ERROR(method.merge(f.task), kCorrupt, concat("model ", last), "NaN or infinity");
    }
  }
}

}  // namespace
}  // namespace growmerge::merging
