"""Data sets on the Hugging Face hub, streamed at a pinned commit. No code of a data set ever runs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from evertune import files
from evertune.data.sources.columnar import batch_rows
from evertune.data.sources.rows import Row, locate
from evertune.project.options import Source
from evertune.records import EvertuneError, UnfitError, UnreachableError

_URI = re.compile(r"hf://(?P<name>[\w.-]+/[\w.-]+|[\w.-]+)(?:\?(?P<query>.*))?")
_BATCH = 1000


@dataclass(frozen=True)
class HubPath:
    """A data set on the hub: ``hf://OWNER/NAME?config=…&split=…&revision=…``."""

    name: str
    config: str | None
    split: str
    revision: str | None


def parse(uri: str) -> HubPath:
    """The parts of the address. Raises :class:`UnfitError` for anything else."""
    match = _URI.fullmatch(uri)
    query = dict(parse_qsl(match["query"] or "")) if match else {}
    if not match or query.keys() - {"config", "split", "revision"}:
        raise UnfitError(f"{uri!r} is no data set of the hub. Write hf://OWNER/NAME?config=…&split=…&revision=….")
    return HubPath(match["name"], query.get("config"), query.get("split", "train"), query.get("revision"))


def fingerprint(source: Source) -> str:
    """The commit that the address means now. Raises :class:`UnreachableError` where the hub does not answer."""
    from huggingface_hub import HfApi

    path = parse(source.uri)
    with _in_words(path):
        return str(HfApi().dataset_info(path.name, revision=path.revision, timeout=20).sha)


def rows(source: Source, commit: str, wanted: Sequence[str]) -> Iterator[Row]:
    """Rows of the data set at ``commit``, streamed: nothing but the batch in hand is in memory."""
    from datasets import load_dataset

    path = parse(source.uri)
    with _in_words(path):
        data = load_dataset(path.name, name=path.config, split=path.split, revision=commit, streaming=True)
        yield from dataset_rows(data, wanted, source.uri)


def dataset_rows(data: Any, wanted: Sequence[str], where: str) -> Iterator[Row]:
    """Rows of a :class:`datasets.Dataset` or :class:`datasets.IterableDataset`; class numbers become their names."""
    names = list(data.column_names or next(iter(data.take(1)), {}))
    locate(names, wanted, where)
    classes = {name: data.features[name].names for name in wanted if hasattr((data.features or {}).get(name), "names")}
    for batch in data.iter(batch_size=_BATCH):
        named = {
            name: [_class(value, classes[name]) for value in batch[name]] if name in classes else batch[name]
            for name in wanted
        }
        yield from batch_rows(named, wanted)


def _class(number: int | None, names: Sequence[str]) -> str | None:
    return names[number] if number is not None and 0 <= number < len(names) else None


@contextlib.contextmanager
def _in_words(path: HubPath) -> Iterator[None]:
    """The hub's many errors as ours, in one sentence each. What is none of the hub's stays what it is."""
    from datasets.exceptions import DatasetsError
    from huggingface_hub import constants, errors

    # By its base, because another library stands behind it in each major version.
    http_error: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    home = Path(constants.HF_HOME)
    unreachable = (ConnectionError, TimeoutError, http_error, errors.LocalEntryNotFoundError)
    try:
        with files.full_disk_in_words(
            home, f"what the hub's library keeps of {path.name}", "set HF_HOME to a larger disk"
        ):
            yield
    except EvertuneError:
        raise
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.GatedRepoError) as fault:
        raise UnfitError(
            f"The hub has no data set {path.name} (revision {path.revision or 'main'}) that may be read from here. "
            "Check its name; a private one needs HF_TOKEN in the environment."
        ) from fault
    except (ValueError, DatasetsError) as fault:  # what datasets raises for an unknown config or split, or no data
        raise UnfitError(f"The data set {path.name} cannot be read as asked: {_short(fault)}") from fault
    except unreachable as fault:
        raise UnreachableError(
            f"The hub does not answer, so {path.name} cannot be drawn. Check the network, or name a local copy as the "
            f"source. It says: {_short(fault)}"
        ) from fault
    except RuntimeError as fault:
        if "Dataset scripts" not in str(fault):
            raise
        raise UnfitError(
            f"The data set {path.name} comes as code, which is never run. Name another, or a local copy of its rows."
        ) from fault


def _short(fault: Exception) -> str:
    return " ".join(str(fault).split())[:300] or type(fault).__name__
