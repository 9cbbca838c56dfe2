"""Results go from the engine's threads to the event loops that wait for them: one message to each loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import NamedTuple

from evertune.serving.engine.answers import DeadlineError, Prediction
from evertune.serving.engine.work import Request


class Done(NamedTuple):
    """A request and what became of it."""

    request: Request
    result: list[Prediction] | BaseException


def deliver(done: Sequence[Done]) -> None:
    """Let those who wait have the results. From any thread."""
    for loop in {request.loop for request, _ in done}:
        with contextlib.suppress(RuntimeError):  # that loop is closed: nobody waits there any more
            loop.call_soon_threadsafe(_set, [one for one in done if one.request.loop is loop])


def _set(done: Sequence[Done]) -> None:
    for request, result in done:
        if request.future.done():
            continue
        if isinstance(result, BaseException):
            request.future.set_exception(result)
        else:
            request.future.set_result(result)


def expire(future: asyncio.Future[list[Prediction]]) -> None:
    """The time is up: whoever waits still hears so. On the future's own loop."""
    if not future.done():
        future.set_exception(DeadlineError("The time for the answer has run out."))
