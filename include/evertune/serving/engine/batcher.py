"""Requests of many clients and projects become batches of the engine's threads.

There is no artificial waiting: an idle thread takes what is there, and while all compute, the next batch gathers by
itself. The event loop only admits and delivers; cleaning, tokenising and computing happen in the threads. Each computes
batches of its own on one core: cores that share a batch wait for each other after every operator. Only where nothing
else is there to be computed, and has not been for a while, do all cores share the batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from evertune.serving.engine.answers import DeadlineError, EngineError, OverloadedError, Prediction
from evertune.serving.engine.delivery import Done, deliver, expire
from evertune.serving.engine.lanes import Key, Lane, Lanes, requests_of, take
from evertune.serving.engine.served import Served, cores
from evertune.serving.engine.work import Request, Row, cost

POOL = 64
"""Rows that a lane has tokenised before a batch is chosen of them: enough to find near-equal lengths among."""
QUIET_S = 1.0
"""Seconds without two batches at a time, after which one that is alone is taken to stay alone: two clients in turn
would find the cores taken by each other's texts (seen: a fifth fewer requests)."""
_FIRST_GUESS = 20_000.0
"""Tokens a second, until it has been measured."""


class Batcher:
    """The engine's threads with a bounded queue before them."""

    def __init__(
        self,
        *,
        tokens_per_batch: int = 192,
        queue_tokens: int = 65_536,
        threads: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        observe: Callable[[int, int, float], None] | None = None,
    ) -> None:
        """``tokens_per_batch``: larger batches leave the caches, which costs more than they save in calls.

        ``queue_tokens`` bounds what waits, estimated; each of several projects has an equal part of it, and
        so have the explanations of each.

        ``threads`` compute, one a core by default.

        ``observe(rows, tokens, seconds)`` is called after every batch by the thread that computed it, for metrics.
        """
        self._tokens_per_batch = tokens_per_batch
        self._queue_tokens = queue_tokens
        self._clock = clock
        self.observe = observe
        self._held: Counter[Key] = Counter()
        self._texts = 0
        self._speed = _FIRST_GUESS
        self._lanes = Lanes()
        self._state = threading.Condition()
        self._rows = threading.Lock()
        """Held by the thread that changes rows or what requests know of theirs; ``_state`` may be taken inside it."""
        self._closing = False
        self._computing = 0
        """Batches, at this moment."""
        self._crowded = -math.inf
        """When there was last more than one to compute, in the clock's time."""
        self._threads = [
            threading.Thread(target=self._work, name=f"engine-{number}", daemon=True)
            for number in range(threads or cores())
        ]
        for thread in self._threads:
            thread.start()

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
        timer = loop.call_at(deadline, expire, request.future)
        try:
            return await request.future
        finally:
            timer.cancel()

    async def close(self) -> None:
        """Accept nothing more, finish what was accepted, end the threads."""
        with self._state:
            self._closing = True
            self._state.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    # -- on the event loop

    def _admit(self, request: Request) -> None:
        lane = request.lane
        with self._state:
            if self._closing:
                raise OverloadedError(1.0, "The server is ending. Try again in a moment.")
            held, total = self._held[lane], self._held.total()
            others = sum(1 for other in self._held if other != lane)
            # A single request passes whatever its size; else each lane has its part of the queue.
            if held and held + request.cost > self._queue_tokens // (1 + others):
                raise OverloadedError(self._seconds(total))
            if total and self._parts() + request.cost > 2 * self._queue_tokens:
                raise OverloadedError(self._seconds(total))
            self._held[lane] += request.cost
            self._texts += len(request.texts)
            self._lanes.add(request)
            self._state.notify()

    def _parts(self) -> int:
        """Tokens that wait, those of a lane as no more than a whole queue.

        Its one large request, which passes whatever its size, must not keep out all others.
        """
        return sum(min(tokens, self._queue_tokens) for tokens in self._held.values())

    def _seconds(self, tokens: int) -> float:
        return min(30.0, max(0.1, tokens / self._speed / len(self._threads)))

    # -- in the engine's threads

    def _work(self) -> None:
        while (lane := self._next()) is not None:
            done: list[Done] = []
            try:
                batch, alone = self._choose(lane, done)
                if batch:
                    done += self._computed(lane, batch, alone)
            except Exception as fault:  # noqa: BLE001 - whatever it is, the thread must live on
                with self._rows:
                    done += [Done(request, _engine_error(fault)) for request in requests_of(lane.rows)]
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

    def _choose(self, lane: Lane, done: list[Done]) -> tuple[list[Row], bool]:
        """The lane's next batch, none where nothing is left of it, and whether it is all that there is to compute.

        Another thread sees to what waits still.
        """
        with self._rows:
            self._open(lane, done)
            now = self._clock()
            late = lane.late(now)
            done += [Done(request, why) for request, why in late.items()]
            lane.drop(late)
            batch = take(lane.rows, self._tokens_per_batch) if lane.rows else []
            with self._state:
                self._computing += bool(batch)
                if self._computing > 1 or not self._lanes.idle:
                    self._crowded = now
                alone = now - self._crowded > QUIET_S
                if not lane.empty:
                    self._state.notify()
        return batch, alone

    def _open(self, lane: Lane, done: list[Done]) -> None:
        """Tokenise requests of the lane until there are rows enough to choose a batch of."""
        while lane.requests and len(lane.rows) < POOL:
            request = lane.requests[0]
            why = request.dropped(self._clock())
            if not (request.over or why):
                try:
                    lane.rows += request.open()
                except Exception as fault:  # noqa: BLE001 - a text that cannot be read is its request's fault only
                    why = _engine_error(fault)
            if why is not None:
                done.append(Done(request, why))
                lane.drop([request])
            if request.over or why or request.opened:
                with self._state:
                    lane.requests.popleft()

    def _computed(self, lane: Lane, batch: list[Row], alone: bool) -> list[Done]:
        try:
            return self._answered(batch, alone)
        except Exception as fault:  # noqa: BLE001 - the requests of this batch have no answer, the others go on
            failed = requests_of(batch)
            with self._rows:
                lane.drop(failed)
            return [Done(request, _engine_error(fault)) for request in failed]
        finally:
            with self._state:
                self._computing -= 1

    def _answered(self, batch: list[Row], alone: bool) -> list[Done]:
        served = batch[0].request.served
        started = time.perf_counter()
        logits, embeddings = served.model.run([row.ids for row in batch], alone=alone)
        scores = served.probabilities(logits)
        if len(scores) != len(batch):
            raise EngineError(f"The model gave {len(scores)} answers to {len(batch)} texts.")
        tokens = sum(len(row.ids) for row in batch)
        self._measure(len(batch), tokens, time.perf_counter() - started)
        with self._rows:  # another thread may have rows of the same request
            found = zip(batch, scores, embeddings, strict=True)
            last = [row.request for row, *numbers in found if row.request.take(row, *numbers)]
        return [Done(request, request.predictions()) for request in last]

    def _measure(self, rows: int, tokens: int, seconds: float) -> None:
        self._speed += 0.1 * (tokens / max(seconds, 1e-6) - self._speed)
        if self.observe is not None:
            with contextlib.suppress(Exception):  # metrics never cost an answer
                self.observe(rows, tokens, seconds)

    def _finish(self, done: list[Done]) -> None:
        if not done:
            return
        with self._state:
            for request in {request for request, _ in done if not request.over}:
                request.over = True
                lane = request.lane
                self._held[lane] -= request.cost
                self._texts -= len(request.texts)
                if not self._held[lane]:
                    del self._held[lane]
        deliver(done)


def _engine_error(fault: Exception) -> EngineError:
    if isinstance(fault, EngineError):
        return fault
    return EngineError(f"The engine failed on this batch ({type(fault).__name__}: {str(fault)[:200]}).")
