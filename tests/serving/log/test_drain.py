from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.serving.log.made import answer, feedback, segment

from evertune import files
from evertune.ledger.segments import Segment
from evertune.records import UnreachableError
from evertune.serving.log import Answer, Feedback, codec, drain, parquet, reading
from evertune.serving.log.drain import DAMAGED, NOTE
from evertune.serving.log.frames import HEADER_BYTES
from evertune.serving.log.ids import Place

SECOND = int(datetime(2026, 11, 22, 18, 59, 59, tzinfo=UTC).timestamp())
NUMBER = 0x29CD000000_C0FFEE


@pytest.fixture
def traffic(tmp_path: Path) -> Path:
    return tmp_path / "traffic"


@pytest.fixture
def node(traffic: Path) -> Path:
    return traffic / "vm-c0ffee"


def write(node: Path, *records: Answer | Feedback, number: int = NUMBER) -> tuple[Path, list[str]]:
    """A closed segment with these records, a second apart; returns it and their ids."""
    path = node / f"{number:016x}.log"
    payloads = [codec.encode(record, SECOND + at, at) for at, record in enumerate(records)]
    offsets = segment(path, payloads, number)
    return path, [Place(SECOND + at, number, offset, at).encode() for at, offset in enumerate(offsets)]


def drained(node: Path, on_closed: Callable[[Segment], None] | None = None) -> int:
    done = drain.drain(node, node.parent / "parquet", lambda _path: False)
    drain.tell(node, on_closed)
    return done


def texts(traffic: Path, project: str = "spam") -> list[str]:
    """The texts of all drained answers, in order."""
    everything = reading.traffic(
        traffic.parent, project, datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
    )
    return list(everything.to_table(columns=["text"]).column("text").to_pylist())


def test_records_go_to_the_files_of_their_project_hour_and_kind(traffic: Path, node: Path) -> None:
    path, ids = write(node, answer(1), answer(2), answer(3, "ham"), feedback("x"))
    told: list[Segment] = []
    size = path.stat().st_size
    assert drained(node, told.append) == 1
    name = f"{NUMBER:016x}"
    found = sorted(str(file.relative_to(traffic / "parquet")) for file in traffic.rglob("*.parquet"))
    assert found == [
        f"ham/2026-11-22/19/{name}.answers.parquet",
        f"spam/2026-11-22/18/{name}.answers.parquet",
        f"spam/2026-11-22/19/{name}.answers.parquet",
        f"spam/2026-11-22/19/{name}.feedback.parquet",
    ]
    (row,) = told
    assert (row.id, row.node, row.records, row.bytes, row.damaged) == (name, "vm-c0ffee", 4, size, 0)
    assert row.hours == {"ham": {"2026-11-22/19": 1}, "spam": {"2026-11-22/18": 1, "2026-11-22/19": 2}}
    assert row.folder == str(traffic / "parquet")
    assert list(node.iterdir()) == []
    assert [reading.find(traffic, id_) is not None for id_ in ids] == [True, True, True, False]


def test_the_segment_that_is_written_is_left_alone(node: Path) -> None:
    path, _ = write(node, answer(1))
    assert drain.drain(node, node.parent / "parquet", path.__eq__) == 0
    assert path.exists()


def test_the_order_is_that_of_segments_and_offsets(traffic: Path, node: Path) -> None:
    write(node, answer(3), answer(4), number=NUMBER + (1 << 24))
    write(node, answer(1), answer(2), number=NUMBER)
    assert drained(node) == 2
    assert texts(traffic) == [f"text {number}" for number in (1, 2, 3, 4)]


class KilledError(BaseException):
    """Stands for kill -9: nothing catches it."""


def _killable(patch: pytest.MonkeyPatch, at: int) -> list[str]:
    """Each step of a drain, before and after; the one of this number is the last. Returns the names of those passed."""
    passed: list[str] = []

    def moment(name: str) -> None:
        passed.append(name)
        if len(passed) == at:
            raise KilledError

    def wrap(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def stepwise(*arguments: Any, **options: Any) -> Any:
            moment(f"before {name}")
            given = real(*arguments, **options)
            moment(f"after {name}")
            return given

        patch.setattr(owner, name, stepwise)

    wrap(parquet, "write")
    wrap(files, "write_json")
    wrap(Path, "replace")
    wrap(Path, "unlink")
    wrap(drain, "_put_away")
    return passed


def test_a_drain_that_is_killed_at_any_step_leaves_each_record_once(tmp_path: Path) -> None:
    steps = 10_000
    at = 0
    while at < steps:
        at += 1
        node = tmp_path / str(at) / "traffic" / "vm-c0ffee"
        _, ids = write(node, answer(1), answer(2), feedback("x"))
        told: list[Segment] = []
        with pytest.MonkeyPatch.context() as patch:
            passed = _killable(patch, at)
            try:
                drained(node, told.append)
                steps = at
            except KilledError:
                assert passed[-1]
        traffic = node.parent
        assert [reading.find(traffic, id_) is not None for id_ in ids] == [True, True, False], passed
        assert len(list(reading.recent_feedback(traffic, "spam", datetime(2020, 1, 1, tzinfo=UTC)))) == 1, passed
        drained(node, told.append)
        assert texts(traffic) == ["text 1", "text 2"], passed
        assert [reading.find(traffic, id_) is not None for id_ in ids] == [True, True, False], passed
        assert len(list(reading.recent_feedback(traffic, "spam", datetime(2020, 1, 1, tzinfo=UTC)))) == 1, passed
        assert told, passed
        assert all(row == told[0] for row in told), passed
        assert list(node.iterdir()) == [], passed
    assert steps > 15


def test_while_the_ledger_is_away_notes_wait_and_segments_do_not(traffic: Path, node: Path) -> None:
    def away(_segment: Segment) -> None:
        raise UnreachableError("away")

    write(node, answer(1))
    with pytest.raises(UnreachableError):
        drained(node, away)
    assert [path.suffix for path in node.iterdir()] == [NOTE]
    assert texts(traffic) == ["text 1"]
    told: list[Segment] = []
    assert drained(node, told.append) == 0
    assert [row.records for row in told] == [1]


@pytest.mark.parametrize("spoil", ["", "{", "null", '{"id": 1}'])
def test_a_note_that_cannot_be_read_keeps_none_behind_it_from_the_ledger(
    node: Path, spoil: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[Segment] = []
    for number in (1, 2):
        write(node, answer(number), number=number)
    drain.drain(node, node.parent / "parquet", lambda _path: False)
    first, second = sorted(node.iterdir())
    first.write_text(spoil)
    assert drain.tell(node, told.append) == 1
    assert [row.id for row in told] == [second.stem]
    assert [path.name for path in node.iterdir()] == [first.name + DAMAGED]
    assert "log.note_lost" in capsys.readouterr().out


def test_a_torn_tail_is_counted_and_the_rest_drained(traffic: Path, node: Path) -> None:
    path, _ = write(node, answer(1), answer(2))
    with path.open("rb+") as stream:
        stream.truncate(path.stat().st_size - 3)
    told: list[Segment] = []
    drained(node, told.append)
    assert texts(traffic) == ["text 1"]
    assert (told[0].records, told[0].damaged > 100) == (1, True)
    assert list(node.iterdir()) == []


def test_a_flipped_record_is_told_and_skipped_and_the_segment_kept_for_somebody_to_see(
    traffic: Path, node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, ids = write(node, answer(1), answer(2), answer(3))
    data = bytearray(path.read_bytes())
    data[data.index(b"text 2")] ^= 1
    path.write_bytes(data)
    assert [reading.find(traffic, id_) is not None for id_ in ids] == [True, False, True]
    told: list[Segment] = []
    drained(node, told.append)
    assert texts(traffic) == ["text 1", "text 3"]
    assert [reading.find(traffic, id_) is not None for id_ in ids] == [True, False, True]
    assert (told[0].records, told[0].damaged > 100) == (2, True)
    assert [file.suffix for file in node.iterdir()] == [DAMAGED]
    assert "log.records_damaged" in capsys.readouterr().out


def test_a_segment_without_a_header_is_put_away(node: Path) -> None:
    path, _ = write(node, answer(1))
    path.write_bytes(bytes(HEADER_BYTES) + path.read_bytes()[HEADER_BYTES:])
    assert drained(node) == 0
    assert [file.suffix for file in node.iterdir()] == [DAMAGED]


@pytest.mark.parametrize("size", [0, 1, HEADER_BYTES - 1, HEADER_BYTES])
def test_a_segment_that_was_only_begun_goes_without_a_row(node: Path, size: int) -> None:
    path, _ = write(node)
    with path.open("rb+") as stream:
        stream.truncate(size)
    told: list[Segment] = []
    assert drained(node, told.append) == 1
    assert (told, list(node.iterdir())) == ([], [])


def test_a_segment_of_a_newer_version_is_left_as_it_is(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evertune.serving.log.frames.VERSION", 2)
    path, _ = write(node, answer(1))
    monkeypatch.undo()
    assert drained(node) == 0
    assert path.exists()


def test_a_record_that_nobody_can_read_does_not_hold_up_the_others(traffic: Path, node: Path) -> None:
    strange = bytearray(codec.encode(answer(9), SECOND, 1))
    strange[0] = 77
    path = node / f"{NUMBER:016x}.log"
    segment(path, [codec.encode(answer(1), SECOND, 1), bytes(strange), codec.encode(answer(2), SECOND, 1)], NUMBER)
    told: list[Segment] = []
    drained(node, told.append)
    assert texts(traffic) == ["text 1", "text 2"]
    assert [file.suffix for file in node.iterdir()] == [DAMAGED]
