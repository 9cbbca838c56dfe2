from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.monitoring.made import LABELS, WIDTH, answers

from evertune import files
from evertune.monitoring import features, reference
from evertune.monitoring.reference import Reference, bins
from evertune.monitoring.samples import Sample
from evertune.records import UnfitError


def equal(one: Reference, other: Reference) -> bool:
    same = (one.seed, one.rows, one.embedded, one.texts) == (other.seed, other.rows, other.embedded, other.texts)
    names = [field.name for field in fields(Reference) if isinstance(getattr(one, field.name), np.ndarray)]
    return (
        same
        and all((getattr(one, name) == getattr(other, name)).all() for name in names)
        and (one.embeddings == other.embeddings).all()
        and (one.scores == other.scores).all()
        and (one.truth == other.truth).all()
    )


def pieces(cuts: list[int], rows: int = 700) -> list[Sample]:
    whole = answers(rows)
    return [whole.take(part) for part in np.split(np.arange(rows), sorted(cuts))]


@pytest.fixture(autouse=True)
def few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "KEPT", 50)


@settings(deadline=None, max_examples=10)
@given(st.lists(st.integers(0, 700), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_merged_pieces_are_the_whole_in_any_order(cuts: list[int], order: object) -> None:
    parts = [Reference.of(part) for part in pieces(cuts)]
    order.shuffle(parts)  # type: ignore[attr-defined]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    assert equal(merged, Reference.of(answers(700)))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 700), min_size=2, max_size=2))
def test_merging_is_commutative_and_associative(cuts: list[int]) -> None:
    one, two, three = (Reference.of(part) for part in pieces(cuts))
    assert equal(one.merge(two), two.merge(one))
    assert equal(one.merge(two).merge(three), one.merge(two.merge(three)))


def test_equal_rows_without_ids_merge_as_well() -> None:
    same = replace(answers(60).take(np.zeros(60, np.int64)), ids=())
    assert equal(Reference.of(same).merge(Reference.of(same)), Reference.of(Sample.concat([same, same])))


def test_an_id_tells_equal_rows_apart() -> None:
    same = answers(60).take(np.zeros(60, np.int64))
    assert len(set(Reference.of(replace(same, ids=())).keys.tolist())) == 1
    assert len(set(Reference.of(replace(same, ids=answers(60).ids)).keys.tolist())) == 50


def test_kept_rows_are_a_fair_sample() -> None:
    kept = [Reference.of(answers(500), seed).kept.ids for seed in range(20)]
    first = sum(int(name.split()[-1]) < 250 for names in kept for name in names)
    assert abs(first / (20 * 50) - 0.5) < 0.08


def test_a_million_rows_are_no_larger_than_a_thousand(tmp_path: Path) -> None:
    piece = Reference.of(answers(1_000))
    million = piece
    for _ in range(10):  # doubled ten times: the sums of a million rows
        million = million.merge(million)
    assert million.rows == 1_024_000
    assert np.allclose(million.mean, piece.mean)
    piece.write(tmp_path / "small")
    million.write(tmp_path / "large")
    small, large = ((tmp_path / name / "reference.npz").stat().st_size for name in ("small", "large"))
    assert large <= small


def test_what_was_written_is_read(tmp_path: Path) -> None:
    whole = Reference.of(answers(100), lacks="much")
    whole.write(tmp_path / "r")
    read = Reference.read(tmp_path / "r")
    assert equal(read, whole)
    assert (read.labels, read.kept.ids, read.lacks) == (whole.labels, whole.kept.ids, "much")


def test_one_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(files.CorruptError, match="is gone"):
        Reference.read(tmp_path / "none")


@pytest.mark.parametrize("name", ["reference.npz", "reference.json"])
def test_a_torn_one_is_told(tmp_path: Path, name: str) -> None:
    Reference.of(answers(10)).write(tmp_path / "r")
    path = tmp_path / "r" / name
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(files.CorruptError):
        Reference.read(tmp_path / "r")


def test_one_of_another_version_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_FORMAT", 1)
    Reference.of(answers(10)).write(tmp_path / "r")
    monkeypatch.undo()
    with pytest.raises(files.CorruptError, match="another version"):
        Reference.read(tmp_path / "r")


def test_other_seeds_and_labels_do_not_merge() -> None:
    with pytest.raises(UnfitError, match="cannot be merged"):
        Reference.of(answers(5), 1).merge(Reference.of(answers(5), 2))
    with pytest.raises(UnfitError, match="cannot be merged"):
        Reference.of(answers(5)).merge(Reference.of(replace(answers(5), labels=("x", "y", "z"))))


def test_rows_that_are_no_numbers_are_counted_out() -> None:
    some = answers(20)
    some.embeddings[3] = np.nan
    found = Reference.of(some)
    assert (found.rows, found.embedded) == (20, 19)
    assert np.isfinite(found.mean).all()


def test_an_empty_reference_is_one(tmp_path: Path) -> None:
    none = Reference.of(Sample.empty(WIDTH, LABELS))
    none.write(tmp_path / "none")
    assert Reference.read(tmp_path / "none").rows == 0
    assert equal(none.merge(Reference.of(answers(9))), Reference.of(answers(9)))
    assert none.novelty(answers(2).embeddings).tolist() == [1, 1]


def test_counts_are_of_all_rows() -> None:
    some = replace(answers(300), truth=np.where(np.arange(300) < 100, answers(300).truth, -1))
    found = Reference.of(some)
    assert found.predicted_counts.sum() == found.histograms[0].sum() == found.confidences.sum() == 300
    assert found.truth_counts.sum() == found.confusion.sum() == 100
    assert np.trace(found.confusion) == (some.predicted == some.truth)[:100].sum()
    assert (found.confusion.sum(axis=1) == found.truth_counts).all()


def test_what_lies_far_off_is_novel() -> None:
    known = Reference.of(answers(500))
    far = -10 * np.random.default_rng(5).standard_normal((3, WIDTH)).sum(axis=0, keepdims=True).astype(np.float32)
    assert known.novelty(far)[0] > 0.95
    assert 0.3 < known.novelty(answers(400, 1).embeddings).mean() < 0.7
    assert known.novelty(np.full((1, WIDTH), np.nan, np.float32)).tolist() == [1]


def test_bins_rise_with_the_probability() -> None:
    at = bins(np.array([0.0, 1e-5, 0.2, 0.5, 0.8, 1 - 1e-5, 1.0, np.nan]))
    assert (np.diff(at[:-1]) > 0).all()
    assert at[-1] == at[0]


def test_features_of_a_row_do_not_depend_on_the_rows_beside_it() -> None:
    rows = answers(1_500).embeddings
    whole = features.of(rows, 0)
    for place in (0, 511, 512, 1_499):
        assert (features.of(rows[place : place + 1], 0)[0] == whole[place]).all()
    assert np.allclose((whole**2).sum(axis=1), 1, atol=1e-5)
