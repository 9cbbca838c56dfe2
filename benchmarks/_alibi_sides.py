"""alibi-detect's drift detectors as functions of two arrays, answered by a process of its own virtual environment."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from benchmarks._evidently_sides import Side
from numpy.typing import NDArray

HERE = Path(__file__).parent
DETECTORS = {"alibi-detect MMD": "mmd", "alibi-detect classifier": "classifier"}


def installed(folder: Path) -> Path:
    """The interpreter of the detectors' own virtual environment; made once, which loads a gigabyte or more."""
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        uv = str(Path(sys.executable).parent / "uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
        wanted = str(HERE / "requirements-drift-peers.txt")
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), "-r", wanted], check=True)
        ready.touch()
    return python


@contextlib.contextmanager
def sides(folder: Path) -> Iterator[dict[str, Side]]:
    """Name and detector: whether a window (second) has drifted from a reference (first)."""
    command = [str(installed(folder)), str(HERE / "_peer_alibi.py")]
    with (
        tempfile.TemporaryDirectory() as aside,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        as peer,
    ):  # fmt: skip
        rows = Path(aside) / "rows.npz"
        yield {name: _side(peer, detector, rows) for name, detector in DETECTORS.items()}
        assert peer.stdin is not None
        peer.stdin.close()


def _side(peer: subprocess.Popen[str], detector: str, rows: Path) -> Side:
    def run(reference: NDArray[np.float32], window: NDArray[np.float32]) -> bool:
        assert peer.stdin is not None
        assert peer.stdout is not None
        np.savez(rows, reference=reference, window=window)
        peer.stdin.write(f"{detector}\t{rows}\n")
        peer.stdin.flush()
        said = peer.stdout.readline().strip()
        if said not in {"0", "1"}:
            raise RuntimeError(
                f"{detector} of alibi-detect has ended: run benchmarks/_peer_alibi.py by hand to see why."
            )
        return said == "1"

    return run
