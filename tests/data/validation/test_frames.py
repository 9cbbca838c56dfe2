"""How columns are read: dates and numbers for what is about them, and for a row condition by what it compares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evertune.data.validation.engine import Engine
from evertune.data.validation.expectations import bind
from evertune.data.validation.facts import gather
from evertune.data.validation.findings import Findings
from evertune.data.validation.judging import judge
from evertune.project.options import Project
from evertune.records import UnfitError

pytestmark = pytest.mark.integration

MakeProject = Callable[..., Project]
Ask = Callable[..., Findings]
COUNT = 30
DAYS = [f"2024-01-{day + 1:02}" for day in range(COUNT)]
SCORE = {"column": "score"}
BETWEEN, INCREASING = "expect_column_values_to_be_between", "expect_column_values_to_be_increasing"


@pytest.fixture
def ask(project: MakeProject, tmp_path: Path) -> Ask:
    """Asks one expectation of rows whose label is 0 to 4 in turn and whose column ``score`` holds what is given."""

    def of(score: list[str | None], name: str, **arguments: Any) -> Findings:
        texts = [f"Review {i} says {'good ' * (3 + i % 5)}things" for i in range(COUNT)]
        columns = {
            "row_id": texts,
            "text": texts,
            "label": [str(i % 5) for i in range(COUNT)],
            "score": score,
            "opposite": [str(-i) for i in range(COUNT)],
            "none": [None] * COUNT,
            "fault": [None] * COUNT,
        }
        path = tmp_path / "rows.parquet"
        pq.write_table(pa.table({key: pa.array(values, pa.string()) for key, values in columns.items()}), path)
        asked = project({"expectations": [{"name": name, "arguments": arguments}]})
        bound = bind(asked, [*columns, "target"])
        return judge(asked, path, gather(asked, path), bound, Engine(), tmp_path / "scratch")

    return of


def quarantined(found: Findings) -> list[int]:
    return [int(row) for row in np.flatnonzero(found.quarantined)]


@pytest.mark.parametrize(
    ("values", "bounds", "bad"),
    [
        (DAYS, {"min_value": "2024-01-03"}, [0, 1]),
        (DAYS, {"min_value": "2024-01-03", "max_value": "2024-01-29"}, [0, 1, 29]),
        (DAYS, {"max_value": "2024-01-28T12:00:00"}, [28, 29]),
        # of another zone, or of none, or of none at all
        ([f"{day}T00:30:00+02:00" for day in DAYS], {"min_value": "2024-01-01"}, [0]),
        ([f"{day} 00:30:00" for day in DAYS], {"max_value": "2024-01-30T02:00:00+02:00"}, [29]),
        (["0001-01-01", "9999-12-31", *DAYS[2:]], {"min_value": "2024-01-01", "max_value": "2024-12-31"}, [0, 1]),
        ([None, "yesterday", *DAYS[2:]], {"min_value": "2024-01-01"}, [1]),
    ],
)
def test_dates_lie_between_dates(ask: Ask, values: list[str | None], bounds: dict[str, str], bad: list[int]) -> None:
    found = ask(values, BETWEEN, **SCORE, **bounds)
    assert found.unmet == ()
    assert quarantined(found) == bad


def test_a_date_that_is_not_between_them_is_told_as_a_date(ask: Ask) -> None:
    found = ask(["soon", *DAYS[1:]], BETWEEN, **SCORE, max_value="2024-01-28", min_value="2024-01-01")
    assert found.bad[-1].tell(29) == "score is 2024-01-30T00:00:00+00:00"
    assert found.bad[-1].tell(0) == "score is no value of this kind"


def test_dates_increase(ask: Ask) -> None:
    assert quarantined(ask(DAYS, INCREASING, **SCORE, strictly=True)) == []
    assert quarantined(ask([*DAYS[:-1], DAYS[0]], INCREASING, **SCORE)) == [29]
    assert quarantined(ask([str(i) for i in range(COUNT)], INCREASING, **SCORE)) == []  # and 10 comes after 9


def test_the_last_date_is_looked_at(ask: Ask) -> None:
    assert ask(DAYS, "expect_column_max_to_be_between", **SCORE, max_value="2024-01-30").unmet == ()
    (unmet,) = ask(DAYS, "expect_column_max_to_be_between", **SCORE, max_value="2024-01-29").unmet
    assert "observed: 2024-01-30" in unmet


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("label == 3", {3, 8, 13, 18, 23, 28}),
        ('label == "3"', {3, 8, 13, 18, 23, 28}),
        ("label > 2.5 and score < 10", {3, 4, 8, 9}),
        ("label > 2.5 & score < 10", {3, 4, 8, 9}),
        ("label in [3, 4] and not `score` >= 5", {3, 4}),
        ("label < score and score < 3", set()),
        ("label > opposite and score < 3", {1, 2}),
        ('text.str.endswith("things") and score == 7', {7}),
        ("text == row_id and score == 7", {7}),
        ('target == "3" and score == 8', {8}),
        ("none.isnull() and score == 8", {8}),
        ({"type": "comparison", "column": {"name": "score"}, "operator": ">=", "parameter": 28}, {28, 29}),
    ],
)
def test_a_condition_reads_a_column_as_what_it_is_compared_with(ask: Ask, condition: object, rows: set[int]) -> None:
    numbers = [str(i) for i in range(COUNT)]
    found = ask(numbers, "expect_column_values_to_match_regex", column="label", regex="never", row_condition=condition)
    assert set(quarantined(found)) == rows
    assert bool(found.notes) == (not rows)


def test_a_condition_may_read_a_column_in_another_way_than_what_it_is_for(ask: Ask) -> None:
    numbers = [str(i) for i in range(COUNT)]
    found = ask(numbers, BETWEEN, **SCORE, max_value=3, row_condition='score == "2" or score == "5"')
    assert quarantined(found) == [5]
    found = ask(numbers, "expect_column_values_to_be_in_set", **SCORE, value_set=["2"], row_condition="score < 4")
    assert quarantined(found) == [0, 1, 3]


def test_a_value_that_is_no_number_is_told_of_the_rows_that_are_asked_alone(ask: Ask) -> None:
    found = ask(["x", "y", *map(str, range(28))], BETWEEN, **SCORE, max_value=99, row_condition="label == 1")
    assert quarantined(found) == [1]


def test_a_condition_holds_for_sql_too(ask: Ask) -> None:
    asked = {"column": "text", "like_pattern": "never%", "row_condition": "label == 3 and text != ''"}
    assert quarantined(ask(DAYS, "expect_column_values_to_match_like_pattern", **asked)) == [3, 8, 13, 18, 23, 28]


def test_a_condition_that_no_row_meets_is_told(ask: Ask) -> None:
    condition = {"row_condition": 'label == "three"'}
    found = ask(DAYS, BETWEEN, **SCORE, max_value="2024-01-01", **condition)
    (note,) = found.notes
    assert note.startswith(f"validation.expectations[0]: {BETWEEN}(")
    assert 'row_condition=label == "three"' in note
    assert "no row meets its row_condition" in note
    assert found.unmet == ()
    (unmet,) = ask(DAYS, "expect_column_mean_to_be_between", column="label", max_value=9, **condition).unmet
    assert "but no row meets its row_condition" in unmet


def test_no_rows_of_a_kind_can_be_what_is_expected(ask: Ask) -> None:
    found = ask(DAYS, "expect_table_row_count_to_equal", value=0, row_condition="label == 7")
    assert (found.unmet, found.notes) == ((), ())
    (unmet,) = ask(DAYS, "expect_table_row_count_to_equal", value=0, row_condition="label == 3").unmet
    assert "observed: 6" in unmet


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("text == 3", "compares text with a number, and most values of text are none. Write what .* quotation marks"),
        ("label", "its row_condition cannot be asked: it is neither true nor false of a row"),
        ("label.no_such_method() == 3", "its row_condition cannot be asked: .*no_such_method"),
    ],
)
def test_a_condition_that_cannot_be_asked_is_a_fault_of_the_project(ask: Ask, condition: str, said: str) -> None:
    with pytest.raises(UnfitError, match=rf"validation\.expectations\[0\].*{said}"):
        ask(DAYS, BETWEEN, **SCORE, min_value="2024-01-01", row_condition=condition)


def test_a_condition_sees_no_variables_of_the_code(ask: Ask) -> None:
    with pytest.raises(UnfitError, match="invalid syntax"):
        ask(DAYS, BETWEEN, **SCORE, min_value="2024-01-01", row_condition="label == @np")


def test_a_condition_names_columns_that_there_are(project: MakeProject) -> None:
    asked = project({"expectations": [{"name": BETWEEN, "arguments": {**SCORE, "min_value": 1}}]})
    option = asked.validation.expectations[0]
    wrong = option.model_copy(update={"arguments": {**option.arguments, "row_condition": "lable == 3"}})
    asked = asked.model_copy(update={"validation": asked.validation.model_copy(update={"expectations": (wrong,)})})
    with pytest.raises(UnfitError, match=r"no column lable\. Did you mean label"):
        bind(asked, ["text", "label", "score"])
