"""Who may let a model answer, and how: a compare-and-set on the project's generation. The only writer of releases.

Generations only rise. Two promotions that were both judged against generation 4 cannot both become generation 5: the
second is refused, because what it was compared with no longer answers. MLflow's alias follows; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from evertune.ledger import events
from evertune.ledger.columns import printable
from evertune.ledger.engine import clock, reading, writing
from evertune.ledger.releases import as_release, newest
from evertune.ledger.runs import hold
from evertune.ledger.tables import ReleaseRow, RunRow
from evertune.records import EvertuneError, Release, Run, RunStatus, StaleError

GATE = "gate"
"""``by`` of a promotion that no person decided."""
PROMOTE = "promote"
ROLLBACK = "rollback"


class NothingBeforeError(EvertuneError):
    """There is no generation to go back to."""


class RolledBackError(EvertuneError):
    """The gate would bring back a model that a person took out of service."""


def promote(  # noqa: PLR0917 - the columns of one row
    engine: Engine,
    run: Run | None,
    project: str,
    model_version: int,
    digest: str,
    run_key: str,
    expected: int,
    by: str,
    kind: str = PROMOTE,
    reason: str = "",
) -> Release:
    """Let the model version answer as generation ``expected + 1``, if ``expected`` (0: none) still answers.

    The run that made the candidate gives itself, and its token is checked; a person gives ``None``. The same promotion
    again (a retried step) returns the release that it made. Raises :class:`StaleError` where another generation
    answers or the run has changed hands, :class:`RolledBackError` where only a person may bring the model back.
    """
    if kind == ROLLBACK or (by == GATE and run is None) or (run is not None and run.key != run_key):
        raise ValueError("the gate promotes what its own run made; going back is rollback()'s")
    with writing(engine) as session:
        row = hold(session, run, ended=True)[0] if run else _run(session, run_key)
        if row.project != project:
            raise EvertuneError(f"Run {run_key} is one of {row.project}, not of {project}.")
        made = session.get(ReleaseRow, (project, expected + 1))
        wanted = (run_key, model_version, digest, kind)
        if made and (made.run_key, made.model_version, made.digest, made.kind) == wanted:
            return as_release(made)
        _compare(newest(session, project), project, expected)
        _check_digest(session, project, model_version, digest)
        if by == GATE:
            _check_gate(_history(session, project), row, expected, digest)
        release = ReleaseRow(
            generation=expected + 1, model_version=model_version, digest=digest, run_key=run_key, kind=kind
        )
        _insert(session, project, release, by, reason)
        _close(row, release)
        return as_release(release)


def target(engine: Engine, project: str, to: int | None = None, *, expected: int | None = None) -> Release:
    """The generation that :func:`rollback` would go back to, for a look at it before.

    Without ``to``, that is the newest one whose model is neither the present one nor itself rolled back, so that
    going back twice goes back two models. Raises :class:`StaleError` as that does, and :class:`NothingBeforeError`.
    """
    with reading(engine) as session:
        past = _history(session, project)
        if expected is not None:
            _compare(past[-1] if past else None, project, expected)
        return as_release(_target(past, project, to))


def repeated(engine: Engine, project: str, by: str, to: int | None, expected: int) -> Release | None:
    """The release that this very :func:`rollback` has made already: the same person's, over the same generation."""
    with reading(engine) as session:
        made = _repeated(session, project, by, to, expected)
        return as_release(made) if made else None


def rollback(
    engine: Engine, project: str, by: str, to: int | None = None, *, expected: int | None = None, reason: str = ""
) -> Release:
    """Let an earlier generation's model (that of :func:`target`) answer again, as a new generation.

    ``expected`` refuses (:class:`StaleError`) where another generation answers than the person has seen; with it, the
    same rollback again returns the release that it made.
    """
    with writing(engine) as session:
        past = _history(session, project)
        if expected is not None:
            if made := _repeated(session, project, by, to, expected):
                return as_release(made)
            _compare(past[-1] if past else None, project, expected)
        goal = _target(past, project, to)
        release = ReleaseRow(
            generation=past[-1].generation + 1,
            model_version=goal.model_version,
            digest=goal.digest,
            run_key=goal.run_key,
            kind=ROLLBACK,
            restored=goal.generation,
        )
        _insert(session, project, release, by, reason)
        return as_release(release)


def refuse(engine: Engine, run_key: str, by: str, reason: str) -> None:
    """Note that a person did not approve the run's candidate. Again, it changes nothing.

    Raises :class:`StaleError` where the run no longer awaits approval because its candidate was promoted.
    """
    with writing(engine) as session:
        row = _run(session, run_key)
        if row.status != RunStatus.AWAITING_APPROVAL:
            if row.message is None or row.generation is not None:
                raise StaleError(f"Run {run_key} is {row.status} and does not await approval.")
            return
        row.status, row.message = RunStatus.FINISHED.value, printable(f"refused by {by}: {reason}")
        events.append(session, row.project, events.Kind.REFUSED, {"run": run_key, "by": printable(by)})


def _run(session: Session, key: str) -> RunRow:
    row = session.scalar(select(RunRow).where(RunRow.key == key))
    if row is None:
        raise EvertuneError(f"The ledger knows no run {key}: where this model comes from could not be told.")
    return row


def _history(session: Session, project: str) -> Sequence[ReleaseRow]:
    query = select(ReleaseRow).where(ReleaseRow.project == project).order_by(ReleaseRow.generation)
    return session.scalars(query).all()


def _compare(present: ReleaseRow | None, project: str, expected: int) -> None:
    answers = present.generation if present else 0
    if answers != expected:
        raise StaleError(
            f"Generation {answers} of {project} answers now, not {expected}, which this was decided against: nothing "
            "was changed. Look at `evertune status` and decide again."
        )


def _repeated(session: Session, project: str, by: str, to: int | None, expected: int) -> ReleaseRow | None:
    made = session.get(ReleaseRow, (project, expected + 1))
    same = made is not None and made.kind == ROLLBACK and made.approved_by == printable(by)
    return made if made and same and to in {None, made.restored} else None


def _check_digest(session: Session, project: str, model_version: int, digest: str) -> None:
    query = select(ReleaseRow).where(
        ReleaseRow.project == project, ReleaseRow.model_version == model_version, ReleaseRow.digest != digest
    )
    if other := session.scalar(query.limit(1)):
        raise EvertuneError(
            f"Version {model_version} of {project} answered as generation {other.generation} with digest "
            f"{other.digest[:12]}…, now it has {digest[:12]}…: its files were changed. Do not use it."
        )


def _check_gate(past: Sequence[ReleaseRow], row: RunRow, expected: int, digest: str) -> None:
    if row.status != RunStatus.ACTIVE or row.champion != expected:
        raise StaleError(
            f"Run {row.key} is {row.status} and was judged against generation {row.champion}: the gate cannot promote "
            f"its model over generation {expected}."
        )
    if digest in _rolled_back(past):
        raise RolledBackError(
            f"This very model (digest {digest[:12]}…) was taken out of service by a rollback. Only a person brings it "
            f"back: evertune release promote {row.project}."
        )


def _rolled_back(past: Sequence[ReleaseRow]) -> set[str]:
    """Digests that a rollback passed over and that no person has let answer since."""
    banned: set[str] = set()
    for release in past:
        if release.restored is not None:
            banned |= {older.digest for older in past if release.restored < older.generation < release.generation}
        if release.approved_by != GATE:
            banned.discard(release.digest)
    return banned


def _target(past: Sequence[ReleaseRow], project: str, to: int | None) -> ReleaseRow:
    if not past:
        raise NothingBeforeError(f"{project} has no release yet: there is nothing to go back from.")
    present, banned = past[-1], _rolled_back(past)
    others = [release for release in past if release.digest != present.digest]
    if to is not None:
        others = [release for release in others if release.generation == to]
    else:
        others = [release for release in others if release.digest not in banned]
    if not others:
        which, back = (f"generation {to}", "") if to is not None else ("generation", " and was not rolled back")
        there = ", ".join(f"{one.generation} (version {one.model_version})" for one in past)
        raise NothingBeforeError(
            f"{project} has no {which} to go back to whose model does not answer already{back}. "
            f"There are: {there}. Name one: evertune release rollback {project} --to GENERATION."
        )
    return others[-1]


def _insert(session: Session, project: str, release: ReleaseRow, by: str, reason: str) -> None:
    now = clock(session)
    release.reason = printable(reason) or None
    release.project, release.approved_by, release.traffic_share, release.created = project, printable(by), 1.0, now
    session.add(release)
    session.flush()
    overtaken = _supersede(session, release)
    told = events.release_payload(release) | {"superseded": overtaken}
    events.append(session, project, events.Kind.RELEASE, told)


def _supersede(session: Session, release: ReleaseRow) -> list[str]:
    """Other candidates that await approval were compared with what no longer answers: they wait no more."""
    query = select(RunRow).where(
        RunRow.project == release.project,
        RunRow.status == RunStatus.AWAITING_APPROVAL.value,
        RunRow.key != release.run_key,
    )
    overtaken = session.scalars(query.order_by(RunRow.id)).all()
    for row in overtaken:
        row.status, row.message = RunStatus.FINISHED.value, f"superseded by generation {release.generation}"
    return [row.key for row in overtaken]


def _close(row: RunRow, release: ReleaseRow) -> None:
    """The run's candidate answers; where it awaited approval, that is over."""
    row.generation = release.generation
    if row.status == RunStatus.AWAITING_APPROVAL:
        row.status = RunStatus.FINISHED.value
        row.outcome = (row.outcome or {}) | {
            "awaiting_approval": False,
            "release": as_release(release).model_dump(mode="json"),
        }
