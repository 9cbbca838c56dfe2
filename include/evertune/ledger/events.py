"""What happened, in a chain that shows edits: the audit trail, and the outbox of notifications, in one table.

Each event holds the hash of the one before it and a hash over itself, and is appended in the very transaction that
does what it tells of. An edit or a deletion breaks the chain. Cutting off the end, or writing the whole chain anew,
does not: that is found against a :class:`Head` that was kept elsewhere.

A payload holds keys, numbers and the names of those who decided; never texts that people or data wrote, because what
is in the chain cannot be erased.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from evertune.files import canonical, hash_of
from evertune.ledger.engine import clock, reading, writing
from evertune.ledger.tables import EventRow, ReleaseRow
from evertune.records import Record

GENESIS = "0" * 64
"""What stands for the hash before the first event."""


class Kind(StrEnum):
    """What an event tells of."""

    STARTED = "started"
    """A run began."""
    RESUMED = "resumed"
    """A run whose owner's lease ran out was taken over."""
    VERDICT = "verdict"
    """A run ended at its verdict."""
    FAILED = "failed"
    """A run ended without one."""
    RELEASE = "release"
    """A new generation answers."""
    REFUSED = "refused"
    """A person did not approve a candidate."""
    ALERT = "alert"
    """Traffic has drifted from what a release knows, or a further signal says so since."""
    FADED = "faded"
    """An alert that no retrain was asked for was closed: nothing of it was seen for long."""
    KEY_CREATED = "key created"
    """A key of the API was made; its project is ``*`` where it is for several."""
    KEY_REVOKED = "key revoked"
    """A key of the API is refused from now on."""


class Head(NamedTuple):
    """The chain's newest link. Keep it outside of the database, signed, to find truncation later."""

    id: int
    hash: str


class Event(Record):
    """One event, for those who deliver it."""

    id: int
    project: str
    kind: Kind
    payload: dict[str, Any]
    created: datetime
    hash: str
    """Over all of it and the events before: with the id it is unique over all ledgers."""


def append(session: Session, project: str, kind: Kind, payload: Mapping[str, Any]) -> Head:
    """Add an event within the caller's write transaction (:func:`evertune.ledger.engine.writing`)."""
    last = _head(session)
    row = EventRow(
        id=last.id + 1,
        project=project,
        kind=kind.value,
        payload=canonical(dict(payload)),
        created=clock(session).isoformat(timespec="microseconds"),
        prev_hash=last.hash,
    )
    row.hash = _hash(row)
    session.add(row)
    session.flush()
    return Head(row.id, row.hash)


def append_once(session: Session, project: str, kind: Kind, payload: Mapping[str, Any]) -> bool:
    """Add an event unless the project has one of this kind and payload; whether it was added."""
    same = (EventRow.project == project, EventRow.kind == kind.value, EventRow.payload == canonical(dict(payload)))
    if session.scalar(select(EventRow.id).where(*same).limit(1)) is not None:
        return False
    append(session, project, kind, payload)
    return True


def _head(session: Session) -> Head:
    newest = select(EventRow.id, EventRow.hash).order_by(EventRow.id.desc()).limit(1)
    found = session.execute(newest).first()
    return Head(*found) if found else Head(0, GENESIS)


def _hash(row: EventRow) -> str:
    return hash_of([row.id, row.project, row.kind, row.payload, row.created, row.prev_hash])


def head(engine: Engine) -> Head:
    """The newest link; ``Head(0, GENESIS)`` where nothing has happened."""
    with reading(engine) as session:
        return _head(session)


def verify(engine: Engine, head: Head | None = None) -> list[str]:
    """What is wrong with the chain, in words; empty where it holds. ``head`` is one that was kept elsewhere.

    The releases are checked against their events too, because they decide what answers. Reads the chain in pieces.
    """
    faults: list[str] = []
    released: dict[tuple[str, int], dict[str, Any]] = {}
    with reading(engine) as session:
        last, at_head = Head(0, GENESIS), None
        for row in session.scalars(select(EventRow).order_by(EventRow.id).execution_options(yield_per=1000)):
            faults += _faults(row, last)
            if row.kind == Kind.RELEASE:
                released |= _released(row)
            if head is not None and row.id == head.id:
                at_head = row.hash
            last = Head(row.id, row.hash)
            session.expunge(row)
        faults += _release_faults(session, released)
    if head is not None and head.id > last.id:
        faults.append(f"Events {last.id + 1} to {head.id} are missing: the chain was cut off.")
    elif head is not None and head.id > 0 and at_head != head.hash:
        faults.append(f"Event {head.id} is not the one whose hash was kept: the chain was written anew.")
    return faults


def _faults(row: EventRow, last: Head) -> Iterator[str]:
    if row.id != last.id + 1:
        gap = f"Event {last.id + 1} is" if row.id == last.id + 2 else f"Events {last.id + 1} to {row.id - 1} are"
        yield f"{gap} missing before event {row.id}."
    elif row.prev_hash != last.hash:
        yield f"Event {row.id} does not follow the event before it."
    if row.hash != _hash(row):
        yield f"Event {row.id} was changed after it was written."


def _released(row: EventRow) -> dict[tuple[str, int], dict[str, Any]]:
    try:
        payload = json.loads(row.payload)
        return {(row.project, int(payload["generation"])): payload}
    except (ValueError, KeyError, TypeError):
        return {}  # the event was changed, which its hash has told


def _release_faults(session: Session, told: dict[tuple[str, int], dict[str, Any]]) -> Iterator[str]:
    there = set()
    for row in session.scalars(select(ReleaseRow)):
        key = (row.project, row.generation)
        there.add(key)
        if key not in told:
            yield f"Release {row.generation} of {row.project} has no event."
        elif told[key] != told[key] | release_payload(row):
            yield f"Release {row.generation} of {row.project} is not what its event tells: it was changed."
    for project, generation in sorted(set(told) - there):
        yield f"Release {generation} of {project} is missing: its event tells of it."


def release_payload(row: ReleaseRow) -> dict[str, Any]:
    """What the chain tells of a release: all that decides which model answers, and who let it."""
    return {
        "generation": row.generation,
        "model_version": row.model_version,
        "digest": row.digest,
        "run": row.run_key,
        "kind": row.kind,
        "restored": row.restored,
        "by": row.approved_by,
        "traffic_share": row.traffic_share,
    }


def undelivered(engine: Engine, limit: int = 100) -> list[Event]:
    """The oldest events that nobody has been told of yet."""
    query = select(EventRow).where(EventRow.delivered_at.is_(None)).order_by(EventRow.id).limit(limit)
    with reading(engine) as session:
        return [_event(row) for row in session.scalars(query)]


def after(engine: Engine, project: str, last: int, limit: int = 100) -> list[Event]:
    """The project's oldest events that came after the one of this id."""
    query = select(EventRow).where(EventRow.project == project, EventRow.id > last).order_by(EventRow.id).limit(limit)
    with reading(engine) as session:
        return [_event(row) for row in session.scalars(query)]


def _event(row: EventRow) -> Event:
    return Event(
        id=row.id,
        project=row.project,
        kind=Kind(row.kind),
        payload=json.loads(row.payload),
        created=datetime.fromisoformat(row.created),
        hash=row.hash,
    )


def delivered(engine: Engine, ids: Sequence[int]) -> None:
    """Note that these have been told. A crash before this tells them again: at least once, each with its ``id``."""
    with writing(engine) as session:
        told = update(EventRow).where(EventRow.id.in_(ids), EventRow.delivered_at.is_(None))
        session.execute(told.values(delivered_at=clock(session)))


def delivered_until(engine: Engine, project: str, last: int) -> None:
    """Note that all of the project's events up to this id have been told to everybody whom they concern."""
    waiting = (EventRow.project == project, EventRow.id <= last, EventRow.delivered_at.is_(None))
    with reading(engine) as session:
        if session.scalar(select(EventRow.id).where(*waiting).limit(1)) is None:
            return
    with writing(engine) as session:
        session.execute(update(EventRow).where(*waiting).values(delivered_at=clock(session)))
