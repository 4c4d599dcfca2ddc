// What a person reads about the merge methods, printed from their rows.
#pragma once

#include <string>

namespace growmerge::merging {

/// Markdown tables of the methods and of their parameters: `growmerge merge --help`,
/// docs/config.md.
[[nodiscard]] std::string method_tables();
/// docs/methods/merge-methods.md.
[[nodiscard]] std::string method_page();

}  // namespace growmerge::merging
