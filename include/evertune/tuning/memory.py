"""What memory a tuning needs, against what there is, told before anything is loaded."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
import torch

from evertune import files
from evertune.models import devices, positions, shortage
from evertune.project.options import Method, Project, Tuning
from evertune.records import JsonObject, Record, UnfitError
from evertune.tuning import batches, hardware

_PROCESS = 900e6
"""Bytes of the process with torch and transformers loaded."""
_ACTIVATIONS = 34
"""Numbers kept a token, layer and unit of width: 34 for a transformer layer (Korthikanti et al. 2022, arXiv
2205.05198, where it is 34 bytes in 16 bits; here each is counted in full width, which covers the scratch space)."""
_EAGER = frozenset({"deberta-v2", "mpnet"})
"""Architectures for which transformers has no fused attention: each layer keeps its matrices of tokens by tokens."""
_EAGER_ACTIVATIONS = 40
_EAGER_KEPT, _EAGER_SCRATCH = 2, 6
"""Matrices a head, in each layer, and at once in the one that is computed. Seen: 1.1 and 4.5 with DeBERTa."""
_CGROUP = Path("/sys/fs/cgroup")


class Preflight(Record):
    """Memory in bytes, and what was decided about how to compute."""

    needed: int
    available: int
    device: str
    precision: str
    parameters: int
    trainable: int
    longest: int
    """Tokens of the longest row."""


def preflight(project: Project, dataset: Path, base: Path) -> Preflight:
    """Compare what tuning needs with what is free. Raises :class:`UnfitError` with advice where it does not fit."""
    options = project.tuning
    config: JsonObject = files.read_json(base / "config.json")
    on = devices.best()
    longest = int(batches.load(dataset, "train").lengths.max())
    _check_positions(config, longest)
    parameters, embedded = _parameters(base)
    trained = _trainable(config, parameters, embedded, options)
    tokens = max(options.tokens_per_batch, longest)
    found = Preflight(
        needed=int(_weights(options, parameters, trained) + _activations(config, tokens, longest)),
        available=_available(on),
        device=on.type,
        precision="bf16" if hardware.precision(options.precision, on) is torch.bfloat16 else "fp32",
        parameters=parameters,
        trainable=trained,
        longest=longest,
    )
    if found.needed > found.available:
        raise UnfitError(_advice(found, project))
    return found


def _check_positions(config: JsonObject, longest: int) -> None:
    room = positions.most(config)
    if room is not None and longest > room:
        raise UnfitError(
            f"The longest row has {longest} tokens, the base model takes {room}. Set preparation.max_tokens to {room}."
        )


def _parameters(base: Path) -> tuple[int, int]:
    # All of them, and those of the embeddings, by the headers of the weight files.
    total = embedded = 0
    for path in sorted(base.glob("*.safetensors")):
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length))
        for name, entry in header.items():
            if name != "__metadata__":
                count = int(torch.Size(entry["shape"]).numel())
                total += count
                embedded += count if "embeddings" in name else 0
    return total, embedded


def _trainable(config: JsonObject, parameters: int, embedded: int, options: Tuning) -> int:
    if options.method is Method.LORA:
        width, layers = _shape(config)
        # Six linear layers: four of width x width, two of width x 4 width.
        return layers * options.lora.rank * width * (4 * 2 + 2 * 5)
    return parameters - (embedded if options.freeze_embeddings else 0)


def _shape(config: JsonObject) -> tuple[int, int]:
    width = config.get("hidden_size") or config.get("dim") or 768
    layers = config.get("num_hidden_layers") or config.get("n_layers") or 12
    return int(width), int(layers)


def _weights(options: Tuning, parameters: int, trained: int) -> float:
    # Weights; for the trained ones gradient, two moments, the best ones so far, and a copy while writing.
    merged = parameters if options.method is Method.LORA else 0
    return _PROCESS + 4 * (parameters + merged) + 4 * 5 * trained


def _activations(config: JsonObject, tokens: int, longest: int) -> float:
    width, layers = _shape(config)
    if config.get("model_type") in _EAGER:
        heads = int(config.get("num_attention_heads") or config.get("n_heads") or 12)
        kept, matrices = _EAGER_ACTIVATIONS, heads * (_EAGER_KEPT * layers + _EAGER_SCRATCH)
    else:
        kept, matrices = _ACTIVATIONS, layers  # a padded batch's mask, which all heads share
    return 4.0 * tokens * (kept * layers * width + matrices * longest)


def _available(on: torch.device) -> int:
    if on.type == "cuda":
        return int(torch.cuda.mem_get_info(on)[0])
    return min(int(psutil.virtual_memory().available), _cgroup_room())


def _cgroup_room() -> int:
    # In a container the machine's memory is not what this process may have. Pages of files count as used there, but
    # the kernel gives them up before it refuses anybody.
    try:
        limit, used = (int((_CGROUP / name).read_text("utf-8")) for name in ("memory.max", "memory.current"))
        told = dict(line.split() for line in (_CGROUP / "memory.stat").read_text("utf-8").splitlines())
        return max(0, limit - used + int(told["inactive_file"]) + int(told["active_file"]))
    except (OSError, ValueError, KeyError):
        return 1 << 62


def shortage_told(project: Project, longest: Callable[[], int]) -> AbstractContextManager[None]:
    """A want of memory while the project is tuned becomes :class:`UnfitError` with the advice of :func:`preflight`.

    ``longest`` tells the tokens of the longest row.
    """
    return shortage.told(f"{project.slug} was tuned", lambda: _ways(project, longest()))


def _advice(found: Preflight, project: Project) -> str:
    return (
        f"Tuning {project.slug} needs about {found.needed / 1e9:.1f} GB of memory, {found.available / 1e9:.1f} GB are "
        f"free on {found.device}. To make it fit: {'; '.join(_ways(project, found.longest))}."
    )


def _ways(project: Project, longest: int) -> list[str]:
    options = project.tuning
    ways = []
    if options.tokens_per_batch > 256:
        ways.append(f"set tuning.tokens_per_batch below {options.tokens_per_batch} (for example 256)")
    ways += shortage.shorter(longest)
    if options.method is Method.FULL:
        ways.append("set tuning.method to lora")
        if not options.freeze_embeddings:
            ways.append("set tuning.freeze_embeddings to true")
    return [*ways, shortage.LARGER]
