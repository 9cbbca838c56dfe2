from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving.log.made import answer, feedback, fill, same
from tests.serving.log.test_ids import PLACES

from evertune.serving.log import Answer, Feedback, codec, drain, frames, reading
from evertune.serving.log.ids import Place, decode
from evertune.serving.log.nodes import folders

HOUR = datetime(2026, 11, 22, 18, 30, tzinfo=UTC)
EVER = datetime(2020, 1, 1, tzinfo=UTC)


class Clock:
    """A second more at each look."""

    def __init__(self, now: datetime = HOUR) -> None:
        self.now = now.timestamp()

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which a first server's traffic is drained, and a second one's is not."""
    home = tmp_path_factory.mktemp("home")
    fill(home, [answer(1), answer(2), answer(3, "ham")], clock=Clock())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evertune.serving.log.traffic.drain", lambda *_: 0)
        fill(home, [answer(4), answer(5, "ham")], clock=Clock(HOUR + timedelta(hours=1)))
    return home


@pytest.fixture(scope="module")
def ids(home: Path) -> dict[str, int]:
    """Id → number of its answer: found by looking at everything."""
    found = {}
    for project in ("spam", "ham"):
        for row in reading.traffic(home, project, EVER, EVER + timedelta(days=9999)).to_table().to_pylist():
            found[row["id"]] = int(row["text"].split()[1])
    (open_segment,) = (home / "traffic").glob("*/*.log")
    contents = frames.read(open_segment)
    for offset, payload in contents.records:
        logged = codec.decode(payload)
        id_ = Place(logged.second, contents.header.segment, offset, logged.random).encode()
        found[id_] = int(logged.record.text.split()[1]) if isinstance(logged.record, Answer) else 0
    assert sorted(found.values()) == [1, 2, 3, 4, 5]
    return found


def test_every_answer_is_found_in_segments_and_in_parquet(home: Path, ids: dict[str, int]) -> None:
    for id_, number in ids.items():
        found = reading.find(home / "traffic", id_)
        assert found is not None
        assert found.id == id_
        assert same(found.answer, answer(number, "ham" if number in (3, 5) else "spam"))


def test_an_id_of_another_project_is_none(home: Path, ids: dict[str, int]) -> None:
    for id_, number in ids.items():
        mine, other = ("ham", "spam") if number in (3, 5) else ("spam", "ham")
        assert reading.find(home / "traffic", id_, mine) is not None
        assert reading.find(home / "traffic", id_, other) is None


@given(st.data())
def test_find_never_raises_and_never_gives_another_record(home: Path, ids: dict[str, int], data: st.DataObject) -> None:
    id_ = data.draw(st.sampled_from(sorted(ids)))
    place = decode(id_)
    assert place is not None
    other = data.draw(PLACES)
    mixed = Place(*(data.draw(st.sampled_from(pair)) for pair in zip(place, other, strict=True)))
    wanted = data.draw(st.one_of(st.text(), st.just(mixed.encode()), st.just(id_[:-1]), st.just(id_.swapcase())))
    found = reading.find(home / "traffic", wanted)
    assert (found is None) == (wanted not in ids)
    if found is not None:
        assert found.id == wanted
        assert found.answer.text == f"text {ids[wanted]}"


def test_a_wrong_random_part_is_none(home: Path, ids: dict[str, int]) -> None:
    for id_ in ids:
        place = decode(id_)
        assert place is not None
        for random in (0, place.random ^ 1, place.random ^ (1 << 63)):
            assert reading.find(home / "traffic", place._replace(random=random).encode()) is None
        assert reading.find(home / "traffic", place._replace(second=place.second + 1).encode()) is None
        assert reading.find(home / "traffic", place._replace(second=2**40 - 1).encode()) is None


def test_an_id_of_another_home_is_none(home: Path, tmp_path: Path) -> None:
    (foreign,) = fill(tmp_path, [answer(1)])
    assert reading.find(home / "traffic", foreign) is None
    assert reading.feedback_of(home / "traffic", foreign).newest == []
    assert reading.find(tmp_path / "nowhere", foreign) is None


def test_traffic_is_cut_by_time_and_comes_in_the_order_of_segments(tmp_path: Path) -> None:
    records: list[Answer | Feedback] = [
        answer(number, answered=HOUR + timedelta(minutes=10 * number)) for number in range(12)
    ]
    clock = Clock()
    clock.now -= 1

    def ten_minutes() -> float:
        clock.now += 300  # the clock is read twice an answer: for its id and for its segment
        return clock.now

    fill(tmp_path, [*records, answer(99, "ham")], clock=ten_minutes, segment_bytes=100)
    since, until = HOUR + timedelta(minutes=20), HOUR + timedelta(minutes=90)
    found = reading.traffic(tmp_path, "spam", since, until).to_table().to_pylist()
    assert [row["text"] for row in found] == [f"text {number}" for number in range(2, 9)]
    assert [row["segment"] for row in found] == sorted(row["segment"] for row in found)
    assert reading.traffic(tmp_path, "eggs", since, until).count_rows() == 0


def test_an_answer_that_was_written_in_the_next_hour_is_not_missed(tmp_path: Path) -> None:
    answered = datetime(2026, 11, 22, 18, 59, 59, 200_000, tzinfo=UTC)
    fill(tmp_path, [answer(1, answered=answered)], clock=Clock(answered))
    assert [path.parent.name for path in tmp_path.rglob("*.parquet")] == ["19"]
    until = answered + timedelta(milliseconds=1)
    assert reading.traffic(tmp_path, "spam", answered, until).count_rows() == 1


def test_all_feedback_of_an_answer_is_found_oldest_first(tmp_path: Path) -> None:
    (id_, other) = fill(tmp_path, [answer(1), answer(2)], clock=Clock())
    later = [Clock(HOUR + timedelta(hours=hours)) for hours in (1, 5)]
    fill(tmp_path, [feedback(id_, comment="1"), feedback(other, comment="x")], clock=later[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evertune.serving.log.traffic.drain", lambda *_: 0)
        fill(tmp_path, [feedback(id_, comment="2"), feedback(id_, comment="3")], clock=later[1])
    traffic = tmp_path / "traffic"
    assert [row.feedback.comment for row in reading.feedback_of(traffic, id_).newest] == ["1", "2", "3"]
    assert [row.feedback.comment for row in reading.feedback_of(traffic, other).newest] == ["x"]
    assert [row.feedback.comment for row in reading.recent_feedback(traffic, "spam", EVER)] == ["1", "x", "2", "3"]
    assert reading.feedback_of(traffic, "no id").newest == []
    assert list(reading.recent_feedback(traffic, "ham", EVER)) == []


@pytest.mark.parametrize("is_half_drained", [False, True])
def test_of_feedback_without_end_the_newest_is_found_and_all_is_counted(tmp_path: Path, is_half_drained: bool) -> None:
    (id_,) = fill(tmp_path, [answer(1)], clock=Clock())
    for hours in range(3):
        said = [feedback(id_, comment=f"{hours} {number}") for number in range(10)]
        with pytest.MonkeyPatch.context() as patch:
            if hours == 2 and is_half_drained:  # it is in Parquet, and its segment has not gone yet
                patch.setattr("evertune.serving.log.drain._put_away", lambda *_, **__: None)
            fill(tmp_path, said, clock=Clock(HOUR + timedelta(hours=hours)))
    found = reading.feedback_of(tmp_path / "traffic", id_, "spam", most=12)
    comments = [row.feedback.comment for row in found.newest]
    assert comments == ["1 8", "1 9", *(f"2 {number}" for number in range(10))]
    assert found.total == 30
    assert reading.feedback_of(tmp_path / "traffic", id_, most=50).total == 30


@pytest.mark.parametrize("moment", ["_in_parquet", "projects"])
def test_what_moves_behind_the_look_into_parquet_was_seen_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evertune.serving.log.traffic.drain", lambda *_: 0)
        (id_,) = fill(tmp_path, [answer(1)])
        fill(tmp_path, [feedback(id_)])
    traffic = tmp_path / "traffic"
    real = getattr(reading, moment)

    def look_and_move(*arguments: Any) -> Any:
        seen = real(*arguments)
        for node in folders(traffic):
            drain.drain(node, traffic / "parquet", lambda _path: False)
        return seen

    monkeypatch.setattr(reading, moment, look_and_move)
    assert reading.find(traffic, id_) is not None
    assert len(reading.feedback_of(traffic, id_).newest) == 1
    assert len(list(reading.recent_feedback(traffic, "spam", EVER))) == 1


def test_what_is_moved_meanwhile_is_found_all_the_time(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evertune.serving.log.traffic.drain", lambda *_: 0)
        ids = fill(tmp_path, [answer(number) for number in range(12)], segment_bytes=10)
        fill(tmp_path, [feedback(id_) for id_ in ids], segment_bytes=10)
    traffic = tmp_path / "traffic"
    assert len(list(traffic.glob("*/*.log"))) == 24
    ended = threading.Event()

    def move() -> None:
        for node in folders(traffic):
            drain.drain(node, traffic / "parquet", lambda _path: False)
        ended.set()

    mover = threading.Thread(target=move)
    mover.start()
    looks = 0
    while not ended.is_set() or looks < 3:
        looks += 1
        for id_ in ids[looks % 3 :: 3]:
            assert reading.find(traffic, id_) is not None
            assert len(reading.feedback_of(traffic, id_).newest) == 1
        assert len(list(reading.recent_feedback(traffic, "spam", EVER))) == 12
    mover.join()
    assert list(traffic.glob("*/*.log")) == []


def test_a_look_up_reads_the_hour_of_its_answer_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    (first,) = fill(tmp_path, [answer(1)], clock=clock)
    clock.now += 7200
    (later,) = fill(tmp_path, [answer(2)], clock=clock)
    fill(tmp_path, [feedback(first), feedback(later)], clock=clock)
    read: list[str] = []
    dataset = reading._dataset

    def noted(paths: list[Path], kind: str) -> Any:
        read.extend(f"{path.parent.name} {path.name.split('.')[1]}" for path in paths)
        return dataset(paths, kind)

    monkeypatch.setattr(reading, "_dataset", noted)
    monkeypatch.setattr(reading, "hours", lambda _: pytest.fail("all hours were looked through"))
    (said,) = reading.feedback_of(tmp_path / "traffic", first, "spam").newest
    assert said.feedback.prediction_id == first
    assert read == ["18 feedback"]
    assert reading.feedback_of(tmp_path / "traffic", first, "ham").newest == []
    assert len(reading.feedback_of(tmp_path / "traffic", later).newest) == 1


def test_feedback_lies_with_its_answer_and_its_age_is_its_own(tmp_path: Path) -> None:
    (id_,) = fill(tmp_path, [answer(1)], clock=Clock(HOUR - timedelta(days=30)))
    old, young = (feedback(id_, comment=comment, at=at) for comment, at in (("1", HOUR - timedelta(9)), ("2", HOUR)))
    for one in (old, young):
        fill(tmp_path, [one], clock=one.at.timestamp)
    traffic = tmp_path / "traffic"
    assert {path.parent.parent.name for path in traffic.rglob("*.parquet")} == {"2026-10-23"}
    assert [row.feedback.comment for row in reading.feedback_of(traffic, id_).newest] == ["1", "2"]
    assert [row.feedback.comment for row in reading.recent_feedback(traffic, "spam", HOUR - timedelta(7))] == ["2"]


def test_recent_feedback_begins_where_it_is_asked_to(tmp_path: Path) -> None:
    given_ = [feedback("x", comment=str(hours), at=HOUR + timedelta(hours=hours)) for hours in range(4)]
    for one in given_:
        fill(tmp_path, [one], clock=one.at.timestamp)
    found = reading.recent_feedback(tmp_path / "traffic", "spam", HOUR + timedelta(hours=2))
    assert [row.feedback.comment for row in found] == ["2", "3"]


def test_a_spoiled_parquet_file_is_told_and_the_others_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (id_,) = fill(tmp_path, [answer(1)])
    for comment in ("1", "2", "3"):
        fill(tmp_path, [feedback(id_, comment=comment)])
    traffic = tmp_path / "traffic"
    spoiled = sorted(traffic.rglob("*.feedback.parquet"))[1]
    spoiled.write_bytes(spoiled.read_bytes()[:100])
    assert [row.feedback.comment for row in reading.feedback_of(traffic, id_).newest] == ["1", "3"]
    assert [row.feedback.comment for row in reading.recent_feedback(traffic, "spam", EVER)] == ["1", "3"]
    (answers,) = traffic.rglob("*.answers.parquet")
    answers.write_bytes(answers.read_bytes()[:-50])
    assert reading.find(traffic, id_) is None
    assert "log.file_unread" in capsys.readouterr().out
