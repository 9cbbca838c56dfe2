"""Requests of many clients and projects become batches of one engine thread.

There is no artificial waiting: an idle engine takes what is there, and while it computes, the next batch gathers by
itself. The event loop only admits and delivers; cleaning, tokenising and computing happen in the thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from evertune.serving.engine.answers import DeadlineError, EngineError, OverloadedError, Prediction
from evertune.serving.engine.lanes import Lane, Lanes, take
from evertune.serving.engine.served import Served
from evertune.serving.engine.work import Request, Row, cost

POOL = 64
"""Rows that a lane has tokenised before a batch is chosen of them: enough to find near-equal lengths among."""
_FIRST_GUESS = 20_000.0
"""Tokens a second, until it has been measured."""


class _Done(NamedTuple):
    request: Request
    result: list[Prediction] | BaseException


class Batcher:
    """One engine thread with a bounded queue before it."""

    def __init__(
        self,
        *,
        tokens_per_batch: int = 384,
        queue_tokens: int = 65_536,
        clock: Callable[[], float] = time.monotonic,
        observe: Callable[[int, int, float], None] | None = None,
    ) -> None:
        """``tokens_per_batch``: larger batches leave the caches, which costs more than they save in calls.

        ``queue_tokens`` bounds what waits, estimated; each of several projects has an equal part of it.

        ``observe(rows, tokens, seconds)`` is called by the engine thread after every batch, for metrics.
        """
        self._tokens_per_batch = tokens_per_batch
        self._queue_tokens = queue_tokens
        self._clock = clock
        self.observe = observe
        self._held: Counter[str] = Counter()
        self._texts = 0
        self._speed = _FIRST_GUESS
        self._lanes = Lanes()
        self._state = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """Texts that were accepted and have no answer yet."""
        return self._texts

    @property
    def waiting_tokens(self) -> int:
        """Estimated tokens of those."""
        return self._held.total()

    async def submit(
        self, served: Served, texts: Sequence[str], *, explain: bool = False, deadline: float
    ) -> list[Prediction]:
        """Answers in the order of ``texts``. ``deadline`` is in the running loop's time.

        Raises :class:`OverloadedError` where the queue is full, :class:`DeadlineError` where the time runs out first,
        :class:`EngineError` where the model fails. A cancelled call is not computed any further.
        """
        if not texts:
            return []
        loop = asyncio.get_running_loop()
        left = deadline - loop.time()
        if left <= 0:
            raise DeadlineError("The time for the answer has run out before it was asked for.")
        tokens = cost(served, texts, explained=explain)
        request = Request(served, texts, explain, self._clock() + left, tokens, loop.create_future(), loop)
        self._admit(request)
        timer = loop.call_at(deadline, _expire, request.future)
        try:
            return await request.future
        finally:
            timer.cancel()

    async def close(self) -> None:
        """Accept nothing more, finish what was accepted, end the thread."""
        with self._state:
            self._closing = True
            self._state.notify()
        await asyncio.to_thread(self._thread.join)

    # -- on the event loop

    def _admit(self, request: Request) -> None:
        project = request.served.release.project
        with self._state:
            if self._closing:
                raise OverloadedError(1.0, "The server is ending. Try again in a moment.")
            held, total = self._held[project], self._held.total()
            others = sum(1 for name, tokens in self._held.items() if tokens and name != project)
            # A single request passes whatever its size; else each project has its part of the queue.
            if held and held + request.cost > self._queue_tokens // (1 + others):
                raise OverloadedError(self._seconds(total))
            if total and total + request.cost > 2 * self._queue_tokens:
                raise OverloadedError(self._seconds(total))
            self._held[project] += request.cost
            self._texts += len(request.texts)
            self._lanes.add(request)
            self._state.notify()

    def _seconds(self, tokens: int) -> float:
        return min(30.0, max(0.1, tokens / self._speed))

    # -- in the engine thread

    def _work(self) -> None:
        while (lane := self._next()) is not None:
            done: list[_Done] = []
            try:
                self._open(lane, done)
                self._compute(lane, done)
            except Exception as fault:  # noqa: BLE001 - whatever it is, the thread must live on
                done += [_Done(request, _engine_error(fault)) for request in _of(lane.rows)]
                lane.rows.clear()
            self._finish(done)

    def _next(self) -> Lane | None:
        with self._state:
            self._lanes.sweep()
            while not self._lanes:
                if self._closing:
                    return None
                self._state.wait()
            return self._lanes.next()

    def _open(self, lane: Lane, done: list[_Done]) -> None:
        """Tokenise requests of the lane until there are rows enough to choose a batch of."""
        while lane.requests and len(lane.rows) < POOL:
            request = lane.requests[0]
            why = None if request.over else request.dropped(self._clock())
            if not (request.over or why):
                try:
                    lane.rows += request.open()
                except Exception as fault:  # noqa: BLE001 - a text that cannot be read is its request's fault only
                    why = _engine_error(fault)
            if why is not None:
                done.append(_Done(request, why))
                lane.rows[:] = [row for row in lane.rows if row.request is not request]
            if request.over or why or request.opened:
                with self._state:
                    lane.requests.popleft()

    def _compute(self, lane: Lane, done: list[_Done]) -> None:
        """One batch of the lane."""
        now = self._clock()
        late = {request: why for request in _of(lane.rows) if (why := request.dropped(now)) is not None}
        done += [_Done(request, why) for request, why in late.items()]
        _drop(lane, late)
        if not lane.rows:
            return
        batch = take(lane.rows, self._tokens_per_batch)
        try:
            done += self._answered(batch)
        except Exception as fault:  # noqa: BLE001 - the requests of this batch have no answer, the others go on
            failed = _of(batch)
            done += [_Done(request, _engine_error(fault)) for request in failed]
            _drop(lane, failed)

    def _answered(self, batch: list[Row]) -> list[_Done]:
        served = batch[0].request.served
        started = time.perf_counter()
        logits, embeddings = served.model.run([row.ids for row in batch])
        scores = served.probabilities(logits)
        if len(scores) != len(batch):
            raise EngineError(f"The model gave {len(scores)} answers to {len(batch)} texts.")
        tokens = sum(len(row.ids) for row in batch)
        self._measure(len(batch), tokens, time.perf_counter() - started)
        last = [
            row.request for place, row in enumerate(batch) if row.request.take(row, scores[place], embeddings[place])
        ]
        return [_Done(request, request.predictions()) for request in last]

    def _measure(self, rows: int, tokens: int, seconds: float) -> None:
        self._speed += 0.1 * (tokens / max(seconds, 1e-6) - self._speed)
        if self.observe is not None:
            with contextlib.suppress(Exception):  # metrics never cost an answer
                self.observe(rows, tokens, seconds)

    def _finish(self, done: list[_Done]) -> None:
        if not done:
            return
        with self._state:
            for request, _ in done:
                request.over = True
                project = request.served.release.project
                self._held[project] -= request.cost
                self._texts -= len(request.texts)
                if not self._held[project]:
                    del self._held[project]
        for loop in {request.loop for request, _ in done}:
            with contextlib.suppress(RuntimeError):  # that loop is closed: nobody waits there any more
                loop.call_soon_threadsafe(_deliver, [one for one in done if one.request.loop is loop])


def _drop(lane: Lane, requests: Collection[Request]) -> None:
    if requests:
        lane.rows[:] = [row for row in lane.rows if row.request not in requests]


def _of(rows: Sequence[Row]) -> dict[Request, None]:
    """The rows' requests, each once, in order."""
    return dict.fromkeys(row.request for row in rows)


def _engine_error(fault: Exception) -> EngineError:
    if isinstance(fault, EngineError):
        return fault
    return EngineError(f"The engine failed on this batch ({type(fault).__name__}: {str(fault)[:200]}).")


def _expire(future: asyncio.Future[list[Prediction]]) -> None:
    if not future.done():
        future.set_exception(DeadlineError("The time for the answer has run out."))


def _deliver(done: Sequence[_Done]) -> None:
    for request, result in done:
        if request.future.done():
            continue
        if isinstance(result, BaseException):
            request.future.set_exception(result)
        else:
            request.future.set_result(result)
