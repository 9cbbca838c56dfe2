"""The check rows of a model version: test rows that travel with it, so that an engine can be held to its quality.

A server has no dataset. What it makes of a model (8-bit weights, another runtime) is measured on these rows before it
answers anything. They are redacted, as all stored rows are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

MOST_ROWS = 2000
"""More would say little more of a loss of some tenths of a point, and travel with every release."""


def write(dataset: Path, to: Path) -> Path:
    """Write test rows of the prepared dataset to ``to`` (Parquet: ``text``, ``truth`` as the label's index).

    Of many rows it is a sample, the same at every call, in the dataset's order.
    """
    import pyarrow.parquet as pq

    rows = pq.read_table(dataset / "test.parquet", columns=["text", "label_index"])
    if rows.num_rows > MOST_ROWS:
        picked = np.random.default_rng(17).choice(rows.num_rows, MOST_ROWS, replace=False)
        rows = rows.take(np.sort(picked))
    to.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows.rename_columns(["text", "truth"]), to, compression="zstd")
    return to
