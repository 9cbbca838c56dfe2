from __future__ import annotations

import asyncio
import json
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evertune.ledger import silence
from evertune.ledger.keys import Key, Scope, hash_of
from evertune.records import UnreachableError
from evertune.serving import access as module
from evertune.serving.access import Access, DeniedError, Identity

NOW = datetime(2026, 11, 22, 18, tzinfo=UTC)


class Ledger:
    """Keys as the ledger would give them; ``away`` while it does not answer."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.fault: Exception | None = None
        self.readings = 0
        self.now = NOW

    def make(
        self, id_: str = "aaaaaaaaaaaa", *, expires: datetime | None = None, scopes: tuple[Scope, ...] = ("predict",)
    ) -> str:
        secret = secrets.token_urlsafe(32)
        self.keys[id_] = Key(
            id=id_, name="shop", hash=hash_of(secret), projects=("spam",), scopes=scopes,
            rate_per_s=None, created=NOW, expires=expires, revoked=None,
        )  # fmt: skip
        return f"evt_{id_}_{secret}"

    def revoke(self, id_: str = "aaaaaaaaaaaa") -> None:
        self.keys[id_] = self.keys[id_].model_copy(update={"revoked": NOW})

    def read(self) -> list[Key]:
        self.readings += 1
        if self.fault is not None:
            raise self.fault
        return list(self.keys.values())


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "serving" / "keys.json"


@pytest.fixture
def boot(ledger: Ledger, cache: Path) -> Iterator[Callable[[], Access]]:
    """A server starts: each call is another process's view of the same ledger and cache."""
    started: list[Access] = []

    def boot() -> Access:
        started.append(Access(ledger.read, cache, lambda: ledger.now))
        return started[-1]

    yield boot
    for one in started:
        one.stop()


def denied(access: Access, presented: str | None, status: int = 401) -> str:
    with pytest.raises(DeniedError) as caught:
        access.identify(presented)
    assert caught.value.status == status
    return caught.value.reason


def test_a_key_is_known_by_its_secret(ledger: Ledger, boot: Callable[[], Access]) -> None:
    shown = ledger.make()
    access = boot()
    assert access.refresh()
    assert access.identify(shown) == Identity("aaaaaaaaaaaa", "shop", ("spam",), ("predict",), None)


@settings(deadline=None)  # a machine that is busy is slow, not wrong
@given(st.data())
def test_nothing_else_is(data: st.DataObject) -> None:
    ledger = Ledger()
    shown = ledger.make()
    access = Access(ledger.read, Path("/nonexistent/keys.json"))
    access._keys = dict(ledger.keys)
    at = data.draw(st.integers(0, len(shown) - 1))
    changed = data.draw(
        st.one_of(
            st.text(max_size=80),
            st.characters().map(lambda one: shown[:at] + one + shown[at + 1 :]),
            st.just(shown[:at]),
            st.text(min_size=1).map(lambda more: shown + more),
        )
    )
    if changed != shown:
        with pytest.raises(DeniedError):
            access.identify(changed)


@pytest.mark.parametrize("presented", [None, "", "Bearer x", "evt_aaaaaaaaaaaa_" + "A" * 43, "\ud800", "evt_" * 1000])
def test_strange_keys_are_refused_in_words(boot: Callable[[], Access], ledger: Ledger, presented: str | None) -> None:
    ledger.make()
    access = boot()
    access.refresh()
    assert denied(access, presented)


def test_a_wrong_secret_is_told_as_an_unknown_id_is(ledger: Ledger, boot: Callable[[], Access]) -> None:
    ledger.make()
    access = boot()
    access.refresh()
    tail = "_" + "A" * 43
    assert denied(access, "evt_aaaaaaaaaaaa" + tail) == denied(access, "evt_bbbbbbbbbbbb" + tail)


def test_the_time_tells_nothing_of_the_id(ledger: Ledger, boot: Callable[[], Access]) -> None:
    """Not a proof: whether there is such an id or not, one hash is made, and one compared in constant time."""
    ledger.make()
    access = boot()
    access.refresh()
    hashed: list[str] = []

    def noted(secret: str) -> str:
        hashed.append(secret)
        return hash_of(secret)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "hash_of", noted)
        for presented in ("evt_aaaaaaaaaaaa_" + "A" * 43, "evt_bbbbbbbbbbbb_" + "A" * 43, "nonsense"):
            denied(access, presented)
    assert hashed == ["A" * 43, "A" * 43, "nonsense"]

    compared: list[tuple[str, str]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hmac.compare_digest", compare)
        for presented in ("evt_aaaaaaaaaaaa_" + "A" * 43, "evt_bbbbbbbbbbbb_" + "A" * 43):
            denied(access, presented)
    assert compared == [(hash_of("A" * 43), known) for known in (access._keys["aaaaaaaaaaaa"].hash, module.NOBODY)]


def test_an_expired_key_is_refused_by_the_clock_of_the_server(ledger: Ledger, boot: Callable[[], Access]) -> None:
    shown = ledger.make(expires=NOW + timedelta(minutes=1))
    access = boot()
    access.refresh()
    assert access.identify(shown)
    ledger.now += timedelta(minutes=1)
    assert "expired" in denied(access, shown)


def test_a_revoked_key_is_refused_after_the_next_reading(ledger: Ledger, boot: Callable[[], Access]) -> None:
    shown = ledger.make()
    access = boot()
    access.refresh()
    ledger.revoke()
    assert access.identify(shown)
    access.refresh()
    assert "revoked" in denied(access, shown)


@pytest.mark.parametrize("fault", [UnreachableError("away"), ValueError("of our own making")])
def test_while_the_ledger_is_away_known_keys_work_after_a_restart_too(
    ledger: Ledger, boot: Callable[[], Access], fault: Exception
) -> None:
    shown, brief = ledger.make(), ledger.make("bbbbbbbbbbbb", expires=NOW + timedelta(hours=1))
    revoked = ledger.make("cccccccccccc")
    ledger.revoke("cccccccccccc")
    access = boot()
    access.refresh()
    ledger.fault = fault
    for one in (access, boot()):
        assert not one.refresh()
        assert one.identify(shown)
        assert one.identify(brief)
        assert "revoked" in denied(one, revoked)
    ledger.now += timedelta(hours=2)
    later = boot()
    assert later.identify(shown)
    assert "expired" in denied(later, brief)


@pytest.mark.parametrize("fault", [UnreachableError("away"), ValueError("of our own making")])
def test_while_the_ledger_is_away_no_key_is_said_not_to_be_one(
    ledger: Ledger, boot: Callable[[], Access], fault: Exception
) -> None:
    access = boot()
    known = ledger.make()
    assert "cannot be asked" in denied(access, known, 503), "it has not been read yet"
    assert access.refresh()
    later = ledger.make("bbbbbbbbbbbb")
    denied(access, later)
    ledger.fault = fault
    access.refresh()
    told = denied(access, later, 503)
    assert denied(access, known[:-1] + ("A" if known[-1] != "A" else "B"), 503) == told, "a wrong secret is told alike"
    for presented in (None, "nonsense"):
        denied(access, presented)
    assert access.identify(known)
    ledger.fault = None
    access.refresh()
    assert access.identify(later).key_id == "bbbbbbbbbbbb"


def test_the_cache_holds_hashes_only_and_is_for_its_owner_alone(
    ledger: Ledger, boot: Callable[[], Access], cache: Path
) -> None:
    shown = ledger.make()
    boot().refresh()
    assert stat.S_IMODE(cache.stat().st_mode) == 0o600
    assert shown[17:] not in cache.read_text()
    assert list(cache.parent.iterdir()) == [cache]


@pytest.mark.parametrize("spoil", ["", "[]", "{", '{"keys": [1]}', '{"keys": [{"id": "x"}]}', "\udcff", "null"])
def test_a_spoiled_cache_is_none(ledger: Ledger, boot: Callable[[], Access], cache: Path, spoil: str) -> None:
    shown = ledger.make()
    boot().refresh()
    cache.write_bytes(spoil.encode("utf-8", "surrogateescape"))
    access = boot()
    assert denied(access, shown, 503)
    assert access.refresh()
    assert access.identify(shown)
    assert json.loads(cache.read_text())["keys"], "the next reading mends it"


def test_a_cache_that_others_may_write_is_not_believed(ledger: Ledger, boot: Callable[[], Access], cache: Path) -> None:
    shown = ledger.make()
    boot().refresh()
    cache.chmod(0o660)
    assert denied(boot(), shown, 503)


def test_a_cache_that_cannot_be_written_locks_nobody_out(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    shown = ledger.make()
    access = Access(ledger.read, tmp_path / "file" / "keys.json")
    assert access.refresh()
    assert access.identify(shown)
    (tmp_path / "file").unlink()
    assert access.refresh()  # with the same keys
    assert (tmp_path / "file" / "keys.json").exists()


def test_the_thread_reads_again_and_again(
    ledger: Ledger, boot: Callable[[], Access], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module.REFRESH_S + 2 * module.ASKED_REFRESH_S < 60
    assert module.REFRESH_S + silence.ANSWER_S < 60  # and where the ledger took the question and never answered
    monkeypatch.setattr(module, "REFRESH_S", 0.02)
    monkeypatch.setattr(module, "ASKED_REFRESH_S", 0.01)
    shown = ledger.make()
    access = boot()
    access.start()
    _until(lambda: ledger.readings > 2)
    ledger.fault = ValueError("a fault of our own must not end the thread")
    _until(lambda: ledger.readings > 5)
    ledger.fault = None
    ledger.revoke()
    _until(lambda: access._keys["aaaaaaaaaaaa"].revoked is not None)
    assert "revoked" in denied(access, shown)


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_unknown_keys_ask_for_one_reading_at_a_time(
    ledger: Ledger, boot: Callable[[], Access], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ASKED_REFRESH_S", 0.3)
    access = boot()
    access.start()
    _until(lambda: access._newest)
    began = time.monotonic()
    while time.monotonic() - began < 1.0 or ledger.readings < 2:
        denied(access, "evt_bbbbbbbbbbbb_" + "A" * 43)
    assert 2 <= ledger.readings <= 1 + (time.monotonic() - began) / 0.3 + 1


def test_a_key_that_was_just_made_is_admitted_at_its_first_request(
    ledger: Ledger, boot: Callable[[], Access], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ASKED_REFRESH_S", 0.05)
    monkeypatch.setattr(module, "PATIENCE_S", 60.0)
    access = boot()
    access.start()
    _until(lambda: ledger.readings > 0)
    shown = ledger.make()
    assert asyncio.run(access.admit(shown)).key_id == "aaaaaaaaaaaa"
    assert asyncio.run(access.admit(shown)).key_id == "aaaaaaaaaaaa"
    assert access._waiting == {}


def test_what_cannot_become_known_does_not_wait(
    ledger: Ledger, boot: Callable[[], Access], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFRESH_S", 600.0)  # so that only who waits could cause a second reading
    shown = ledger.make()
    ledger.revoke()
    access = boot()
    access.start()
    _until(lambda: bool(access._keys))
    for presented in (None, shown):
        with pytest.raises(DeniedError):
            asyncio.run(access.admit(presented))
    assert ledger.readings == 1


def test_waiting_is_bounded_in_time_and_number(
    ledger: Ledger, boot: Callable[[], Access], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger hangs: nobody waits longer than the patience, and no more wait than are allowed."""
    monkeypatch.setattr(module, "PATIENCE_S", 0.3)
    access = boot()
    hold = threading.Event()
    access._read = lambda: [] * hold.wait(30)
    access.start()

    access._newest = True  # the reading before went well

    async def crowd() -> tuple[int, list[object]]:
        asked = [asyncio.create_task(access.admit("evt_bbbbbbbbbbbb_" + "A" * 43)) for _ in range(200)]
        await asyncio.sleep(0.05)
        most = len(access._waiting)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        return most, [one.status for one in answers if isinstance(one, DeniedError)]

    most, statuses = asyncio.run(crowd())
    assert most == module.MOST_WAITING
    assert statuses == [503] * 200, "nobody knows whether these are keys"
    assert access._waiting == {}
    hold.set()


@pytest.mark.parametrize(
    ("projects", "scopes", "project", "scope", "allowed"),
    [
        (("spam",), ("predict",), "spam", "predict", True),
        (("spam",), ("predict",), "spam", "read", True),
        (("spam",), ("predict",), "spam", "feedback", False),
        (("spam",), ("predict",), "ham", "predict", False),
        (("spam",), ("predict",), "ham", "read", False),
        (("spam",), ("admin",), "spam", "predict", False),
        (("spam",), ("admin",), "*", "admin", False),
        (("*",), ("admin",), "*", "admin", True),
        (("*",), ("feedback",), "anything", "feedback", True),
        (("*",), (), "anything", "read", False),
        ((), ("predict",), "spam", "predict", False),
    ],
)
def test_what_a_key_allows(
    projects: tuple[str, ...],
    scopes: tuple[Scope, ...],
    project: str,
    scope: Scope,
    allowed: bool,
) -> None:
    assert Identity("k", "n", projects, scopes, None).allows(project, scope) is allowed
