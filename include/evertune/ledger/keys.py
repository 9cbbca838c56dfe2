"""Keys of the API: made, listed and revoked here. The ledger keeps a hash of the secret, which is shown once.

A key reads ``evt_<id>_<secret>``. The secret is 256 random bits, so a plain SHA-256 of it cannot be guessed back, and
checking a key costs microseconds. Names of keys stand here and not in the audit chain, where nothing can be erased.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import Engine, select

from evertune.ledger import events
from evertune.ledger.columns import printable
from evertune.ledger.engine import clock, reading, writing
from evertune.ledger.tables import KeyRow
from evertune.project.block import SLUG
from evertune.records import EvertuneError, Record

Scope = Literal["predict", "feedback", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
EVERY_PROJECT = "*"
ID_LENGTH = 12
ALPHABET = string.ascii_lowercase + string.digits
PATTERN = re.compile(rf"evt_([a-z0-9]{{{ID_LENGTH}}})_([A-Za-z0-9_-]{{43}})")
"""A key's text: its id, its secret."""
LONGEST_NAME = 100


class Key(Record):
    """A key without its secret."""

    id: str
    name: str
    hash: str
    """SHA-256 of the secret, hexadecimal."""
    projects: tuple[str, ...]
    """Slugs; ``*`` is every project, also those that come later."""
    scopes: tuple[Scope, ...]
    """Each of them lets read too."""
    rate_per_s: float | None
    """Requests a second; ``None``: the server's default."""
    created: datetime
    expires: datetime | None
    revoked: datetime | None


def hash_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def create(
    engine: Engine,
    *,
    name: str,
    projects: Sequence[str],
    scopes: Sequence[str],
    by: str,
    expires: datetime | None = None,
    rate_per_s: float | None = None,
) -> tuple[Key, str]:
    """Make a key; returns it and its text, which nobody can be shown again. ``by`` is who asked for it."""
    _check(name, projects, scopes, rate_per_s)
    id_ = "".join(secrets.choice(ALPHABET) for _ in range(ID_LENGTH))
    secret = secrets.token_urlsafe(32)
    with writing(engine) as session:
        now = clock(session)
        if expires is not None and expires <= now:
            raise EvertuneError(f"A key that expires at {expires.isoformat()} would never work: it is past.")
        row = KeyRow(
            id=id_,
            name=printable(name),
            hash=hash_of(secret),
            projects=sorted(set(projects)),
            scopes=[scope for scope in SCOPES if scope in scopes],
            rate_per_s=rate_per_s,
            created=now,
            expires=expires,
            revoked=None,
        )
        session.add(row)
        events.append(session, _about(row), events.Kind.KEY_CREATED, _told(row, by))
    return _key(row), f"evt_{id_}_{secret}"


def _check(name: str, projects: Sequence[str], scopes: Sequence[str], rate_per_s: float | None) -> None:
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise EvertuneError(
            f"A key needs a printable name of at most {LONGEST_NAME} characters that tells who uses it."
        )
    if not projects:
        raise EvertuneError("A key needs at least one project; * is every project.")
    for project in projects:
        if project != EVERY_PROJECT and not re.fullmatch(SLUG, project):
            raise EvertuneError(f"{project!r} is no project's slug: lower-case letters, digits and single dashes.")
    if not scopes or set(scopes) - set(SCOPES):
        raise EvertuneError(f"A key's scopes are one or more of {', '.join(SCOPES)}; given: {', '.join(scopes)}.")
    if rate_per_s is not None and not 0 < rate_per_s < 1e6:
        raise EvertuneError(f"A rate of {rate_per_s} requests a second cannot be kept: give one above 0, below 1e6.")


def _about(row: KeyRow) -> str:
    """The project of the event: an auditor of one project finds the keys that are for it alone."""
    return row.projects[0] if len(row.projects) == 1 else EVERY_PROJECT


def _told(row: KeyRow, by: str) -> dict[str, object]:
    expires = row.expires.isoformat() if row.expires else None
    return {"key": row.id, "projects": row.projects, "scopes": row.scopes, "expires": expires, "by": printable(by)}


def all(engine: Engine) -> list[Key]:  # noqa: A001 - reads as `keys.all`
    """Every key, those that expired or were revoked too, oldest first."""
    with reading(engine) as session:
        return [_key(row) for row in session.scalars(select(KeyRow).order_by(KeyRow.created, KeyRow.id))]


def revoke(engine: Engine, id: str, *, by: str) -> Key:  # noqa: A002 - the column's name
    """From now on the key is refused, by running servers within a minute. A second time changes nothing."""
    with writing(engine) as session:
        row = session.get(KeyRow, id)
        if row is None:
            raise EvertuneError(f"There is no key {id!r}: `evertune keys list` shows those that there are.")
        if row.revoked is None:
            row.revoked = clock(session)
            events.append(session, _about(row), events.Kind.KEY_REVOKED, {"key": row.id, "by": printable(by)})
        return _key(row)


def _key(row: KeyRow) -> Key:
    return Key(
        id=row.id,
        name=row.name,
        hash=row.hash,
        projects=tuple(row.projects),
        scopes=tuple(scope for scope in SCOPES if scope in row.scopes),
        rate_per_s=row.rate_per_s,
        created=row.created,
        expires=row.expires,
        revoked=row.revoked,
    )
