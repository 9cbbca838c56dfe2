"""Projects and snapshots' rows for the tests of validation's parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evertune.project.options import Project

MakeProject = Callable[..., Project]
MakeRows = Callable[..., Path]


@pytest.fixture
def project() -> MakeProject:
    """A project with these blocks ``validation`` and ``label``."""

    def make(validation: dict[str, Any] | None = None, label: dict[str, Any] | None = None) -> Project:
        return Project.model_validate(
            {
                "schema_version": 1,
                "slug": "spam-filter",
                "owner": "somebody",
                "data": {
                    "sources": [{"uri": "rows.csv", "constants": {"domain": "mail"}}],
                    "columns": {"text": "text", "label": "label", "keep": ["score", "opposite", "none"]},
                    "label": label or {},
                },
                "validation": validation or {},
                "base": {"uri": "base"},
            }
        )

    return make


@pytest.fixture
def rows(tmp_path: Path) -> MakeRows:
    """A ``rows.parquet`` with these texts and labels."""

    def write(texts: list[str | None], labels: list[str | None], faults: list[str | None] | None = None) -> Path:
        columns = {"row_id": texts, "text": texts, "label": labels, "fault": faults or [None] * len(texts)}
        table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
        pq.write_table(table, tmp_path / "rows.parquet", row_group_size=3)
        return tmp_path / "rows.parquet"

    return write
