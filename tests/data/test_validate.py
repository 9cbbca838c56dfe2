"""Validation of whole snapshots by Great Expectations, whose import alone takes seconds: hence ``integration``."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evertune import files
from evertune.data.validate import validate
from evertune.project.options import Project
from evertune.records import UnfitError

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
    summary = (result.folder / "data_docs" / "summary.html").read_text()
    (page,) = re.findall(r'href="(validations/[^"]+)"', summary)
    assert (result.folder / "data_docs" / page).is_file()


BAD: dict[str, tuple[dict[str, str | None], str]] = {
    "missing text": (row(None, "ham"), "missing text: "),
    "empty": (row("", "ham"), "empty text: "),
    "only white space and control characters": (row(" \u200b\t\x07 ", "ham"), "empty text: "),
    "too long": (row("good " * 3000, "ham"), "too long: 15,000 characters, at most 10,000 allowed"),
    "a megabyte": (row("x" * 1_048_576, "ham"), "too long: 1,048,576 characters"),
    "missing label": (row("A review without a label.", None), "missing label: "),
    "blank label": (row("A review with a blank label.", "  "), "missing label: "),
    "unknown label": (row("A review of some sort.", "spm"), 'unknown label: "spm" is none of ham, spam; the nearest'),
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


def test_a_row_has_every_reason_that_holds(run: Run) -> None:
    result = run([*sound(), row(None, None, fault="line 7 has 1 column, expected 3")])
    ((unreadable, text, label),) = result.reasons
    assert unreadable == "unreadable: line 7 has 1 column, expected 3"
    assert text.startswith("missing text: ")
    assert label.startswith("missing label: ")
    assert result.summary["quarantined"] == 1


def test_texts_of_another_script_go_to_quarantine(run: Run) -> None:
    mixed = row("Да 50% скажут, maybe", "ham")
    result = run([*sound(), row("Это очень хороший отзыв, берите.", "ham"), mixed], {"script": "Latin"})
    assert [one["text"] for one in result.quarantine] == ["Это очень хороший отзыв, берите.", mixed["text"]]
    assert result.reasons[0] == ["wrong script: 0% of the letters are Latin, at least 50% expected"]
    assert result.summary["reasons"] == {"wrong script": 2}


def test_an_unknown_script_is_a_fault_of_the_project_and_writes_nothing(tmp_path: Path) -> None:
    asked = project()
    asked = asked.model_copy(update={"validation": asked.validation.model_copy(update={"script": "Kyrillic"})})
    snapshot = write_snapshot(tmp_path / "snapshot", sound())
    with pytest.raises(UnfitError, match='Did you mean "Cyrillic"'):
        validate(asked, snapshot, tmp_path / "valid")
    assert not (tmp_path / "valid").exists()


def test_copies_are_counted_and_go_on(run: Run) -> None:
    result = run([*sound(), sound()[0], sound()[0]])
    assert result.summary["duplicates"] == 2
    assert result.summary["quarantined"] == 0
    assert len(result.valid) == 42


def test_the_same_text_with_two_labels_goes_to_quarantine_every_time_it_occurs(run: Run) -> None:
    both = "A text that two people read in two ways."
    result = run([*sound(), row(both, "ham"), row(both, "spam"), row(both, "ham")])
    assert [one["text"] for one in result.quarantine] == [both] * 3
    assert result.reasons[1] == ["contradicting labels: the same text is labelled in 2 ways, here as spam"]


CUTS = {"cuts": [{"label": "negative", "below": -0.5}, {"label": "positive", "at_least": 0.5}]}


def scored(count: int = 40) -> Rows:
    return [{**one, "label": ("-1.5", "2")[i % 2]} for i, one in enumerate(sound(count))]


def test_ambiguous_scores_are_left_out_and_words_among_scores_are_of_the_wrong_type(run: Run) -> None:
    result = run(
        [*scored(), row("A review so so, one of many.", "0.1"), row("A review rated oddly.", "good")], None, CUTS
    )
    assert result.summary["unlabelled"] == 1
    assert result.summary["classes"] == {"negative": 20, "positive": 20}
    assert result.reasons == [
        ['wrong type: label "good" is not a number, and the label rule cuts numbers into classes']
    ]
    assert {one["target"][0] for one in result.valid} == {"negative", "positive"}
    assert result.valid[0]["label"] == "-1.5"


def test_a_bad_row_with_an_ambiguous_score_is_counted_once(run: Run) -> None:
    result = run([*scored(), row("", "0.1")], None, CUTS)
    assert (result.summary["unlabelled"], result.summary["quarantined"], result.summary["valid"]) == (0, 1, 40)


def test_without_a_rule_every_label_is_a_class(run: Run) -> None:
    result = run(
        [*sound(), row("A review of a third kind, by somebody.", "eggs"), row("A review of no kind, by nobody.", None)],
        None,
        {},
    )
    assert result.summary["classes"] == {"eggs": 1, "ham": 20, "spam": 20}
    assert result.summary["reasons"] == {"missing label": 1}


def stopped(tmp_path: Path, rows: Rows, validation: dict[str, Any] | None = None) -> tuple[str, Result]:
    with pytest.raises(UnfitError) as fault:
        validate(project(validation), write_snapshot(tmp_path / "snapshot", rows), tmp_path / "valid")
    result = Result(tmp_path / "valid")
    files.verify(result.folder)
    assert not (result.folder / "rows.parquet").exists(), "a later step could take it for valid"
    assert result.summary["fit"] is False
    assert (result.folder / "data_docs" / "index.html").is_file()
    assert str(result.folder) in str(fault.value)
    return str(fault.value), result


def test_too_many_bad_rows_stop_the_run_and_tell_what_to_look_at(tmp_path: Path) -> None:
    bad = [row(None, "ham")] * 2 + [row("A review of some sort, " + "long " * i, "eggs") for i in range(4)]
    said, result = stopped(tmp_path, [*sound(), *bad], {"max_bad_share": 0.1})
    assert "6 of 46 rows (13.0%) are bad, and validation.max_bad_share allows 10.0%" in said
    assert "Most frequent reasons: unknown label (4), missing text (2)." in said
    assert said.count("\n- row ") == 3
    assert str(result.folder / "quarantine.parquet") in said
    assert len(result.quarantine) == 6


def test_poisoned_rows_never_stop_the_batch_while_they_are_few(run: Run) -> None:
    poison = [bad for bad, _ in BAD.values()]
    result = run([*sound(200), *poison], {"max_bad_share": 0.05})
    assert len(result.quarantine) == len(poison)
    assert len(result.valid) == 200


def test_one_class_only_stops_the_run(tmp_path: Path) -> None:
    said, _ = stopped(tmp_path, [{**one, "label": "ham"} for one in sound()])
    assert 'All 40 good rows are of one class, "ham"' in said


def test_only_copies_stop_the_run(tmp_path: Path) -> None:
    said, result = stopped(tmp_path, sound()[:2] * 20)
    assert "Only 2 of the 40 good rows differ" in said
    assert result.summary["duplicates"] == 38


def test_too_few_rows_stop_the_run(tmp_path: Path) -> None:
    said, _ = stopped(tmp_path, sound(8))
    assert "8 good rows are left of 8, and validation.min_rows asks for 10" in said


def test_no_rows_stop_the_run(tmp_path: Path) -> None:
    said, _ = stopped(tmp_path, [])
    assert "There are no rows." in said


def test_only_bad_rows_stop_the_run(tmp_path: Path) -> None:
    said, result = stopped(tmp_path, [row(None, None)] * 20)
    assert "20 of 20 rows (100.0%) are bad" in said
    assert result.summary["reasons"] == {"missing label": 20, "missing text": 20}


def expectation(name: str, **arguments: Any) -> dict[str, Any]:
    return {"expectations": [{"name": name, "arguments": arguments}]}


def test_an_expectation_on_each_value_quarantines(run: Run) -> None:
    rude = row("A damn good review of a thing.", "ham")
    result = run([*sound(), rude], expectation("expect_column_values_to_not_match_regex", column="text", regex="damn"))
    assert [one["text"] for one in result.quarantine] == [rude["text"]]
    assert result.reasons == [
        ['expect_column_values_to_not_match_regex(column=text, regex=damn): text is "A damn good review of a thing."']
    ]
    assert result.summary["reasons"] == {"expect_column_values_to_not_match_regex(column=text, regex=damn)": 1}


def test_an_expectation_on_a_column_stops_the_run(tmp_path: Path) -> None:
    said, _ = stopped(
        tmp_path, sound(), expectation("expect_column_unique_value_count_to_be_between", column="label", min_value=3)
    )
    assert "expect_column_unique_value_count_to_be_between(column=label, min_value=3)" in said
    assert "observed: 2" in said


def test_rows_that_a_query_finds_stop_the_run_and_are_shown_disarmed(tmp_path: Path) -> None:
    evil = row("A review with <script>alert(1)</script> in it.", "ham")
    query = "SELECT text FROM {batch} WHERE text LIKE '%<script>%'"
    said, result = stopped(
        tmp_path, [*sound(), evil], expectation("UnexpectedRowsExpectation", unexpected_rows_query=query)
    )
    assert "unexpected_rows_expectation(unexpected_rows_query=SELECT text FROM" in said
    assert "observed: 1" in said
    assert "A review with <script>" in (result.folder / "validation.json").read_text()
    for page in (result.folder / "data_docs").rglob("*.html"):
        assert "<script>alert" not in page.read_text(), page


def test_a_poisoned_row_does_not_spoil_an_expectation_on_its_column(run: Run) -> None:
    asked = expectation("expect_column_value_lengths_to_be_between", column="text", max_value=200)
    whole = expectation("expect_column_proportion_of_non_null_values_to_be_between", column="text", min_value=1)
    asked["expectations"] += whole["expectations"]
    result = run([*sound(), row(None, "ham"), row("good " * 60, "ham")], asked)
    assert len(result.valid) == 40
    assert len(result.quarantine) == 2


def test_words_among_numbers_are_quarantined_and_the_rest_is_judged(run: Run) -> None:
    rows = [{**one, "time": str(1000 + i)} for i, one in enumerate(sound())]
    rows[3]["time"], rows[4]["time"] = "yesterday", "5"
    result = run(rows, expectation("expect_column_values_to_be_between", column="time", min_value=1000))
    assert [one["time"] for one in result.quarantine] == ["yesterday", "5"]
    assert result.reasons[0][0].endswith("time is no value of this kind")


def test_a_condition_that_no_row_meets_is_noted_in_the_result_and_on_the_page(run: Run) -> None:
    arguments = {"column": "text", "regex": "^Review", "row_condition": 'domain == "male"'}
    result = run(
        [{**one, "domain": "mail"} for one in sound()], expectation("expect_column_values_to_match_regex", **arguments)
    )
    (note,) = result.summary["notes"]
    assert "no row meets its row_condition" in note
    assert "no row meets its row_condition" in (result.folder / "data_docs" / "summary.html").read_text()


def test_columns_that_are_not_in_the_snapshot_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    asked = project(expectation("expect_column_values_to_be_unique", column="subject"))
    option = asked.validation.expectations[0].model_copy(update={"arguments": {"column": "subjekt"}})
    asked = asked.model_copy(update={"validation": asked.validation.model_copy(update={"expectations": (option,)})})
    with pytest.raises(UnfitError, match=r"no column subjekt\. Did you mean subject"):
        validate(asked, write_snapshot(tmp_path / "snapshot", sound()), tmp_path / "valid")
    assert not (tmp_path / "valid").exists()


def test_results_can_be_read_as_json_and_hold_nothing_long(run: Run) -> None:
    quantiles = {"quantiles": [0.5], "value_ranges": [[0, 0]]}
    asked = expectation("expect_column_quantile_values_to_be_between", column="source", quantile_ranges=quantiles)
    result = run([*sound(), row("x" * 100_000, "ham")], asked)
    described = json.loads((result.folder / "validation.json").read_text())
    assert set(described) == {"evertune", "project-columns-numbers"}
    assert described["project-columns-numbers"]["success"] is True
    assert (result.folder / "validation.json").stat().st_size < 50_000


def test_scripts_in_texts_do_not_run_in_the_reports(run: Run) -> None:
    evil = '<script>alert(1)</script><img src=x onerror="alert(1)">'
    asked = expectation("expect_column_values_to_not_match_regex", column="text", regex="<script>")
    result = run([*sound(), row(evil, "ham"), row("A review with a label.", evil)], asked)
    assert len(result.quarantine) == 2
    pages = list((result.folder / "data_docs").rglob("*.html"))
    assert len(pages) >= 4
    assert any("\u2039img src=x" in page.read_text() for page in pages), "the texts are there, disarmed"
    for page in pages:
        assert "<script>alert" not in page.read_text(), page
        assert "<img src=x" not in page.read_text(), page


def test_sql_needs_no_room_but_beside_the_result(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/not/there")
    asked = expectation("expect_column_values_to_not_match_like_pattern", column="text", like_pattern="%damn%")
    result = run([*sound(), row("A damn good review of a thing.", "ham")], asked)
    assert len(result.quarantine) == 1
    assert sorted(path.name for path in result.folder.parent.iterdir()) == ["snapshot", "valid"]


def test_a_changed_snapshot_is_refused(tmp_path: Path) -> None:
    snapshot = write_snapshot(tmp_path / "snapshot", sound())
    (snapshot / "summary.json").write_text("{}")
    with pytest.raises(files.CorruptError):
        validate(project(), snapshot, tmp_path / "valid")


def test_equal_snapshots_give_equal_rows(tmp_path: Path) -> None:
    snapshot = write_snapshot(tmp_path / "snapshot", [*sound(), row(None, "ham")])
    validate(project(), snapshot, tmp_path / "one")
    validate(project(), snapshot, tmp_path / "two")
    for name in ("rows.parquet", "quarantine.parquet", "summary.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
