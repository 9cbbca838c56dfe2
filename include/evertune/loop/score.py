"""Batch scoring: every row of a file gets the release's answer; a run that was cut off goes on.

The answers are written in parts below the home, each whole or not there, and put together at the end. The texts
themselves lie there only in files without a name, of which a kill leaves nothing: they are not redacted. A plan beside
them says what they were made from: a rerun of the same plan keeps its parts, also its release, although a newer one
may answer by then; anything else starts over.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from evertune import files
from evertune.ledger import engine as ledger_engine
from evertune.ledger import releases
from evertune.loop import score_places as places
from evertune.loop import score_texts
from evertune.loop.followed import served_here
from evertune.models import shortage
from evertune.project import Project
from evertune.records import EvertuneError, Record, Release, UnfitError
from evertune.settings import Settings
from evertune.text import normalise

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from evertune.serving.engine.served import Served

PART_ROWS = 5_000
"""Rows of a part: what a kill may cost, some seconds."""
_LESS = (
    "let fewer cores compute at once (taskset -c 0 evertune score …)",
    "release a model that was tuned with a smaller preparation.max_tokens or base model",
    "take a machine with more memory",
)
"""Ways to need less memory."""
_OWN = ("label", "scores", "cut", "generation")
Report = Callable[[int, int], None]


class Scored(Record):
    """What a scoring did."""

    project: str
    release: Release
    rows: int
    kept: int
    """Rows whose answers an earlier, cut-off scoring had left."""
    sink: str
    seconds: float


class _Plan(NamedTuple):
    """What the parts are made from."""

    source: str
    fingerprint: str
    column: str
    generation: int


def score(
    project: Project,
    source: str,
    sink: str,
    settings: Settings,
    *,
    column: str | None = None,
    report: Report | None = None,
) -> Scored:
    """Answer every row of ``source`` and write ``sink``, a Parquet file: the rows with label, scores and cut.

    ``source`` is Parquet, or by its name CSV, TSV or JSON Lines (:mod:`.score_texts`), whose columns stay the texts
    that they are.
    ``column`` is the column with the texts, by default that of the project's data. ``report(done, rows)`` hears how far
    it is. Raises :class:`UnfitError` where the file is not what it should be or has no such column, or where ``sink``
    cannot be written, before anything is scored, and where memory runs out; :class:`EvertuneError` where the project
    has no release.
    """
    started = time.monotonic()
    column = column or str(project.data.columns.text)
    to = places.sink(sink, source)
    # Not by the sink: whoever finds only at the end that it was the wrong one names another and scores nothing again.
    workspace = settings.home / "scoring" / files.hash_of([project.slug, source, column])[:24]
    with (
        shortage.told(f"{source} was scored; what is scored is kept", lambda: _LESS),
        files.lock(workspace / "lock"),
        score_texts.opened(source, workspace, column) as reader,
    ):
        rows = reader.metadata.num_rows
        _check(reader, source, column)
        wanted = _Plan(source, _fingerprint(reader, source), column, generation=0)
        release = _release(workspace, project.slug, settings, wanted)
        done = _scored_parts(reader, wanted, workspace, served_here(settings, release), report or _silent)
        _join(workspace, reader, release, to)
        _clear(workspace)
    return Scored(
        project=project.slug, release=release, rows=rows, kept=done, sink=sink, seconds=time.monotonic() - started
    )


def _silent(_done: int, _rows: int) -> None:
    pass


def _check(reader: pq.ParquetFile, source: str, column: str) -> None:
    import pyarrow.types as kinds

    schema: pa.Schema = reader.schema_arrow
    if column not in schema.names:
        raise UnfitError(f"{source} has no column {column!r}; it has: {', '.join(schema.names)}. Say --column NAME.")
    kind = schema.field(column).type
    if not (kinds.is_string(kind) or kinds.is_large_string(kind)):
        raise UnfitError(f"Column {column!r} of {source} holds {kind}, not texts.")
    if taken := sorted(set(schema.names) & set(_OWN)):
        raise UnfitError(f"{source} has columns that the answers need: {', '.join(taken)}. Rename them first.")


def _fingerprint(reader: pq.ParquetFile, source: str) -> str:
    """Tells one content of the file from another without reading all of it: footer, size and time of change."""
    import pyarrow as pa

    place = places.of(source)
    info = place.system.get_file_info(place.path)
    footer = pa.BufferOutputStream()
    reader.metadata.write_metadata_file(footer)  # as bytes: its statistics hold texts that may be no UTF-8
    return files.hash_of([hashlib.sha256(footer.getvalue()).hexdigest(), info.size, info.mtime_ns])


def _release(workspace: Path, slug: str, settings: Settings, wanted: _Plan) -> Release:
    """The release that the parts are of: that of the plan that is there, else the one that answers now."""
    told = workspace / "plan.json"
    history = releases.history(ledger_engine.ready(settings.database_url), slug)
    if not history:
        raise EvertuneError(f"{slug} has no release to score with. Run `evertune run {slug}` first.")
    if told.exists():
        plan = _Plan(**files.read_json(told))
        known = next((one for one in history if one.generation == plan.generation), None)
        if known is not None and plan == wanted._replace(generation=known.generation):
            return known
        _clear(workspace)
    files.write_json(told, wanted._replace(generation=history[0].generation)._asdict())
    return history[0]


def _clear(workspace: Path) -> None:
    # The plan goes first: parts without one are never taken for anybody's. The lock is held.
    (workspace / "plan.json").unlink(missing_ok=True)
    for path in workspace.iterdir():
        if path.name != "lock":
            path.unlink()


def _part(workspace: Path, number: int) -> Path:
    return workspace / f"{number:08}.parquet"


def _scored_parts(reader: pq.ParquetFile, plan: _Plan, workspace: Path, served: Served, report: Report) -> int:
    """Score what has no part yet; return the rows whose parts were there."""
    done = kept = 0
    for number, texts in enumerate(_texts(reader, plan)):
        if _part(workspace, number).exists():
            kept += len(texts)
        else:
            _write_part(_part(workspace, number), texts, served)
        done += len(texts)
        report(done, reader.metadata.num_rows)
    return kept


def _texts(reader: pq.ParquetFile, plan: _Plan) -> Iterator[list[str | None]]:
    with places.read_in_words(plan.source, "Parquet"):
        for batch in reader.iter_batches(PART_ROWS, columns=[plan.column]):
            yield batch.column(0).to_pylist()


def _write_part(path: Path, texts: Sequence[str | None], served: Served) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    there = [place for place, text in enumerate(texts) if text and normalise(text)]  # as the server has it
    answers = served.answer([texts[place] or "" for place in there])
    found = dict(zip(there, answers, strict=True))
    columns = {
        "label": pa.array([found[i].label if i in found else None for i in range(len(texts))], pa.string()),
        "scores": pa.array(
            [dict(zip(served.labels, found[i].scores, strict=True)) if i in found else None for i in range(len(texts))],
            pa.struct([(label, pa.float32()) for label in served.labels]),
        ),
        "cut": pa.array([found[i].cut if i in found else None for i in range(len(texts))], pa.bool_()),
    }
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    with files.full_disk_in_words(path, "the scoring"):
        files.write_bytes(path, sink.getvalue().to_pybytes())


def _join(workspace: Path, reader: pq.ParquetFile, release: Release, sink: places.Place) -> None:
    """Put rows and answers together; a sink of this machine appears whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    answers = _Answers(workspace)
    writer: pq.ParquetWriter | None = None
    with files.nameless(workspace) as aside:
        with files.full_disk_in_words(workspace, "the scoring"):
            for batch in reader.iter_batches(PART_ROWS):
                table = pa.Table.from_batches([batch])
                found = answers.take(len(table))
                for name in found.column_names:
                    table = table.append_column(name, found[name])
                table = table.append_column("generation", pa.array([release.generation] * len(table), pa.int64()))
                writer = writer or pq.ParquetWriter(aside, table.schema, compression="zstd")
                writer.write_table(table)
            if writer is None:
                raise UnfitError("The file has no rows: there is nothing to score.")
            writer.close()
        places.deliver(aside, sink, workspace.name)


class _Answers:
    """The answers of all parts, one after another.

    Where a batch of rows ends depends on which columns are read: one with a dictionary ends with its row group. So rows
    meet their answers by their number, never batch by batch.
    """

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._number = 0
        self._left: pa.Table | None = None

    def take(self, rows: int) -> pa.Table:
        """The answers of the next ``rows`` rows."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        taken: list[pa.Table] = []
        while rows:
            if not self._left:
                self._left = pq.read_table(_part(self._workspace, self._number))
                self._number += 1
            taken.append(self._left.slice(0, rows))
            self._left = self._left.slice(rows)
            rows -= len(taken[-1])
        return pa.concat_tables(taken)
