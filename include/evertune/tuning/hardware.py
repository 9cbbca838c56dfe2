"""What this machine computes with, and in which arithmetic that pays."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from evertune.project.options import Precision

_CPUINFO = Path("/proc/cpuinfo")
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""``bf16`` is how arm64 names it. AVX2's avx_ne_convert only converts, it does not multiply."""


def device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision(wanted: Precision, on: torch.device) -> torch.dtype:
    """Type of the matrix products. ``auto`` takes bf16 only where the hardware multiplies in it.

    An emulated bf16 is slower than fp32: seen, 37 against 146 GFLOP/s on a CPU with AVX-512 but without its bf16.
    """
    if wanted is Precision.AUTO:
        real = torch.cuda.get_device_capability(on) >= (8, 0) if on.type == "cuda" else cpu_has_bf16(_CPUINFO)
        return torch.bfloat16 if real else torch.float32
    return torch.bfloat16 if wanted is Precision.BF16 else torch.float32


@functools.cache
def cpu_has_bf16(cpuinfo: Path) -> bool:
    """Whether the kernel says that the processor multiplies in bf16."""
    try:
        lines = cpuinfo.read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    told = (line.partition(":")[2].split() for line in lines if line.lower().startswith(("flags", "features")))
    return any(_BF16_FLAGS & set(flags) for flags in told)
