"""Labels as JSON Lines, for tools outside: what should be labelled goes out, what was labelled comes in.

A line of either has ``id``, ``label``, ``pick`` and what helps to label it; on the way in all else is passed over, and
a ``label`` that is still ``null`` too. Nothing of a file is kept unless all of it can be.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from evertune import files
from evertune.ledger import engine as engines
from evertune.ledger import releases, segments
from evertune.loop.lineage import of_release
from evertune.loop.review import Answering, drawn
from evertune.project import Project
from evertune.records import UnfitError
from evertune.serving.labelling import Given, Labelling, Wrong
from evertune.serving.log import Feedback, TrafficLog
from evertune.serving.log.labels import answers_of
from evertune.serving.log.records import Origin
from evertune.serving.picks import Picks
from evertune.settings import Settings

KEY = "cli"
"""What stands as the key of labels that came without one."""
_LONGEST_LINE = 1 << 20
_SHOWN = 20


class Imported(NamedTuple):
    """What came of a file."""

    kept: int
    """Answers that have a label by it."""
    unlabelled: int
    """Lines whose label is ``null`` still."""


def export(project: Project, settings: Settings, path: Path) -> int:
    """Write what people should label next; returns how many answers. The file is there whole, or as it was."""
    release = _answering(project, settings)
    picks = Picks.of(settings.home)
    lines = [
        {
            "id": one.id,
            "text": one.text,
            "label": None,
            "pick": picks.sign(project.slug, one.id, one.probability),
            "answered": max(one.scores, key=lambda name: one.scores[name], default=None),
            "scores": one.scores,
            "choices": list(release.labels),
            "why": one.why,
        }
        for one in drawn(settings.home, project.slug, release).rows
    ]
    files.write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return len(lines)


def load(project: Project, settings: Settings, path: Path, origin: Origin, annotator: str) -> Imported:
    """Keep the labels of a file. ``annotator``: who gave those that name nobody.

    Raises :class:`UnfitError` with each line that cannot be kept; then none is.
    """
    release = _answering(project, settings)
    given, unlabelled, wrong = _read(path, annotator)
    answers = answers_of(settings.home / "traffic", project.slug, {one.id for one in given})
    now = datetime.now(UTC)
    labelling = Labelling(
        project.slug, release.labels, Picks.of(settings.home), origin, KEY, settings.subject_salt, now
    )  # fmt: skip
    records, more = labelling.feedback(given, answers)
    if wrong or more:
        raise UnfitError(_in_words(path, [*wrong, *more]))
    if records:
        asyncio.run(_log(settings, records))
    return Imported(len(records), unlabelled)


def _answering(project: Project, settings: Settings) -> Answering:
    engine = engines.ready(settings.database_url)
    release = releases.current(engine, project.slug)
    if release is None:
        raise UnfitError(f"{project.slug} has no release yet, so there are no answers to label. Run it first.")
    labels = of_release(engine, release)["labels"]
    if not labels:
        raise UnfitError(
            f"The ledger does not know the labels of release {release.generation} of {project.slug}: its run was made "
            f"elsewhere. Label over the API of a server instead: /v1/projects/{project.slug}/review."
        )
    return Answering(release.generation, tuple(labels))


async def _log(settings: Settings, records: list[Feedback]) -> None:
    # A folder of our own, as each server has one. Nothing is pruned: that is for those who know each project's days.
    engine = engines.ready(settings.database_url)
    log = TrafficLog(
        settings.home, on_closed=lambda segment: segments.record(engine, segment), days=lambda _project: None
    )  # fmt: skip
    try:
        await log.append(records)
    finally:
        await log.close()


def _read(path: Path, annotator: str) -> tuple[list[Given], int, list[Wrong]]:
    given: list[Given] = []
    wrong: list[Wrong] = []
    unlabelled = 0
    for where, line in _lines(path):
        found = _given(where, line, annotator)
        if isinstance(found, Given):
            given.append(found)
        elif found is None:
            unlabelled += 1
        else:
            wrong.append(found)
    return given, unlabelled, wrong


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with path.open("rb") as stream:
            number = 0
            while line := stream.readline(_LONGEST_LINE + 1):
                number += 1
                text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if text.strip():
                    yield f"line {number}", text
                while len(line) > _LONGEST_LINE and not line.endswith(b"\n"):
                    line = stream.readline(_LONGEST_LINE + 1)
    except OSError as fault:
        raise UnfitError(f"{path} cannot be read: {fault.strerror}.") from fault


def _given(where: str, line: bytes, annotator: str) -> Given | Wrong | None:
    """The label of a line; ``None`` where there is none yet."""
    found = _fields(line)
    if isinstance(found, str):
        return Wrong(where, found)
    if not found["label"]:
        return None
    return Given(where, found["id"] or "", found["label"], found["pick"], found["annotator"] or annotator)


def _fields(line: bytes) -> dict[str, str | None] | str:
    """What of a line counts, or what is wrong with it."""
    if len(line) > _LONGEST_LINE:
        return f"has more than {_LONGEST_LINE:,} bytes"
    try:
        found: Any = orjson.loads(line)
    except orjson.JSONDecodeError as fault:
        return f"is not JSON: {fault}"
    if not isinstance(found, dict):
        return "is not a JSON object"
    if missing := [name for name in ("id", "label") if name not in found]:
        return f"has no {' and no '.join(missing)}"
    fields = {name: found.get(name) for name in ("id", "label", "pick", "annotator")}
    odd = [name for name, value in fields.items() if not isinstance(value, str | None)]
    return f"has a {odd[0]} that is no text" if odd else fields


def _in_words(path: Path, wrong: list[Wrong]) -> str:
    shown = [f"  {one.where} {one.what}" for one in wrong[:_SHOWN]]
    if len(wrong) > _SHOWN:
        shown.append(f"  … and {len(wrong) - _SHOWN} more")
    return "\n".join([f"{path} was not imported, and none of its labels was kept:", *shown])
