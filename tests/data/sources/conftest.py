"""Fixtures for the tests of sources."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from evertune.data.sources import Row, open_rows
from evertune.project.options import Source
from evertune.settings import Settings, load

WANTED = ("text", "label")


class Reader:
    """Writes bytes to a file and reads its rows."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings

    def __call__(self, name: str, data: bytes, wanted: Sequence[str] = WANTED, **options: Any) -> list[Row]:
        path = self.folder / name
        path.write_bytes(data)
        source = Source(uri=str(path), **options)
        with open_rows(source, hashlib.sha256(data).hexdigest(), wanted, self.settings) as found:
            return list(found)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"EVERTUNE_HOME": str(tmp_path / "home")})


@pytest.fixture
def read(tmp_path: Path, settings: Settings) -> Reader:
    return Reader(tmp_path, settings)


def cells(found: list[Row]) -> list[list[str | None]]:
    """The cells of rows none of which has a fault."""
    assert [row.fault for row in found] == [None] * len(found)
    return [list(row.cells) for row in found]


def as_parquet(table: dict[str, Any], **options: Any) -> bytes:
    """A Parquet file with these columns."""
    out = io.BytesIO()
    parquet.write_table(pa.table(table), out, **options)
    return out.getvalue()
