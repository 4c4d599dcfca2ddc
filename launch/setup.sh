#!/usr/bin/env bash
# Installs what growmerge needs and this machine lacks: Debian packages, and a virtual environment in .venv that holds
# LibTorch (the torch wheel). Safe to run again: takes seconds when nothing is missing.
#
#   launch/setup.sh            what building and running needs
#   launch/setup.sh --peers    also the independent implementations that tests and benchmarks compare with, and Slurm
#
# TORCH_DIR=/path/to/libtorch uses another LibTorch (a folder with include/ and lib/; a relative path counts from the
# repository); only the peers then need a wheel.
# GROWMERGE_NO_APT=1 installs no Debian packages (for clusters whose modules provide them).
set -euo pipefail
cd "$(dirname "$0")/.."

peers=no
for argument in "$@"; do
  case "$argument" in
    --peers) peers=yes ;;
    *) echo "setup: unknown option '$argument' (known: --peers)" >&2; exit 2 ;;
  esac
done

say() { printf 'setup: %s\n' "$*" >&2; }

if [ -n "${TORCH_DIR:-}" ]; then
  for file in include/ATen/core/Tensor.h lib/libtorch_cpu.so lib/libc10.so; do
    [ -e "$TORCH_DIR/$file" ] || {
      say "TORCH_DIR='$TORCH_DIR' is no LibTorch: it has no $file; point it at a folder with include/ and lib/, or unset it"
      exit 2
    }
  done
fi

# --- Debian packages -----------------------------------------------------------------------------------------------
packages=(g++ cmake ninja-build pkg-config git ca-certificates python3 python3-venv
  libopenmpi-dev openmpi-bin libhdf5-openmpi-dev libxxhash-dev libutf8proc-dev libyaml-cpp-dev
  libboost-program-options-dev nlohmann-json3-dev libpcre2-dev libspdlog-dev zlib1g-dev libzstd-dev liblzma-dev libbz2-dev
  libgtest-dev)
# Faster builds (ccache, lld), faster JSON (simdjson), real text for the quickstart (mandoc) and tools that a few tests and
# people use.
optional=(ccache lld libsimdjson-dev mandoc bsdextrautils hdf5-tools procps)
if [ "$peers" = yes ]; then
  optional+=(slurm-wlm munge iproute2)  # the tests that need them say so and are skipped
fi

provided() {  # programs that may have come from elsewhere than Debian
  case "$1" in
    g++ | cmake | git | python3 | ccache) command -v "$1" >/dev/null ;;
    ninja-build) command -v ninja >/dev/null ;;
    python3-venv) python3 -c 'import venv, ensurepip' 2>/dev/null ;;
    *) return 1 ;;
  esac
}

missing=()
needed=()  # those of the missing that nothing works without
if command -v dpkg-query >/dev/null; then
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2>/dev/null | sed -n 's/^installed //p')
  for package in "${packages[@]}" "${optional[@]}"; do
    if ! grep -qx "$package" <<<"$installed" && ! provided "$package"; then
      missing+=("$package")
      [[ " ${optional[*]} " == *" $package "* ]] || needed+=("$package")
    fi
  done
else
  say "this is not Debian or a relative of it: install these by your own means, then run again with GROWMERGE_NO_APT=1:"
  say "  ${packages[*]}"
  say "useful as well: ${optional[*]}"
  [ -n "${GROWMERGE_NO_APT:-}" ] || exit 1
fi

give_up() {  # give_up MESSAGE: ends set-up, unless all that is missing only adds comfort
  say "$1"
  if [ ${#needed[@]} -gt 0 ]; then
    say "needed: ${needed[*]}"
    exit 1
  fi
  say "going on without: ${missing[*]}"
}

install_packages() {
  local as_root=() attempt
  if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; }; }; then
      as_root=(sudo env DEBIAN_FRONTEND=noninteractive)
    else
      give_up "this user is neither root nor may use sudo; ask an administrator for: apt-get install ${missing[*]}"
      return
    fi
  fi
  say "installing ${#missing[@]} Debian packages: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  for attempt in 1 2 3; do
    "${as_root[@]}" apt-get update -qq || say "apt-get update failed; going on with the lists that are here"
    if "${as_root[@]}" apt-get install -y -qq -o DPkg::Lock::Timeout=120 --no-install-recommends "${missing[@]}" >/dev/null; then
      return
    fi
    if dpkg --audit 2>/dev/null | grep -q .; then
      give_up "dpkg was interrupted earlier: run 'dpkg --configure -a' as root, then this again"
      return
    fi
    [ "$attempt" = 3 ] || sleep 5
  done
  give_up "apt-get could not install the packages, it says above why (no network?)"
}

if [ ${#missing[@]} -gt 0 ] && [ -n "${GROWMERGE_NO_APT:-}" ]; then
  say "GROWMERGE_NO_APT is set: not installing ${missing[*]}"
elif [ ${#missing[@]} -gt 0 ]; then
  install_packages
fi

# --- LibTorch and peers in .venv ---------------------------------------------------------------------------------------
install_set() {  # install_set NAME FILE...: installs the pinned files without dependencies, once per content and Python
  local name=$1 stamp sum
  shift
  stamp=.venv/.installed-$name
  sum=$({ .venv/bin/python --version && cat "$@"; } | sha256sum | cut -d' ' -f1)
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$sum" ]; then
    return
  fi
  say "installing $name into .venv"
  local arguments=()
  for file in "$@"; do arguments+=(-r "$file"); done
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps "${arguments[@]}"
  echo "$sum" >"$stamp"
}

if [ -z "${TORCH_DIR:-}" ] || [ "$peers" = yes ]; then
  if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    say "making .venv"
    python3 -m venv --clear .venv
  fi
fi
if [ -z "${TORCH_DIR:-}" ] || [ "$peers" = yes ]; then
  torch_python=
  libraries=$(ldconfig -p 2>/dev/null || /sbin/ldconfig -p)
  if grep -q 'libcudart\.so\.13' <<<"$libraries" && grep -q 'libcudnn\.so\.9' <<<"$libraries"; then
    torch_files=(launch/requirements-torch-toolkit.txt)
    if ! grep -q 'libnccl\.so\.2' <<<"$libraries"; then
      torch_files+=(launch/requirements-nccl.txt)
    fi
  else
    torch_files=(launch/requirements-torch-cpu.txt)
    torch_python=launch/requirements-torch-python.txt
  fi
  install_set torch "${torch_files[@]}"
  if [ "$peers" = yes ] && [ -n "$torch_python" ]; then
    install_set torch-python "$torch_python"
  fi
fi
if [ "$peers" = yes ]; then
  install_set peers launch/requirements-peers.txt
  .venv/bin/python -c 'import torch, transformers' || {
    say "the Python peers do not load (see above): remove .venv and run this again"
    exit 1
  }
fi
say "ready"
