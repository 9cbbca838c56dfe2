from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evertune import files
from evertune.evaluation import checks


def dataset(folder: Path, rows: int) -> Path:
    folder.mkdir()
    table = {"text": [f"text {n}" for n in range(rows)], "label_index": pa.array([n % 2 for n in range(rows)])}
    pq.write_table(pa.table({**table, "row_id": [str(n) for n in range(rows)]}), folder / "test.parquet")
    return folder


def test_all_rows_of_a_small_test_split_with_their_truth(tmp_path: Path) -> None:
    rows = pq.read_table(checks.write(dataset(tmp_path / "data", 5), tmp_path / "out" / "checks.parquet"))
    assert rows.to_pydict() == {"text": [f"text {n}" for n in range(5)], "truth": [0, 1, 0, 1, 0]}


@pytest.mark.parametrize("more", [1, 500])
def test_of_many_rows_the_same_sample_at_every_call(tmp_path: Path, more: int) -> None:
    made = dataset(tmp_path / "data", checks.MOST_ROWS + more)
    one, two = (checks.write(made, tmp_path / name) for name in ("one", "two"))
    assert files.sha256(one) == files.sha256(two)
    rows = pq.read_table(one).to_pydict()
    numbers = [int(words.split()[1]) for words in rows["text"]]
    assert len(set(numbers)) == checks.MOST_ROWS
    assert numbers == sorted(numbers)
    assert numbers[-1] > checks.MOST_ROWS * 0.9
    assert rows["truth"] == [number % 2 for number in numbers]
