"""The data set that a release has learned: what a reference takes from it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Engine

from evertune import files
from evertune.data import versions
from evertune.ledger import steps
from evertune.project import Project
from evertune.records import Dataset, EvertuneError, Pins, Release, Step
from evertune.settings import Settings

log = structlog.get_logger(__name__)


class Text(NamedTuple):
    """A text that a reference is made of."""

    id: str
    text: str
    label: str | None = None
    """What it truly is; ``None``: nobody has said so, or errors must not be told by it."""


def dataset(engine: Engine, slug: str, release: Release) -> tuple[Dataset, Pins]:
    """The data set, and its run's pins. Raises :class:`EvertuneError` where not known."""
    prepared, claimed = (steps.result(engine, release.run_key, step) for step in (Step.PREPARE, Step.CLAIM))
    if prepared is None or claimed is None:
        raise EvertuneError(
            f"The reference of release {release.generation} of {slug} cannot be made: the ledger has no data "
            f"set of its run {release.run_key}. Train a release here, or set EVERTUNE_DATABASE_URL to the ledger of "
            "the installation that trained it."
        )
    return Dataset.model_validate(prepared), Pins.model_validate(claimed["pins"])


class Labelled(NamedTuple):
    """The labelled traffic of a data set."""

    judged: dict[str, str]
    """Text → label of what was judged on, thinned out so that it stands for all of the traffic."""
    trained: frozenset[str]
    """Ids of the answers that were trained on."""
    untrained: frozenset[str]
    """Ids of those that were judged on or told when to stop."""
    picked: bool
    """Whether people were asked for these labels, the more likely the less sure the model was."""


@contextlib.contextmanager
def opened(engine: Engine, project: Project, settings: Settings, release: Release) -> Iterator[Path]:
    """The data set's folder: in the run's workspace or, where that is gone, from DVC's remote."""
    known, pins = dataset(engine, project.slug, release)
    there = settings.runs / release.run_key / "data" / project.slug / "dataset"
    try:
        files.verify(there, known.version)
    except (EvertuneError, OSError):
        log.info("reference.checkout", run=release.run_key)
    else:
        yield there
        return
    settings.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.cache, prefix="reference.") as aside:
        was = _with_sources(project, pins)
        yield versions.checkout(settings, known.lock, was, pins, Path(aside) / "data")


def _with_sources(project: Project, pins: Pins) -> Project:
    """The project without sources that came into its file after the run."""
    known = tuple(source for source in project.data.sources if source.uri in pins.sources)
    return project.model_copy(update={"data": project.data.model_copy(update={"sources": known})})


def labelled(folder: Path) -> Labelled:
    """The labelled traffic in the data set; nothing where it has none."""
    import pyarrow.parquet as pq

    path = folder / "recent.parquet"
    if not path.exists():
        return Labelled({}, frozenset(), frozenset(), picked=False)
    columns = ["row_id", "text", "label", "id", "weight", "probability"]
    rows: list[dict[str, Any]] = pq.read_table(path, columns=columns).to_pylist()
    heaviest = max((row["weight"] for row in rows), default=1.0)
    return Labelled(
        # A summary counts rows alike: each stays with a chance in proportion to its weight.
        judged={row["text"]: row["label"] for row in rows if luck(row["row_id"]) < row["weight"] / heaviest},
        trained=_ids(folder, "train"),
        untrained=_ids(folder, "validation") | {row["id"] for row in rows},
        picked=any(row["probability"] is not None for row in rows),
    )


def _ids(folder: Path, split: str) -> frozenset[str]:
    """Of traffic they are those of the answers; a source's own are none of these."""
    import pyarrow.parquet as pq

    found = pq.read_table(folder / f"{split}.parquet", columns=["id"])["id"]
    return frozenset(found.drop_null().to_pylist())


def validation(folder: Path, most: int) -> list[Text]:
    """Of the validation split so many rows at most."""
    import pyarrow.parquet as pq

    # Row ids are hashes, so the first of them are a plain sample.
    table = pq.read_table(folder / "validation.parquet", columns=["row_id", "text", "label"]).sort_by("row_id")
    return [Text(row["row_id"], row["text"], row["label"]) for row in table.slice(0, most).to_pylist()]


def luck(id_: str) -> float:
    """0 to 1, uniform over ids, and always the same of one."""
    return int(files.hash_of(id_)[:8], 16) / 2**32
