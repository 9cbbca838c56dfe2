"""What this machine computes with, and in which arithmetic that pays."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Iterator
from pathlib import Path

import structlog
import torch

from evertune.project.options import Precision

log = structlog.get_logger(__name__)

_CPUINFO = Path("/proc/cpuinfo")
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""``bf16`` is how arm64 names it. AVX2's avx_ne_convert only converts, it does not multiply."""
_GAIN = 1.2
_TRIES = 20
"""A tenth of a second."""


def precision(wanted: Precision, on: torch.device) -> torch.dtype:
    """Type of the matrix products. ``auto`` takes bf16 only where the hardware multiplies in it faster than in fp32.

    An emulated bf16 is slower: seen, 37 against 146 GFLOP/s on a CPU with AVX-512 but without its bf16. Nor does the
    processor's flag tell that the real one is faster, so a CPU is tried (:func:`bf16_pays`).
    """
    if wanted is Precision.AUTO:
        pays = _gpu_has_bf16(on) if on.type == "cuda" else cpu_has_bf16(_CPUINFO) and bf16_pays()
        return torch.bfloat16 if pays else torch.float32
    if wanted is Precision.BF16 and on.type == "cuda" and not _gpu_has_bf16(on):
        log.warning(
            "tuning.precision is bf16, which this GPU does not multiply in: torch emulates it, slower than fp32. Set "
            "tuning.precision to auto.",
            device=str(on),
        )
    return torch.bfloat16 if wanted is Precision.BF16 else torch.float32


def _gpu_has_bf16(on: torch.device) -> bool:
    return torch.cuda.get_device_capability(on) >= (8, 0)  # Ampere


@functools.cache
def bf16_pays() -> bool:
    """Whether this CPU multiplies matrices of a training's size in bf16 so much faster that casting them is worth it.

    Seen in GFLOP/s, fp32 and bf16: 180 and 700 (a Xeon with AMX), 180 and 370 (an EPYC), but 300 and 165 on a Xeon that
    has avx512_bf16 alone. So far from :data:`_GAIN` the answer does not change from one time to the next, and it must
    not: a checkpoint is gone on from in its own precision only. It is told by one thread's processor time, since by
    the clock a busy machine gave 52 and 115 where it gives 317 and 1,900 at rest.
    """
    seconds = dict.fromkeys((torch.float32, torch.bfloat16), math.inf)
    pairs = {kind: (torch.ones(512, 384, dtype=kind), torch.ones(384, 1536, dtype=kind)) for kind in seconds}
    with _one_thread():
        for _ in range(_TRIES):
            for kind, (left, right) in pairs.items():  # in turn: what else runs here slows both
                began = time.thread_time()
                left @ right
                seconds[kind] = min(seconds[kind], time.thread_time() - began)
    return seconds[torch.float32] >= _GAIN * seconds[torch.bfloat16]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@functools.cache
def cpu_has_bf16(cpuinfo: Path) -> bool:
    """Whether the kernel says that the processor multiplies in bf16."""
    try:
        lines = cpuinfo.read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    told = (line.partition(":")[2].split() for line in lines if line.lower().startswith(("flags", "features")))
    return any(_BF16_FLAGS & set(flags) for flags in told)
