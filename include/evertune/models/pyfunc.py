"""How MLflow loads a bundle: named in ``MLmodel`` as the loader module, so that no pickle is needed.

``mlflow models serve -m models:/SLUG/1 --env-manager local`` and ``mlflow.pyfunc.load_model`` end up here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from evertune.models.classifier import Classifier


class TextModel:
    """Answers a table with a column ``text`` by a table of labels and probabilities."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002 - MLflow's interface
        """One row a text: ``label``, its ``probability``, and ``probabilities`` as a map from label to probability."""
        import pandas as pd

        labels = list(self._classifier.labels)
        rows = []
        for row in self._classifier.probabilities(_texts(model_input)):
            best, shares = int(row.argmax()), [float(share) for share in row]
            named = dict(zip(labels, shares, strict=True))
            rows.append({"label": labels[best], "probability": shares[best], "probabilities": named})
        return pd.DataFrame(rows, columns=["label", "probability", "probabilities"])


def _texts(model_input: Any) -> Sequence[str]:
    """The texts of a table with a column ``text``, or of a plain list."""
    if hasattr(model_input, "columns"):
        return [str(text) for text in model_input["text"]]
    return [str(text) for text in model_input]


def _load_pyfunc(path: str) -> TextModel:
    """What MLflow calls with the path of the bundle."""
    from evertune.models import classifier

    return TextModel(classifier.load(Path(path)))
