"""Whether this machine can compile and run ``encoder.c``."""

from __future__ import annotations

import ctypes
import functools
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

from evertune import files
from evertune.records import EvertuneError

SOURCE = Path(__file__).with_name("encoder.c")
NEEDED = ("amx_tile", "amx_bf16", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16")
"""Of the processor, as Linux names them."""
_FLAGS = ("-std=gnu11", "-O3", "-shared", "-fPIC", "-mamx-tile", "-mamx-bf16", "-mavx512f", "-mavx512bw", "-mavx512dq",
          "-mavx512vl", "-mavx512bf16")  # fmt: skip
_COMPILERS = ("cc", "gcc", "clang")
_TIMEOUT_S = 120
_COMPILING = threading.Lock()
_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18
"""Linux on x86-64: how a process asks for the tiles' state (``Documentation/arch/x86/xstate.rst``)."""


@functools.cache
def fault() -> str | None:
    """Why this process cannot use the matrix units, or ``None`` where it can. Asks the kernel for them."""
    there = _flags()
    lacking = [name for name in NEEDED if name not in there]
    if lacking:
        return f"the processor has no {lacking[0]}"
    if _refused():
        return "the system does not let this process use the processor's matrix units"
    return None


@functools.cache
def missing() -> str | None:
    """Why this process cannot run the code, or ``None`` where it can: as :func:`fault`, and whether it compiles."""
    if why := fault():
        return why
    try:
        compiled()
    except EvertuneError as why_not:
        return str(why_not)
    return None


def recipe() -> str | None:
    """What engines of own code are made of here, as text that changes with it; ``None`` where there can be none.

    An engine that was built before is taken only where this is as it was then.
    """
    return None if missing() else files.sha256(SOURCE)


def compiled() -> ctypes.CDLL:
    """The compiled source, once a process.

    Every process compiles it for itself, which takes a second: so no program is loaded that lay where others may write.
    Raises :class:`EvertuneError` where that fails, with the compiler's own words.
    """
    with _COMPILING:
        return _compiled()


@functools.cache
def _compiled() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory(prefix="evertune-") as folder:
        path = Path(folder) / "encoder.so"
        _compile(path)
        try:
            return ctypes.CDLL(str(path))
        except OSError as why:
            raise EvertuneError(f"What was compiled of {SOURCE.name} cannot be loaded ({why}).") from why


def _compile(to: Path) -> None:
    compiler = _compiler()
    if compiler is None:
        raise EvertuneError(f"no C compiler was found ({', '.join(_COMPILERS)}): install one, or name it by CC")
    command = [*compiler, *_FLAGS, str(SOURCE), "-o", str(to), "-lm"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as why:
        raise EvertuneError(f"{compiler[0]} could not compile {SOURCE.name}: {why}") from why
    if done.returncode:
        said = (done.stderr or done.stdout).strip().partition("\n")[0]
        raise EvertuneError(f"{compiler[0]} could not compile {SOURCE.name} (status {done.returncode}): {said}")


def _compiler() -> list[str] | None:
    try:
        named = shlex.split(os.environ.get("CC", ""))
    except ValueError as why:
        raise EvertuneError(f"CC is {os.environ['CC']!r}, which is no command ({why}): name a C compiler") from why
    return named or next(([found] for name in _COMPILERS if (found := shutil.which(name))), None)


def _refused() -> bool:
    return bool(ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA))


def _flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return set()
    return set(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())
