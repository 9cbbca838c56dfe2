"""Who may do what: API keys, read from the ledger every 15 s, kept in memory and on the disk.

A request is judged from memory alone, so neither a slow ledger nor one that is away holds it up. While the ledger is
away the keys that are known go on working, after a restart too; what was known of them, expiry first, still holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

import structlog

from evertune.ledger.keys import EVERY_PROJECT, PATTERN, Key, Scope, hash_of
from evertune.records import EvertuneError, UnreachableError
from evertune.serving import key_cache

__all__ = ["Access", "DeniedError", "Identity", "Key"]

REFRESH_S = 15.0
"""Seconds between two readings of the ledger: a key that was revoked is refused within a minute even if one fails."""
ASKED_REFRESH_S = 1.0
"""At most one reading a second is asked for by keys that are not known."""
PATIENCE_S = 3.0
"""Seconds that a key which is not known waits for such a reading."""
MOST_WAITING = 64
"""More than these do not wait: whoever tries keys must not fill the server with requests that wait."""
NOBODY = hash_of("nobody")
log = structlog.get_logger(__name__)


class DeniedError(EvertuneError):
    """The request is refused. ``status`` is the HTTP status; ``reason`` may be shown to the caller."""

    def __init__(self, status: int, reason: str, *, known: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.known = known
        """Whether the caller proved to have the key: then a newer reading of the ledger would not help."""


class Identity(NamedTuple):
    """Who asks, as far as a key tells."""

    key_id: str
    name: str
    projects: tuple[str, ...]
    scopes: tuple[Scope, ...]
    rate_per_s: float | None

    def allows(self, project: str, scope: Scope | Literal["read"]) -> bool:
        """Whether the key may do ``scope`` in ``project``; ``*`` as the project asks for a key of every project.

        No scope contains another, but each lets read: what watches the server need not be able to use it.
        """
        if EVERY_PROJECT not in self.projects and project not in self.projects:
            return False
        return bool(self.scopes) if scope == "read" else scope in self.scopes


class Access:
    """The keys as last read. Safe in threads."""

    def __init__(
        self, read: Callable[[], list[Key]], cache: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """``read`` gives the ledger's keys, or raises; ``cache`` is the file that keeps what is known."""
        self._read = read
        self._cache = cache
        self._clock = clock
        self._keys: Mapping[str, Key] = {key.id: key for key in key_cache.load(cache)}
        self._saved = bool(self._keys)
        self._newest = False
        """Whether the last reading went well: else there may be keys that are not known here."""
        self._refreshing = threading.Lock()
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._waiting: dict[asyncio.Future[None], asyncio.AbstractEventLoop] = {}

    def start(self) -> None:
        """Read the ledger now and every 15 s from now on, in a thread."""
        self._thread = threading.Thread(target=self._follow, name="evertune-keys", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a reading that hangs is not waited for."""
        self._ended.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(1)

    def _follow(self) -> None:
        while not self._ended.is_set():
            self._wake.clear()
            waiting = list(self._waiting.items())  # who comes later may have a key that this reading does not see
            self.refresh()
            _tell(waiting)
            if not self._ended.wait(ASKED_REFRESH_S):
                self._wake.wait(REFRESH_S - ASKED_REFRESH_S)

    def refresh(self) -> bool:
        """Read the ledger's keys; ``False`` where it is away: then those that are known stay."""
        with self._refreshing:
            self._newest = self._take_over()
            return self._newest

    def _take_over(self) -> bool:
        try:
            found = self._read()
        except UnreachableError as fault:
            log.warning("keys.ledger_away", known=len(self._keys), reason=str(fault))
            return False
        except Exception:  # whatever it is, no key is locked out for it, and the next reading comes
            log.exception("keys.not_read", known=len(self._keys))
            return False
        newer = {key.id: key for key in found}
        if newer != self._keys or not self._saved:
            self._keys = newer
            self._saved = key_cache.save(self._cache, found)
        return True

    def identify(self, presented: str | None, *, asked: bool = True) -> Identity:
        """Whose key this is; a key that is not known wakes the thread. Raises :class:`DeniedError`. No I/O.

        401, but 503 for what may be a key where the last reading went wrong, there was none, or it could not be waited
        for (not ``asked``): only the ledger knows.
        The time that this takes does not tell whether there is a key of this id.
        """
        if not presented:
            raise DeniedError(401, "No key was given: send one as `Authorization: Bearer evt_…`.", known=True)
        found = PATTERN.fullmatch(presented)
        id_, secret = found.groups() if found else ("", presented)
        key = self._keys.get(id_)
        right = hmac.compare_digest(hash_of(secret), NOBODY if key is None else key.hash)
        if key is None or not right:
            self._wake.set()
            if found and not (asked and self._newest):
                raise DeniedError(
                    503, "The key is not known here, and the ledger cannot be asked for it: try again later."
                )
            raise DeniedError(401, "The key is not known: it was mistyped, or belongs to another installation.")
        if key.revoked is not None:
            raise DeniedError(401, f"The key {key.id} was revoked. Ask for a new one.", known=True)
        if key.expires is not None and key.expires <= self._clock():
            raise DeniedError(401, f"The key {key.id} has expired. Ask for a new one.", known=True)
        return Identity(key.id, key.name, key.projects, key.scopes, key.rate_per_s)

    async def admit(self, presented: str | None) -> Identity:
        """Like :meth:`identify`; a key that is not known waits for a reading of the ledger: it may have just been made.

        A wrong secret waits as long as an unknown id, so that this does not tell one from the other either.
        """
        try:
            return self.identify(presented)
        except DeniedError as fault:
            if fault.known or self._thread is None:
                raise
        if len(self._waiting) >= MOST_WAITING:
            return self.identify(presented, asked=False)
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting[future] = loop
        self._wake.set()
        try:
            await asyncio.wait_for(future, PATIENCE_S)
        except TimeoutError:
            log.info("keys.not_waited_for", seconds=PATIENCE_S)
            return self.identify(presented, asked=False)
        finally:
            del self._waiting[future]
        return self.identify(presented)


def _tell(waiting: list[tuple[asyncio.Future[None], asyncio.AbstractEventLoop]]) -> None:
    """Let those go on who waited for a reading of the ledger."""
    for future, loop in waiting:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and with it whoever waited
            loop.call_soon_threadsafe(_finish, future)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
