import pytest

from evertune.evaluation import reasons
from evertune.project.options import Metric


@pytest.mark.parametrize(
    ("metric", "difference", "told"),
    [
        (Metric.ACCURACY, 0.0123, "+1.2 points"),
        (Metric.F1, -0.02, "−2.0 points"),
        (Metric.LOG_LOSS, -0.0421, "−0.042"),
    ],
)
def test_differences_are_told_in_the_metrics_own_unit(metric: Metric, difference: float, told: str) -> None:
    assert reasons.signed(metric, difference) == told


def test_row_counts_claim_two_digits() -> None:
    assert [reasons._round(rows) for rows in (7, 42, 1_234, 98_765)] == [7, 42, 1_200, 99_000]
