"""Webhooks against real servers on this machine: signed, in order, at least once, and none waits for another."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, update
from tests.ledgers import template
from tests.support import small_project, write_project

from evertune.client.webhooks import SignatureError, verify
from evertune.ledger import deliveries, events, runs, triggers
from evertune.ledger import engine as engines
from evertune.ledger.events import Kind
from evertune.ledger.tables import DeliveryRow, EventRow
from evertune.loop import notify as notices
from evertune.loop import notify_others
from evertune.project import Project
from evertune.project.load import load as load_project
from evertune.project.monitoring_options import Notice, Notifications, Webhook
from evertune.records import Cause, RunStatus
from evertune.settings import Settings, load

__all__ = ["template"]

SECRET = "a secret of the tests"


class Receiver:
    """A server that keeps what it is posted and answers what it is told to."""

    def __init__(self) -> None:
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.answer: Callable[[int], int] = lambda number: 204
        self.headers: dict[str, str] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.posts.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(receiver.answer(len(receiver.posts)))
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/hook"

    @property
    def events(self) -> list[dict[str, Any]]:
        return [verify(SECRET, headers["evertune-signature"], body) for headers, body in self.posts]

    def hook(self, *kinds: Notice) -> Webhook:
        return Webhook(url=self.url, secret="${secret:HOOK}", events=kinds or tuple(Notice))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("EVERTUNE_SECRET_HOOK", SECRET)
    return load({"EVERTUNE_HOME": str(tmp_path / "home"), "EVERTUNE_PROJECTS": str(tmp_path / "projects")})


@pytest.fixture
def ledger(settings: Settings, template: Path) -> Iterator[Engine]:
    settings.home.mkdir()
    shutil.copy(template, settings.home / "ledger.db")
    engine = engines.ready(settings.database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def project(settings: Settings) -> Project:
    settings.projects.mkdir()
    return load_project(write_project(settings, small_project()))


def with_hooks(project: Project, *hooks: Webhook) -> Project:
    return project.model_copy(update={"notifications": Notifications(webhooks=hooks)})


def happen(ledger: Engine, project: Project, *told: tuple[Kind, dict[str, Any]]) -> None:
    with engines.writing(ledger) as session:
        for kind, payload in told:
            events.append(session, project.slug, kind, payload)


def four_days_old(ledger: Engine, *kinds: str) -> None:
    """What has happened, of these kinds or of all, has happened longer ago than is tried."""
    created = (datetime.now(UTC) - timedelta(days=4)).isoformat(timespec="microseconds")
    some = [EventRow.kind.in_(kinds)] if kinds else []
    with engines.writing(ledger) as session:
        session.execute(update(EventRow).where(*some).values(created=created))


TICK = timedelta(milliseconds=1)
"""As fine as the ledger's clock is."""
ALL: tuple[tuple[Kind, dict[str, Any]], ...] = (
    (Kind.STARTED, {"run": "r1", "owner": "anna@example.org"}),
    (Kind.ALERT, {"alert": "a1", "generation": 1, "rows": 500, "signals": ["embedding"]}),
    (Kind.VERDICT, {"run": "r1", "decision": "promote"}),
    (Kind.RELEASE, {"run": "r1", "generation": 2, "kind": "promote", "by": "anna@example.org"}),
    (Kind.RELEASE, {"run": "r1", "generation": 3, "kind": "rollback", "by": "anna@example.org"}),
    (Kind.FAILED, {"run": "r2"}),
)


def test_each_kind_is_told_as_a_signed_cloud_event(
    ledger: Engine, settings: Settings, project: Project, receiver: Receiver
) -> None:
    project = with_hooks(project, receiver.hook())
    happen(ledger, project, *ALL, (Kind.FADED, {"alert": "a2", "generation": 3, "window": 9, "signals": ["f1"]}))
    (told,) = notices.notify(project, settings)

    assert (told.sent, told.waiting, told.fault) == (6, 0, None)
    kinds = ["alert", "verdict", "release", "rollback", "failed", "faded"]
    assert receiver.events[-1]["subject"] == "a2"
    assert [event["type"] for event in receiver.events] == [f"evertune.{kind}" for kind in kinds]
    first = receiver.events[0]
    assert first.keys() == {
        "specversion", "id", "source", "type", "subject", "time", "sequence", "datacontenttype", "data",
    }  # fmt: skip
    assert (first["specversion"], first["source"]) == ("1.0", f"/evertune/projects/{project.slug}")
    assert (first["subject"], first["data"]["signals"]) == ("a1", ["embedding"])
    assert datetime.fromisoformat(first["time"]).tzinfo is not None
    headers, body = receiver.posts[0]
    assert headers["content-type"].startswith("application/cloudevents+json")
    assert b"anna" not in b"".join(body for _, body in receiver.posts), "names of people stay here"
    with pytest.raises(SignatureError):
        verify("another", headers["evertune-signature"], body)
    assert notices.notify(project, settings)[0].sent == 0, "once is enough"
    assert events.undelivered(ledger) == []


def test_a_webhook_hears_of_what_it_asked_for(
    ledger: Engine, settings: Settings, project: Project, receiver: Receiver
) -> None:
    project = with_hooks(project, receiver.hook(Notice.ROLLBACK))
    happen(ledger, project, *ALL)
    assert notices.notify(project, settings)[0].sent == 1
    assert [event["type"] for event in receiver.events] == ["evertune.rollback"]


def test_what_did_not_get_through_is_told_later_in_order_with_the_same_id(
    ledger: Engine, settings: Settings, project: Project, receiver: Receiver
) -> None:
    project = with_hooks(project, receiver.hook())
    receiver.answer = lambda number: 503 if number == 2 else 200
    happen(ledger, project, *ALL)
    (told,) = notices.notify(project, settings)
    assert (told.sent, told.waiting, told.fault) == (1, 4, "it answered 503")
    assert events.undelivered(ledger)[0].kind is Kind.VERDICT

    assert notices.notify(project, settings)[0].sent == 0, "not before its time"
    assert len(receiver.posts) == 2
    (told,) = notices.notify(project, settings, now=True)
    assert (told.sent, told.waiting, told.fault) == (4, 0, None)
    ids = [event["id"] for event in receiver.events]
    assert ids[1] == ids[2]
    assert len(set(ids)) == 5
    sequence = [event["sequence"] for event in receiver.events]
    assert sequence == sorted(sequence)


def test_the_pause_doubles(ledger: Engine, settings: Settings, project: Project, receiver: Receiver) -> None:
    project = with_hooks(project, receiver.hook())
    receiver.answer = lambda number: 500
    happen(ledger, project, *ALL)
    pauses = []
    for _ in range(4):
        before = datetime.now(UTC)
        notices.notify(project, settings, now=True)
        retry_at = deliveries.all(ledger, project.slug)[0].retry_at
        assert retry_at is not None
        pauses.append((retry_at - datetime.now(UTC), retry_at - before))
    for pause, (least, most) in zip((30, 60, 120, 240), pauses, strict=True):
        assert least - TICK <= timedelta(seconds=pause) <= most + TICK


def test_the_pause_begins_anew_once_one_has_got_through(
    ledger: Engine, settings: Settings, project: Project, receiver: Receiver
) -> None:
    project = with_hooks(project, receiver.hook())
    receiver.answer = lambda number: 200 if number == 5 else 500
    happen(ledger, project, *ALL)
    for _ in range(4):
        notices.notify(project, settings, now=True)
    before = datetime.now(UTC)
    assert notices.notify(project, settings, now=True)[0].sent == 1
    after = datetime.now(UTC)
    (row,) = deliveries.all(ledger, project.slug)
    assert row.retry_at is not None
    assert row.failures == 1
    assert before - TICK <= row.retry_at - timedelta(seconds=30) <= after + TICK


@contextmanager
def silence(until: threading.Event) -> Iterator[str]:
    """The address of a server that takes a connection and says nothing before ``until``."""

    def hold() -> None:
        with contextlib.suppress(OSError):  # shut before anybody has come
            connection, _ = server.accept()
            with connection:
                until.wait(120)

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        holder = threading.Thread(target=hold, daemon=True)
        holder.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/x?token=hidden"
        until.set()
        server.shutdown(socket.SHUT_RDWR)
        holder.join()


def test_a_dead_address_does_not_hold_up_another(
    ledger: Engine, settings: Settings, project: Project, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "POST_S", 60.0)
    all_told = threading.Event()

    def take(number: int) -> int:
        if number == 5:
            all_told.set()
        return 204

    receiver.answer = take
    with silence(until=all_told) as address:  # it lets go once the other has everything, and not before
        project = with_hooks(project, Webhook(url=address, secret="${secret:HOOK}"), receiver.hook())
        happen(ledger, project, *ALL)
        first, second = notices.notify(project, settings)
    assert (first.sent, second.sent) == (0, 5)
    assert "hidden" not in first.model_dump_json()
    assert len(events.undelivered(ledger)) == 5, "the outbox keeps what one does not know"


def test_a_dead_address_does_not_hold_up_the_loop(
    ledger: Engine, settings: Settings, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "LONGEST_S", 0.2)
    monkeypatch.setattr(notices, "POST_S", 60.0)
    held = threading.Event()
    with silence(until=held) as address:
        project = with_hooks(project, Webhook(url=address, secret="${secret:HOOK}"))
        happen(ledger, project, *ALL)
        (told,) = notices.notify(project, settings)
        assert not held.is_set(), "the address has not let go yet"
        assert told.sent == 0
        assert len(events.undelivered(ledger)) == 5


def test_no_connection_is_a_fault_without_what_is_secret_in_the_address(
    ledger: Engine, settings: Settings, project: Project
) -> None:
    project = with_hooks(project, Webhook(url="http://127.0.0.1:9/x?token=hidden", secret="${secret:HOOK}"))
    happen(ledger, project, *ALL)
    (told,) = notices.notify(project, settings)
    assert told.fault is not None
    assert told.fault.startswith("ConnectError")
    assert "hidden" not in told.model_dump_json()


def test_an_address_that_cannot_be_posted_to_is_a_fault_that_is_seen(
    ledger: Engine, settings: Settings, project: Project
) -> None:
    project = with_hooks(project, Webhook(url="https://\N{SNOWMAN}.net/", secret="${secret:HOOK}"))
    happen(ledger, project, *ALL)
    (told,) = notices.notify(project, settings)
    assert told.fault is not None
    assert told.fault.startswith("InvalidURL")


def test_a_redirect_is_not_followed(ledger: Engine, settings: Settings, project: Project, receiver: Receiver) -> None:
    elsewhere = Receiver()
    receiver.answer, receiver.headers = lambda number: 307, {"location": elsewhere.url}
    project = with_hooks(project, receiver.hook())
    happen(ledger, project, *ALL)
    assert notices.notify(project, settings)[0].fault == "it answered 307"
    assert not elsewhere.posts


def test_two_who_deliver_at_once_tell_each_event_once_and_in_order(
    ledger: Engine, settings: Settings, project: Project, receiver: Receiver
) -> None:
    project = with_hooks(project, receiver.hook())
    happen(ledger, project, *ALL * 5)
    together = [threading.Thread(target=notices.notify, args=(project, settings)) for _ in range(4)]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    sequence = [event["sequence"] for event in receiver.events]
    assert len(sequence) == len(set(sequence)) == 25
    assert sequence == sorted(sequence)


def test_who_was_killed_before_noting_it_is_followed_by_one_who_tells_it_again(
    ledger: Engine, settings: Settings, project: Project, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = with_hooks(project, receiver.hook(Notice.ALERT))
    happen(ledger, project, *ALL)
    note = deliveries.told

    def killed(engine: Engine, held: deliveries.Delivery, until: int) -> deliveries.Delivery | None:
        if receiver.posts:
            raise RuntimeError("killed")
        return note(engine, held, until)

    with monkeypatch.context() as patch:
        patch.setattr(deliveries, "told", killed)
        notices.notify(project, settings)
    assert notices.notify(project, settings)[0].sent == 0, "its row is held for a while"
    with engines.writing(ledger) as session:
        session.execute(update(DeliveryRow).values(held_until=datetime.now(UTC) - timedelta(seconds=1)))
    assert notices.notify(project, settings)[0].sent == 1
    assert len({event["id"] for event in receiver.events}) == 1
    assert len(receiver.events) == 2


def test_an_event_that_is_refused_for_days_is_given_up_and_counted(
    ledger: Engine, settings: Settings, project: Project, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "FIRST_LOOK_BACK", timedelta(days=10))
    project = with_hooks(project, receiver.hook())
    happen(ledger, project, *ALL)
    four_days_old(ledger, "alert")
    tries = notices.FEWEST_TRIES
    receiver.answer = lambda number: 400 if number <= tries else 200
    for _ in range(tries):
        (told,) = notices.notify(project, settings, now=True)
        assert (told.fault, told.sent) == ("it answered 400", 0)
    assert (told.missed, told.waiting) == (1, 4)
    (told,) = notices.notify(project, settings, now=True)
    assert (told.sent, told.missed, told.waiting) == (4, 1, 0)


def test_an_old_event_that_nobody_has_told_yet_is_not_given_up_at_its_first_try(
    ledger: Engine, settings: Settings, project: Project, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "FIRST_LOOK_BACK", timedelta(days=10))
    project = with_hooks(project, receiver.hook())
    happen(ledger, project, *ALL)
    four_days_old(ledger)
    receiver.answer = lambda number: 503 if number == 1 else 200
    assert notices.notify(project, settings)[0].fault == "it answered 503"
    (told,) = notices.notify(project, settings, now=True)
    assert (told.sent, told.missed) == (5, 0)


def test_a_worker_whose_clock_is_ahead_gives_no_event_up(
    ledger: Engine, settings: Settings, project: Project, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = SimpleNamespace(now=lambda tz: datetime.now(tz) + timedelta(days=10))
    monkeypatch.setattr(notices, "datetime", ahead, raising=False)
    project = with_hooks(project, receiver.hook())
    happen(ledger, project, *ALL)
    tries = notices.FEWEST_TRIES + 1
    receiver.answer = lambda number: 503 if number <= tries else 200
    for _ in range(tries):
        notices.notify(project, settings, now=True)
    (told,) = notices.notify(project, settings, now=True)
    assert (told.sent, told.missed) == (5, 0)


def test_without_a_secret_nothing_is_sent_and_it_is_said_which(
    ledger: Engine, settings: Settings, project: Project, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EVERTUNE_SECRET_HOOK")
    project = with_hooks(project, receiver.hook())
    happen(ledger, project, *ALL)
    (told,) = notices.notify(project, settings)
    assert told.fault == "EVERTUNE_SECRET_HOOK is not set: set it to the webhook's secret"
    assert not receiver.posts
    notices.tell(project, settings)


def test_nobody_to_tell_empties_the_outbox(ledger: Engine, settings: Settings, project: Project) -> None:
    happen(ledger, project, *ALL)
    assert notices.notify(project, settings) == []
    assert events.undelivered(ledger) == []


def test_a_task_that_failed_ends_its_run(ledger: Engine, settings: Settings, project: Project) -> None:
    triggers.request(ledger, project.slug, Cause.CLOCK, "k", "")
    run = runs.claim(ledger, project.slug, "airflow:d:1", 60)
    assert run is not None
    for _ in range(2):
        notices.failed(project.slug, settings, owner="airflow:d:1", dag="d", task="tune", message="killed")
    assert runs.history(ledger, project.slug)[0].status is RunStatus.FAILED
    kinds = [event.kind for event in events.after(ledger, project.slug, 0)]
    assert kinds == [Kind.STARTED, Kind.FAILED]


def test_a_failure_without_a_run_is_one_event_a_task_and_day(
    ledger: Engine, settings: Settings, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "clock", lambda _: datetime(2026, 11, 22, 18, tzinfo=UTC))  # not about midnight
    for number in range(3):
        notices.failed(project.slug, settings, owner=f"airflow:m:{number}", dag="m", task="report", message="no")
    (event,) = events.after(ledger, project.slug, 0)
    assert (event.kind, event.payload["dag"], event.payload["task"]) == (Kind.FAILED, "m", "report")
    assert "message" not in json.dumps(event.payload)


def test_another_receiver_is_given_its_kinds_of_events_once_and_again_what_failed(
    ledger: Engine, project: Project, settings: Settings
) -> None:
    happen(ledger, project, (Kind.ALERT, {"alert": "one"}), (Kind.FAILED, {"run": "r"}), (Kind.ALERT, {"alert": "two"}))
    taken: list[str] = []

    def give(event: dict[str, Any]) -> None:
        if event["subject"] == "two" and len(taken) < 2:
            taken.append("refused")
            raise OSError("the chat is away")
        taken.append(event["subject"])

    def pass_on(name: str = "chat") -> int:
        return notify_others.pass_on(project.slug, settings, name, [Notice.ALERT], give)

    assert (pass_on(), pass_on()) == (1, 0)  # it is not time to try again
    (row,) = deliveries.all(ledger, project.slug)
    assert row.fault == "OSError, see the log", "its words may hold the notifier's address"
    with engines.writing(ledger) as session:
        session.execute(update(DeliveryRow).values(retry_at=None))
    assert (pass_on(), pass_on()) == (1, 0)
    assert taken == ["one", "refused", "two"]
    assert pass_on("mail") == 2
