"""A snapshot: the rows of all sources as they were drawn, redacted before the first byte of them is written.

With the same pins the same bytes come out. Rows stream through: what is in memory is one row group, whatever the
sources hold. A row with a fault is kept, with the fault; judging rows is validation's work.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from pyarrow import parquet

from evertune import files
from evertune.data import labelled, recent
from evertune.data.cells import FIELDS, CellCleaner
from evertune.data.labelled import LabelledRow
from evertune.data.picking import Picked, picked
from evertune.data.sources import Row, open_rows
from evertune.project.options import Project, Source
from evertune.records import Pins, UnfitError
from evertune.settings import Settings
from evertune.text import Redactor, row_id

_GROUP = FIELDS.index("group")
_ROWS_PER_GROUP = 65_536
_CHARACTERS_PER_GROUP = 32_000_000
"""A row group is written when it has so many rows or characters, of whatever column: a million-character row must not
cost gigabytes."""


def draw(project: Project, pins: Pins, out: Path, settings: Settings) -> None:
    """Write the sealed snapshot folder: rows.parquet, summary.json and, where labels are pinned, traffic.parquet.

    Traffic stands apart so that the sources' rows are what they are without it: it must not be able to move what a
    length is compared with, or to contradict a test row out of the data.

    Raises :class:`UnfitError` where a source is not what it should be or holds no row; then ``out`` is as before.
    """
    redaction = project.data.redaction
    redactor = Redactor(redaction.patterns, {pattern.name: pattern.pattern for pattern in redaction.custom})
    cleaner = CellCleaner(project, redactor, settings.subject_salt)
    sources = []
    traffic = _Traffic(project, pins, settings, cleaner)
    with files.full_disk_in_words(out, f"the snapshot of {project.slug}"), files.new_folder(out) as folder:
        with _Writer(folder / "rows.parquet", cleaner.extra) as writer:
            for index, source in enumerate(project.data.sources):
                pin = _pin(source, pins)
                before = writer.rows
                for row in _rows(source, pin, cleaner, settings):
                    record = cleaner.record(row, index, source)
                    traffic.meet(record[0], record[_GROUP])
                    writer.add(record)
                if writer.rows == before:
                    raise UnfitError(f"{source.uri} holds no row. Name a source that does.")
                sources.append({"uri": source.uri, "sha256": pin, "rows": writer.rows - before})
        summary = {"drawn": writer.rows, "redacted": dict(sorted(cleaner.found.items())), "sources": sources}
        if pins.label_watermark is not None:
            summary["traffic"] = {"rows": traffic.write(folder / "traffic.parquet"), "sha256": pins.label_watermark}
        files.write_json(folder / "summary.json", summary)


def _pin(source: Source, pins: Pins) -> str:
    if source.uri not in pins.sources:
        raise UnfitError(f"{source.uri} was not pinned when this run was planned. Run again: that plans anew.")
    return pins.sources[source.uri]


def _rows(source: Source, pin: str, cleaner: CellCleaner, settings: Settings) -> Iterator[Row]:
    wanted = cleaner.wanted(source)
    chosen: Picked | None = None
    if source.rows is not None:
        with open_rows(source, pin, wanted, settings) as rows:
            chosen = picked(map(cleaner.group_key, rows), source.rows)
    with open_rows(source, pin, wanted, settings) as rows:
        for row in rows:
            if chosen is None or chosen.has(cleaner.group_key(row)):
                yield row


class _Traffic:
    """The labelled traffic that the pins name, if any, and which of its groups the sources have too."""

    def __init__(self, project: Project, pins: Pins, settings: Settings, cleaner: CellCleaner) -> None:
        self._cleaner = cleaner
        self._source = len(project.data.sources)
        mark = pins.label_watermark
        self._rows: list[LabelledRow] = [] if mark is None else list(labelled.read(settings, project.slug, mark))
        self._names: dict[str, str | None] = {row.group: None for row in self._rows if row.group}
        """Group as the traffic log has it → its name in the sources, which may be stored as a hash or as it is."""
        self._texts: dict[str, str | None] = {row_id(row.text): None for row in self._rows if not row.group}
        """Text whose group nobody named → the group that it has in the sources."""
        self._seen: set[str] = set()

    def meet(self, text: str, group: str) -> None:
        """A row of the sources, by the hash of its text and the name of its group."""
        if text in self._texts:
            self._texts[text] = group
        if not self._names or group in self._seen:
            return
        self._seen.add(group)
        for known in (group, self._cleaner.hashed(group)):
            if known in self._names:
                self._names[known] = group

    def _group(self, row: LabelledRow) -> str | None:
        return self._names.get(row.group) or row.group if row.group else self._texts.get(row_id(row.text))

    def write(self, path: Path) -> int:
        """Write the rows and return how many they are."""
        types = {"traffic:origin": pa.string(), "traffic:probability": pa.float64(), "traffic:judged": pa.bool_()}
        with _Writer(path, self._cleaner.extra, {name: types[name] for name in recent.COLUMNS}) as writer:
            for row in self._rows:
                record = self._cleaner.labelled(row, self._group(row), self._source)
                writer.add((*record, row.origin, row.probability, row.judged))
        return len(self._rows)


class _Writer:
    """Rows into a Parquet file, a row group at a time."""

    def __init__(self, path: Path, extra: tuple[str, ...], more: dict[str, pa.DataType] | None = None) -> None:
        types = [(name, pa.int32() if name == "source" else pa.string()) for name in (*FIELDS, *extra, "fault")]
        types += (more or {}).items()
        self._schema = pa.schema(types)
        self._path = path
        self._extra = slice(len(FIELDS), len(FIELDS) + len(extra)) if extra else None
        self._pending: list[tuple[Any, ...]] = []
        self._characters = 0
        self.rows = 0

    def __enter__(self) -> Self:
        self._file = parquet.ParquetWriter(self._path, self._schema, compression="zstd")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._file.close()

    def add(self, record: tuple[Any, ...]) -> None:
        """One more row, in the order of the schema."""
        self._pending.append(record)
        _, text, label, name, group = record[:5]
        self._characters += len(text or "") + len(label or "") + len(name or "") + len(group or "")
        if self._extra:
            self._characters += sum(len(cell or "") for cell in record[self._extra])
        self.rows += 1
        if len(self._pending) >= _ROWS_PER_GROUP or self._characters >= _CHARACTERS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if not self._pending and self.rows:
            return
        columns = zip(*self._pending, strict=True) if self._pending else [()] * len(self._schema)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        self._file.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._pending, self._characters = [], 0
