#!/usr/bin/env bash
# Builds .venv from the hash-pinned locks: the one way in which evertune is installed from a clone.
#
#   scripts/setup.sh              does nothing where .venv is already what the locks say
#   EVERTUNE_TORCH=cpu|cuda       which build of torch; by default cuda where nvidia-smi finds a GPU, else cpu
#   PYTHON=/path/to/python        which interpreter; by default the first of python3, python3.12, python3.11 that fits
#
# The stamp is written last: a .venv that is marked as unfinished was cut off in the middle and is built anew. So is one
# without marks that has a log of this script in it: earlier versions had no mark for that. One that works and has
# nothing of that was made by somebody else, and is left alone.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'evertune setup: %s\n' "$*" >&2; exit 1; }
say() { printf '\033[1m==>\033[0m %s\n' "$*"; }

fits() { "$1" -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 12)))' >/dev/null 2>&1; }
if [ -n "${PYTHON:-}" ]; then
  fits "$PYTHON" || fail "PYTHON=$PYTHON is not Python 3.11 or 3.12."
  python=$PYTHON
else
  python=
  for name in python3 python3.12 python3.11; do
    if command -v "$name" >/dev/null 2>&1 && fits "$name"; then python=$name; break; fi
  done
  [ -n "$python" ] || fail "Python 3.11 or 3.12 is needed and none was found. Install one, or say PYTHON=/path/to/it."
fi
"$python" -c 'import venv, ensurepip' 2>/dev/null || fail "$python has no venv module. On Debian and Ubuntu: apt install python3-venv."

if [ -z "${EVERTUNE_TORCH:-}" ]; then
  if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then EVERTUNE_TORCH=cuda; else EVERTUNE_TORCH=cpu; fi
fi
case "$EVERTUNE_TORCH" in cpu | cuda) ;; *) fail "EVERTUNE_TORCH is '$EVERTUNE_TORCH'; it must be cpu or cuda." ;; esac

version=$("$python" -c 'import sys, platform; print("%d.%d-%s" % (*sys.version_info[:2], platform.machine()))')
stamp=".venv/.evertune-$( { cat requirements.lock requirements-torch-*.lock pyproject.toml scripts/setup.sh; echo "$version $EVERTUNE_TORCH"; } | sha256sum | cut -c1-16)"
[ -e "$stamp" ] && exit 0

# In this order: where it is cut off in between, what is left works no longer, and so is nobody's own.
remove() { [ -L .venv ] || rm -rf .venv/bin; rm -rf .venv; }
unfinished=.venv/.evertune-unfinished
marked() { ls .venv/.evertune-* >/dev/null 2>&1; }
if [ -e "$unfinished" ] || { [ -e .venv/torch-cpu.log ] && ! marked; }; then remove; fi
if .venv/bin/python -c '' 2>/dev/null && ! marked; then
  fail "$PWD/.venv has no mark of make setup, which would build it anew: it may be somebody's own. Move it away, or remove it (rm -rf .venv), then run make setup again."
fi

say "setting up .venv ($version, torch for $EVERTUNE_TORCH); the first time takes some minutes"
[ "$(.venv/bin/python -c 'import sys, platform; print("%d.%d-%s" % (*sys.version_info[:2], platform.machine()))' 2>/dev/null)" = "$version" ] || remove
mkdir -p .venv
touch "$unfinished"
find .venv/ -maxdepth 1 -name '.evertune-*' ! -name .evertune-unfinished -delete
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip=(.venv/bin/python -m pip --disable-pip-version-check --no-input)

# --no-deps: the lock is the whole closure, and torch, which others name, comes in its own lock below.
# Compiled at the end, on all cores: pip alone takes one for it, and each process that imports torch or Airflow from
# source anew would spend seconds.
unset PYTHONDONTWRITEBYTECODE
say "installing $(grep -c '==' requirements.lock) packages from requirements.lock"
if command -v uv >/dev/null 2>&1 && uv pip install --quiet --compile-bytecode --python .venv/bin/python --require-hashes --no-deps -r requirements.lock; then :; else
  "${pip[@]}" install --quiet --no-compile --progress-bar off --require-hashes --no-deps -r requirements.lock
fi

torch_cpu() {
  # A mirror or a folder of wheels that pip is configured with may have this build too, so the index is an extra one.
  local from=(--quiet --no-compile --no-deps --retries 1 --timeout 20 --extra-index-url "${EVERTUNE_TORCH_INDEX:-https://download.pytorch.org/whl/cpu}")
  if [ "$version" = 3.11-x86_64 ]; then
    "${pip[@]}" install "${from[@]}" --require-hashes -r requirements-torch-cpu.lock
  else
    say "note: the lock has no hash of torch's CPU build for $version; pip checks it against the hash in PyTorch's index"
    "${pip[@]}" install "${from[@]}" "$(sed -n 's/ *\\$//; /^torch==/p' requirements-torch-cpu.lock)"
  fi
}
if [ "$EVERTUNE_TORCH" = cpu ]; then
  say "installing torch without CUDA"
  if ! torch_cpu 2> .venv/torch-cpu.log; then
    say "PyTorch's index of CPU builds cannot be reached (see .venv/torch-cpu.log): taking PyPI's build, which brings CUDA (some GB)"
    EVERTUNE_TORCH=cuda
  fi
fi
if [ "$EVERTUNE_TORCH" = cuda ]; then
  say "installing torch with CUDA from requirements-torch-cuda.lock"
  # By its version the CPU build would be taken for this one, and a GPU stay unused.
  if .venv/bin/python -c 'import importlib.util, os, runpy, sys
at = os.path.dirname(importlib.util.find_spec("torch").origin)
sys.exit(runpy.run_path(at + "/version.py")["cuda"] is not None)' 2>/dev/null; then
    "${pip[@]}" uninstall --quiet --yes torch
  fi
  if command -v uv >/dev/null 2>&1 && uv pip install --quiet --compile-bytecode --python .venv/bin/python --require-hashes --no-deps -r requirements-torch-cuda.lock; then :; else
    "${pip[@]}" install --quiet --no-compile --progress-bar off --require-hashes --no-deps -r requirements-torch-cuda.lock
  fi
fi

"${pip[@]}" install --quiet --no-deps --no-build-isolation --editable .
say "compiling"
# Files for other Pythons, which some packages carry, do not compile; nothing imports those.
PYTHONWARNINGS=ignore .venv/bin/python -m compileall -q -j 0 "$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" >/dev/null || true
"${pip[@]}" check >/dev/null || { "${pip[@]}" check || true; fail "the installed packages do not fit together."; }
touch "$stamp"
rm "$unfinished"
say "ready: .venv/bin/evertune --help"
