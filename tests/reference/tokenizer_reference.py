"""Tokenizers against the `tokenizers` package: every id and every decoded text must be equal.

The default run takes a part of the corpora, chosen by a fixed rule, so that it ends within a
minute or two; `--all` takes every document and every character of Unicode (it takes long: the
package encodes about 2 MB/s a thread). `--only NAME` keeps the tokenizers whose name holds NAME.
"""

import argparse
import array
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
NAMES = ["tokenizers/gpt2", "tokenizers/smollm2", "tokenizers/phi3_mini_spm",
         "tokenizers/gpt_neox_20b", "tokenizers/dolma2_cl100k", "models/stories260K"]
SAMPLE_BYTES = 1_500_000  # of the corpora, for each tokenizer
BATCH_BYTES = 8_000_000

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


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
    yield make("added tokens spm", small_model(texts), spm, None, spm_decoder,
               processors.RobertaProcessing(("</s>", 3), ("<s>", 4)), added)


def check_configurations(folder):
    texts = tuple(text[:2000] for text in documents(sampled=True))[:300]
    odd = random_texts(200, 2) + [t[:500] for t in texts[::10]] + list(fixture_texts())
    odd_with_marks = odd + list(mark_texts())
    done = 0
    for name, peer in configurations(texts):
        path = pathlib.Path(folder) / "configuration.json"
        peer.save(str(path))
        # Files differ in what they say of defaults: read it as others will.
        peer = Tokenizer.from_file(str(path))
        chosen = odd_with_marks if name.startswith("NF") else odd
        compare(name, path, peer, chosen, special=True, skip=done % 2 == 1)
        done += 1
    print(f"{done} configurations: {len(odd)} texts each equal", flush=True)


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
    check_corpora([name for name in NAMES if options.only in name], options.all)
    if not options.only:
        with tempfile.TemporaryDirectory() as folder:
            check_configurations(folder)
            check_trainer(folder)


if __name__ == "__main__":
    main()
