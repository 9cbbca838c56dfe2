from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.models import tiny
from tests.serving.engine import made
from tests.serving.engine.made import sums

from evertune.serving.engine import batcher as batcher_module
from evertune.serving.engine.answers import DeadlineError, EngineError, OverloadedError, Prediction
from evertune.serving.engine.batcher import Batcher
from evertune.serving.engine.served import Served
from evertune.serving.engine.work import OPENED_AT_ONCE, Request, cost

TEXTS = ["good", "a very fine film", "bad", "it was awful and the screen was not great " * 4, ""]


@asynccontextmanager
async def batcher(**options: Any) -> AsyncIterator[Batcher]:
    made_ = Batcher(**options)
    try:
        yield made_
    finally:
        await asyncio.wait_for(made_.close(), 120)


def soon(seconds: float = 120.0) -> float:
    """A deadline that no answer misses, however slow the machine is."""
    return asyncio.get_running_loop().time() + seconds


def expected(served: Served, texts: Sequence[str]) -> list[float]:
    return [float(sum(one.ids)) for one in served.encode(texts)]


def told(answers: Sequence[Prediction]) -> list[float]:
    return [float(one.embedding[0]) for one in answers]


def run(check: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(check())


async def until(true: Callable[[], bool]) -> None:
    for _ in range(30_000):
        if true():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("waited for in vain")


def test_answers_come_in_the_order_of_the_texts_with_all_their_parts(served: Served) -> None:
    async def check() -> None:
        async with batcher() as engine:
            answers = await engine.submit(served, [*TEXTS, "write to me@example.org"], explain=False, deadline=soon())
        assert told(answers) == expected(served, [*TEXTS, "write to me@example.org"])
        assert answers[-1].text == "write to <email>"
        assert [one.cut for one in answers] == [False, False, False, True, False, False]
        assert [one.tokens for one in answers][3:5] == [32, 2]
        for one in answers:
            assert sum(one.scores) == pytest.approx(1, abs=1e-6)
            assert one.label == made.LABELS[int(np.argmax(one.scores))]
            assert one.embedding.dtype == np.float16
            assert one.attributions is None
        assert engine.depth == engine.waiting_tokens == 0

    run(check)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_accepted_request_gets_exactly_its_own_answers(data: st.DataObject, tmp_path: Path) -> None:
    chance = random.Random(data.draw(st.integers(0, 10**6)))
    folder = made.tokenizer_folder(tmp_path)
    releases = [made.served(folder, f"p-{n}", temperature=float(n + 1)) for n in range(3)]
    budget, threads = data.draw(st.sampled_from([8, 64, 512])), data.draw(st.integers(1, 4))
    requests = [
        (
            chance.choice(releases),
            [" ".join(chance.choices(tiny.WORDS, k=chance.randrange(30))) for _ in range(chance.randrange(6))],
            chance.random() < 0.2,
        )
        for _ in range(data.draw(st.integers(1, 40)))
    ]

    async def one(engine: Batcher, served: Served, texts: list[str], explain: bool) -> None:
        await asyncio.sleep(chance.random() * 0.01)
        answers = await engine.submit(served, texts, explain=explain, deadline=soon())
        assert told(answers) == expected(served, texts)
        for answer, words in zip(answers, texts, strict=True):
            assert (answer.attributions is not None) is explain
            if answer.attributions is not None:
                assert [each.word for each in answer.attributions] == words.split()

    async def check() -> None:
        async with batcher(tokens_per_batch=budget, threads=threads, queue_tokens=10**6) as engine:  # room for all
            await asyncio.gather(*(one(engine, *request) for request in requests))
        assert engine.depth == engine.waiting_tokens == 0

    run(check)
    for served in releases:
        for batch in sums(served).batches:
            assert len(batch) == 1 or len(batch) * max(map(len, batch)) <= budget


def test_what_arrives_while_the_engine_computes_shares_the_next_batch(served: Served) -> None:
    async def check() -> None:
        sums(served).gate.clear()
        async with batcher(threads=1) as engine:
            first = asyncio.ensure_future(engine.submit(served, ["good"], deadline=soon()))
            await until(lambda: sums(served).computing == 1)
            rest = [asyncio.ensure_future(engine.submit(served, ["bad film"], deadline=soon())) for _ in range(8)]
            await until(lambda: engine.depth == 9)
            sums(served).gate.set()
            await asyncio.gather(first, *rest)
        assert [len(batch) for batch in sums(served).batches] == [1, 8]

    run(check)


def test_every_thread_computes_batches_of_one_large_request(served: Served) -> None:
    sums(served).gate.clear()

    async def check() -> None:
        async with batcher(tokens_per_batch=8, threads=3) as engine:
            waiting = asyncio.ensure_future(engine.submit(served, ["a fine film"] * 9, deadline=soon()))
            await until(lambda: sums(served).computing == 3)
            sums(served).gate.set()
            assert told(await waiting) == expected(served, ["a fine film"] * 9)

    run(check)


def test_all_cores_share_a_batch_only_where_nothing_else_is_there_to_be_computed(served: Served) -> None:
    model, now = sums(served), [0.0]

    async def check() -> None:
        async with batcher(threads=2, clock=lambda: now[0]) as engine:
            await engine.submit(served, ["good"], deadline=soon())
            assert model.alone == [True]
            model.gate.clear()
            first = asyncio.ensure_future(engine.submit(served, ["bad"], deadline=soon()))
            await until(lambda: model.computing == 1)
            others = [asyncio.ensure_future(engine.submit(served, [text], deadline=soon())) for text in TEXTS[1:4]]
            await until(lambda: model.computing == 2)
            model.gate.set()
            await asyncio.gather(first, *others)
            assert model.alone[1:].count(True) == 1, "the others came beside the first"
            now[0] += batcher_module.QUIET_S
            await engine.submit(served, TEXTS[:1], deadline=soon())
            now[0] += 0.1
            await engine.submit(served, TEXTS[:1], deadline=soon())
            assert model.alone[-2:] == [False, True], "the others might have come again; then they did not"
            seen = len(model.alone)
            await engine.submit(served, TEXTS[1:4], deadline=soon())
            assert not any(model.alone[seen : seen + 1]), "two more batches of the request wait"

    run(check)


def test_a_request_that_fails_in_several_threads_is_counted_once(served: Served) -> None:
    sums(served).gate.clear()
    sums(served).fault = lambda _: RuntimeError("out of memory")

    async def check() -> None:
        async with batcher(tokens_per_batch=8, threads=3) as engine:
            waiting = asyncio.ensure_future(engine.submit(served, ["a fine film"] * 3, deadline=soon()))
            await until(lambda: sums(served).computing == 3)
            sums(served).gate.set()
            await _fails(waiting, EngineError)
            await until(lambda: sums(served).computing == 0)
        assert engine.depth == engine.waiting_tokens == 0

    run(check)


def test_nothing_more_is_computed_of_a_request_that_failed(tmp_path: Path) -> None:
    folder = made.tokenizer_folder(tmp_path)
    broken, other = made.served(folder, "broken"), made.served(folder, "other")
    sums(broken).gate.clear()
    sums(broken).fault = lambda _: RuntimeError("out of memory")
    twice = threading.Event()

    def note(_rows: Sequence[Sequence[int]]) -> None:
        if len(sums(other).batches) == 2:
            twice.set()

    sums(other).fault = note

    async def check() -> None:
        async with batcher(tokens_per_batch=8, threads=1) as engine:
            # More than is tokenised at once: when it fails it is still at the head of its lane.
            failed = asyncio.ensure_future(engine.submit(broken, ["a fine film"] * 200, deadline=soon()))
            await until(lambda: sums(broken).computing == 1)
            answered = asyncio.ensure_future(engine.submit(other, ["a fine film"] * 2, deadline=soon()))
            await until(lambda: engine.depth == 202)
            sums(broken).gate.set()
            # This loop stands still and hears nothing, while the lane has its turn again between those of the other.
            assert twice.wait(60)
            assert [len(batch) for batch in sums(broken).batches] == [1]
            await _fails(failed, EngineError)
            assert len(await answered) == 2

    run(check)


def test_nothing_more_is_computed_of_a_request_whose_later_text_cannot_be_read(served: Served) -> None:
    async def check() -> None:
        async with batcher(tokens_per_batch=8, threads=1) as engine:
            texts: list[Any] = [*["a fine film"] * OPENED_AT_ONCE, b"bytes"]
            await _fails(engine.submit(served, texts, deadline=soon()), EngineError)
            assert len(await engine.submit(served, ["good"], deadline=soon())) == 1
        assert [len(batch) for batch in sums(served).batches] == [1, 1], "texts are read as they are needed"

    run(check)


def test_projects_take_turns_however_much_one_asks_for(tmp_path: Path) -> None:
    folder = made.tokenizer_folder(tmp_path)
    greedy, modest = made.served(folder, "greedy"), made.served(folder, "modest")
    sums(greedy).gate.clear()
    seen: list[int] = []
    """Batches of the greedy one when each of the modest one's was computed."""
    sums(modest).fault = lambda _: seen.append(len(sums(greedy).batches))

    async def check() -> None:
        async with batcher(tokens_per_batch=16, threads=1) as engine:
            flood = [asyncio.ensure_future(engine.submit(greedy, ["a film"] * 4, deadline=soon())) for _ in range(60)]
            await until(lambda: sums(greedy).computing == 1)
            late = asyncio.ensure_future(engine.submit(modest, ["good"], deadline=soon()))
            await until(lambda: engine.depth == 60 * 4 + 1)
            sums(greedy).gate.set()
            await asyncio.gather(late, *flood)

    run(check)
    assert len(seen) == 1
    assert seen[0] <= 3 < len(sums(greedy).batches)


def test_one_large_request_keeps_out_no_other_project(tmp_path: Path) -> None:
    """It passes alone whatever its size, and so may be larger than what all projects may hold together."""
    folder = made.tokenizer_folder(tmp_path)
    greedy, modest, third = (made.served(folder, slug) for slug in ("greedy", "modest", "third"))

    async def check() -> None:
        sums(greedy).gate.clear()
        async with batcher(queue_tokens=100) as engine:
            large = asyncio.ensure_future(engine.submit(greedy, ["a fine film"] * 60, deadline=soon()))
            await until(lambda: engine.waiting_tokens > 2 * 100)
            fair = asyncio.ensure_future(engine.submit(modest, ["a fine film"], deadline=soon()))
            await until(lambda: engine.depth == 61)
            with pytest.raises(OverloadedError):
                await engine.submit(third, ["a fine film"] * 60, deadline=soon())
            sums(greedy).gate.set()
            assert [len(answers) for answers in await asyncio.gather(large, fair)] == [60, 1]

    run(check)


def test_a_large_explanation_keeps_out_no_plain_answers_of_its_project(served: Served) -> None:
    async def check() -> None:
        sums(served).gate.clear()
        async with batcher(queue_tokens=100) as engine:
            large = asyncio.ensure_future(
                engine.submit(served, ["it was a very good film " * 4], explain=True, deadline=soon())
            )
            await until(lambda: engine.waiting_tokens > 2 * 100)
            plain = asyncio.ensure_future(engine.submit(served, ["a fine film"], deadline=soon()))
            await until(lambda: engine.depth == 2)
            sums(served).gate.set()
            assert [len(answers) for answers in await asyncio.gather(large, plain)] == [1, 1]
        assert engine.waiting_tokens == 0

    run(check)


def test_a_long_explanation_does_not_hold_up_plain_answers_of_its_project(served: Served) -> None:
    sums(served).gate.clear()

    async def check() -> None:
        async with batcher(tokens_per_batch=64, threads=1) as engine:
            long = asyncio.ensure_future(
                engine.submit(served, ["it was a very good film " * 4] * 6, explain=True, deadline=soon())
            )
            await until(lambda: sums(served).computing == 1)
            plain = asyncio.ensure_future(engine.submit(served, ["good"], deadline=soon()))
            await until(lambda: engine.depth == 7)
            sums(served).gate.set()
            await plain
            assert len((await long)[0].attributions or ()) == 24

    run(check)
    (good,) = served.encode(["good"])
    turn = next(number for number, batch in enumerate(sums(served).batches) if list(good.ids) in batch)
    assert turn <= 2 < len(sums(served).batches) - 1


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("fault", [RuntimeError("out of memory"), MemoryError(), ValueError("shape")])
def test_a_fault_in_a_batch_is_that_batchs_alone(served: Served, fault: Exception, threads: int) -> None:
    sums(served).fault = lambda rows: fault if any(len(row) > 6 for row in rows) else None

    async def check() -> None:
        async with batcher(tokens_per_batch=8, threads=threads) as engine:
            asked = [
                engine.submit(served, ["good"], deadline=soon()),
                engine.submit(served, ["good", "a very fine film and a book", "bad"], deadline=soon()),
                engine.submit(served, ["bad"], deadline=soon()),
            ]
            first, failed, last = await asyncio.gather(*asked, return_exceptions=True)
            assert isinstance(first, list)
            assert isinstance(last, list)
            assert isinstance(failed, EngineError)
            assert type(fault).__name__ in str(failed)
            sums(served).fault = lambda _: None
            assert len(await engine.submit(served, ["good"], deadline=soon())) == 1
        assert engine.depth == engine.waiting_tokens == 0

    run(check)


def test_numbers_that_are_none_are_a_fault_and_no_answer(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(rows: Sequence[Sequence[int]], **_: bool) -> tuple[Any, Any]:
        return np.full((len(rows), 2), np.nan, np.float32), np.zeros((len(rows), 2), np.float32)

    monkeypatch.setattr(served.model, "run", broken)

    async def check() -> None:
        async with batcher() as engine:
            with pytest.raises(EngineError, match="not finite"):
                await engine.submit(served, ["good"], deadline=soon())

    run(check)


def test_fewer_answers_than_texts_are_a_fault_and_no_answer(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = served.model.run
    monkeypatch.setattr(served.model, "run", lambda rows, **_: whole(rows[1:]))

    async def check() -> None:
        async with batcher() as engine:
            with pytest.raises(EngineError, match="gave 1 answers to 2 texts"):
                await engine.submit(served, ["good", "bad"], deadline=soon())

    run(check)


def test_a_thread_survives_whatever_fails_in_it(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("nobody thought of this")

    async def check() -> None:
        async with batcher(threads=1) as engine:
            with monkeypatch.context() as patch:
                patch.setattr(batcher_module, "take", broken)
                with pytest.raises(EngineError, match="nobody thought of this"):
                    await engine.submit(served, ["good"], deadline=soon())
            assert len(await engine.submit(served, ["good"], deadline=soon())) == 1
        assert engine.depth == engine.waiting_tokens == 0

    run(check)


def test_a_text_that_cannot_be_read_is_its_requests_fault(served: Served) -> None:
    async def check() -> None:
        sums(served).gate.clear()
        async with batcher() as engine:
            good = asyncio.ensure_future(engine.submit(served, ["good"], deadline=soon()))
            bad = asyncio.ensure_future(engine.submit(served, [b"bytes"], deadline=soon()))  # type: ignore[list-item]
            await asyncio.sleep(0.02)
            sums(served).gate.set()
            assert len(await good) == 1
            with pytest.raises(EngineError):
                await bad

    run(check)


async def _fails(waiting: Awaitable[object], error: type[BaseException]) -> None:
    with pytest.raises(error):
        await waiting


def test_work_whose_time_has_run_out_is_dropped_and_not_computed(served: Served) -> None:
    async def check() -> None:
        sums(served).gate.clear()
        async with batcher(threads=1) as engine:
            first = asyncio.ensure_future(engine.submit(served, ["good"], deadline=soon()))
            await until(lambda: sums(served).computing == 1)
            late = engine.submit(served, ["never computed"], deadline=soon(0.05))
            await _fails(late, DeadlineError)
            waiting = engine.depth
            await _fails(engine.submit(served, ["too late"], deadline=soon(-1)), DeadlineError)
            assert engine.depth == waiting, "it was not even let in"
            sums(served).gate.set()
            await first
            await until(lambda: engine.depth == 0)
        assert len(sums(served).batches) == 1

    run(check)


def test_rows_whose_time_runs_out_while_they_wait_are_not_computed(served: Served) -> None:
    now = 0.0

    async def check() -> None:
        nonlocal now
        sums(served).gate.clear()
        async with batcher(tokens_per_batch=8, threads=1, clock=lambda: now) as engine:
            late = asyncio.ensure_future(engine.submit(served, ["a fine film"] * 3, deadline=soon()))
            await until(lambda: sums(served).computing == 1)
            now = 600.0
            sums(served).gate.set()
            await _fails(late, DeadlineError)
        assert [len(batch) for batch in sums(served).batches] == [1]
        assert engine.depth == engine.waiting_tokens == 0

    run(check)


def test_cancelled_requests_are_dropped(served: Served) -> None:
    async def check() -> None:
        sums(served).gate.clear()
        async with batcher(threads=1) as engine:
            first = asyncio.ensure_future(engine.submit(served, ["good"], deadline=soon()))
            await until(lambda: sums(served).computing == 1)
            gone = asyncio.ensure_future(engine.submit(served, ["nobody waits"] * 3, deadline=soon()))
            await until(lambda: engine.depth == 4)
            gone.cancel()
            await _fails(gone, asyncio.CancelledError)
            sums(served).gate.set()
            await first
            await until(lambda: engine.depth == 0)
        assert sum(map(len, sums(served).batches)) == 1

    run(check)


def test_a_full_queue_refuses_and_says_when_to_come_back(tmp_path: Path) -> None:
    folder = made.tokenizer_folder(tmp_path)
    served, other = made.served(folder), made.served(folder, "other")

    async def check() -> None:
        sums(served).gate.clear()
        async with batcher(queue_tokens=100) as engine:
            waiting: list[asyncio.Future[list[Prediction]]] = []
            while not waiting or not waiting[-1].done():
                waiting.append(asyncio.ensure_future(engine.submit(served, ["a fine film"], deadline=soon())))
                await asyncio.sleep(0)
            with pytest.raises(OverloadedError) as found:
                await waiting.pop()
            assert 0 < found.value.retry_after_s <= 30
            assert 5 <= len(waiting) <= 20
            # Another project still has its part of the queue.
            fair = asyncio.ensure_future(engine.submit(other, ["a fine film"], deadline=soon()))
            await asyncio.sleep(0.02)
            sums(served).gate.set()
            assert all(len(answers) == 1 for answers in await asyncio.gather(*waiting, fair))
            assert len(await engine.submit(served, ["a film"] * 50, deadline=soon())) == 50, "alone it may be any size"

    run(check)


async def _let_in(engine: Batcher, served: Served, waiting: list[asyncio.Future[list[Prediction]]]) -> int:
    """Ask until one is refused; how many were let in."""
    for count in range(1000):
        one = asyncio.ensure_future(engine.submit(served, ["a fine film"], deadline=soon()))
        await asyncio.sleep(0)
        if one.done():
            await _fails(one, OverloadedError)
            return count
        waiting.append(one)
    raise AssertionError("the queue has no bound")


def test_each_of_several_projects_has_an_equal_part_of_the_queue(tmp_path: Path) -> None:
    folder = made.tokenizer_folder(tmp_path)
    one, other = made.served(folder), made.served(folder, "other")
    price = cost(one, ["a fine film"], explained=False)

    async def check() -> None:
        waiting: list[asyncio.Future[list[Prediction]]] = []
        async with batcher(queue_tokens=10 * price) as engine:
            for _ in range(2):
                sums(one).gate.clear()
                sums(other).gate.clear()
                assert await _let_in(engine, one, waiting) == 10, "alone it has all of it, also after another was there"
                assert await _let_in(engine, other, waiting) == 5
                sums(one).gate.set()
                sums(other).gate.set()
                await asyncio.gather(*waiting)
                await until(lambda: engine.depth == 0)

    run(check)


def test_many_projects_together_do_not_fill_the_queue_more_than_twice(tmp_path: Path) -> None:
    folder = made.tokenizer_folder(tmp_path)
    projects = [made.served(folder, f"p-{number}") for number in range(6)]
    price = cost(projects[0], ["a fine film"], explained=False)

    async def check() -> None:
        async with batcher(queue_tokens=2 * price) as engine:
            for served in projects:
                sums(served).gate.clear()
            asked = [
                asyncio.ensure_future(engine.submit(served, ["a fine film"], deadline=soon())) for served in projects
            ]
            await asyncio.sleep(0)
            assert [one.done() for one in asked] == [False] * 4 + [True] * 2
            for served in projects:
                sums(served).gate.set()
            found = await asyncio.gather(*asked, return_exceptions=True)
            assert [isinstance(one, OverloadedError) for one in found] == [False] * 4 + [True] * 2

    run(check)


@pytest.mark.parametrize("space", [" ", "\n", "\t", "\u3000"])
@pytest.mark.parametrize("word", ["good", "电影", "q"])
@pytest.mark.parametrize("explained", [False, True])
def test_what_is_admitted_is_not_taken_for_less_than_it_is(
    served: Served, space: str, word: str, explained: bool
) -> None:
    """Whatever stands between the words, and however they are written: an explanation costs a row for each of them."""
    texts = [space.join([word] * words) for words in (1, 5, 120)]
    for text in texts:
        waiting = Request(served, [text], explained, 0, 0, None, None)  # type: ignore[arg-type]
        tokens = sum(len(row.ids) for row in waiting.open())
        assert cost(served, [text], explained=explained) >= 0.8 * tokens


def test_an_explanation_of_a_cut_text_lets_nothing_in_that_was_cut(served: Served) -> None:
    async def check() -> None:
        async with batcher() as engine:
            (answer,) = await engine.submit(served, ["good " * 30 + "awful"], explain=True, deadline=soon())
        assert answer.cut
        assert [word.word for word in answer.attributions or ()] == ["good"] * 30

    run(check)
    (awful,) = served.encode(["awful"])
    assert all(awful.ids[1] not in row for batch in sums(served).batches for row in batch)


def test_closing_finishes_what_was_accepted_and_takes_nothing_more(served: Served) -> None:
    sums(served).seconds = 0.005

    async def check() -> None:
        engine = Batcher(tokens_per_batch=8)
        waiting = [asyncio.ensure_future(engine.submit(served, ["a fine film"], deadline=soon())) for _ in range(30)]
        await until(lambda: engine.depth > 0)
        await engine.close()
        assert all(len(answers) == 1 for answers in await asyncio.gather(*waiting))
        await _fails(engine.submit(served, ["good"], deadline=soon()), OverloadedError)
        await engine.close()

    run(check)


def test_both_releases_of_a_switch_are_answered_each_by_its_own(tmp_path: Path) -> None:
    folder = made.tokenizer_folder(tmp_path)
    old, new = made.served(folder, generation=1), made.served(folder, generation=2, labels=("gerade", "ungerade"))

    async def check() -> None:
        for one in (old, new):
            sums(one).gate.clear()
        async with batcher() as engine:
            waiting = [
                asyncio.ensure_future(engine.submit(old if n % 2 else new, ["a film"], deadline=soon()))
                for n in range(20)
            ]
            await until(lambda: engine.depth == 20)
            for one in (old, new):
                sums(one).gate.set()
            for n, answers in enumerate(await asyncio.gather(*waiting)):
                assert answers[0].label in (old if n % 2 else new).labels

    run(check)


def test_batches_are_told_to_the_observer_and_its_faults_cost_nothing(served: Served) -> None:
    seen: list[tuple[int, int]] = []

    def observe(rows: int, tokens: int, seconds: float) -> None:
        assert seconds >= 0
        seen.append((rows, tokens))
        raise RuntimeError("the metrics are broken")

    async def check() -> None:
        async with batcher(observe=observe) as engine:
            await engine.submit(served, ["good", "bad"], deadline=soon())
            assert await engine.submit(served, [], deadline=soon()) == []

    run(check)
    assert seen == [(2, 6)]
