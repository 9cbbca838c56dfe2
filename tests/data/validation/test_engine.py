from __future__ import annotations

import os

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
