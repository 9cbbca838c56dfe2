from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evertune import files
from evertune.records import UnfitError
from evertune.tuning import batches

LENGTHS = np.random.default_rng(3).integers(3, 128, 2000)


def test_an_epoch_holds_each_row_once_within_the_budget() -> None:
    plan = batches.plan(LENGTHS, 1024, seed=1, epoch=0)
    assert sorted(np.concatenate(plan).tolist()) == list(range(2000))
    assert all(LENGTHS[batch].sum() <= 1024 for batch in plan)
    filled = sum(LENGTHS[batch].sum() for batch in plan) / (1024 * len(plan))
    assert filled > 0.93


def test_rows_of_a_batch_are_of_near_equal_length() -> None:
    plan = batches.plan(LENGTHS, 1024, seed=1, epoch=0)
    padded = sum(LENGTHS[batch].max() * len(batch) for batch in plan)
    assert LENGTHS.sum() / padded > 0.8
    apart = np.random.default_rng(0).permutation(2000).reshape(-1, 8)
    assert LENGTHS.sum() / sum(LENGTHS[batch].max() * len(batch) for batch in apart) < 0.6


def test_seed_and_epoch_decide_the_plan() -> None:
    def flat(seed: int, epoch: int) -> list[int]:
        return np.concatenate(batches.plan(LENGTHS, 512, seed, epoch)).tolist()  # type: ignore[no-any-return]

    assert flat(1, 0) == flat(1, 0)
    assert flat(1, 0) != flat(1, 1)
    assert flat(1, 0) != flat(2, 0)


def test_rows_meet_others_in_each_epoch() -> None:
    def pairs(epoch: int) -> set[tuple[int, int]]:
        plan = batches.plan(LENGTHS, 512, 1, epoch)
        return {(a, b) for batch in plan for a in batch.tolist() for b in batch.tolist() if a < b}

    one, two = pairs(0), pairs(1)
    assert len(one & two) < 0.5 * len(one)


def test_a_row_above_the_budget_is_a_batch_of_its_own() -> None:
    plan = batches.plan(np.array([5, 300, 5]), 16, seed=1, epoch=0)
    assert sorted(sorted(batch.tolist()) for batch in plan) == [[0, 2], [1]]


def test_a_dataset_is_read_without_loading_its_ids(dataset: Path) -> None:
    rows = batches.load(dataset, "train")
    assert isinstance(rows.flat, np.memmap)
    assert len(rows) == 200
    assert rows.tokens == rows.lengths.sum()
    first, third = rows.ids(np.array([0, 2]))
    assert (first[0], first[-1]) == (2, 3)
    assert len(third) == rows.lengths[2]


def test_a_dataset_that_does_not_fit_together_is_refused(dataset: Path, tmp_path: Path) -> None:
    import shutil

    with files.new_folder(tmp_path / "d") as folder:
        for path in dataset.iterdir():
            shutil.copyfile(path, folder / path.name)
        np.save(folder / "train.offsets.npy", np.array([0, 5, 9]))
    with pytest.raises(UnfitError, match="does not fit together"):
        batches.load(tmp_path / "d", "train")


def test_classes_weigh_the_same_whatever_their_rows() -> None:
    truth = np.array([0, 0, 0, 2])
    rows = batches.Rows(np.zeros(4, np.int32), np.arange(5), truth)
    weights = rows.class_weights(4)
    assert weights.tolist() == pytest.approx([2 / 3, 0, 2, 0]), "of a class without rows nothing is asked"
    assert weights[truth].mean() == pytest.approx(1)
