"""One label an answer, out of all that was said: expert over import over correction, the newest within one."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving.log.made import NOW, answer, feedback, fill, same

from evertune.serving.log import labels, reading
from evertune.serving.log.labels import Labelled, final, label_of, labelled
from evertune.serving.log.records import Feedback, StoredFeedback

LATER = NOW + timedelta(days=1)


def said(about: str, truth: str | None, minutes: int = 0, **changes: Any) -> Feedback:
    return feedback(about, truth=truth, at=NOW + timedelta(minutes=minutes), **changes)


def keep(home: Path, *records: Any, drained: bool = True) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        if not drained:
            patch.setattr("evertune.serving.log.traffic.drain", lambda *_: 0)
        return fill(home, list(records))


def found(home: Path, since: datetime | None = None, until: datetime = LATER, **more: Any) -> list[Labelled]:
    return labelled(home / "traffic", "spam", since, until, **more)


@pytest.mark.parametrize("drained", [True, False])
def test_an_answer_comes_with_the_label_that_counts(tmp_path: Path, drained: bool) -> None:
    first, second, third = keep(tmp_path, answer(1), answer(2), answer(3), drained=drained)
    keep(
        tmp_path,
        said(first, "import", 1, origin="import"),
        said(first, "expert", 2, origin="expert", probability=0.25),
        said(first, "correction", 3),
        said(second, "old", 1),
        said(second, "new", 2),
        said(third, None, 3, thumbs="up"),
        drained=drained,
    )
    by_id = {row.prediction_id: row for row in found(tmp_path)}
    assert {id_: (row.label, row.origin, row.probability) for id_, row in by_id.items()} == {
        first: ("expert", "expert", 0.25),
        second: ("new", "correction", None),
    }
    assert same(by_id[first].answer, answer(1))


def test_the_window_says_which_answers_and_all_of_the_past_says_which_label(tmp_path: Path) -> None:
    first, second = keep(tmp_path, answer(1), answer(2))
    keep(tmp_path, said(first, "expert", 0, origin="expert"), said(second, "before", 1))
    keep(tmp_path, said(first, "correction", 60), said(second, "after", 120))
    since, until = NOW + timedelta(minutes=30), NOW + timedelta(minutes=120)
    assert [(row.prediction_id, row.label) for row in found(tmp_path, since, until)] == [(first, "expert")]
    assert [(row.label, row.at) for row in found(tmp_path, until, LATER)] == [("after", until)]
    assert [row.label for row in found(tmp_path, None, since)] == ["expert", "before"]
    assert found(tmp_path, LATER, LATER) == []


def test_a_picked_answer_keeps_its_chance_whoever_labels_it_in_the_end(tmp_path: Path) -> None:
    (id_,) = keep(tmp_path, answer(1))
    keep(tmp_path, said(id_, "a", 1, origin="import", probability=0.1), said(id_, "b", 2, origin="expert"))
    (row,) = found(tmp_path)
    assert (row.label, row.probability) == ("b", 0.1)


def test_a_correction_is_a_label_where_it_names_a_class(tmp_path: Path) -> None:
    (id_,) = keep(tmp_path, answer(1))
    keep(tmp_path, said(id_, None, correction="b"))
    assert found(tmp_path) == []
    assert [row.label for row in found(tmp_path, classes=("a", "b"))] == ["b"]
    keep(tmp_path, said(id_, None, 1, correction="c", label="c"))
    assert [row.label for row in found(tmp_path)] == ["c"]


def test_another_projects_labels_and_lost_answers_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, other = keep(tmp_path, answer(1), answer(2, "ham"))
    keep(tmp_path, said(mine, "b"), said(other, "b", project="ham"), said("no id", "b"), said(other, "b", 2))
    assert [row.prediction_id for row in found(tmp_path)] == [mine]
    for path in (tmp_path / "traffic").rglob("*.answers.parquet"):
        path.write_bytes(path.read_bytes()[:-40])
    assert found(tmp_path) == []
    told = capsys.readouterr().out
    assert "log.labelled_answers_gone" in told
    assert "log.file_unread" in told


@pytest.mark.parametrize("drained", [True, False])
def test_answers_are_found_by_their_ids_in_their_own_project_alone(tmp_path: Path, drained: bool) -> None:
    mine, other = keep(tmp_path, answer(1), answer(2, "ham"), drained=drained)
    traffic = tmp_path / "traffic"
    found = labels.answers_of(traffic, "spam", {mine, other, "no id"})
    assert found.keys() == {mine}
    assert same(found[mine], answer(1))
    keep(tmp_path, said(mine, "b"), drained=drained)
    assert labels.labelled_ids(traffic, "spam", {mine, other}) == {mine}
    assert labels.labelled_ids(traffic, "ham", {mine, other}) == set()


def test_what_is_drained_behind_the_look_into_segments_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evertune.serving.log import drain
    from evertune.serving.log.nodes import folders

    (id_,) = keep(tmp_path, answer(1), drained=False)
    keep(tmp_path, said(id_, "b"), drained=False)
    real = labels._in_segment

    def move(*arguments: Any) -> Any:
        for node in folders(tmp_path / "traffic"):
            drain.drain(node, tmp_path / "traffic" / reading.PARQUET, lambda _path: False)
        return real(*arguments)

    monkeypatch.setattr(labels, "_in_segment", move)
    assert [row.label for row in found(tmp_path)] == ["b"]


STATEMENTS = st.builds(
    lambda origin, minutes, label, chance: said("x", label, minutes, origin=origin, probability=chance),
    st.sampled_from(labels.ORDER), st.integers(0, 5), st.sampled_from(["a", "b", None]),
    st.sampled_from([None, 0.5]),
)  # fmt: skip


@given(st.lists(STATEMENTS, max_size=6), st.randoms())
def test_the_order_of_reading_changes_nothing(statements: list[Feedback], random: Any) -> None:
    rows = [StoredFeedback(str(place), 1, place, one) for place, one in enumerate(statements)]
    shuffled = list(rows)
    random.shuffle(shuffled)
    one, other = final(rows), final(shuffled)
    assert one == other
    with_label = [row for row in statements if label_of(row) is not None]
    assert (one is None) == (not with_label)
    if one is not None:
        best = min(labels.ORDER.index(row.origin) for row in with_label)
        assert labels.ORDER.index(one.said.origin) == best
        assert one.said.at == max(row.at for row in with_label if labels.ORDER.index(row.origin) == best)
        assert (one.probability is None) == all(row.probability is None for row in with_label)
