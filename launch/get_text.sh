#!/usr/bin/env bash
# Fetches real text that anyone may use: Debian's manual pages in English and in the languages named. Nothing is
# installed and no root is needed.
#
#   launch/get_text.sh [--out DIR] [--held-out PERCENT] LANG...
#
# LANG is the ending of a Debian package manpages-LANG: de fr nl sv fi da nb pl cs es it pt-br ro ru uk ... English comes
# always. For each language this writes DIR/LANG/train.jsonl and DIR/LANG/held_out.jsonl, one page a line:
# {"id": "sv/ls.1", "text": ..., "language": "sv"}. DIR is runs/text by default.
#
# The split is by page name, digits left out (so ls.1 goes with every translation of it, and sha1sum with sha512sum):
# a translation of a held-out page is never in any training file. Held-out pages that are nearly a training page are
# dropped. A language that is there is not made again.
#
# Exit codes: 0 done; 2 wrong arguments or unknown language; 3 no network, no apt or no mandoc; 6 disk.
set -euo pipefail
say() { printf 'get_text: %s\n' "$*" >&2; }
stop() {
  local code=$1
  shift
  say "$*"
  exit "$code"
}

out=runs/text
percent=10
languages=()
while [ $# -gt 0 ]; do
  case "$1" in
    --out | --held-out)
      [ $# -ge 2 ] || stop 2 "$1 needs a value"
      if [ "$1" = --out ]; then out=$2; else percent=$2; fi
      shift 2
      ;;
    -h | --help) sed -n '2,16s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) stop 2 "unknown option '$1' (known: --out DIR, --held-out PERCENT)" ;;
    *) languages+=("$1"); shift ;;
  esac
done
[[ "$percent" =~ ^[0-9]+$ ]] && [ "$percent" -ge 1 ] && [ "$percent" -le 50 ] ||
  stop 2 "--held-out must be a whole number from 1 to 50 (percent of the pages), got '$percent'"
for language in ${languages[@]+"${languages[@]}"}; do
  [[ "$language" =~ ^[a-z]{2,3}(-[a-z]{2,})?$ ]] || stop 2 "'$language' is no language code (examples: sv de pt-br)"
done

# English first, each language once.
wanted=(en)
for language in ${languages[@]+"${languages[@]}"}; do
  [[ " ${wanted[*]} " == *" $language "* ]] || wanted+=("$language")
done

stamp="pages split $percent% by name, version 1"
todo=()
for language in "${wanted[@]}"; do
  if [ -s "$out/$language/train.jsonl" ] && [ -s "$out/$language/held_out.jsonl" ] &&
    [ "$(head -n 1 "$out/$language/SOURCE" 2>/dev/null)" = "$stamp" ]; then
    say "$language: already there"
  else
    todo+=("$language")
  fi
done
[ ${#todo[@]} -gt 0 ] || exit 0

for tool in apt-get apt-cache dpkg-deb mandoc awk xargs; do
  command -v $tool >/dev/null || stop 3 "'$tool' is not here: this needs Debian or a relative of it, and mandoc" \
    "(apt-get install mandoc); any text of your own as .jsonl or .txt does as well"
done

mkdir -p "$out" 2>/dev/null || stop 6 "cannot make '$out'"
out=$(cd "$out" && pwd)
work=$(mktemp -d "$out/.work-XXXXXX") || stop 6 "cannot write into '$out'"
trap 'rm -rf "$work"' EXIT

# --- packages ------------------------------------------------------------------------------------------------------
apt_options=(-q -o Acquire::Retries=2 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20)
if [ "$(id -u)" = 0 ]; then
  apt_options+=(-o APT::Sandbox::User=root) # otherwise root complains about folders that only root may write
fi
known() { apt-cache "${apt_options[@]}" show "$1" >/dev/null 2>&1; }

# A full disk must not pass for a missing network: the quickstart would run something else.
stop_if_disk_full() {
  if grep -q 'No space left' "$work/log" || [ "$(df -Pk "$work" | awk 'NR == 2 {print $4}')" -lt 1024 ]; then
    stop 6 "the disk of '$out' is full: packages and their pages need some 300 MB there while this runs"
  fi
}

fetch_lists() {  # private package lists take the place of the machine's
  say "fetching package lists"
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
  apt_options+=(-o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache")
  private_lists=yes
  # update may end well without having fetched anything
  if ! LC_ALL=C apt-get "${apt_options[@]}" update >"$work/log" 2>&1 ||
    ! find "$work/lists" -name '*_Packages*' | grep -q . || ! known manpages; then
    tail -n 5 "$work/log" >&2
    stop_if_disk_full
    stop 3 "package lists cannot be fetched: no network, or no Debian mirror in /etc/apt"
  fi
}

# Where this machine has no package lists, or none with manual pages, private ones are fetched.
private_lists=no
for language in "${todo[@]}"; do
  if [ "$language" = en ]; then known manpages; else known "manpages-$language"; fi ||
    [ $private_lists = yes ] || fetch_lists
done

packages=()
for language in "${todo[@]}"; do
  if [ "$language" = en ]; then
    packages+=(manpages manpages-dev)
    continue
  fi
  known "manpages-$language" || stop 2 "no package manpages-$language; there are: $(
    apt-cache "${apt_options[@]}" pkgnames manpages- | sed -n 's/^manpages-//p' | grep -v 'dev$\|posix' | sort | paste -sd ' ')"
  packages+=("manpages-$language")
  if known "manpages-$language-dev"; then
    packages+=("manpages-$language-dev")
  fi
done
download() {
  rm -rf "$work/packages"
  mkdir "$work/packages"
  (cd "$work/packages" && LC_ALL=C apt-get "${apt_options[@]}" download "${packages[@]}") >"$work/log" 2>&1
}
say "downloading ${packages[*]}"
if ! download; then
  tail -n 5 "$work/log" >&2
  stop_if_disk_full
  # The machine's lists may name versions that the mirror no longer has.
  { [ $private_lists = no ] && fetch_lists && download; } || {
    tail -n 5 "$work/log" >&2
    stop_if_disk_full
    stop 3 "download failed: no network, or the Debian mirror does not answer"
  }
fi

# --- pages to JSON lines -------------------------------------------------------------------------------------------
# Reads rendered pages, each behind a line "\036 ID HELD_OUT", and prints "train" or "held_out", a tab, and the JSON.
# Leaves out mandoc's first and last line, indentation, runs of spaces and of blank lines, the rules of tables, what
# follows the last heading of a translated page when it is the translators' notice, and pages under 500 characters.
cat >"$work/pages.awk" <<'AWK'
function json(text) {
  gsub(/[\001-\037\177]/, "", text)
  gsub(/[\\"]/, "\\\\&", text)
  return text
}
function finish(    i, last, body, count, blank, notice, continued) {
  if (id == "") return
  for (last = n; last > 0 && line[last] == ""; --last) {}
  --last  # mandoc's footer
  notice = 0
  for (i = last; i > 1 && !heading[i]; --i) {
    if (line[i] ~ /licenses\/gpl-3\.0\.html/) notice = 1
  }
  if (notice && language != "en") last = i - 1
  body = ""; count = 0; blank = 0
  for (i = 2; i <= last; ++i) {
    if (line[i] == "") { blank = 1; continue }
    if (body != "") { body = body (blank ? "\\n\\n" : "\\n") }
    blank = 0
    continued = line[i]
    gsub(/[\200-\277]/, "", continued)
    count += length(continued) + 1
    body = body json(line[i])
  }
  if (count >= 500) {
    printf "%s\t{\"id\":\"%s\",\"text\":\"%s\",\"language\":\"%s\"}\n", part, json(id), body, language
  }
}
/^\036/ { finish(); id = $2; part = $3; n = 0; next }
{
  gsub(/[\300-\367][\200-\277]+\010/, "")  # bold and underlined letters are struck over
  gsub(/[^\010]\010/, "")
  if (n == 0 && $0 ~ /^[ \t]*$/) next
  ++n
  heading[n] = $0 ~ /^[^ \t]/
  gsub(/(\342[\224\225][\200-\277])+/, "|")  # frames of tables
  gsub(/[ \t]+/, " ")
  if ($0 ~ /^[-+=_| ]*$/) $0 = ""
  sub(/^ /, ""); sub(/ $/, "")
  line[n] = $0
}
END { finish() }
AWK

# Held-out pages (second file) that are not mostly (75 %) made of lines of training pages (first file): vdir is ls again.
cat >"$work/unseen.awk" <<'AWK'
{
  text = $0
  sub(/^\{"id":"[^"]*","text":"/, "", text)
  sub(/","language":"[^"]*"\}$/, "", text)
  count = split(text, lines, /\\n/)
  all = seen = 0
  for (i = 1; i <= count; ++i) {
    if (length(lines[i]) <= 25) continue
    if (FILENAME == ARGV[1]) { known[lines[i]] = 1; continue }
    all += length(lines[i])
    if (lines[i] in known) seen += length(lines[i])
  }
  if (FILENAME != ARGV[1] && seen <= 0.75 * all) print
}
AWK

# Prints "PATH ID train|held_out" for the pages below $1 (PATH counts from there), sorted by id. Links and alias pages
# are left out: the first are no plain files, the second come out shorter than 500 characters.
list_pages() {
  (cd "$1" && find . -path './usr/share/man/*' -type f -name '*.gz') | LC_ALL=C awk -v language="$2" -v percent="$percent" '
    BEGIN { for (i = 1; i < 256; ++i) code[sprintf("%c", i)] = i }
    {
      page = $0
      sub(/.*\//, "", page)
      sub(/\.gz$/, "", page)
      if (page !~ /^[!-~]+$/ || $0 ~ /[ \t]/) next
      key = page
      sub(/\.[0-9n][^.]*$/, "", key)
      gsub(/[0-9]/, "", key)
      hash = 7
      for (i = 1; i <= length(key); ++i) hash = (hash * 257 + code[substr(key, i, 1)]) % 1000003
      hash = (hash * 7919) % 1000003
      print $0, language "/" page, (hash % 100 < percent ? "held_out" : "train")
    }' | LC_ALL=C sort -k2,2 -k1,1 | awk '!seen[$2]++'
}

render_list() {
  while read -r path id part; do
    printf '\036 %s %s\n' "$id" "$part"
    LC_ALL=C.UTF-8 mandoc -K utf-8 -T utf8 -O width=900 "$3/$path" 2>/dev/null || true
  done <"$1" | LC_ALL=C awk -v language="$2" -f "$work/pages.awk" >"$1.json"
}
export -f render_list
export work

threads=$(nproc)
for language in "${todo[@]}"; do
  mkdir -p "$work/$language/root" "$work/$language/lists" "$work/$language/done"
  sources=""
  for name in "manpages${language:+-$language}" "manpages-$language-dev" manpages manpages-dev; do
    case "$language:$name" in
      en:manpages | en:manpages-dev) ;;
      en:* | *:manpages | *:manpages-dev) continue ;;
    esac
    for package in "$work/packages/$name"_*.deb; do
      [ -e "$package" ] || continue
      dpkg-deb -x "$package" "$work/$language/root" || stop 6 "cannot unpack $(basename "$package"): disk full?"
      sources+=" $(basename "$package" .deb)"
    done
  done
  list_pages "$work/$language/root" "$language" >"$work/$language/all" ||
    stop 6 "$language: listing the pages failed: disk full?"
  [ -s "$work/$language/all" ] ||
    stop 2 "$language: the package holds no manual pages (manpages-pt is empty: its pages are in pt-br):$sources"
  split -l 40 -a 4 -d "$work/$language/all" "$work/$language/lists/" ||
    stop 6 "$language: listing the pages failed: disk full?"
  find "$work/$language/lists" -type f | sort |
    xargs -P "$threads" -d '\n' -I LIST bash -c 'render_list "$1" "$2" "$3"' render LIST "$language" "$work/$language/root" ||
    stop 6 "$language: rendering the pages failed: disk full?"
  for part in train held_out; do
    cat "$work/$language/lists/"*.json | sed -n "s/^$part\t//p" >"$work/$language/$part" ||
      stop 6 "$language: writing $part failed: disk full?"
  done
  mv "$work/$language/train" "$work/$language/done/train.jsonl"
  LC_ALL=C awk -f "$work/unseen.awk" "$work/$language/done/train.jsonl" "$work/$language/held_out" \
    >"$work/$language/done/held_out.jsonl" || stop 6 "$language: writing held_out failed: disk full?"
  for part in train held_out; do
    [ -s "$work/$language/done/$part.jsonl" ] || stop 3 "$language: no page came out for $part.jsonl"
  done
  printf '%s\n%s\nDebian packages:%s\n' "$stamp" \
    "Manual pages under the licences that each names (GPL, BSD, MIT, LDP and others); see the packages." "$sources" \
    >"$work/$language/done/SOURCE" || stop 6 "$language: writing SOURCE failed: disk full?"
  rm -rf "${out:?}/$language"
  mv "$work/$language/done" "$out/$language" || stop 6 "cannot write '$out/$language'"
  rm -rf "${work:?}/$language"
  say "$language: $(wc -l <"$out/$language/train.jsonl") pages, $(wc -c <"$out/$language/train.jsonl") bytes to train on;" \
    "$(wc -l <"$out/$language/held_out.jsonl") pages, $(wc -c <"$out/$language/held_out.jsonl") bytes held out"
done
