"""Tokenizers against the `tokenizers` package: every id and every decoded text must be equal.

The default run takes a part of the corpora, chosen by a fixed rule, so that it ends within a
minute or two; `--all` takes every document and every character of Unicode (it takes long: the
package encodes about 2 MB/s a thread). `--only NAME` keeps the tokenizers whose name holds NAME.
"""

import argparse
import array
import base64
import functools
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

try:
    import tokenizers
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
    from tokenizers import pre_tokenizers, processors, trainers
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

SOURCE = pathlib.Path(os.environ.get("GROWMERGE_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
BIN = pathlib.Path(os.environ.get("GROWMERGE_BINARY", SOURCE / "build/dev/bin/growmerge")).parent
DATA = pathlib.Path(os.environ.get("GROWMERGE_TEST_DATA", SOURCE / "../shared/data"))
CASES = DATA.parent / "cases/tokenizers"
NAMES = ["tokenizers/gpt2", "tokenizers/smollm2", "tokenizers/phi3_mini_spm",
         "tokenizers/gpt_neox_20b", "tokenizers/dolma2_cl100k", "models/stories260K"]
SAMPLE_BYTES = 1_500_000  # of the corpora, for each tokenizer
BATCH_BYTES = 8_000_000

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


BLOOM = r" ?[^(\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]"
          r"|\s+(?!\S)|\s+")
DEEPSEEK = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
            r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
HAN = r"[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
KIMI = (r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
# Every construction that patterns of published tokenizers use, and some that they might.
PATTERNS = [
    BLOOM, CL100K, DEEPSEEK, KIMI, LLAMA3, O200K, r"\w+|[^\w\s]+", r"\d", r"\D+", r"\W", r"\b", r"\B", r"\bthe\b", r"^",
    r"$", r"^\s+", r"\s+$", r".", r".+", r"a.b", r"\A\s?", r"\s*\z", r"\s*\Z", r"\R", r"\h+", r"\H", r"[\h_]", r"a*", r"a??b",
    r"(?=(\d{3})+(?!\d))", r"(?<=\p{N})(?=\p{L})", r"(?<name>a|b)+", r"(?>a+)b?", r"a{2}+", r"a{2}?", r"a{1,2}?",
    r"a{,2}b", r"a{2,}", r"a{,}", r"a{x}", r"{", r"}", r"]", r"a**", r"(?:ab)+*", r"a+?b", r"\p{L}++", r"(a(?i)b|C)d", r"(?i)the|AND",
    r"(?i:k|s)", r"(?i:[ks])+", r"(?-i:a)", r"(?#no)a", r"[[:alpha:]]+", r"[[:^alpha:]]", r"[[:alnum:][:punct:]]", r"[[:foo:]]",
    r"[\p{^Lu}\d]", r"\P{^Lu}", r"\p{lu}", r"\p{Uppercase_Letter}", r"\p{ LET-TER }", r"\p{Any}", r"\p{Assigned}", r"\p{LC}",
    r"\x41|\x{1F642}|\u00e9", r"[\x41-\x5A]", r"\t|\n|\r|\f|\v|\a|\e", r"[\b\t]", r"\.|\-|\/|\ |\\", r"[a-c&&b-d]", r"[^a-c&&b-d]",
    r"[a-z&&[^aeiou]&&[^x]]", r"[[a-c][x-z]]", r"[^[^a]]", r"[^a[^b]]", r"[a[^b]c]", r"[]a]", r"[^]a]", r"[a-]", r"[-a]", r"[a\-z]", r"[\w-a]",
    r"[a-c-e]", r"[--/]", r"[&a]", r"[a&]", r"[a&&]", r"[.]", r"[$^]", r"[(|)]", r"[ a]", r"\s?[!-/:-~\uff01-\uff0f]+", r"a|", r"|a", r"",
    r"\p{Han}|\p{Hira}|\p{katakana}", r"[\p{Cyrillic}&&\p{Lu}]", r"\p{Script=Han}", r"\p{Emoji}", r"\p{Extended_Pictographic}",
    r"\p{Cc}", r"\p{Cf}", r"\p{C}", r"\p{Zs}", r"\p{Unknown}", r"\p{Common}", r"\p{Inherited}", r"\p{Lower}", r"\p{Upper}",
    r"\p{Alnum}", r"\p{Alpha}", r"\p{Blank}", r"\p{Cntrl}", r"\p{Digit}", r"\p{Graph}", r"\p{Print}", r"\p{Punct}", r"\p{Space}",
    r"\p{Word}", r"\p{XDigit}", r"\p{ASCII}", r"\p{Ideographic}", r"[^\p{Graph}]", r"\p{Sm}|\p{Sc}", r"\p{Combining_Mark}",
]
# What the package reads and we refuse: grapheme clusters, back references, absence, callouts, and
# case folding beyond ASCII.
REFUSED = [r"\X", r"(a)\1", r"(?~ab)", r"(?i:\p{Lu})", r"(?i:stra\u00dfe)", r"(?i:ss)", r"\Ga", r"(?m:.)", r"\p{In_Basic_Latin}"]


def run_tool(arguments, data):
    return subprocess.run([BIN / "growmerge_tokenizer_tool", *arguments], input=data,
                          stdout=subprocess.PIPE, check=True).stdout


def our_ids(path, texts, special):
    lines = "".join(json.dumps(text) + "\n" for text in texts).encode()
    raw = run_tool(["encode", path] + (["special"] if special else []), lines)
    numbers = array.array("i")
    numbers.frombytes(raw)
    ids, at = [], 0
    while at < len(numbers):
        ids.append(numbers[at + 1:at + 1 + numbers[at]].tolist())
        at += 1 + numbers[at]
    return ids


def our_texts(path, ids, skip):
    numbers = array.array("i")
    for row in ids:
        numbers.append(len(row))
        numbers.extend(row)
    raw = run_tool(["decode", path] + (["skip"] if skip else []), numbers.tobytes())
    return [json.loads(line) for line in raw.decode().split("\n")[:-1]]


def compare(name, path, peer, texts, special, skip=True):
    """Returns the number of ids that were compared; exits at the first difference."""
    expected = [e.ids for e in peer.encode_batch_fast(texts, add_special_tokens=special)]
    got = our_ids(path, texts, special)
    assert len(got) == len(texts), (name, len(got), len(texts))
    for text, ours, theirs in zip(texts, got, expected):
        if ours != theirs:
            at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b),
                      min(len(ours), len(theirs)))
            sys.exit(f"{name}: ids differ at token {at} of {text[:300]!r}:\n  ours   "
                     f"{[peer.id_to_token(i) for i in ours[max(0, at - 3):at + 5]]}\n  theirs "
                     f"{[peer.id_to_token(i) for i in theirs[max(0, at - 3):at + 5]]}")
    for text, ours, theirs in zip(texts, our_texts(path, expected, skip),
                                  peer.decode_batch(expected, skip_special_tokens=skip)):
        if ours != theirs:
            sys.exit(f"{name}: decoding differs for {text[:200]!r}:\n  ours   {ours[:300]!r}\n"
                     f"  theirs {theirs[:300]!r}")
    return sum(map(len, expected))


def documents(sampled):
    """Texts of the corpora: all, or of every file a few that together have SAMPLE_BYTES."""
    files = sorted((DATA / "corpora").glob("*/*/*.jsonl"))
    for file in files:
        lines = file.read_text().split("\n")[:-1]
        if sampled:
            random.Random(file.name + file.parent.name).shuffle(lines)
            budget, taken = SAMPLE_BYTES // len(files), []
            for line in lines:
                if budget > 0 and len(line) < 100_000:
                    taken.append(line)
                    budget -= len(line)
            lines = taken
        for line in lines:
            yield json.loads(line)["text"]


def batches(texts, size=BATCH_BYTES):
    batch, total = [], 0
    for text in texts:
        batch.append(text)
        total += len(text.encode())
        if total >= size:
            yield batch, total
            batch, total = [], 0
    if batch:
        yield batch, total


def fixture_texts():
    for file in sorted((DATA / "tokenizers/fixtures").glob("*.jsonl")):
        for line in file.read_text().split("\n")[:-1]:
            yield json.loads(line)["text"]


PARTS = [" ", "  ", "   ", "\n", "\r\n", "\r", "\t", "'s", "'S", "'\u017f", "'LL", "'re", "a", "Ab", "\u00c9",
         "\u00df", "1", "42", "12345", "\u0663", "\u00bd", "\u2167", "\u060c", "\u0627\u06cc\u0646", "e\u0301", "\u0301", "\u00a0",
         "\u3000", "\u2028", "\U0001f642", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "<|endoftext|>", "<s>", "</s>",
         "<|end|>", "<unk>", "<x>", "[w]", "|||", "\ud55c", "\u1112\u1161\u11ab", "\u6f22\u5b57", "_", "-", "...", "!",
         "\u200b", "\u180e", "\x85", "\x1c", "\x00", "\u01c5", "\u2581", "\u212a", "\ufb01", "\u1e9b\u0323", "\u0344",
         "\u0958", "\U0001d400", "the", " and", "word"]


def random_texts(count, seed):
    rng = random.Random(seed)
    return ["".join(rng.choice(PARTS) for _ in range(rng.randint(1, 25))) for _ in range(count)]


def character_texts(every):
    """Every character of Unicode between letters, digits, spaces and quotes; or a part of them."""
    rng = random.Random(7)
    chosen = []
    for c in range(0x110000):
        if 0xD800 <= c <= 0xDFFF:
            continue
        assigned = unicodedata.category(chr(c)) not in ("Cn", "Co")
        many = 0x3400 <= c < 0xD800 or c >= 0x17000  # Han, Hangul, Tangut, ...: all alike
        if every or rng.random() < (0.0005 if not assigned else 0.01 if many else 0.5):
            chosen.append(chr(c))
    for begin in range(0, len(chosen), 64):
        yield "".join(f"a{c}b {c}1{c} '{c}{c}\n" for c in chosen[begin:begin + 64])


def mark_texts():
    """Combining sequences, for the normal forms."""
    marks = [chr(c) for c in range(0x110000) if unicodedata.combining(chr(c))]
    rng = random.Random(3)
    pairs = set()
    for c in range(0x110000):
        decomposed = unicodedata.normalize("NFD", chr(c)) if not 0xD800 <= c <= 0xDFFF else ""
        if len(decomposed) > 1 and not 0xAC00 <= c <= 0xD7A3:
            pairs.add(decomposed)
            pairs.add(decomposed + rng.choice(marks))
            pairs.add(decomposed[0] + rng.choice(marks) + decomposed[1:])
    pairs = sorted(pairs) + ["".join(rng.choices(marks + ["a", "o", "\u1100", "\u1161", "\u11a8"], k=4))
                             for _ in range(3000)]
    for begin in range(0, len(pairs), 100):
        yield " ".join(pairs[begin:begin + 100])


def fuzz_texts(count, seed):
    """Random code points: of all planes, or of a few blocks, with marks, controls, joiners and emoji."""
    rng = random.Random(seed)
    blocks = [(0x20, 0x7E), (0x00, 0x9F), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF),
              (0x900, 0xDFF), (0xE00, 0xFFF), (0x1000, 0x137F), (0x1680, 0x18AF), (0x1E00, 0x23FF),
              (0x2460, 0x27BF), (0x2E80, 0x33FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7FF), (0xF900, 0xFFFF),
              (0x10000, 0x1FFFF), (0x1D400, 0x1D7FF), (0x1F1E6, 0x1F1FF), (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF),
              (0xE0000, 0xE01EF), (0xF0000, 0x10FFFF)]
    likely = [" ", "  ", "\n", "\r\n", "a", "E", "1", "\u0301", "\u0323", "\u200d", "\ufe0f", "\u094d", "\u0915", "\u00a9",
              "\u2122", "\u1100", "\u1161", "\u11a8", "\uac00", "\U0001f1e6", "\u0600", "\u0903", "\ufb01", "\u2581", "\u0130"]
    texts = []
    for _ in range(count):
        chosen = rng.choices(blocks, k=rng.randint(1, 4))
        out = []
        for _ in range(rng.randint(1, 30)):
            if rng.random() < 0.4:
                out.append(rng.choice(likely))
                continue
            c = rng.randint(*rng.choice(chosen)) if rng.random() < 0.95 else rng.randint(0, 0x10FFFF)
            out.append(chr(c) if not 0xD800 <= c <= 0xDFFF else "?")
        texts.append("".join(out))
    return texts


def random_class(rng, depth=0):
    """A character class, with classes inside and intersections."""
    members = ["a-f", "x", "0-9", r"\s", r"\w", r"\d", r"\p{L}", r"\P{Lu}", r"\p{Han}", r"\p{^Greek}", "[:punct:]", "[:^alpha:]", ".",
               "\u00e9", "\u0400-\u04ff", r"\n", r"\]", r"\x{300}-\x{36F}", "(", "|", " "]
    out = "".join(rng.choice(members) if depth == 2 or rng.random() < 0.75 else random_class(rng, depth + 1)
                  for _ in range(rng.randint(1, 4)))
    if rng.random() < 0.25:
        out += "&&" + (rng.choice(members) if depth == 2 else random_class(rng, depth + 1))
    return "[" + ("^" if rng.random() < 0.3 else "") + out + "]"


def random_pattern(rng):
    atoms = ["a", "b", " ", r"\p{L}", r"\s", r"\S", r"\d", "the", "(?:ab|c)", "(a|b)", "(?i:'s|'t)", r"\b", "^", "$", ".", "(?=a)",
             r"(?!\S)", r"(?<=\s)"]
    quantifiers = ["", "", "", "+", "*", "?", "+?", "*?", "??", "++", "?+", "{2}", "{1,2}", "{1,}", "{,2}", "{2}+", "{1,2}?"]
    out = ""
    for _ in range(rng.randint(1, 4)):
        atom = random_class(rng) if rng.random() < 0.4 else rng.choice(atoms)
        out += atom + (rng.choice(quantifiers) if not atom.startswith(("^", "$", r"\b", "(?=", "(?!", "(?<")) else "")
    return out + ("|" + random_pattern(rng) if rng.random() < 0.3 else "")


def check_patterns(everything):
    """Every match of a pattern, replaced by a mark, here and by the package."""
    rng = random.Random(11)
    texts = ["\n".join(random_texts(40, 5)), "\n".join(fuzz_texts(60, 6)), "aabbab the THE\u017f 1234567 \u212aks aaaa\n\nb\n",
             "".join(character_texts(everything))[:None if everything else 60000], ""]
    cases = [(p, t) for p in PATTERNS for t in texts]
    for _ in range(3000 if everything else 600):
        pattern = random_pattern(rng)
        cases += [(pattern, rng.choice(texts[:2])), (pattern, texts[2])]
    lines = "".join(json.dumps(case) + "\n" for case in cases + [(p, "a") for p in REFUSED]).encode()
    results = [json.loads(line) for line in run_tool(["replace", "\x01"], lines).decode().split("\n")[:-1]]
    equal = neither = 0
    for (pattern, text), ours in zip(cases, results):
        try:
            replace = normalizers.Replace(Regex(pattern), "\x01")
        except Exception:  # the package refuses it: so must we
            assert isinstance(ours, dict), f"{pattern!r} is refused by the package alone"
            neither += 1
            continue
        theirs = replace.normalize_str(text)
        if ours != theirs:
            sys.exit(f"pattern {pattern!r} on {text[:80]!r}:\n  ours   {ours[:300] if isinstance(ours, str) else ours!r}\n"
                     f"  theirs {theirs[:300]!r}")
        equal += 1
    for pattern, ours in zip(REFUSED, results[len(cases):]):
        assert isinstance(ours, dict), f"{pattern!r} is understood now"
    print(f"patterns: {equal} pairs of pattern and text equal, {neither} refused by both", flush=True)


def check_corpora(names, everything):
    for name in names:
        path = DATA / name
        peer = Tokenizer.from_file(str(path / "tokenizer.json"))
        count = total = tokens = 0
        for batch, size in batches(documents(sampled=not everything)):
            tokens += compare(name, path, peer, batch, special=True)
            count += len(batch)
            total += size
        odd = list(fixture_texts()) + random_texts(2000, 1) + list(character_texts(everything))
        for special in (False, True):
            for batch, _ in batches(odd):
                compare(name, path, peer, batch, special, skip=special)
        print(f"{name}: {count} documents, {total} bytes, {tokens} tokens and {len(odd)} odd texts equal",
              flush=True)


@functools.lru_cache
def trained_model(byte_level, texts):
    peer = Tokenizer(models.BPE())
    if byte_level:
        peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        options = {"initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}
    else:
        peer.pre_tokenizer = pre_tokenizers.Metaspace(split=True)
        options = {"limit_alphabet": 300}
    peer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=900, show_progress=False, **options))
    return json.loads(peer.to_str())["model"]


def make_model(byte_level, texts, **options):
    """A small model, of bytes or of characters, trained on the texts; with what its options need."""
    trained = trained_model(byte_level, texts)
    vocab = dict(trained["vocab"])
    if options.get("byte_fallback"):
        for byte in range(256):
            vocab.setdefault(f"<0x{byte:02X}>", len(vocab))
    if "unk_token" in options:
        vocab.setdefault(options["unk_token"], len(vocab))
    return models.BPE(vocab=vocab, merges=[tuple(m) for m in trained["merges"]], **options)


def small_model(texts, **options):
    return make_model(False, texts, **options)


def byte_model(texts, **options):
    return make_model(True, texts, **options)


def configurations(texts):
    """(name, tokenizer) for every part that is understood, in every setting."""
    pre, norm = pre_tokenizers, normalizers
    byte_level = pre.ByteLevel(add_prefix_space=False)
    no_regex = pre.ByteLevel(add_prefix_space=False, use_regex=False)
    byte_model_, plain = byte_model(texts), small_model(texts)

    def make(name, model, normalizer=None, pre_tokenizer=None, decoder=None, post=None, added=()):
        peer = Tokenizer(model)
        for part, value in (("normalizer", normalizer), ("pre_tokenizer", pre_tokenizer),
                            ("decoder", decoder), ("post_processor", post)):
            if value is not None:
                setattr(peer, part, value)
        peer.add_tokens(list(added))
        return name, peer

    bytes_decoder = decoders.ByteLevel()
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        yield make(form, byte_model_, getattr(norm, form)(), byte_level, bytes_decoder)
    yield make("Strip", byte_model_, norm.Strip(), byte_level, bytes_decoder)
    yield make("Strip right", byte_model_, norm.Strip(left=False), byte_level, bytes_decoder)
    yield make("Replace regex", byte_model_,
               norm.Sequence([norm.Replace(Regex(r" {2,}"), "_"), norm.Replace("the", " THE "),
                              norm.Replace(Regex(r"\p{Nd}"), "0")]), byte_level, bytes_decoder)
    yield make("prefix space", byte_model_, None, pre.ByteLevel(add_prefix_space=True), bytes_decoder)
    yield make("no regex", byte_model_, None, no_regex, bytes_decoder)
    yield make("digits together", byte_model_, None, pre.Sequence([pre.Digits(False), byte_level]),
               bytes_decoder)
    yield make("digits, prefix space", byte_model_, None,
               pre.Sequence([pre.Digits(True), pre.ByteLevel(add_prefix_space=True)]), bytes_decoder)
    for pattern_name, pattern in (("llama3", LLAMA3), ("qwen2", LLAMA3.replace("{1,3}", "")),
                                  ("o200k", O200K)):
        yield make(pattern_name, byte_model_, None,
                   pre.Sequence([pre.Split(Regex(pattern), "isolated"), no_regex]), bytes_decoder)
    yield make("llama3, other order", byte_model_, None,
               pre.Sequence([pre.Split(Regex(LLAMA3), "isolated"), pre.Digits(True), no_regex]),
               bytes_decoder)
    yield make("ignore_merges", byte_model(texts, ignore_merges=True), None, byte_level, bytes_decoder)
    for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        for invert in (False, True):
            for kind, pattern in (("regex", Regex(r"[aeiou]|\s+|\p{P}")), ("literal", "a")):
                yield make(f"Split {kind} {behavior} {invert}", byte_model_, None,
                           pre.Sequence([pre.Split(pattern, behavior, invert), byte_level]),
                           bytes_decoder)
        yield make(f"Punctuation {behavior}", byte_model_, None,
                   pre.Sequence([pre.Punctuation(behavior), byte_level]), bytes_decoder)
    yield make("Whitespace", plain, None, pre.Whitespace())
    yield make("WhitespaceSplit", plain, None, pre.WhitespaceSplit())
    for scheme in ("always", "first", "never"):
        for split in (True, False):
            added = [AddedToken("<s>", special=True), AddedToken("[w]", single_word=True)]
            yield make(f"Metaspace {scheme} {split}", small_model(texts, byte_fallback=True, unk_token="<unk>"),
                       None, pre.Metaspace(prepend_scheme=scheme, split=split),
                       decoders.Metaspace(prepend_scheme=scheme, split=split), added=added)
    spm = norm.Sequence([norm.Prepend("\u2581"), norm.Replace(" ", "\u2581")])
    spm_decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(),
                                     decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    for fuse in (False, True):
        for fallback in (False, True):
            yield make(f"unk {fuse} {fallback}",
                       small_model(texts, unk_token="<unk>", fuse_unk=fuse, byte_fallback=fallback),
                       spm, None, spm_decoder)
    # Not both ends: the package panics where the two meet.
    yield make("no unk, strip left", plain, spm, None,
               decoders.Sequence([decoders.Strip("e", 2, 0), decoders.Fuse()]))
    yield make("no unk, strip right", plain, spm, None, decoders.Strip("e", 0, 1))
    yield make("no decoder", plain, spm)
    added = [AddedToken("<s>", special=True, normalized=False), AddedToken("</s>", lstrip=True),
             AddedToken("<|end|>", rstrip=True, special=True), AddedToken("the", single_word=True),
             AddedToken("<|endoftext|>", lstrip=True, rstrip=True, normalized=True),
             AddedToken("  ", normalized=True), AddedToken("word", single_word=True, normalized=False),
             AddedToken("\u00e9", normalized=True), AddedToken("the and", normalized=False)]
    template = processors.TemplateProcessing(single="<s> $A </s> <s>", pair="<s> $A </s> $B",
                                             special_tokens=[("<s>", 900), ("</s>", 901)])
    for name, normalizer in (("raw", None), ("NFC", norm.NFC()), ("NFD", norm.NFD())):
        yield make(f"added tokens {name}", byte_model_, normalizer, byte_level, bytes_decoder,
                   processors.Sequence([processors.ByteLevel(), template]), added)
    yield from published_shapes(texts, make)
    if CASES.is_dir():
        yield from unigram_shapes(texts, make)
    yield make("added tokens spm", small_model(texts), spm, None, spm_decoder,
               processors.RobertaProcessing(("</s>", 3), ("<s>", 4)), added)


def precompiled_rules():
    """SentencePiece's nmt_nfkc rules, out of T5's own file."""
    with open(CASES / "t5_unigram_message/tokenizer.json") as file:
        return base64.b64decode(json.load(file)["normalizer"]["precompiled_charsmap"])


@functools.lru_cache
def unigram_pieces(texts):
    peer = Tokenizer(models.Unigram())
    peer.pre_tokenizer = pre_tokenizers.Metaspace()
    peer.train_from_iterator(texts, trainers.UnigramTrainer(vocab_size=1500, unk_token="<unk>", show_progress=False,
                                                            special_tokens=["<s>", "</s>", "<unk>"]))
    return [tuple(piece) for piece in json.loads(peer.to_str())["model"]["vocab"]]


def unigram_model(texts, byte_fallback=False, unk=True):
    pieces = list(unigram_pieces(texts))
    if byte_fallback:
        pieces += [(f"<0x{b:02X}>", -20.0) for b in range(256)]
    pieces += [("the", -5.0), ("\u2581the and", -9.0)]  # one twice, and one over a space
    return models.Unigram(pieces, 2 if unk else None, byte_fallback)


def published_shapes(texts, make):
    """Tokenizers as models bring them: their pre-tokenizers and normalizers, a vocabulary of our own."""
    pre, norm, dec = pre_tokenizers, normalizers, decoders
    bytes_ = byte_model(texts)
    last = pre.ByteLevel(add_prefix_space=False, use_regex=False)

    def split(pattern, behavior="isolated", invert=False):
        return pre.Split(Regex(pattern), behavior, invert)

    yield make("BLOOM, Viking", bytes_, None, pre.Sequence([split(BLOOM), last]), dec.ByteLevel())
    yield make("Poro", bytes_, norm.NFC(), pre.Sequence([split(BLOOM), pre.Digits(True), last]), dec.ByteLevel())
    yield make("Falcon", bytes_, None, pre.Sequence([
        pre.Punctuation("contiguous"), pre.ByteLevel(add_prefix_space=False), pre.Digits(False),
        split("[0-9][0-9][0-9]")]), dec.ByteLevel())
    yield make("ByteLevel first", bytes_, None, pre.Sequence([
        pre.ByteLevel(add_prefix_space=True), pre.Punctuation("merged_with_next"), pre.Digits(True)]), dec.ByteLevel())
    yield make("ByteLevel twice", bytes_, None, pre.Sequence([
        pre.ByteLevel(add_prefix_space=False), pre.ByteLevel(add_prefix_space=False)]), dec.ByteLevel())
    yield make("cl100k as converted", bytes_, None, pre.Sequence([split(CL100K, "removed", True), last]), dec.ByteLevel())
    yield make("DeepSeek-V3", bytes_, None, pre.Sequence([
        split(r"\p{N}{1,3}"), split(HAN), split(DEEPSEEK), last]), dec.ByteLevel())
    yield make("DeepSeek-LLM", bytes_, None, pre.Sequence([
        split(r"[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split(r"\s+$"), split(HAN), pre.Digits(True), last]),
        dec.ByteLevel())
    yield make("Kimi", bytes_, None, pre.Sequence([split(KIMI), last]), dec.ByteLevel())
    yield make("thousands", bytes_, None, pre.Sequence([split(r"(?=(\d{3})+(?!\d))"), last]), dec.ByteLevel())
    yield make("StarCoder", bytes_, None, pre.Sequence([pre.Digits(True), pre.ByteLevel(add_prefix_space=False)]),
               dec.ByteLevel())
    gemma = dec.Sequence([dec.Replace("\u2581", " "), dec.ByteFallback(), dec.Fuse()])
    yield make("Gemma", small_model(texts, byte_fallback=True, unk_token="<unk>", fuse_unk=True),
               norm.Replace(" ", "\u2581"), pre.Split(" ", "merged_with_previous"), gemma)
    yield make("BERT's words", small_model(texts, unk_token="<unk>"), norm.Sequence([norm.Lowercase(), norm.StripAccents()]),
               pre.BertPreTokenizer())
    yield make("lower case, no accents", bytes_, norm.Sequence([norm.NFD(), norm.StripAccents(), norm.Lowercase()]),
               pre.ByteLevel(add_prefix_space=False), dec.ByteLevel())
    yield make("Nmt, Prepend", small_model(texts, unk_token="<unk>"),
               norm.Sequence([norm.Nmt(), norm.Prepend("_"), norm.Strip(False, True)]), pre.WhitespaceSplit())
    yield make("delimiter", small_model(texts, unk_token="<unk>"), None, pre.CharDelimiterSplit("e"))
    yield make("ByteLevel normalizer", bytes_, norm.ByteLevel(), None, dec.ByteLevel())
    yield make("fixed length", small_model(texts, unk_token="<unk>"), None, pre.FixedLength(3))


def unigram_shapes(texts, make):
    pre, norm, dec = pre_tokenizers, normalizers, decoders
    rules = norm.Precompiled(precompiled_rules())
    words = pre.Sequence([pre.WhitespaceSplit(), pre.Metaspace()])
    plain = unigram_model(texts)
    bytes_ = unigram_model(texts, byte_fallback=True)
    yield make("T5", plain, rules, words, dec.Metaspace())
    yield make("XLM-R", plain, norm.Sequence([rules, norm.Replace(Regex(" {2,}"), " ")]), words, dec.Metaspace())
    yield make("mT5", bytes_, norm.Sequence([rules, norm.Replace(Regex(" {2,}"), "\u2581")]), pre.Metaspace(), dec.Metaspace())
    yield make("ALBERT", plain, norm.Sequence([norm.Replace("``", '"'), norm.NFKD(), norm.StripAccents(), norm.Lowercase(), rules]),
               pre.Metaspace(), dec.Metaspace())
    yield make("Unigram, whole texts", bytes_, norm.Replace(" ", "\u2581"), None,
               dec.Sequence([dec.Replace("\u2581", " "), dec.ByteFallback(), dec.Fuse()]))
    yield make("Unigram, unsplit", plain, norm.Nmt(), pre.Metaspace(prepend_scheme="first", split=False), dec.Metaspace())
    yield make("Unigram, no normalizer", plain, None, pre.Metaspace(prepend_scheme="never"), dec.Metaspace(prepend_scheme="never"))


def check_spans(folder, texts):
    """What tokens stand for, against the package's offsets, where nothing is normalized."""
    checked = 0
    pre = pre_tokenizers
    for name, model, pre_tokenizer in (
            ("bytes", byte_model(texts), pre.ByteLevel(add_prefix_space=False, trim_offsets=False)),
            ("words", small_model(texts, unk_token="<unk>", fuse_unk=True), pre.Whitespace()),
            ("Unigram", unigram_model(texts), pre.WhitespaceSplit())):
        peer = Tokenizer(model)
        peer.pre_tokenizer = pre_tokenizer
        peer.add_tokens([AddedToken("<s>", special=True), AddedToken("</s>", lstrip=True)])
        path = pathlib.Path(folder) / "spans.json"
        peer.save(str(path))
        chosen = [t for t in random_texts(300, 8) + fuzz_texts(300, 9) + [t[:500] for t in texts[:40]] if t]
        numbers = array.array("i")
        numbers.frombytes(run_tool(["spans", path], "".join(json.dumps(t) + "\n" for t in chosen).encode()))
        at = 0
        for text, encoded in zip(chosen, peer.encode_batch(chosen, add_special_tokens=False)):
            count, raw = numbers[at], text.encode()
            ours = [(len(raw[:numbers[i]].decode(errors="ignore")),
                     len(raw[:numbers[i + 1]].decode(errors="replace")))
                    for i in range(at + 1, at + 1 + count, 2)]
            at += 1 + count
            assert ours == encoded.offsets, (name, text, ours, encoded.offsets)
            checked += len(ours)
    print(f"spans: {checked} tokens equal", flush=True)


def check_published_files():
    """The files of the shared cases, which are of real models."""
    for name in ("bloom_pattern", "t5_unigram_message"):
        path = CASES / name / "tokenizer.json"
        peer = Tokenizer.from_file(str(path))
        total = 0
        for batch, _ in batches(documents(sampled=True)):
            total += compare(name, path, peer, batch, special=True, skip=False)
        for texts in (random_texts(2000, 4), fuzz_texts(3000, 5), list(character_texts(False)), list(mark_texts())):
            compare(name, path, peer, texts, special=False)
        print(f"{name}: {total} tokens equal", flush=True)


def check_configurations(folder):
    texts = tuple(text[:2000] for text in documents(sampled=True))[:300]
    odd = random_texts(200, 2) + [t[:500] for t in texts[::10]] + list(fixture_texts())
    odd_with_marks = odd + list(mark_texts())
    fuzz = fuzz_texts(400, 3)
    done = 0
    for name, peer in configurations(texts):
        path = pathlib.Path(folder) / "configuration.json"
        peer.save(str(path))
        # Files differ in what they say of defaults: read it as others will.
        peer = Tokenizer.from_file(str(path))
        chosen = (odd_with_marks if name.startswith("NF") else odd) + fuzz
        compare(name, path, peer, chosen, special=True, skip=done % 2 == 1)
        done += 1
    print(f"{done} configurations: {len(odd) + len(fuzz)} texts each equal", flush=True)
    check_spans(folder, texts)


def check_character_trainer(folder, source, training, held_out):
    """With byte_fallback and without BOS, on texts that hold special tokens: those part the text."""
    folder = pathlib.Path(folder) / "characters"
    folder.mkdir()
    source = folder / "text.jsonl"
    source.write_text("".join(json.dumps({"text": "<|pad|>".join([t[:50], t[50:]])}) + "\n" for t in training))
    subprocess.run([BIN / "growmerge_tokenizer_trainer_tool", source, folder, "6000", "2", "1", "1"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    path = folder / "tokenizer.json"
    ours = Tokenizer.from_file(str(path))
    compare("trained on characters", path, ours, held_out + fuzz_texts(300, 12), special=True)
    texts = held_out + fuzz_texts(300, 13)
    kept = [t for t in texts if "\u2581" not in t]
    assert ours.decode_batch([e.ids for e in ours.encode_batch(kept)]) == kept, "a text does not come back"
    reserved = ["<|end_of_text|>", "<|pad|>"] + [f"<0x{b:02X}>" for b in range(256)]
    peer = Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.Metaspace(prepend_scheme="never")])
    pieces = [piece for t in training for piece in (t[:50], t[50:])]
    peer.train_from_iterator(pieces, trainers.BpeTrainer(vocab_size=6000, min_frequency=2, special_tokens=reserved,
                                                         show_progress=False))
    theirs, mine = json.loads(peer.to_str())["model"], json.loads(path.read_text())["model"]
    assert mine["merges"] == theirs["merges"], "merges over characters differ"
    assert mine["vocab"] == theirs["vocab"], "vocabularies over characters differ"
    print(f"trainer over characters: {len(mine['merges'])} merges equal", flush=True)


def check_trainer(folder):
    """Our trainer and the package's learn the same merges, and both encode with them alike."""
    texts = list(documents(sampled=True))
    held_out, training = texts[::8], [t for i, t in enumerate(texts) if i % 4 == 1]
    source = pathlib.Path(folder) / "text.jsonl"
    source.write_text("".join(json.dumps({"text": t}) + "\n" for t in training))
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|pad|>"]
    for vocab_size, min_frequency, digits in ((600, 2, True), (3000, 3, False)):
        subprocess.run([BIN / "growmerge_tokenizer_trainer_tool", source, folder, str(vocab_size),
                        str(min_frequency), "1" if digits else "0"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        path = pathlib.Path(folder) / "tokenizer.json"
        ours = Tokenizer.from_file(str(path))
        compare(f"trained {vocab_size}", path, ours, held_out, special=True)
        assert ours.encode("x").ids[0] == 0, "BOS is not in front"
        peer = Tokenizer(models.BPE())
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
        peer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), byte_level]) if digits else byte_level
        peer.train_from_iterator(training, trainers.BpeTrainer(
            vocab_size=vocab_size, min_frequency=min_frequency, special_tokens=specials,
            show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
        theirs = json.loads(peer.to_str())["model"]
        mine = json.loads(path.read_text())["model"]
        assert mine["merges"] == theirs["merges"], f"merges differ for {vocab_size}"
        assert mine["vocab"] == theirs["vocab"], f"vocabularies differ for {vocab_size}"
        print(f"trainer: {vocab_size} tokens, {len(mine['merges'])} merges equal; {len(held_out)} "
              "held-out texts equal", flush=True)
    check_character_trainer(folder, source, training, held_out)
    try:
        from transformers import AutoTokenizer
    except ImportError:
        print("Transformers is missing: its loading is not checked")
        return
    loaded = AutoTokenizer.from_pretrained(folder)
    assert (loaded.bos_token_id, loaded.eos_token_id) == (0, 1), (loaded.bos_token_id, loaded.eos_token_id)
    assert loaded(held_out[0])["input_ids"] == our_ids(path, held_out[:1], True)[0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--all", action="store_true", help="every document and every character")
    parser.add_argument("--only", default="", help="tokenizers whose name holds this")
    options = parser.parse_args()
    if not (DATA / "corpora").is_dir():
        print(f"skipped: no shared data at {DATA}")
        sys.exit(77)
    for tool in ("growmerge_tokenizer_tool", "growmerge_tokenizer_trainer_tool"):
        if not (BIN / tool).exists():
            print(f"skipped: {BIN / tool} is not built")
            sys.exit(77)
    print(f"tokenizers {tokenizers.__version__}")
    if not options.only:
        check_patterns(options.all)
        if CASES.is_dir():
            check_published_files()
    check_corpora([name for name in NAMES if options.only in name], options.all)
    if not options.only:
        with tempfile.TemporaryDirectory() as folder:
            check_configurations(folder)
            check_trainer(folder)


if __name__ == "__main__":
    main()
