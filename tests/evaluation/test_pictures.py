import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.made import evaluation_of, without_champion, won_and_lost

from evertune.evaluation import pictures


def size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    return width, height


@pytest.mark.parametrize("classes", [3, 60])
def test_the_champions_confusion_stands_beside_the_challengers(tmp_path: Path, classes: int) -> None:
    labels = [f"class $_{i} with a rather long name indeed" for i in range(classes)]
    matrix = [[i * j % 7 for j in range(classes)] for i in range(classes)]
    pictures.confusion(labels, matrix, None, tmp_path / "one.png")
    pictures.confusion(labels, matrix, matrix, tmp_path / "two.png")
    (one, height), (two, _) = size(tmp_path / "one.png"), size(tmp_path / "two.png")
    assert two > 1.5 * one
    assert height < 2000


def test_slices_are_drawn_with_and_without_a_champion(tmp_path: Path) -> None:
    pairs = won_and_lost(9, 5, 200)
    for name, these in (("both", pairs), ("alone", without_champion(pairs))):
        pictures.slices(evaluation_of(these), tmp_path / f"{name}.png", 30)
        assert size(tmp_path / f"{name}.png")[0] > 500


def test_a_learning_curve_may_have_gaps(tmp_path: Path) -> None:
    curve: list[dict[str, Any]] = [
        {"step": 10, "loss": 0.7, "validation_loss": None},
        {"step": 20, "loss": 0.5, "validation_loss": 0.6, "f1": 0.8},
    ]
    pictures.learning_curve(curve, tmp_path / "curve.png")
    pictures.learning_curve([], tmp_path / "none.png")
    assert size(tmp_path / "curve.png") == size(tmp_path / "none.png")


def test_equal_inputs_give_equal_bytes_and_no_global_state(tmp_path: Path) -> None:
    evaluation = evaluation_of(won_and_lost(9, 5, 200))
    pictures.slices(evaluation, tmp_path / "a.png")
    pictures.slices(evaluation, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert "matplotlib.pyplot" not in sys.modules
