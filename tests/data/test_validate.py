"""Validation of whole snapshots by Great Expectations, whose import alone takes seconds: hence ``integration``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evertune import files
from evertune.data.validate import validate
from evertune.project.options import Project

pytestmark = pytest.mark.integration

Rows = list[dict[str, str | None]]
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("row_id", "text", "label", "id", "group", "subject", "time")),
        ("source", pa.int32()),
        ("domain", pa.string()),
        ("fault", pa.string()),
    ]
)


def row(text: str | None, label: str | None, **more: str | None) -> dict[str, str | None]:
    return {"text": text, "label": label, **more}


def sound(count: int = 40) -> Rows:
    """Rows without fault: two classes, lengths that vary a little."""
    return [row(f"Review number {i} says {'good ' * (3 + i % 5)}things.", ("ham", "spam")[i % 2]) for i in range(count)]


def write_snapshot(folder: Path, rows: Rows) -> Path:
    full = []
    for number, one in enumerate(rows):
        row_id = hashlib.sha256((one["text"] or "").encode()).hexdigest()
        full.append(
            {
                **dict.fromkeys(SCHEMA.names),
                "row_id": row_id,
                "group": row_id,
                "id": str(number),
                "source": 0,
                **one,
            }
        )
    with files.new_folder(folder) as aside:
        pq.write_table(pa.Table.from_pylist(full, SCHEMA), aside / "rows.parquet")
        files.write_json(aside / "summary.json", {"drawn": len(rows), "redacted": {}, "sources": []})
    return folder


def project(validation: dict[str, Any] | None = None, label: dict[str, Any] | None = None) -> Project:
    return Project.model_validate(
        {
            "schema_version": 1,
            "slug": "spam-filter",
            "owner": "somebody",
            "data": {
                "sources": [{"uri": "rows.csv", "constants": {"domain": "mail"}}],
                "columns": {"text": "text", "label": "label"},
                "label": label if label is not None else {"classes": ["ham", "spam"]},
            },
            "validation": {"max_bad_share": 0.5, "min_rows": 10, **(validation or {})},
            "base": {"uri": "base"},
        }
    )


class Result:
    """A validated folder, opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
        self.quarantine: Rows = pq.read_table(folder / "quarantine.parquet").to_pylist()
        self.valid: list[dict[str, Any]] = (
            pq.read_table(folder / "rows.parquet").to_pylist() if (folder / "rows.parquet").exists() else []
        )

    @property
    def reasons(self) -> list[list[str]]:
        return [one["reasons"] for one in self.quarantine]  # type: ignore[misc]  # a list column


Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def of(rows: Rows, validation: dict[str, Any] | None = None, label: dict[str, Any] | None = None) -> Result:
        snapshot = write_snapshot(tmp_path / "snapshot", rows)
        validate(project(validation, label), snapshot, tmp_path / "valid")
        return Result(tmp_path / "valid")

    return of


def test_sound_rows_go_on_with_their_target(run: Run) -> None:
    result = run(sound())
    files.verify(result.folder)
    assert result.summary == {
        "drawn": 40, "unlabelled": 0, "quarantined": 0, "valid": 40, "reasons": {}, "duplicates": 0,
        "classes": {"ham": 20, "spam": 20}, "fit": True, "faults": [],
    }  # fmt: skip
    assert result.valid[1]["target"] == ["spam"]
    assert "fault" not in result.valid[0]
    assert result.quarantine == []
    assert (result.folder / "data_docs" / "index.html").is_file()


BAD: dict[str, tuple[dict[str, str | None], str]] = {
    "missing text": (row(None, "ham"), "missing text: "),
    "empty": (row("", "ham"), "empty text: "),
    "only white space and control characters": (row(" \u200b\t\x07 ", "ham"), "empty text: "),
    "too long": (row("good " * 3000, "ham"), "too long: 15,000 characters, at most 10,000 allowed"),
    "a megabyte": (row("x" * 1_048_576, "ham"), "too long: 1,048,576 characters"),
    "missing label": (row("A review without a label.", None), "missing label: "),
    "blank label": (row("A review with a blank label.", "  "), "missing label: "),
    "unknown label": (row("A review of some sort.", "spm"), 'unknown label: "spm" is none of ham, spam; the nearest is'),
    "outlier length": (row("good " * 1500, "ham"), "outlier length: 7,500 characters is "),
    "a NUL byte": (row("A review cut off by a NUL byte.", "ham", fault="NUL byte"), "unreadable: NUL byte"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_row_goes_to_quarantine_with_its_reason(run: Run, what: str) -> None:
    bad, reason = BAD[what]
    result = run([*sound(), bad])
    assert len(result.valid) == 40
    assert [one["text"] for one in result.quarantine] == [bad["text"]]
    ((said,),) = result.reasons
    assert said.startswith(reason)
