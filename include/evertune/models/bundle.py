"""A model bundle: weights, configuration, tokenizer and everything that an answer depends on, sealed by a manifest.

Five files and the manifest, safetensors and JSON only. :func:`check` is what stands between a folder and a loader:
it allows these files and known keys, refuses everything else, and executes nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evertune import files
from evertune.models import forward, safety
from evertune.project.options import Redaction
from evertune.records import JsonObject, UnfitError

WEIGHTS, CONFIG, TOKENIZER, TOKENIZER_CONFIG, FACTS = (
    "model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "evertune.json",
)  # fmt: skip
FILES = frozenset({WEIGHTS, CONFIG, TOKENIZER, TOKENIZER_CONFIG, FACTS, files.MANIFEST})
"""All that a bundle holds."""

_NORMED_AT_THE_END = {"modernbert"}
"""Of all layers but the last these give sums that were never normalised, in which few channels drown all others."""


class Facts(BaseModel):
    """``evertune.json``: what an answer depends on besides the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    """Version of the bundle's format."""
    labels: Annotated[tuple[str, ...], Field(min_length=2)]
    """Names of the classes, in the order of the logits."""
    max_tokens: Annotated[int, Field(ge=8, le=8192)]
    """Longer texts are cut, as they were in training."""
    language: str = "en"
    """BCP 47 tag of the training texts."""
    redaction: Redaction = Redaction()
    """What is taken out of a text before the model sees it."""
    temperature: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Logits are divided by it (Guo et al. 2017), fitted on the validation rows."""
    embedded: Literal[-1, -2] = -1
    """Of which hidden states, counted from the end, a text's embedding is the mean. Traffic and what it is compared
    with must have the same, so it goes with the release; bundles that do not say it are of before there were two."""


def write(
    out: Path,
    model: Any,
    tokenizer_folder: Path,
    labels: Sequence[str],
    max_tokens: int,
    *,
    language: str = "en",
    redaction: Redaction | None = None,
    temperature: float = 1.0,
) -> str:
    """Write the bundle of a transformers classifier and return its digest. Adapters must be merged before.

    Raises :class:`OSError` where the disk is full; nothing of the bundle stays then.
    """
    from evertune.models import tensors

    facts = Facts(
        labels=tuple(labels),
        max_tokens=max_tokens,
        language=language,
        redaction=redaction or Redaction(),
        temperature=temperature,
        embedded=forward.LAST if model.config.model_type in _NORMED_AT_THE_END else forward.BEFORE_LAST,
    )
    with files.new_folder(out) as folder:
        tensors.save(folder / WEIGHTS, model.state_dict())
        files.write_json(folder / CONFIG, _config(model, facts.labels))
        shutil.copyfile(tokenizer_folder / TOKENIZER, folder / TOKENIZER)
        files.write_json(folder / TOKENIZER_CONFIG, _tokenizer_config(max_tokens))
        files.write_json(folder / FACTS, facts.model_dump(mode="json"))
    return check(out, None)


def check(folder: Path, digest: str | None) -> str:
    """Verify the bundle before anything of it is loaded; return its digest.

    Raises :class:`CorruptError` where bytes are not what the manifest (or ``digest``) says, :class:`UnfitError` where
    the folder holds what no bundle holds.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise files.CorruptError(f"{folder} is no folder with a model bundle. Fetch the model version again.")
    there = {path.name for path in folder.iterdir()}
    if there != FILES:
        odd = ", ".join(sorted(there ^ FILES)[:5])
        raise files.CorruptError(f"{folder} is not exactly a bundle; missing or too much: {odd}. Do not use it.")
    if linked := sorted(path.name for path in folder.iterdir() if path.is_symlink() or not path.is_file()):
        raise files.CorruptError(f"{folder} has links or folders where files belong: {', '.join(linked)}.")
    found = files.verify(folder, digest)
    known = facts(folder)
    safety.check_bundle_config(folder / CONFIG, known.labels)
    safety.check_tokenizer(folder / TOKENIZER)
    if safety.read_object(folder / TOKENIZER_CONFIG) != _tokenizer_config(known.max_tokens):
        raise UnfitError(f"{folder / TOKENIZER_CONFIG} is not what a bundle has. Do not use this model.")
    safety.check_safetensors(folder / WEIGHTS)
    return found


def facts(folder: Path) -> Facts:
    """The bundle's ``evertune.json``. Raises :class:`UnfitError` for unknown or missing keys."""
    try:
        return Facts.model_validate(safety.read_object(folder / FACTS))
    except ValidationError as fault:
        first = fault.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UnfitError(f"{folder / FACTS}: {where}: {first['msg']}. Was it written by a newer version?") from fault


def _config(model: Any, labels: Sequence[str]) -> JsonObject:
    # Only what the architecture's own class defines: a base model's leftovers (paths, notes) do not travel.
    config: JsonObject = model.config.to_dict()
    defined = set(type(model.config)().to_dict()) & safety.CONFIG_KEYS
    return {key: value for key, value in config.items() if key in defined} | {
        "architectures": [type(model).__name__],
        "dtype": "float32",
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
        "problem_type": "single_label_classification",
    }


def _tokenizer_config(max_tokens: int) -> JsonObject:
    return {"model_max_length": max_tokens, "tokenizer_class": "PreTrainedTokenizerFast"}
