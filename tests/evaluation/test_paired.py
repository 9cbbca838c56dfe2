import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.made import without_champion, won_and_lost

from evertune import files
from evertune.evaluation import paired
from evertune.records import UnfitError


@pytest.mark.parametrize("champion", [True, False])
def test_what_is_written_is_read(tmp_path: Path, champion: bool) -> None:
    pairs = won_and_lost(5, 3, 40)
    pairs = pairs if champion else without_champion(pairs)
    paired.write(pairs, tmp_path / "pairs.parquet")
    found = paired.load(tmp_path / "pairs.parquet")
    assert found.row_ids == pairs.row_ids
    assert (found.labels, found.columns, found.min_slice_rows) == (pairs.labels, pairs.columns, pairs.min_slice_rows)
    assert np.array_equal(found.truth, pairs.truth)
    assert np.array_equal(found.groups, pairs.groups)
    assert np.array_equal(found.challenger, pairs.challenger)
    assert set(found.opponents) == set(pairs.opponents)
    assert all(np.array_equal(found.opponents[name], pairs.opponents[name]) for name in pairs.opponents)


def test_a_changed_file_of_a_sealed_folder_is_refused(tmp_path: Path) -> None:
    with files.new_folder(tmp_path / "out") as folder:
        paired.write(won_and_lost(5, 3, 40), folder / "pairs.parquet")
    file = tmp_path / "out" / "pairs.parquet"
    changed = bytearray(file.read_bytes())
    changed[50] ^= 1
    file.write_bytes(changed)
    with pytest.raises(files.CorruptError, match=r"pairs\.parquet"):
        paired.load(file)


def test_what_is_no_pairs_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match="no pairs file"):
        paired.load(tmp_path / "away.parquet")
    (tmp_path / "odd.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UnfitError, match="paired answers"):
        paired.load(tmp_path / "odd.parquet")


def test_slices_are_the_values_of_each_column() -> None:
    slices = dict(won_and_lost(5, 3, 40).slices())
    assert set(slices) == {"class=class 0", "class=class 1", "half=first", "half=second"}
    assert slices["half=first"].tolist() == [True] * 20 + [False] * 20


def test_of_a_column_of_free_text_only_the_most_frequent_values_are_slices() -> None:
    pairs = won_and_lost(5, 3, 200)
    pairs.columns["half"][:] = [f"text {i // 2 if i < 100 else i}" for i in range(200)]  # type: ignore[index]  # a list here
    names = [name for name, _ in pairs.slices() if name.startswith("half=")]
    assert len(names) == paired.MOST_VALUES
    assert set(names) == {f"half=text {i}" for i in range(50)}


def test_groups_are_numbered_by_name() -> None:
    numbers = paired.number_groups(["b", "a", "b", "c"])
    assert numbers[0] == numbers[2]
    assert len(set(numbers.tolist())) == 3


def test_the_pairs_of_recent_traffic_lie_beside_them(tmp_path: Path) -> None:
    weights = np.linspace(0.5, 1.5, 30)
    recent = dataclasses.replace(won_and_lost(4, 2, 30), weights=weights, columns={})
    paired.write(dataclasses.replace(won_and_lost(5, 3, 40), recent=recent), tmp_path / "pairs.parquet")
    found = paired.load(tmp_path / "pairs.parquet")
    assert found.weights is None
    assert found.recent is not None
    assert found.recent.weights is not None
    assert found.recent.weights.tolist() == weights.tolist()
    assert (len(found), len(found.recent)) == (40, 30)
    swapped = found.swapped()
    assert swapped.recent is not None
    assert np.array_equal(swapped.recent.challenger, recent.opponents["champion"])


def test_without_recent_traffic_there_is_one_file(tmp_path: Path) -> None:
    paired.write(won_and_lost(5, 3, 40), tmp_path / "pairs.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.parquet"]
    assert paired.load(tmp_path / "pairs.parquet").recent is None
