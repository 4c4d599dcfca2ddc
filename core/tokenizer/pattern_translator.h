// From Oniguruma's syntax, in which tokenizers are written, to PCRE2's.
#pragma once

#include <string>

namespace growmerge::tok {

/// A pattern for PCRE2 (UTF, newline LF) that matches what the `tokenizers` package matches.
///
/// Classes and properties become explicit ranges of the package's Unicode version. What the two
/// read differently is rewritten (^ $ . \b \h, {n}+ and other repeated repetitions, (?i) up to the
/// end of its group); what has no such form is refused. Under (?i) only ASCII is understood, since
/// case folding differs beyond it. Errors: kUnsupported naming what is not understood.
[[nodiscard]] std::string translate_pattern(const std::string& regex);

}  // namespace growmerge::tok
