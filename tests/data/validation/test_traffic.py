"""Labelled traffic before Great Expectations: bad labels go to quarantine and change nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.test_validate import SCHEMA, Rows, project, row, sound

from evertune import files
from evertune.data.validate import validate
from evertune.records import UnfitError

pytestmark = pytest.mark.integration

TRAFFIC = pa.schema(
    [*SCHEMA, ("traffic:origin", pa.string()), ("traffic:probability", pa.float64()), ("traffic:judged", pa.bool_())]
)  # fmt: skip


def table(rows: Rows, schema: pa.Schema) -> pa.Table:
    empty = dict.fromkeys(schema.names)
    return pa.Table.from_pylist(
        [{**empty, "row_id": f"{n}", "group": f"{n}", "source": 0, **one} for n, one in enumerate(rows)], schema
    )


def snapshot(folder: Path, rows: Rows, traffic: Rows | None) -> Path:
    with files.new_folder(folder) as aside:
        pq.write_table(table(rows, SCHEMA), aside / "rows.parquet")
        if traffic is not None:
            pq.write_table(table(traffic, TRAFFIC), aside / "traffic.parquet")
        files.write_json(aside / "summary.json", {})
    return folder


SCORES = {"cuts": [{"label": "poor", "below": 0}, {"label": "fine", "at_least": 1}]}


def test_bad_labels_go_to_quarantine_and_the_sources_rows_stay_as_they_are(tmp_path: Path) -> None:
    rows = [{**one, "label": "2" if one["label"] == "ham" else "-2"} for one in sound()]
    traffic = [
        row("a text of the traffic", "fine"),
        row(rows[0]["text"], "poor"),  # contradicts a row of the sources
        row("another " * 400, " poor "),
        row("a slip", "fien"),
        row("a number", "2"),
        row("", "fine"),
        row(None, "fine", fault="it could not be redacted"),
        row("no label", None),
    ]
    expectation = {"name": "expect_column_values_to_be_between", "arguments": {"column": "label", "max_value": 4}}
    kept = {"name": "expect_column_values_to_not_be_null", "arguments": {"column": "domain"}}
    short = {"name": "expect_column_value_lengths_to_be_between", "arguments": {"column": "text", "max_value": 3300}}
    rows = [{**one, "domain": "mail"} for one in rows]
    asked = project({"expectations": [expectation, kept, short]}, SCORES)
    found: dict[str, dict[str, Any]] = {}
    for name, some in (("without", None), ("with", traffic)):
        validate(asked, snapshot(tmp_path / f"{name}.snapshot", rows, some), tmp_path / name)
        found[name] = files.read_json(tmp_path / name / "summary.json")
    for name in ("rows.parquet", "quarantine.parquet", "validation.json"):
        assert (tmp_path / "without" / name).read_bytes() == (tmp_path / "with" / name).read_bytes()
    account = found["with"].pop("traffic")
    assert found["with"] == found["without"]
    assert (account["drawn"], account["valid"], account["quarantined"]) == (8, 3, 5)
    assert account["classes"] == {"poor": 2, "fine": 1}
    assert account["sha256"] == files.sha256(tmp_path / "with" / "traffic.parquet")
    good = pq.read_table(tmp_path / "with" / "traffic.parquet").to_pylist()
    assert [one["target"] for one in good] == [["fine"], ["poor"], ["poor"]]
    bad = pq.read_table(tmp_path / "with" / "traffic_quarantine.parquet").to_pylist()
    assert bad[0]["reasons"] == ['unknown label: "fien" is none of poor, fine; the nearest is fine']
    page = (tmp_path / "with" / "data_docs" / "summary.html").read_text()
    assert "traffic/summary.html" in page
    assert "fien" in (tmp_path / "with" / "data_docs" / "traffic" / "summary.html").read_text()


def test_where_every_value_is_a_class_traffic_brings_no_new_one(tmp_path: Path) -> None:
    traffic = [row(f"text {n}", label) for n, label in enumerate(["ham", "hmm", "spam"])]
    validate(project(label={}), snapshot(tmp_path / "s", sound(), traffic), tmp_path / "out")
    account = files.read_json(tmp_path / "out" / "summary.json")["traffic"]
    assert account["reasons"] == {"unknown label": 1}


def test_however_bad_the_labels_are_the_run_goes_on(tmp_path: Path) -> None:
    traffic = [row(f"text {n}", "nonsense") for n in range(500)]
    validate(project({"max_bad_share": 0.01}), snapshot(tmp_path / "s", sound(), traffic), tmp_path / "out")
    assert files.read_json(tmp_path / "out" / "summary.json")["traffic"]["valid"] == 0
    assert pq.read_table(tmp_path / "out" / "traffic.parquet").num_rows == 0


def test_where_the_sources_are_unfit_traffic_is_not_looked_at(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match="unfit"):
        validate(project({"min_rows": 50}), snapshot(tmp_path / "s", sound(), [row("x", "ham")]), tmp_path / "out")
    assert not (tmp_path / "out" / "traffic.parquet").exists()
