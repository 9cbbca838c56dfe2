"""The file of labelled traffic that a run learns from."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from evertune import files
from evertune.data import labelled
from evertune.data.labelled import LabelledRow
from evertune.records import UnfitError
from evertune.settings import Settings, load

ROWS = [
    LabelledRow("b", "a text", "good", "f" * 64, "expert", 0.25, True, 1, datetime(2026, 11, 1, tzinfo=UTC)),
    LabelledRow("a", "another", "bad", None, "correction", None, False, 2, datetime(2026, 11, 2, 3, 4, tzinfo=UTC)),
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"EVERTUNE_HOME": str(tmp_path / "home")})


def test_it_comes_back_in_the_order_of_ids(settings: Settings) -> None:
    watermark = labelled.write(ROWS, settings, "shop")
    assert list(labelled.read(settings, "shop", watermark)) == sorted(ROWS)


def test_the_same_labels_are_the_same_file(settings: Settings) -> None:
    one = labelled.write(ROWS, settings, "shop")
    changed = labelled.place(settings, "shop", one).stat().st_mtime_ns
    assert labelled.write(ROWS[::-1], settings, "shop") == one
    assert labelled.place(settings, "shop", one).stat().st_mtime_ns == changed
    assert labelled.write([ROWS[0], ROWS[1]._replace(label="good")], settings, "shop") != one


def test_one_that_is_gone_or_changed_is_told(settings: Settings) -> None:
    watermark = labelled.write(ROWS, settings, "shop")
    path = labelled.place(settings, "shop", watermark)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(files.CorruptError, match="its bytes have changed"):
        list(labelled.read(settings, "shop", watermark))
    path.unlink()
    with pytest.raises(UnfitError, match=r"are gone.*Start a new run"):
        list(labelled.read(settings, "shop", watermark))
