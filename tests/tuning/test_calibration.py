from __future__ import annotations

import numpy as np
import pytest

from evertune.models.classifier import softmax
from evertune.tuning.calibration import temperature


def _rows(true_temperature: float, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(4)
    logits = chance.normal(size=(count, 3)) * 3
    odds = softmax(logits.astype(np.float32), true_temperature)
    truth = (odds.cumsum(1) < chance.random((count, 1))).sum(1).clip(max=2)
    return logits, truth


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(true_temperature: float) -> None:
    logits, truth = _rows(true_temperature)
    assert temperature(logits, truth) == pytest.approx(true_temperature, rel=0.1)


def test_the_log_loss_is_nowhere_less() -> None:
    logits, truth = _rows(2.0, 500)
    best = temperature(logits, truth)

    def loss(t: float) -> float:
        odds = softmax(logits.astype(np.float32), t)
        return float(-np.log(odds[np.arange(len(truth)), truth]).mean())

    assert loss(best) <= min(loss(best * 0.97), loss(best * 1.03))


def test_a_perfect_model_stays_within_bounds() -> None:
    truth = np.arange(90) % 3
    assert temperature(np.eye(3)[truth] * 5, truth) == pytest.approx(0.05, rel=0.01)
    assert temperature(-np.eye(3)[truth] * 5, truth) == pytest.approx(20, rel=0.01)


def test_few_rows_say_nothing() -> None:
    assert temperature(np.eye(2)[[0, 1]] * 9, np.array([0, 1])) == 1.0
