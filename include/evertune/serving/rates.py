"""How often a key may ask: a token bucket a key, in bounded memory.

The bucket is kept as the one moment at which it would be full again (GCRA, ITU-T I.371): a key whose moment has passed
has a full bucket, which is also what a key has that was never seen, so it can be forgotten.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable


class Rates:
    """Buckets by key. In any t seconds a key gets at most ``rate * t`` plus the burst, or plus its dearest request.

    Safe in threads.
    """

    def __init__(
        self, *, burst_s: float = 1.0, keys: int = 100_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``burst_s``: a bucket holds what flows in within these seconds, and at least one request of cost 1."""
        self._burst_s = burst_s
        self._keys = keys
        self._clock = clock
        self._full_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def take(self, key_id: str, rate: float, cost: float = 1) -> float | None:
        """``None`` where it is allowed; else the seconds to wait, and nothing is taken.

        A request that is dearer than the bucket is large is allowed when that is full.
        """
        if rate <= 0:
            return math.inf
        with self._lock:
            now = self._clock()
            full_at = max(self._full_at.get(key_id, now), now)
            burst_s = max(self._burst_s, 1 / rate, cost / rate)
            wait = full_at + cost / rate - burst_s - now
            if wait > 1e-9 * max(1.0, now):
                return wait
            if key_id not in self._full_at and len(self._full_at) >= self._keys and (full := self._forget(now)):
                return full
            self._full_at[key_id] = full_at + cost / rate
            return None

    def _forget(self, now: float) -> float:
        """Drop the buckets that are full. Where none is, the seconds until the first will be: a new key waits."""
        self._full_at = {key: moment for key, moment in self._full_at.items() if moment > now}
        return min(self._full_at.values()) - now if len(self._full_at) >= self._keys else 0.0

    def __len__(self) -> int:
        return len(self._full_at)
