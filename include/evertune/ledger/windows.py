"""Windows of traffic: each answer in one of them, once, whoever cuts and whoever is killed.

What is to be cut is read without a lock, because it lies in Parquet files; the window and how far each segment is cut
are then written in one transaction, if nobody has cut another one meanwhile. Else it begins again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import structlog
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from evertune.ledger.cutting import Draft, Outline, Pending, next_window
from evertune.ledger.engine import clock, reading, writing
from evertune.ledger.tables import SegmentRow
from evertune.ledger.traffic_tables import CutRow, FindingsRow, WindowRow
from evertune.project.monitoring_options import WindowOptions
from evertune.records import Evidence, Finding, Window

PAGE = 200
"""Segments that are looked up at once."""
SETTLED = timedelta(seconds=2)
"""Labels younger than this wait for the next window, as a rule: most of them are on the disk by then."""
log = structlog.get_logger(__name__)
Read = Callable[[Pending], Outline]
"""Gives the project's answers in a segment, in the order of offsets."""


class WindowEntry(Window):
    """A window with what was found in it."""

    findings: tuple[Finding, ...] = ()
    evidence: Evidence | None = None
    """``None``: it has not been tested yet."""
    labelled: int = 0
    """Labels that belong to it."""
    report: str = ""
    """Address of its report."""


def cut(engine: Engine, project: str, read: Read, options: WindowOptions) -> Window | None:
    """Cut the next window that is due, or ``None``. Call it until then: many may be due at once."""
    while True:
        with reading(engine) as session:
            last, now = _newest(session, project), clock(session)
        seen: list[tuple[Pending, Outline]] = []
        draft = next_window(
            _noting(_pending(engine, project, read), seen), last.generation if last else 0, now, options
        )
        with writing(engine) as session:
            newest = _newest(session, project)
            if (newest.number if newest else 0) != (last.number if last else 0):
                continue  # somebody else was faster: there is other traffic to be cut now
            _count(session, project, seen)
            return _insert(session, project, draft, newest) if draft else None


def _noting(
    pairs: Iterator[tuple[Pending, Outline]], seen: list[tuple[Pending, Outline]]
) -> Iterator[tuple[Pending, Outline]]:
    for pair in pairs:
        seen.append(pair)
        yield pair


def _pending(engine: Engine, project: str, read: Read) -> Iterator[tuple[Pending, Outline]]:
    """What is in no window yet, in the order of segments, read only as far as it is asked for."""
    after = ""
    while True:
        query = (
            select(CutRow.segment, SegmentRow.hours, CutRow.cut, CutRow.answers)
            .join(SegmentRow, SegmentRow.id == CutRow.segment)
            .where(CutRow.project == project, CutRow.done.is_(None), CutRow.segment > after)
            .order_by(CutRow.segment)
            .limit(PAGE)
        )
        with reading(engine) as session:
            page = [Pending(id_, hours[project], cut, answers) for id_, hours, cut, answers in session.execute(query)]
        for one in page:
            yield one, _readable(one, read(one))
        if len(page) < PAGE:
            return
        after = page[-1].segment


def _readable(one: Pending, outline: Outline) -> Outline:
    """Nothing, where some of the segment's answers have gone since they were counted: numbers would mean other rows."""
    if one.answers is None or len(outline.generations) == one.answers:
        return outline
    return Outline((), (), lost=one.answers - one.cut)


def _count(session: Session, project: str, seen: list[tuple[Pending, Outline]]) -> None:
    """Note how many answers each segment has; those without any that could still be cut are done."""
    for one, outline in seen:
        row = session.get(CutRow, (project, one.segment))
        if row is None or row.done is not None:  # the retention may have removed it meanwhile
            continue
        if outline.lost and (row.answers is None or not outline.generations):  # told once
            row.lost += outline.lost
            log.warning("windows.records_lost", project=project, segment=one.segment, records=outline.lost)
        row.answers = len(outline.generations) if row.answers is None else row.answers
        if row.cut >= len(outline.generations):
            row.done = clock(session)


def _insert(session: Session, project: str, draft: Draft, last: WindowRow | None) -> Window:
    now = clock(session)
    for part in draft.parts:
        if (row := session.get(CutRow, (project, part.segment))) is not None:
            row.cut = part.end
            row.done = now if row.answers is not None and row.cut >= row.answers else None
    labels_until = min(now - SETTLED, draft.next or now)
    window = WindowRow(
        project=project,
        number=last.number + 1 if last else 1,
        generation=draft.generation,
        rows=draft.rows,
        stragglers=draft.stragglers,
        parts=[part.model_dump(mode="json") for part in draft.parts],
        since=draft.since or now,
        until=draft.until or now,
        labels_until=max(labels_until, last.labels_until) if last else labels_until,
        created=now,
    )
    session.add(window)
    session.flush()
    return _window(window)


def _newest(session: Session, project: str) -> WindowRow | None:
    query = select(WindowRow).where(WindowRow.project == project).order_by(WindowRow.number.desc()).limit(1)
    return session.scalar(query)


def get(engine: Engine, project: str, number: int) -> WindowEntry | None:
    """The window of this number."""
    with reading(engine) as session:
        row = session.get(WindowRow, (project, number))
        return _entry(row, session.get(FindingsRow, (project, number))) if row else None


def marks(engine: Engine, project: str, number: int) -> dict[str, int] | None:
    """Which labels were in the log when those of this window were counted; only the newest tested window has them."""
    with reading(engine) as session:
        found = session.get(FindingsRow, (project, number))
        return found.marks if found else None


def history(engine: Engine, project: str, limit: int | None = 100) -> list[WindowEntry]:
    """The latest windows, oldest first; with ``limit=None`` all."""
    query = (
        select(WindowRow, FindingsRow)
        .outerjoin(FindingsRow, (FindingsRow.project == WindowRow.project) & (FindingsRow.window == WindowRow.number))
        .where(WindowRow.project == project)
        .order_by(WindowRow.number.desc())
    )
    with reading(engine) as session:
        return [_entry(window, found) for window, found in session.execute(query.limit(limit))][::-1]


def untested(engine: Engine, project: str) -> Window | None:
    """The oldest window in which nothing was looked for yet."""
    tested = select(FindingsRow.window).where(FindingsRow.project == project)
    query = (
        select(WindowRow)
        .where(WindowRow.project == project, WindowRow.number.not_in(tested))
        .order_by(WindowRow.number)
        .limit(1)
    )
    with reading(engine) as session:
        row = session.scalar(query)
        return _window(row) if row else None


def segment_hours(engine: Engine, project: str, window: Window) -> dict[str, Pending]:
    """Where the answers of each part lie; those parts that the retention has removed are left out."""
    query = (
        select(CutRow.segment, SegmentRow.hours, CutRow.cut, CutRow.answers)
        .join(SegmentRow, SegmentRow.id == CutRow.segment)
        .where(CutRow.project == project, CutRow.segment.in_([part.segment for part in window.parts]))
    )
    with reading(engine) as session:
        return {id_: Pending(id_, hours[project], cut, answers) for id_, hours, cut, answers in session.execute(query)}


def lost(engine: Engine, project: str) -> int:
    """Records that were in no window, because their file was gone or torn when it was their turn."""
    with reading(engine) as session:
        return session.scalar(select(func.sum(CutRow.lost)).where(CutRow.project == project)) or 0


def _window(row: WindowRow) -> Window:
    return Window.model_validate({name: getattr(row, name) for name in Window.model_fields})


def _entry(row: WindowRow, found: FindingsRow | None) -> WindowEntry:
    told = _window(row).model_dump()
    if found is not None:
        names = ("findings", "evidence", "labelled", "report")
        told |= {name: getattr(found, name) for name in names}
    return WindowEntry.model_validate(told)
