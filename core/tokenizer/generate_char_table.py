"""Writes char_table.inc: for every code point what the `tokenizers` package sees in it.

The package mixes three sources (Oniguruma for patterns, Rust's standard library for Digits and
WhitespaceSplit, the regex crate for \\w), each of its own Unicode version, so every property is
asked of the package itself. Run it again when the pinned version moves:

    .venv/bin/python core/tokenizer/generate_char_table.py
"""

import ctypes
import ctypes.util
import pathlib
import unicodedata

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf "
              "Co Cn").split()
POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
CHUNK = 65536


def matched(pre_tokenizer, match_is_removed):
    """Code points for which splitting a text of all code points keeps (or removes) the character."""
    found = set()
    for begin in range(0, len(POINTS), CHUNK):
        part = POINTS[begin:begin + CHUNK]
        kept = set()
        for _, (first, last) in pre_tokenizer.pre_tokenize_str("".join(map(chr, part))):
            kept.update(range(first, last))
        found.update(c for i, c in enumerate(part) if (i in kept) != match_is_removed)
    return found


def pattern_class(pattern):
    return matched(pre_tokenizers.Split(Regex(pattern), "removed"), True)


def numeric():
    """Digits(individual) isolates a numeric character between two letters."""
    splitter = pre_tokenizers.Digits(individual_digits=True)
    found = set()
    for begin in range(0, len(POINTS), CHUNK):
        part = POINTS[begin:begin + CHUNK]
        text = "a" + "aa".join(map(chr, part)) + "a"
        for _, (first, last) in splitter.pre_tokenize_str(text):
            if last - first == 1 and first % 3 == 1:
                found.add(part[first // 3])
    return found


def word():
    """The pre-tokenizer Whitespace is \\w+|[^\\w\\s]+: a word character joins the letters beside it."""
    splitter = pre_tokenizers.Whitespace()
    found = set()
    for begin in range(0, len(POINTS), CHUNK):
        part = POINTS[begin:begin + CHUNK]
        text = " ".join("a" + chr(c) for c in part)
        for _, (first, last) in splitter.pre_tokenize_str(text):
            if last - first == 2 and first % 3 == 0:
                found.add(part[first // 3])
    return found


def nfc_unsafe():
    """Code points that NFC may change or join with what stands before: all others are inert.

    Decompositions of Unicode 14 are enough: later versions are compared against the package by
    tests/reference/tokenizer_reference.py."""
    nfc = normalizers.NFC()
    unsafe = set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))  # Hangul vowels and finals
    for c in POINTS:
        if unicodedata.combining(chr(c)) or nfc.normalize_str(chr(c)) != chr(c):
            unsafe.add(c)
        decomposed = unicodedata.normalize("NFD", chr(c))
        unsafe.update(map(ord, decomposed[1:]))
    return unsafe


def utf8proc_form(name):
    """A normal form of the library that the C++ code uses."""
    library = ctypes.CDLL(ctypes.util.find_library("utf8proc"))
    function = getattr(library, "utf8proc_" + name)
    function.restype = ctypes.c_void_p
    free = ctypes.CDLL(None).free
    free.argtypes = [ctypes.c_void_p]

    def normalize(text):
        pointer = function(text.encode() + b"\0")
        result = ctypes.string_at(pointer).decode()
        free(pointer)
        return result
    return normalize


def normalization_unknown():
    """Characters that utf8proc changes or moves and the package does not, which knows an older
    version of Unicode. C++ copies them and cuts the text there, which is right only if the package
    leaves them in peace everywhere.

    A mark is moved behind U+0334 (combining class 1) or before U+0301 (class 230)."""
    unknown = set()
    for name in ("NFC", "NFD", "NFKC", "NFKD"):
        ours, theirs = utf8proc_form(name), getattr(normalizers, name)().normalize_str
        for c in POINTS[1:]:
            character = chr(c)
            for probe in (character, character + "\u0334", "\u0301" + character):
                if ours(probe) != theirs(probe):
                    assert theirs(probe) == probe, (name, hex(c))
                    unknown.add(c)
                    if name == "NFD":  # nor may utf8proc compose it: its last part is cut off, too
                        unknown.update(map(ord, ours(character)[1:]))
    return unknown


def main():
    category = {}
    for index, name in enumerate(CATEGORIES):
        for c in pattern_class(r"\p{%s}" % name):
            assert c not in category, (hex(c), name)
            category[c] = index
    assert len(category) == len(POINTS), "a code point has no category"
    flags = [
        ("space of patterns", pattern_class(r"\s")),
        ("White_Space", matched(pre_tokenizers.WhitespaceSplit(), True)),
        ("numeric", numeric()),
        ("word", word()),
        ("punctuation", matched(pre_tokenizers.Punctuation("removed"), True)),
        ("NFC may change it", nfc_unsafe()),
        ("unknown to normal forms", normalization_unknown()),
        ("word of patterns", pattern_class(r"\w")),
        ("Alphabetic", pattern_class(r"\p{Alphabetic}")),
        ("Lowercase", pattern_class(r"\p{Lowercase}")),
        ("Uppercase", pattern_class(r"\p{Uppercase}")),
    ]
    rows, previous = [], None
    for c in POINTS:
        value = category[c] | sum(32 << i for i, (_, points) in enumerate(flags) if c in points)
        if value != previous:
            rows.append(f"{{0x{c:X}, {value}}}")
            previous = value
    out = [f"// Made by generate_char_table.py from tokenizers {tokenizers.__version__}: do not edit.",
           "// {first code point, category | flags << 5}, valid until the next row. Categories: "
           "0..28 are", "// " + " ".join(CATEGORIES) + ".",
           "// Flags, from bit 5: " + ", ".join(name for name, _ in flags[:6]) + ",",
           "// " + ", ".join(name for name, _ in flags[6:]) + "."]
    line = ""
    for row in rows:
        if len(line) + len(row) + 2 > 100:
            out.append(line.rstrip())
            line = ""
        line += row + ", "
    out.append(line.rstrip())
    path = pathlib.Path(__file__).with_name("char_table.inc")
    path.write_text("\n".join(out) + "\n")
    print(f"{path}: {len(rows)} rows; " + ", ".join(f"{n} {len(p)}" for n, p in flags))


if __name__ == "__main__":
    main()
