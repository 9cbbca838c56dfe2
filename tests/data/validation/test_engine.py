from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from evertune.data.validation.engine import Engine


@pytest.mark.integration
def test_results_come_in_the_order_asked_with_the_frames_row_numbers() -> None:
    import great_expectations.expectations as gxe
    import pandas as pd

    frame = pd.DataFrame({"x": [1.0, 2.0, np.nan]}, index=[10, 20, 30])
    asked = [
        gxe.ExpectColumnMeanToBeBetween(column="x", min_value=1),
        gxe.ExpectColumnValuesToNotBeNull(column="x"),
        gxe.ExpectColumnMeanToBeBetween(column="nothing", min_value=1),
        gxe.ExpectColumnValuesToBeBetween(column="x", max_value=1),
    ]
    mean, null, nothing, between = Engine().judge("suite", frame, asked)
    assert (mean.success, mean.rows, mean.observed) == (True, None, "observed: 1.5")
    assert null.rows is not None
    assert null.rows.tolist() == [30]
    assert nothing.error is not None
    assert "nothing" in nothing.error
    assert between.rows is not None
    assert between.rows.tolist() == [20], "nulls are passed over"


@pytest.mark.integration
def test_the_environment_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GX_ANALYTICS_ENABLED", raising=False)
    Engine()
    assert "GX_ANALYTICS_ENABLED" not in os.environ
    monkeypatch.setenv("GX_ANALYTICS_ENABLED", "true")
    Engine()
    assert os.environ["GX_ANALYTICS_ENABLED"] == "true"


@pytest.mark.integration
def test_a_condition_is_shown_and_all_rows_are_asked(tmp_path: Path) -> None:
    import great_expectations.expectations as gxe
    import pandas as pd

    with pytest.warns(DeprecationWarning, match="row_condition"):
        asked = gxe.ExpectColumnValuesToBeBetween(column="x", max_value=1, row_condition="other == 3")
    engine = Engine()
    (judged,) = engine.judge("suite", pd.DataFrame({"x": [1.0, 2.0]}), [asked])
    assert judged.rows is not None
    assert judged.rows.tolist() == [1]  # there is no column `other`: whoever made the frame has looked at it
    assert "other == 3" in str(engine.described)
    engine.write_docs(tmp_path)
    for folder in ("validations", "expectations"):
        (page,) = (tmp_path / folder).rglob("*.html")
        assert "other == 3" in page.read_text(), folder
