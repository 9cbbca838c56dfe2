from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.serving.log.made import answer, feedback, fill, same

from evertune.files import BusyError
from evertune.ledger.segments import Segment
from evertune.records import UnreachableError
from evertune.serving.log import (
    LogError,
    LogFullError,
    StoredAnswer,
    StoredFeedback,
    TrafficLog,
    codec,
    drain,
    frames,
    parquet,
    reading,
    traffic,
)
from evertune.serving.log.nodes import Node, claim

EVER = datetime(2020, 1, 1, tzinfo=UTC)


def texts(home: Path, project: str = "spam") -> list[str]:
    """The texts of all drained answers, in order."""
    everything = reading.traffic(home, project, EVER, EVER + timedelta(days=9999))
    return list(everything.to_table(columns=["text"]).column("text").to_pylist())


def test_an_answer_is_found_at_once_and_after_the_drain(tmp_path: Path) -> None:
    async def run() -> None:
        log = TrafficLog(tmp_path)
        one, two = await log.append([answer(1), answer(2)])
        await log.append([feedback(one)])
        for _ in range(2):
            found = log.find(two)
            assert found is not None
            assert same(found.answer, answer(2))
            assert log.find(two, "ham") is None
            assert [row.feedback.truth for row in log.feedback(one).newest] == ["b"]
            assert len(list(log.recent_feedback("spam", EVER))) == 1
            await log.close()

    asyncio.run(run())
    assert texts(tmp_path) == ["text 1", "text 2"]


def test_a_log_that_is_closed_again_leaves_what_its_folder_holds_by_then(tmp_path: Path) -> None:
    async def run() -> None:
        log = TrafficLog(tmp_path)
        await log.close()
        after = TrafficLog(tmp_path)
        assert after.node == log.node
        (one,) = await after.append([answer(1)])
        await log.close()
        assert list(tmp_path.glob("traffic/*/*.log")), "a segment that is written to is not drained"
        await after.append([answer(2)])
        await after.close()
        assert after.find(one)

    asyncio.run(run())
    assert texts(tmp_path) == ["text 1", "text 2"]


def test_a_ledger_that_hangs_does_not_hold_up_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder stays its own: what still drains it may go on at any time."""
    monkeypatch.setattr(traffic, "END_S", 0.2)
    hangs = threading.Event()

    async def run() -> None:
        log = TrafficLog(tmp_path, on_closed=lambda _: hangs.wait(120))
        await log.append([answer(1)])
        await log.close()
        assert not hangs.is_set()
        with pytest.raises(BusyError):
            Node(tmp_path / "traffic" / log.node)
        hangs.set()
        monkeypatch.setattr(traffic, "END_S", 60)
        await log.close()
        Node(tmp_path / "traffic" / log.node).release()

    asyncio.run(asyncio.wait_for(run(), 200))
    assert texts(tmp_path) == ["text 1"]


def test_the_drainer_works_by_itself_and_tells_each_segment(tmp_path: Path) -> None:
    told: list[Segment] = []

    async def run() -> None:
        log = TrafficLog(tmp_path, on_closed=told.append, segment_s=0.2)
        await log.append([answer(1)])
        deadline = time.monotonic() + 120
        while not told:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        assert texts(tmp_path) == ["text 1"]
        await log.close()

    asyncio.run(run())
    assert [row.records for row in told] == [1]


@pytest.mark.parametrize("fault", [UnreachableError("away"), ZeroDivisionError()])
def test_a_ledger_that_is_away_holds_up_nothing(tmp_path: Path, fault: Exception) -> None:
    told: list[Segment] = []

    def away(_segment: Segment) -> None:
        raise fault

    fill(tmp_path, [answer(1), answer(2)], on_closed=away, segment_bytes=10)
    assert texts(tmp_path) == ["text 1", "text 2"]
    assert len(list(tmp_path.glob("traffic/*/*.drained"))) == 2
    fill(tmp_path, [answer(3)], on_closed=told.append)
    assert [row.records for row in told] == [1, 1, 1]
    assert list(tmp_path.glob("traffic/*/*.drained")) == []


def test_a_drain_that_fails_is_done_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("evertune.serving.log.parquet.write", full)
    fill(tmp_path, [answer(1)])
    assert len(list(tmp_path.glob("traffic/*/*.log"))) == 1
    monkeypatch.undo()
    fill(tmp_path, [])
    assert texts(tmp_path) == ["text 1"]
    assert list(tmp_path.glob("traffic/*/*.log")) == []


def test_two_servers_of_one_home_write_beside_each_other(tmp_path: Path) -> None:
    async def run() -> None:
        one, two = TrafficLog(tmp_path), TrafficLog(tmp_path)
        ids = [await log.append([answer(number)]) for number, log in enumerate((one, two, one, two))]
        for log in (one, two):
            assert [found.answer.text for (id_,) in ids if (found := log.find(id_))] == [
                f"text {number}" for number in range(4)
            ]
        await two.append([feedback(ids[0][0])])
        assert len(one.feedback(ids[0][0]).newest) == 1
        await one.close()
        await two.close()

    asyncio.run(run())
    assert sorted(texts(tmp_path)) == [f"text {number}" for number in range(4)]


def test_what_a_server_left_that_is_gone_is_drained_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = claim(tmp_path / "traffic")
    with monkeypatch.context() as patch:
        patch.setattr(traffic, "drain", lambda *_: 0)
        fill(tmp_path, [answer(1)])
    (left,) = tmp_path.glob("traffic/*/*.log")
    first.release()

    async def run() -> None:
        second = Node(left.parent)
        log = TrafficLog(tmp_path)
        log.recover()
        assert left.exists(), "its server lives"
        second.release()
        deadline = time.monotonic() + 120
        while left.exists():  # the drainer's thread may be at it already
            assert time.monotonic() < deadline
            log.recover()
        await log.close()

    asyncio.run(run())
    assert texts(tmp_path) == ["text 1"]


def test_old_traffic_goes(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    fill(tmp_path, [answer(1)], clock=(now - timedelta(days=8)).timestamp)
    fill(tmp_path, [answer(2)], days=30)
    assert texts(tmp_path) == ["text 1", "text 2"]
    fill(tmp_path, [answer(3)], days=lambda project: 7 if project == "ham" else 30)
    assert texts(tmp_path) == ["text 1", "text 2", "text 3"]
    fill(tmp_path, [], days=7)
    assert texts(tmp_path) == ["text 2", "text 3"]


@pytest.mark.parametrize("project", ["", "..", "a/b", "A", "a\n", "x" * 200])
def test_what_has_no_folder_is_refused(tmp_path: Path, project: str) -> None:
    with pytest.raises(LogError, match="no project's slug"):
        fill(tmp_path, [answer(1, project)])


def test_nothing_to_log_is_logged_at_once(tmp_path: Path) -> None:
    async def run() -> None:
        log = TrafficLog(tmp_path)
        assert await log.append([]) == []
        await log.close()
        with pytest.raises(LogError, match="closed"):
            await log.append([answer(1)])

    asyncio.run(run())
    assert list(tmp_path.glob("traffic/*/*.log")) == []


def test_one_that_cannot_be_kept_takes_none_of_its_call_along(tmp_path: Path) -> None:
    async def run() -> None:
        log = TrafficLog(tmp_path)
        with pytest.raises(LogError, match="cannot be kept"):
            await log.append([answer(1), answer(2, output={"x": object()})])
        await log.append([answer(3)])
        await log.close()

    asyncio.run(run())
    assert texts(tmp_path) == ["text 3"]


def test_outputs_of_any_shape_are_drained(tmp_path: Path) -> None:
    outputs = [{"label": 1, "scores": "x", "cut": 0, "tokens": 2**64 - 1}, {"scores": [None]}, {"tokens": "x"}, {}]
    ids = fill(tmp_path, [answer(number, output=output) for number, output in enumerate(outputs)])
    found = [reading.find(tmp_path / "traffic", id_) for id_ in ids]
    assert [row.answer.output for row in found if row] == outputs


def test_one_segment_that_cannot_be_drained_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = parquet.write

    def stumble(path: Path, kind: str, rows: Iterable[StoredAnswer | StoredFeedback]) -> None:
        some = list(rows)
        if isinstance(some[0], StoredAnswer) and some[0].answer.text == "text 1":
            raise ZeroDivisionError
        real(path, kind, some)

    monkeypatch.setattr(parquet, "write", stumble)
    ids = fill(tmp_path, [answer(1), answer(2)], segment_bytes=10)
    assert texts(tmp_path) == ["text 2"]
    assert all(reading.find(tmp_path / "traffic", id_) is not None for id_ in ids)


def test_a_full_disk_does_not_keep_old_traffic_from_going(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    fill(tmp_path, [answer(1)], clock=(now - timedelta(days=8)).timestamp)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("evertune.serving.log.parquet.write", full)
    fill(tmp_path, [answer(2)], days=7)
    assert texts(tmp_path) == []
    monkeypatch.undo()
    fill(tmp_path, [])
    assert texts(tmp_path) == ["text 2"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_since_when_traffic_is_kept_is_told_and_a_fault_of_the_hearer_is_borne(tmp_path: Path) -> None:
    fill(tmp_path, [answer(1), answer(2, "ham")])
    heard: list[dict[str, float]] = []
    now = datetime.now(UTC).timestamp()

    def hear(kept_since: Mapping[str, datetime]) -> None:
        heard.append({project: round((now - since.timestamp()) / 86_400, 3) for project, since in kept_since.items()})
        raise UnreachableError("the ledger is away")

    days = {"spam": 30, "ham": None}
    fill(tmp_path, [answer(3)], days=days.__getitem__, on_pruned=hear, clock=lambda: now)
    assert heard == [{"spam": 30.0}]
    assert texts(tmp_path) == ["text 1", "text 3"]


@pytest.mark.parametrize(("known", "kept"), [(True, ["text 1", "text 2"]), (False, ["text 2"])])
def test_a_clock_that_jumped_ahead_removes_nothing_where_another_tells_of_it(
    tmp_path: Path, known: bool, kept: list[str]
) -> None:
    fill(tmp_path, [answer(1)])

    def others_clock() -> datetime:
        if not known:
            raise UnreachableError("the ledger is away")
        return datetime.now(UTC)

    a_year_ahead = datetime.now(UTC).timestamp() + 366 * 86_400
    fill(tmp_path, [answer(2)], days=30, clock=lambda: a_year_ahead, others_clock=others_clock)
    assert texts(tmp_path) == kept


async def _append_until_full(log: TrafficLog, most: int = 5000) -> list[str]:
    """Append until one is refused; the disk holds far fewer than ``most``."""
    ids: list[str] = []
    with contextlib.suppress(LogFullError):
        for number in range(most):
            ids += await log.append([answer(number, text=f"{number} " + secrets.token_hex(1000))])
    assert len(ids) < most
    return ids


@pytest.mark.faults
def test_a_full_disk_refuses_loses_nothing_and_goes_on_when_there_is_room(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "drain", lambda *_: 0)  # it would make room
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(300_000))

    async def run() -> list[str]:
        log = TrafficLog(small_disk, segment_bytes=100_000)
        ids = await _append_until_full(log)
        assert len(ids) > 50
        for _ in range(3):
            ids += await _append_until_full(log)
        ballast.unlink()
        ids += await log.append([answer(-1)])
        assert all(log.find(id_) is not None for id_ in ids)
        monkeypatch.undo()
        await log.close()
        return ids

    ids = asyncio.run(run())
    assert len(set(ids)) == len(ids)
    assert all(reading.find(small_disk / "traffic", id_) is not None for id_ in ids)
    assert sorted(_stored(small_disk)) == sorted(ids)


def _stored(home: Path) -> list[str]:
    """The ids of all answers, drained or not."""
    drained = reading.traffic(home, "spam", EVER, EVER + timedelta(days=9999)).to_table(columns=["id"])
    found = list(drained.column("id").to_pylist())
    for path in home.glob("traffic/*/*.log"):
        contents = frames.read(path)
        rows = [
            drain.stored(contents.header.segment, offset, codec.decode(payload)) for offset, payload in contents.records
        ]
        found += [row.id for row in rows if row.id not in found]
    return found


@pytest.mark.faults
def test_a_limit_on_the_size_of_files_is_met_as_a_full_disk(tmp_path: Path) -> None:
    """EFBIG stands for ENOSPC: the write is cut short in the middle of a record, then refused."""
    script = (
        "import asyncio, pathlib, resource, signal, sys\n"
        "from tests.serving.log.made import answer\n"
        "from evertune.serving.log import LogFullError, TrafficLog\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (5000, {resource.RLIM_INFINITY}))\n"
        "async def run():\n"
        "    log = TrafficLog(pathlib.Path(sys.argv[1]))\n"
        "    for number in range(20):\n"
        "        try:\n"
        "            print(*await log.append([answer(number, text='x' * 700)]))\n"
        "        except LogFullError:\n"
        "            print('full')\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "    await log.close()\n"
        "asyncio.run(run())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.split("\n") if len(line) == 40]
    assert "full" in done.stdout.split("\n")
    assert len(told) > 10
    assert sorted(_stored(tmp_path)) == sorted(told)
