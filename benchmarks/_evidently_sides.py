"""Evidently's methods for embeddings, each as it comes and in a better setting, as functions of two arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Side = Callable[[NDArray[np.float32], NDArray[np.float32]], bool]


def sides() -> dict[str, Side]:
    """Name and method: whether a window (second) has drifted from a reference (first)."""
    from evidently.legacy.metrics.data_drift import embedding_drift_methods as methods

    return {
        "Evidently model": _side(methods.model()),
        "Evidently model, bootstrap": _side(methods.model(bootstrap=True)),
        "Evidently distance": _side(methods.distance()),
        "Evidently distance, bootstrap": _side(methods.distance(bootstrap=True)),
        "Evidently ratio": _side(methods.ratio()),
        "Evidently ratio, K-S at 5%": _side(methods.ratio(component_stattest="ks", component_stattest_threshold=0.05)),
        "Evidently MMD": _side(methods.mmd()),
        "Evidently MMD, bootstrap": _side(methods.mmd(bootstrap=True)),
        "Evidently MMD, bootstrap at 0.95": _side(methods.mmd(bootstrap=True, quantile_probability=0.95)),
    }


def _side(method: Callable[[pd.DataFrame, pd.DataFrame], tuple[float, bool, str]]) -> Side:
    def run(reference: NDArray[np.float32], window: NDArray[np.float32]) -> bool:
        frames = [pd.DataFrame(rows).add_prefix("e") for rows in (window, reference)]
        return bool(method(*frames)[1])

    return run
