from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from evertune.data.validation.findings import Finding, Findings, unfit
from evertune.project.options import Project

MakeProject = Callable[..., Project]


def findings(drawn: int = 100, **more: Any) -> Findings:
    fields: dict[str, Any] = {
        "bad": (),
        "ambiguous": np.zeros(drawn, np.bool_),
        "codes": (np.arange(drawn) % 2).astype(np.int32),
        "classes": ("ham", "spam"),
        "copy": np.zeros(drawn),
        "excerpt": lambda row: f"text {row}",
        **more,
    }
    return Findings(drawn, **fields)


def finding(kind: str, *rows: int) -> Finding:
    return Finding(kind, np.array(rows, np.int64), lambda row: f"seen at {row}")


def test_every_row_is_bad_or_left_out_or_good() -> None:
    ambiguous = np.zeros(100, np.bool_)
    ambiguous[[1, 2]] = True
    found = findings(bad=(finding("empty", 2, 3), finding("too long", 3)), ambiguous=ambiguous)
    summary = found.summary([])
    assert summary["unlabelled"] == 1, "row 2 is bad as well: it counts there"
    assert summary["quarantined"] == 2
    assert summary["valid"] == 97
    assert summary["reasons"] == {"empty": 2, "too long": 1}
    assert summary["fit"] is True


def test_a_row_has_all_its_reasons_and_only_rows_asked_for_come() -> None:
    found = findings(bad=(finding("empty", 2, 3, 50), finding("too long", 3)))
    assert found.reasons_of(3, 50) == {3: ["empty: seen at 3", "too long: seen at 3"]}


def test_examples_are_of_different_kinds_first() -> None:
    found = findings(bad=(finding("a", 1), finding("b", 2, 3, 4)))
    assert found.examples(3) == [
        "row 2, text 2: b: seen at 2",
        "row 1, text 1: a: seen at 1",
        "row 3, text 3: b: seen at 3",
    ]


def test_copies_that_are_bad_are_not_counted_as_duplicates() -> None:
    copy = np.zeros(100)
    copy[[1, 2]] = 1
    assert findings(bad=(finding("empty", 2),), copy=copy).duplicates == 1


def test_no_rows(project: MakeProject) -> None:
    assert unfit(project(), findings(0)) == [
        "There are no rows. Look whether the sources are empty, or data.sources[].rows is too small."
    ]


def test_bad_rows_up_to_the_limit_do_not_stop_the_run(project: MakeProject) -> None:
    asked = project({"max_bad_share": 0.05, "min_rows": 10})
    assert unfit(asked, findings(bad=(finding("empty", *range(5)),))) == []
    (fault,) = unfit(asked, findings(bad=(finding("empty", *range(6)),)))
    assert "6 of 100 rows (6.0%) are bad" in fault
    assert "max_bad_share allows 5.0%" in fault


def test_too_few_good_rows(project: MakeProject) -> None:
    (fault,) = unfit(project({"min_rows": 101}), findings())
    assert "100 good rows are left of 100" in fault


def test_all_rows_duplicates(project: MakeProject) -> None:
    copy = np.ones(100)
    copy[:2] = 0
    (fault,) = unfit(project({"min_rows": 10}), findings(copy=copy))
    assert "Only 2 of the 100 good rows differ" in fault


def test_one_class_left(project: MakeProject) -> None:
    (fault,) = unfit(project({"min_rows": 10}), findings(codes=np.ones(100, np.int32)))
    assert 'All 100 good rows are of one class, "spam"' in fault


def test_an_unmet_expectation_on_a_column_stops_the_run(project: MakeProject) -> None:
    (fault,) = unfit(project({"min_rows": 10}), findings(unmet=("expect_column_mean_to_be_between, but 7",)))
    assert "expect_column_mean_to_be_between, but 7" in fault
