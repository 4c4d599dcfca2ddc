"""launch/get_text.sh on packages made here, fetched by an apt-get made here: what it keeps, how it splits, how it ends.

No network is used: `apt-get download` copies packages that dpkg-deb builds from generated pages.
"""

import gzip
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

for tool in ("dpkg-deb", "mandoc", "apt-cache"):
    if shutil.which(tool) is None:
        print(f"skipped: no {tool} here")
        sys.exit(77)

SOURCE = pathlib.Path(os.environ["GROWMERGE_SOURCE_DIR"])
NAMES = [f"tool{chr(97 + i)}{chr(97 + j)}.1" for i in range(15) for j in range(6)]
NAMES += ["sha1sum.1", "sha256sum.1", "sha512sum.1"]
WORDS = {"en": "the value of the option names a file that is read",
         "sv": "flaggans v\u00e4rde namnger en fil som l\u00e4ses in",
         "de": "der Wert der Option benennt eine Datei, die gelesen wird"}


def page(language, name, paragraphs=12):
    text = f".TH {name} 1\n.SH NAME\n{name} \\- {WORDS[language]}\n.SH DESCRIPTION\n"
    return text + "".join(f".PP\n{name} {i}: {WORDS[language]} {i * 7}.\n" for i in range(paragraphs))


def build(root, package, language, pages):
    tree = root / "trees" / package
    folder = tree / "usr/share/man" / ("man1" if language == "en" else f"{language}/man1")
    folder.mkdir(parents=True)
    for name, text in pages.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        f"Package: {package}\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: pages\n")
    (root / "debs").mkdir(exist_ok=True)
    subprocess.run(["dpkg-deb", "-b", tree, root / "debs" / f"{package}_1_all.deb"], check=True,
                   stdout=subprocess.DEVNULL)


def fake(folder, name, script):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("#!/bin/bash\n" + script)
    (folder / name).chmod(0o755)


def get_text(root, out, *languages, apt):
    """Exit code and messages, with an apt-get of this script."""
    bin_dir = root / "bin"
    fake(bin_dir, "apt-get", apt)
    fake(bin_dir, "apt-cache",
         f'package=${{@: -1}}\n[ "$package" = manpages- ] && exec ls {root}/debs\n'
         f'[ -e "{root}/debs/${{package}}_1_all.deb" ]\n')
    env = dict(os.environ, PATH=f"{bin_dir}:{os.environ['PATH']}")
    ran = subprocess.run([SOURCE / "launch/get_text.sh", "--out", out, *languages], env=env, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return ran.returncode, ran.stdout


def pages_of(out, language, part):
    lines = (out / language / f"{part}.jsonl").read_text().splitlines()
    return {json.loads(line)["id"].split("/")[1]: json.loads(line) for line in lines}


def main(root):
    copies = (f'for option in "$@"; do case "$option" in Dir::State::lists=*) touch "${{option#*=}}/x_Packages" ;; esac; done\n'
              f'[ "${{@: -1}}" = update ] && exit 0\n'
              f'while [ $# -gt 0 ] && [ "$1" != download ]; do shift; done\nshift\n'
              f'for p in "$@"; do cp {root}/debs/"$p"_1_all.deb . || exit 100; done\n')
    stub = page("sv", "stub.1", paragraphs=1)
    build(root, "manpages", "en", {name: page("en", name) for name in NAMES})
    build(root, "manpages-dev", "en", {})
    build(root, "manpages-sv", "sv", {name: page("sv", name) for name in NAMES} | {"stub.1": stub})
    build(root, "manpages-de", "de", {name: page("de", name) for name in NAMES[::2]})
    build(root, "manpages-pt", "pt", {})
    out = root / "text"

    code, said = get_text(root, out, "sv", "de", apt=copies)
    assert code == 0, said
    key = lambda name: re.sub(r"\d", "", re.sub(r"\.[0-9n][^.]*$", "", name))
    trained, held_out = set(), set()
    for language in ("en", "sv", "de"):
        train, held = pages_of(out, language, "train"), pages_of(out, language, "held_out")
        assert train and held, (language, len(train), len(held))
        assert len(train) + len(held) == (len(NAMES[::2]) if language == "de" else len(NAMES)), language
        trained |= {key(name) for name in train}
        held_out |= {key(name) for name in held}
        example = next(iter(train.values()))
        assert example["language"] == language and WORDS[language] in example["text"], example
    assert not trained & held_out, f"translations of held-out pages are trained on: {trained & held_out}"
    assert not list(out.glob(".work*"))

    code, said = get_text(root, out, "sv", apt="exit 99\n")
    assert code == 0 and "already there" in said, said

    for languages, apt, expected, words in (
            (["pt"], copies, 2, "holds no manual pages"),
            (["xx"], copies, 2, "no package manpages-xx"),
            (["nl"], "echo 'E: Could not resolve host'; exit 100\n", 3, "no network"),
            (["nl"], "echo 'E: write (28: No space left on device)'; exit 100\n", 6, "is full")):
        if languages == ["nl"]:
            shutil.copy(root / "debs/manpages-sv_1_all.deb", root / "debs/manpages-nl_1_all.deb")
        code, said = get_text(root, out, *languages, apt=apt)
        assert code == expected and words in said, (languages, code, expected, said)
        assert not (out / languages[0]).exists() and not list(out.glob(".work*"))
    print(f"{len(NAMES)} names: {len(trained)} to train on, {len(held_out)} held out in 3 languages")


with tempfile.TemporaryDirectory() as scratch:
    os.chmod(scratch, 0o755)
    main(pathlib.Path(scratch))
