"""Tensors in safetensors files, with a full disk told as what it is."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the tensors, each with memory of its own. Raises :class:`OSError` (``ENOSPC``) where the disk is full."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    whole = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    try:
        save_file(whole, path, metadata={"format": "pt"})
    except SafetensorError as fault:
        code = _errno(str(fault))
        if code is None:
            raise
        raise OSError(code, os.strerror(code), str(path)) from fault


def load(path: Path) -> dict[str, Tensor]:
    """The tensors of the file, on the CPU."""
    from safetensors.torch import load_file

    return load_file(path)


def _errno(message: str) -> int | None:
    # safetensors tells the operating system's error only in words: "... (os error 28)".
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        if f"os error {code})" in message:
            return code
    return None
