from __future__ import annotations

import asyncio
import errno
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serving.log.made import Disk, segment

from evertune.serving.log import LogError, LogFullError, frames, writer
from evertune.serving.log.nodes import Node, claim, segments
from evertune.serving.log.writer import Writer


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


class Stage:
    """A writer into a folder, as the tests use it."""

    def __init__(self, traffic: Path, **options: Any) -> None:
        self.node = claim(traffic)
        self.closed = 0
        settings: dict[str, Any] = {"segment_bytes": 10_000, "segment_s": 60, "on_closed": self.note, **options}
        self.writer = Writer(self.node, **settings)

    def note(self) -> None:
        self.closed += 1

    async def put(self, *payloads: bytes) -> list[tuple[int, int]]:
        future = asyncio.get_running_loop().create_future()
        places = self.writer.put(payloads, future)
        await future
        return places

    def end(self) -> None:
        self.writer.close()
        self.node.release()

    def stored(self) -> dict[tuple[int, int], bytes]:
        """All whole records of all segments, by place."""
        contents = [frames.read(path) for path in segments(self.node.folder)]
        assert all(one.torn == one.damaged == 0 for one in contents)
        return {(one.header.segment, at): payload for one in contents for at, payload in one.records}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    made: list[Stage] = []

    def stage(**options: Any) -> Stage:
        made.append(Stage(tmp_path, **options))
        return made[-1]

    yield stage
    for one in made:
        one.end()


def test_every_record_lies_where_it_was_told(stage: Callable[..., Stage]) -> None:
    one = stage()

    async def crowd() -> dict[tuple[int, int], bytes]:
        async def client(name: int) -> dict[tuple[int, int], bytes]:
            told: dict[tuple[int, int], bytes] = {}
            for number in range(10):
                payloads = [b"%d of %d.%d" % (part, number, name) for part in range(number % 3 + 1)]
                told |= dict(zip(await one.put(*payloads), payloads, strict=True))
            return told

        return {
            place: payload for told in await asyncio.gather(*map(client, range(20))) for place, payload in told.items()
        }

    told = asyncio.run(crowd())
    assert len(told) == 20 * sum(number % 3 + 1 for number in range(10))
    assert one.stored() == told
    assert one.writer.counts.records == len(told)
    assert one.writer.counts.commits < len(told), "callers share a commit"
    assert one.writer.counts.failures == 0


def test_nothing_is_acknowledged_before_the_disk_has_it(stage: Callable[..., Stage], disk: Disk) -> None:
    one = stage()

    async def run() -> None:
        await one.put(b"first")
        disk.hold = threading.Event()
        waiting = asyncio.create_task(one.put(b"second"))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        disk.hold.set()
        await waiting

    asyncio.run(run())
    assert len([path for path in disk.syncs if path.endswith(".log")]) == 2


def test_the_name_of_a_new_segment_is_on_the_disk_before_a_record_in_it_is_acknowledged(
    stage: Callable[..., Stage], disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = stage()

    def fsync(path: Path) -> None:
        assert list(path.glob("*.log")), "the folder is synced behind the making of the file"
        disk.syncs.append(str(path))

    monkeypatch.setattr("evertune.files.fsync", fsync)
    asyncio.run(one.put(b"x"))
    (made,) = segments(one.node.folder)
    assert disk.syncs[-2:] == [str(one.node.folder), str(made)]


def test_a_full_segment_or_an_old_one_is_followed_by_a_new_one(stage: Callable[..., Stage]) -> None:
    one = stage(segment_bytes=300)

    async def run() -> list[int]:
        numbers = [(await one.put(b"x" * 80))[0][0] for _ in range(5)]
        one.writer._until = 0.0  # its time is up
        numbers.append((await one.put(b"later"))[0][0])
        return [*numbers, (await one.put(b"larger than all" * 100))[0][0]]

    numbers = asyncio.run(run())
    assert numbers == sorted(numbers)
    assert [numbers.count(number) for number in sorted(set(numbers))] == [2, 2, 1, 1, 1]
    assert len(one.stored()) == 7


def test_a_segment_closes_when_its_time_is_up_though_nothing_comes(stage: Callable[..., Stage]) -> None:
    one = stage(segment_s=0.1)
    ((number, _),) = asyncio.run(one.put(b"x"))
    path = one.node.folder / f"{number:016x}.log"
    deadline = time.monotonic() + 120
    while one.closed == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not one.writer.writes(path)
    assert one.closed == 1


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, -1, -30])
def test_a_full_disk_refuses_loses_nothing_and_goes_on(stage: Callable[..., Stage], disk: Disk, fault: int) -> None:
    one = stage()

    async def run() -> list[tuple[int, int]]:
        places = await one.put(b"before")
        disk.plan = [fault]
        with pytest.raises(LogFullError, match="is full"):
            await one.put(b"refused")
        disk.plan = [fault]  # now the new segment's header meets it
        with pytest.raises(LogFullError):
            await one.put(b"refused too")
        return places + await one.put(b"after")

    before, after = asyncio.run(run())
    assert before[0] < after[0]
    assert one.stored() == {before: b"before", after: b"after"}
    assert one.writer.counts.failures == 2


def test_an_fsync_that_failed_is_never_tried_again_on_that_file(stage: Callable[..., Stage], disk: Disk) -> None:
    one = stage()

    async def run() -> list[tuple[int, int]]:
        places = await one.put(b"before")
        disk.plan = [None, errno.EIO]
        with pytest.raises(LogError, match="could not be written") as caught:
            await one.put(b"refused")
        assert not isinstance(caught.value, LogFullError)
        return places + await one.put(b"after")

    before, after = asyncio.run(run())
    assert [path for path in disk.syncs if path.endswith(".log")] == [
        str(one.node.folder / f"{number:016x}.log") for number in (before[0], before[0], after[0])
    ]
    assert one.stored() == {before: b"before", after: b"after"}


def test_all_that_waits_behind_a_failure_fails_and_all_before_it_stands(
    stage: Callable[..., Stage], disk: Disk
) -> None:
    one = stage()

    async def run() -> list[object]:
        first = await one.put(b"first")
        disk.hold = threading.Event()
        disk.plan = [None, errno.EIO]
        failing = asyncio.create_task(one.put(b"failing"))
        await asyncio.to_thread(disk.held.wait, 60)
        behind = [asyncio.create_task(one.put(b"behind %d" % number)) for number in range(5)]
        await asyncio.sleep(0.1)
        disk.hold.set()
        disk.hold = None
        ended = await asyncio.gather(failing, *behind, return_exceptions=True)
        return [first, *ended, await one.put(b"last")]

    first, *ended, last = asyncio.run(run())
    assert all(isinstance(fault, LogError) for fault in ended)
    assert len({id(fault) for fault in ended}) == 6
    assert list(one.stored().values()) == [b"first", b"last"]
    assert isinstance(first, list)
    assert isinstance(last, list)


def test_a_segment_that_cannot_even_be_cut_loses_nothing_that_was_acknowledged(
    stage: Callable[..., Stage], disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = stage()

    def refuse(_descriptor: int, _length: int) -> None:
        raise OSError(errno.EIO, "no")

    async def run() -> list[tuple[int, int]]:
        places = await one.put(b"before")
        monkeypatch.setattr("os.ftruncate", refuse)
        disk.plan = [-15]
        with pytest.raises(LogFullError):
            await one.put(b"refused")
        return places + await one.put(b"after")

    before, after = asyncio.run(run())
    torn, whole = (frames.read(path) for path in segments(one.node.folder))
    assert [record.payload for record in torn.records] == [b"before"]
    assert torn.torn == 15
    assert [record.payload for record in whole.records] == [b"after"]
    assert before != after


def test_a_segment_that_somebody_else_has_made_stays(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locks that do not reach other machines (some network disks) let two servers have one folder."""
    one, real = stage(), Node.next
    path = one.node.folder / f"{(1 << 24) | one.node.tag:016x}.log"
    segment(path, [b"theirs"], (1 << 24) | one.node.tag)
    numbers = iter([(1 << 24) | one.node.tag])
    monkeypatch.setattr(Node, "next", lambda self, now: next(numbers, None) or real(self, now))

    async def run() -> None:
        with pytest.raises(LogError, match="exists"):
            await one.put(b"refused")
        await one.put(b"ours")

    asyncio.run(run())
    assert list(one.stored().values()) == [b"theirs", b"ours"]


def test_a_caller_that_went_away_holds_up_nobody(stage: Callable[..., Stage], disk: Disk) -> None:
    one = stage()

    async def run() -> None:
        disk.hold = threading.Event()
        first = asyncio.create_task(one.put(b"first"))
        await asyncio.to_thread(disk.held.wait, 60)
        gone = asyncio.create_task(one.put(b"gone"))  # in one commit with the next
        stays = asyncio.create_task(one.put(b"stays"))
        await asyncio.sleep(0.05)
        gone.cancel()
        disk.hold.set()
        await asyncio.wait_for(asyncio.gather(first, stays), 120)
        assert gone.cancelled()

    asyncio.run(run())
    assert list(one.stored().values()) == [b"first", b"gone", b"stays"]
    assert one.writer.counts.commits == 2


def test_a_loop_that_ended_holds_up_nobody(stage: Callable[..., Stage], disk: Disk) -> None:
    one = stage()
    disk.hold = threading.Event()

    async def leave() -> None:
        one.writer.put([b"left"], asyncio.get_running_loop().create_future())

    asyncio.run(leave())
    disk.hold.set()
    asyncio.run(one.put(b"stays"))
    assert sorted(one.stored().values()) == [b"left", b"stays"]


def test_what_waits_for_the_disk_is_bounded(
    stage: Callable[..., Stage], disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MOST_PENDING", 1000)
    one = stage()

    async def run() -> None:
        await one.put(b"x" * 5000)  # one that is larger than the bound is taken where nothing waits
        disk.hold = threading.Event()
        written = asyncio.create_task(one.put(b"x"))
        await asyncio.to_thread(disk.held.wait, 60)  # from here on all waits behind it
        tasks = [asyncio.create_task(one.put(b"x" * 300)) for _ in range(20)]
        await asyncio.sleep(0.1)
        disk.hold.set()
        await written
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        refused = [fault for fault in ended if isinstance(fault, LogError)]
        assert len(refused) == 17
        assert "behind" in str(refused[0])

    asyncio.run(run())


def test_closing_writes_what_waits_and_then_refuses(stage: Callable[..., Stage]) -> None:
    one = stage()

    async def run() -> list[object]:
        tasks = [asyncio.create_task(one.put(b"%d" % number)) for number in range(50)]
        await asyncio.sleep(0)
        await asyncio.to_thread(one.writer.close)
        with pytest.raises(LogError, match="closed"):
            await one.put(b"late")
        return list(await asyncio.gather(*tasks))

    assert len(asyncio.run(run())) == len(one.stored()) == 50


def test_a_fault_of_our_own_is_told_to_the_callers(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = stage()

    async def run() -> None:
        monkeypatch.setattr(frames.Header, "frame", None)
        with pytest.raises(LogError, match="could not be written"):
            await one.put(b"x")
        monkeypatch.undo()
        await one.put(b"y")

    asyncio.run(run())
    assert list(one.stored().values()) == [b"y"]


FAULTS = st.lists(st.sampled_from([None, None, None, errno.ENOSPC, errno.EIO, -1, -13, -40]), max_size=30)


@settings(max_examples=30)
@given(FAULTS, st.integers(1, 6), st.integers(100, 2000))
def test_whatever_the_disk_does_what_is_acknowledged_is_there_once_and_what_is_refused_is_not(
    tmp_path_factory: pytest.TempPathFactory, plan: list[int | None], clients: int, segment_bytes: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch)
        one = Stage(tmp_path_factory.mktemp("traffic"), segment_bytes=segment_bytes)

        async def client(name: int) -> dict[tuple[int, int], bytes]:
            told: dict[tuple[int, int], bytes] = {}
            for number in range(8):
                payloads = [b"%d.%d.%d" % (name, number, part) for part in range(1 + number % 2)]
                try:
                    told |= dict(zip(await one.put(*payloads), payloads, strict=True))
                except LogError:
                    continue
            return told

        async def crowd() -> list[dict[tuple[int, int], bytes]]:
            disk.plan = list(plan)
            return await asyncio.gather(*map(client, range(clients)))

        told: dict[tuple[int, int], bytes] = {}
        for some in asyncio.run(crowd()):
            assert not told.keys() & some.keys()
            told |= some
        one.end()
        assert one.stored() == told
