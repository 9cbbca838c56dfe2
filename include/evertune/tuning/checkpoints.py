"""Checkpoints: the whole state of a tuning in sealed folders, so that a kill costs seconds and not the night.

``checkpoints/<step>/`` holds tensors as safetensors and the rest as JSON. The manifest is written last; whatever was
torn, cut or flipped does not verify and the one before it is taken. The frozen weights are not in it, the base has
them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import torch
from torch import Tensor, nn

from evertune import files
from evertune.models import tensors
from evertune.records import EvertuneError, JsonObject, UnreachableError

log = structlog.get_logger(__name__)

KEPT = 2
"""The newest ones that stay: one to resume from, one in case that is damaged."""
_TENSORS, _STATE = "state.safetensors", "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """A state as it was read back."""

    tensors: dict[str, Tensor]
    state: JsonObject


def save(home: Path, step: int, held: Mapping[str, Tensor], state: JsonObject) -> None:
    """Write ``home/<step>`` whole or not at all, then drop all but the newest two.

    Raises :class:`EvertuneError` where the disk is full. The earlier checkpoints are then untouched.
    """
    with full_disk_told(home), files.new_folder(home / f"{step:09d}") as folder:
        tensors.save(folder / _TENSORS, held)
        files.write_json(folder / _STATE, state)
    for old in _newest_first(home)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def full_disk_told(where: Path) -> Iterator[None]:
    """Turn "no space left" into a sentence that says where, and what becomes of the tuning."""
    try:
        yield
    except OSError as fault:
        if fault.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise EvertuneError(
            f"The disk is full at {where} ({os.strerror(fault.errno)}). Free some space and run again: nothing "
            "half-written stays, and the tuning goes on from its last whole checkpoint, which is kept."
        ) from fault


def newest(home: Path, inputs: str) -> Checkpoint | None:
    """The newest checkpoint that verifies and was made from the same ``inputs``; damaged and other ones are removed.

    Raises :class:`UnreachableError` where one cannot be read: a disk or a mount that is away for a moment must not cost
    what was trained, neither by a removal nor by going on from an older one, after which the newer would be in the way.
    """
    for folder in _newest_first(home):
        try:
            files.verify(folder)
            state = files.read_json(folder / _STATE)
            if state["inputs"] == inputs:
                found = Checkpoint(tensors.load(folder / _TENSORS), state)
                log.info("resumed from a checkpoint", step=int(folder.name))
                return found
        except OSError as fault:
            raise UnreachableError(
                f"The checkpoint {folder} cannot be read ({fault}). Look after the disk or mount that it is on, then "
                "run again; should it stay unreadable, delete it, and the tuning goes on from the one before."
            ) from fault
        except (files.CorruptError, KeyError, TypeError):
            pass
        shutil.rmtree(folder, ignore_errors=True)
    return None


def _newest_first(home: Path) -> list[Path]:
    found = [path for path in home.glob("[0-9]*") if path.is_dir()] if home.is_dir() else []
    return sorted(found, reverse=True)


def gather(parameters: Mapping[str, nn.Parameter], optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Weights, AdamW's moments and the random state, by name."""
    held = {f"weight.{name}": parameter.detach() for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        for part, value in optimiser.state.get(parameter, {}).items():
            held[f"{part}.{name}"] = value
    held["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        held["random.cuda"] = torch.cuda.get_rng_state()
    return held


def restore(
    held: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter], optimiser: torch.optim.Optimizer
) -> None:
    """Put what :func:`gather` took back into the same model and optimiser."""
    for name, parameter in parameters.items():
        with torch.no_grad():
            parameter.copy_(held[f"weight.{name}"])
        state: dict[str, Any] = {}
        for part in ("step", "exp_avg", "exp_avg_sq"):
            if f"{part}.{name}" in held:
                # A copy: what was read may lie in the file's memory, differently aligned, and sums could differ.
                state[part] = held[f"{part}.{name}"].clone().to(parameter.device)
        if state:
            optimiser.state[parameter] = state
    torch.set_rng_state(held["random.cpu"].clone())
    if "random.cuda" in held and torch.cuda.is_available():
        torch.cuda.set_rng_state(held["random.cuda"].clone())
