#!/usr/bin/env bash
# Removes .venv, the tools' caches and everything that was made at run time (EVERTUNE_HOME, .evertune by default).
# Asks first where there is more than a cache; YES=1 answers for a script that has no terminal.
#
# In shell, so that it works where .venv is missing or broken. Whatever goes wrong before the last lines removes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

refuse() { printf 'evertune clean: %s Nothing was removed.\n' "$*" >&2; exit 1; }

ours() {  # whether the home is empty, the checkout's own, or has in it what evertune alone makes
  [ "$(realpath -m "$home")" != "$(realpath -m .evertune)" ] || return 0
  [ -d "$home" ] && [ -z "$(ls -A "$home")" ] && return 0
  local sign
  for sign in "$home"/{ledger.db,logs/faults.log,embedded/installation.json,serving/keys.json,mlflow/mlflow.db} \
    "$home"/runs/*/project.json "$home"/jobs/*/job.json "$home"/cache/{wheels,bases,dvc}; do
    [ ! -e "$sign" ] || return 0
  done
  return 1
}

[ -n "${HOME:-}" ] || { unset HOME; HOME=~; }  # where the environment says none, the system does
home=${EVERTUNE_HOME:-.evertune}
home=${home/#\~/$HOME}
case "$PWD/" in "$(realpath -m "$home")"/*) refuse "EVERTUNE_HOME is $home, a folder that holds this checkout." ;; esac
[ "$(realpath -m "$home")" != "$(realpath -m "$HOME")" ] || refuse "EVERTUNE_HOME is your home folder."
if [ -e "$home" ] && ! ours; then
  refuse "EVERTUNE_HOME is $home, and in that is nothing that evertune makes: it may be somebody else's. Set EVERTUNE_HOME to evertune's, or remove this one by hand."
fi

if [ "${YES:-}" != 1 ] && [ -d "$home" ] && [ -n "$(find "$home" -mindepth 1 -maxdepth 1 ! -name cache -print -quit)" ]; then
  [ -t 0 ] || refuse "$home holds models and their history, and there is nobody to ask. Say YES=1 to remove it."
  read -r -p "$home holds models and their history. Remove all of it? [y/N] " answer || answer=
  case "$answer" in y | Y) ;; *) refuse "You did not say y." ;; esac
fi

if [ -e "$home/embedded/processes.json" ]; then  # something was started, and may still write there
  [ -x .venv/bin/python ] || refuse "Servers may run on $home, and without .venv they cannot be stopped. Run make down after make setup, or delete $home/embedded/processes.json where none run."
  .venv/bin/python -m scripts.embedded down || refuse "What runs on $home could not be stopped (see above)."
fi
# .venv/bin first: cut off in between, what is left works no longer, and setup.sh does not take it for somebody's own.
[ -L .venv ] || rm -rf .venv/bin  # through a link it would be somebody's own
rm -rf "$home" .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov
