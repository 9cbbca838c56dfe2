import numpy as np

from evertune.evaluation import baselines


def test_majority_tells_the_shares_of_training() -> None:
    found = baselines.majority(np.array([0, 1, 1, 1]), 3, 2)
    assert found.tolist() == [[0.25, 0.75, 0.0]] * 2


def test_the_pick_is_balanced_and_stable() -> None:
    train = np.array([0] * 5000 + [1] * 30 + [2] * 5000)
    picked = baselines.pick(train, 3)
    assert np.bincount(train[picked]).tolist() == [333, 30, 333]
    assert np.array_equal(picked, baselines.pick(train, 3))


def test_the_nearest_mean_is_answered_by_direction() -> None:
    train = np.array([[1, 0.1], [1, -0.1], [0.1, 1], [-0.1, 1]], np.float32)
    rows = np.array([[9, 1], [0.1, 0.9]], np.float32)
    found = baselines.nearest_label(rows, train, np.array([0, 0, 1, 1]), 2)
    assert found.argmax(axis=1).tolist() == [0, 1]
    assert np.allclose(found.sum(axis=1), 1)


def test_a_class_without_training_rows_is_never_answered() -> None:
    train = np.array([[1, 0], [0, 1]], np.float32)
    found = baselines.nearest_label(np.array([[-1, -1]], np.float32), train, np.array([0, 2]), 3)
    assert found[0, 1] == 0
    assert np.isfinite(found).all()
