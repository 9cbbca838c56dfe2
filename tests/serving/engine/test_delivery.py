"""Whoever waits hears of his own request, whatever became of the others."""

from __future__ import annotations

import asyncio

import pytest

from evertune.serving.engine.answers import DeadlineError, Prediction
from evertune.serving.engine.delivery import Done, deliver, expire
from evertune.serving.engine.served import Served
from evertune.serving.engine.work import Request


def _request(served: Served, loop: asyncio.AbstractEventLoop) -> Request:
    return Request(served, ["good"], False, 0.0, 1, loop.create_future(), loop)


def test_one_that_nobody_waits_for_any_more_does_not_cost_the_others_theirs(served: Served) -> None:
    async def check() -> None:
        loop = asyncio.get_running_loop()
        gone, waits, fails = (_request(served, loop) for _ in range(3))
        gone.future.cancel()
        answer: list[Prediction] = []
        deliver([Done(gone, answer), Done(waits, answer), Done(fails, ValueError("no"))])
        assert await waits.future is answer
        with pytest.raises(ValueError, match="no"):
            await fails.future

    asyncio.run(check())


def test_a_loop_that_is_closed_does_not_cost_the_others_theirs(served: Served) -> None:
    closed = asyncio.new_event_loop()
    gone = _request(served, closed)
    closed.close()

    async def check() -> None:
        waits = _request(served, asyncio.get_running_loop())
        deliver([Done(gone, []), Done(waits, [])])
        assert await waits.future == []

    asyncio.run(check())


def test_the_time_runs_out_only_for_one_that_waits(served: Served) -> None:
    async def check() -> None:
        waits, answered = (_request(served, asyncio.get_running_loop()) for _ in range(2))
        answered.future.set_result([])
        for one in (waits, answered):
            expire(one.future)
        assert answered.future.result() == []
        assert isinstance(waits.future.exception(), DeadlineError)

    asyncio.run(check())
