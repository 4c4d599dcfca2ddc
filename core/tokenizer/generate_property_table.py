"""Writes property_table.inc, grapheme_table.inc and lowercase_table.inc: what the `tokenizers`
package knows of scripts and other named properties, of grapheme clusters, and of lower case.

As in generate_char_table.py each is asked of the package itself, since its parts know different
versions of Unicode. Run it again when the pinned version moves:

    .venv/bin/python core/tokenizer/generate_property_table.py
"""

import pathlib
import struct

import tokenizers
from generate_char_table import CHUNK, POINTS, pattern_class
from tokenizers import normalizers

# Names and ISO 15924 codes, as Unicode pairs them; those that the package does not know are left out.
SCRIPTS = """Adlam:Adlm Ahom:Ahom Anatolian_Hieroglyphs:Hluw Arabic:Arab Armenian:Armn Avestan:Avst
Balinese:Bali Bamum:Bamu Bassa_Vah:Bass Batak:Batk Bengali:Beng Bhaiksuki:Bhks Bopomofo:Bopo
Brahmi:Brah Braille:Brai Buginese:Bugi Buhid:Buhd Canadian_Aboriginal:Cans Carian:Cari
Caucasian_Albanian:Aghb Chakma:Cakm Cham:Cham Cherokee:Cher Chorasmian:Chrs Common:Zyyy Coptic:Copt
Cuneiform:Xsux Cypriot:Cprt Cypro_Minoan:Cpmn Cyrillic:Cyrl Deseret:Dsrt Devanagari:Deva
Dives_Akuru:Diak Dogra:Dogr Duployan:Dupl Egyptian_Hieroglyphs:Egyp Elbasan:Elba Elymaic:Elym
Ethiopic:Ethi Garay:Gara Georgian:Geor Glagolitic:Glag Gothic:Goth Grantha:Gran Greek:Grek
Gujarati:Gujr Gunjala_Gondi:Gong Gurmukhi:Guru Gurung_Khema:Gukh Han:Hani Hangul:Hang
Hanifi_Rohingya:Rohg Hanunoo:Hano Hatran:Hatr Hebrew:Hebr Hiragana:Hira Imperial_Aramaic:Armi
Inherited:Zinh Inscriptional_Pahlavi:Phli Inscriptional_Parthian:Prti Javanese:Java Kaithi:Kthi
Kannada:Knda Katakana:Kana Kawi:Kawi Kayah_Li:Kali Kharoshthi:Khar Khitan_Small_Script:Kits
Khmer:Khmr Khojki:Khoj Khudawadi:Sind Kirat_Rai:Krai Lao:Laoo Latin:Latn Lepcha:Lepc Limbu:Limb
Linear_A:Lina Linear_B:Linb Lisu:Lisu Lycian:Lyci Lydian:Lydi Mahajani:Mahj Makasar:Maka
Malayalam:Mlym Mandaic:Mand Manichaean:Mani Marchen:Marc Masaram_Gondi:Gonm Medefaidrin:Medf
Meetei_Mayek:Mtei Mende_Kikakui:Mend Meroitic_Cursive:Merc Meroitic_Hieroglyphs:Mero Miao:Plrd
Modi:Modi Mongolian:Mong Mro:Mroo Multani:Mult Myanmar:Mymr Nabataean:Nbat Nag_Mundari:Nagm
Nandinagari:Nand New_Tai_Lue:Talu Newa:Newa Nko:Nkoo Nushu:Nshu Nyiakeng_Puachue_Hmong:Hmnp
Ogham:Ogam Ol_Chiki:Olck Ol_Onal:Onao Old_Hungarian:Hung Old_Italic:Ital Old_North_Arabian:Narb
Old_Permic:Perm Old_Persian:Xpeo Old_Sogdian:Sogo Old_South_Arabian:Sarb Old_Turkic:Orkh
Old_Uyghur:Ougr Oriya:Orya Osage:Osge Osmanya:Osma Pahawh_Hmong:Hmng Palmyrene:Palm Pau_Cin_Hau:Pauc
Phags_Pa:Phag Phoenician:Phnx Psalter_Pahlavi:Phlp Rejang:Rjng Runic:Runr Samaritan:Samr
Saurashtra:Saur Sharada:Shrd Shavian:Shaw Siddham:Sidd SignWriting:Sgnw Sinhala:Sinh Sogdian:Sogd
Sora_Sompeng:Sora Soyombo:Soyo Sundanese:Sund Sunuwar:Sunu Syloti_Nagri:Sylo Syriac:Syrc
Tagalog:Tglg Tagbanwa:Tagb Tai_Le:Tale Tai_Tham:Lana Tai_Viet:Tavt Takri:Takr Tamil:Taml
Tangsa:Tnsa Tangut:Tang Telugu:Telu Thaana:Thaa Thai:Thai Tibetan:Tibt Tifinagh:Tfng Tirhuta:Tirh
Todhri:Todr Toto:Toto Tulu_Tigalari:Tutg Ugaritic:Ugar Unknown:Zzzz Vai:Vaii Vithkuqi:Vith
Wancho:Wcho Warang_Citi:Wara Yezidi:Yezi Yi:Yiii Zanabazar_Square:Zanb""".split()
PROPERTIES = ["Emoji", "Emoji_Component", "Emoji_Modifier", "Emoji_Modifier_Base",
              "Emoji_Presentation", "Extended_Pictographic", "Ideographic"]
GRAPHEME_CLASSES = ("kOther kControl kExtend kConjunctExtend kLinker kZwj kRegionalIndicator kPrepend "
                    "kSpacingMark kL kV kT kLv kLvt kPictographic kConsonant").split()
HEADER = f"// Made by generate_property_table.py from tokenizers {tokenizers.__version__}: do not edit.\n"


def canonical(name):
    return name.lower().replace("_", "")


def ranges(points):
    out = []
    for c in sorted(points):
        # Surrogates are in no text, so a range may run over them.
        if out and (out[-1][1] + 1 == c or (out[-1][1] == 0xD7FF and c == 0xE000)):
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def wrapped(items):
    lines, line = [], ""
    for item in items:
        if len(line) + len(item) + 2 > 100:
            lines.append(line.rstrip())
            line = ""
        line += item + ", "
    return "\n".join(lines + [line.rstrip()]) + "\n"


def rows(value_of):
    """{first code point, value} wherever the value changes."""
    out, previous = [], None
    for c in POINTS:
        value = value_of(c)
        if value != previous:
            out.append(f"{{0x{c:X}, {value}}}")
            previous = value
    return wrapped(out)


def range_list(name, points):
    body = wrapped(f"{{0x{a:X}, 0x{b:X}}}" for a, b in ranges(points))
    return f"constexpr CodePointRange {name}[] = {{\n{body}}};\n"


def property_table():
    names, script = [], {}
    for pair in SCRIPTS:
        long_name, code = pair.split(":")
        try:
            points = pattern_class(r"\p{%s}" % long_name)
        except Exception as error:  # the package's own error type is plain Exception
            print(f"{long_name}: {error}")
            continue
        for c in points:
            assert c not in script, (hex(c), pair)
            script[c] = len(names)
        names.append(f'{{"{canonical(long_name)}", "{canonical(code)}"}}')
    assert len(script) == len(POINTS), "a code point has no script"
    out = HEADER + "constexpr ScriptName kScripts[] = {\n" + wrapped(names) + "};\n"
    out += "constexpr TableRow kScriptRows[] = {\n" + rows(lambda c: script[c]) + "};\n"
    for name in PROPERTIES:
        out += range_list("k" + name.replace("_", ""), pattern_class(r"\p{%s}" % name))
    strip = normalizers.StripAccents().normalize_str
    out += range_list("kCombiningMarks", [c for c in POINTS if strip(chr(c)) == ""])
    out += "constexpr NamedRanges kNamedRanges[] = {\n"
    out += wrapped(f'{{"{canonical(name)}", k{name.replace("_", "")}}}' for name in PROPERTIES) + "};\n"
    return out


def clusters_of_bytes():
    """A Precompiled normalizer that replaces every cluster of fewer than 6 bytes, and every character
    of longer ones, by one X: its double-array trie holds each byte but line feed as a key."""
    units = [0] * 768
    units[0] = 256 << 10
    for byte in range(1, 256):
        if byte != 0x0A:
            units[256 + byte] = 768 << 10 | 1 << 8 | byte
    return normalizers.Precompiled(struct.pack("<769I", 4 * len(units), *units) + b"X\0").normalize_str


def grapheme_table():
    normalize = clusters_of_bytes()

    def count(points, before="", after=""):
        """Code point -> number of X that before + character + after becomes."""
        out = {}
        for begin in range(0, len(points), CHUNK):
            part = points[begin:begin + CHUNK]
            text = normalize("\n".join(before + chr(c) + after for c in part))
            out.update(zip(part, (line.count("X") for line in text.split("\n")), strict=True))
        return out

    mark, zwj, virama, ka = "\u0301", "\u200d", "\u094d", "\u0915"
    points = [c for c in POINTS if c not in (0, 0x0A, 0x0D)]
    value = {0: "kControl", 0x0A: "kControl", 0x0D: "kControl"}
    joined, prepended = count(points, "a"), count(points, "", "a")
    joiners = [c for c in points if joined[c] == 1]
    # An accent behind the second sign tells whether the two are one cluster: apart, sign and accent
    # have fewer than 6 bytes.
    over_signs = count(joiners, "\u00a9", zwj + "\u00a9" + mark)
    links, extends = count(joiners, ka, ka + mark), count(joiners, ka, virama + ka + mark)
    for c in joiners:
        value[c] = ("kZwj" if c == 0x200D else "kSpacingMark" if over_signs[c] == 4 else
                    "kLinker" if links[c] == 4 else "kConjunctExtend" if extends[c] == 5 else "kExtend")
    for c in points:
        if prepended[c] == 1 and c not in value:
            value[c] = "kPrepend"
    rest = [c for c in points if c not in value]
    control = count(rest, "", mark + mark)
    pictographic = count(rest, "", zwj + "\u00a9" + mark)
    consonant = count(rest, "", virama + ka + mark)
    before_v, before_t = count(rest, "", "\u1161" + mark), count(rest, "", "\u11a8" + mark)
    behind_l, behind_v = count(rest, "\u1100", mark), count(rest, "\u1161", mark)
    hangul = {(1, 0, 1, 0): "kL", (1, 1, 1, 1): "kV", (0, 1, 0, 1): "kT", (1, 1, 1, 0): "kLv",
              (0, 1, 1, 0): "kLvt"}
    for c in rest:
        jamo = tuple(int(n[c] == 3) for n in (before_v, before_t, behind_l, behind_v))
        if c > 0xFFFF:  # too long for the last two questions; a vowel is all there is of these
            jamo = (1, 1, 1, 1) if jamo[:2] == (1, 1) else (0, 0, 0, 0)
        value[c] = ("kRegionalIndicator" if 0x1F1E6 <= c <= 0x1F1FF else
                    "kControl" if control[c] == 2 else "kPictographic" if pictographic[c] == 4 else
                    "kConsonant" if consonant[c] == 4 else hangul.get(jamo, "kOther"))
    numbers = {name: i for i, name in enumerate(GRAPHEME_CLASSES)}
    return (HEADER + "// {first code point, class}: " + " ".join(GRAPHEME_CLASSES[:10]) + "\n// " +
            " ".join(GRAPHEME_CLASSES[10:]) + ".\n" + rows(lambda c: numbers[value[c]]))


def lowercase_table():
    lower = normalizers.Lowercase().normalize_str
    runs = []  # first, last, stride, difference
    for c in POINTS:
        text = lower(chr(c))
        if c == 0x130:  # the one that becomes two characters
            assert text == "i\u0307"
            continue
        assert len(text) == 1, hex(c)
        difference = ord(text) - c
        if difference == 0:
            continue
        if runs and runs[-1][3] == difference and c - runs[-1][1] in (1, 2) and (
                runs[-1][0] == runs[-1][1] or runs[-1][2] == c - runs[-1][1]):
            runs[-1][2], runs[-1][1] = c - runs[-1][1], c
        else:
            runs.append([c, c, 1, difference])
    return (HEADER + "// {first, last, stride, difference}.\n" +
            wrapped(f"{{0x{a:X}, 0x{b:X}, {stride}, {d}}}" for a, b, stride, d in runs))


def main():
    folder = pathlib.Path(__file__).parent
    for name, table in (("property_table.inc", property_table), ("grapheme_table.inc", grapheme_table),
                        ("lowercase_table.inc", lowercase_table)):
        text = table()
        (folder / name).write_text(text)
        print(f"{name}: {len(text)} bytes")


if __name__ == "__main__":
    main()
