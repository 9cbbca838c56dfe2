"""The second part of the demo: traffic drifts, is found out, is learned from, and the better model goes live.

Every stage finds out whether it has been done: a demo that was interrupted goes on, one that has ended starts nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from evertune.cli.output import people
from evertune.client import Client
from evertune.ledger import alerts, releases, runs, segments, windows
from evertune.ledger import engine as ledger_engine
from evertune.ledger.windows import WindowEntry
from evertune.project import Project
from evertune.records import Alert, AlertStatus, EvertuneError, Release
from evertune.serving.log.ids import decode, hex_of
from evertune.settings import Settings
from scripts.airflow_api import RUNNING, Airflow
from scripts.demo import rows
from scripts.demo.first import await_generation
from scripts.demo.follow import POLL_S, DagRun, check_ended_well, follow
from scripts.demo.replay import Replay, Steady, f1
from scripts.installation import Embedded

REVIEWS, BEFORE, AFTER = "reviews", "editorials before", "editorials after"
DRAIN_S, START_S = 90.0, 120.0


class Loop:
    """The embedded installation, the project, and what has been sent to it."""

    def __init__(self, here: Embedded, airflow: Airflow, project: Project, client: Client) -> None:
        """All of them are up already."""
        self.here, self.airflow, self.project, self.client = here, airflow, project, client
        self.slug = project.slug
        self.ledger = ledger_engine.ready(here.settings.database_url)
        self.replay = Replay(client, self.slug, here.settings.home / "demo" / "answers.jsonl")
        self.traffic = rows.draw(project, here.settings)
        self.failed: list[str] = []
        """What this demo's requests beside the retrain failed with."""
        self.shown = 0
        """Number of the last window that was shown."""

    @property
    def settings(self) -> Settings:
        """Where everything is."""
        return self.here.settings

    def current(self) -> Release:
        """The release that answers."""
        release = releases.current(self.ledger, self.slug)
        if release is None:
            raise EvertuneError(f"{self.slug} has no release: the first part of the demo did not end with one.")
        return release

    def cut(self) -> Iterator[tuple[WindowEntry, int, int]]:
        """Each window, with the numbers of its first answer and of the one after its last, in the order of sending."""
        start = 0
        for window in windows.history(self.ledger, self.slug, limit=None):
            end = start + window.rows + window.stragglers
            yield window, start, end
            start = end

    def alert(self) -> Alert | None:
        """The newest alert there was."""
        found = alerts.history(self.ledger, self.slug, limit=1)
        return found[0] if found else None


def tell(loop: Loop) -> None:
    """All stages, in their order."""
    if loop.current().generation == 1:
        _reviews(loop)
        _editorials(loop)
        _labels(loop)
        _retrain(loop)
    if loop.current().generation > 1:
        await_generation(loop.here, loop.current().generation)
        _afterwards(loop)


def _reviews(loop: Loop) -> None:
    _say("1", f"{len(loop.traffic.reviews):,} reviews that are in no data set: traffic as the model knows it")
    with _bar("sending", len(loop.traffic.reviews)) as moved:
        answers = loop.replay.send(REVIEWS, loop.traffic.reviews, moved)
    _monitor(loop)
    told = "an alert, although nothing has changed" if loop.alert() else "no alert"
    people.print(f"  macro F1 {f1(answers):.3f}; {told}", highlight=False)


def _editorials(loop: Loop) -> None:
    sentences = loop.traffic.editorials_before
    _say("2", f"{len(sentences):,} sentences of newspaper editorials: the traffic drifts")
    with _bar("sending", len(sentences)) as moved:
        answers = loop.replay.send(BEFORE, sentences, moved)
    _monitor(loop)
    people.print(f"  macro F1 {f1(answers):.3f}", highlight=False)
    if (alert := loop.alert()) is None:
        raise EvertuneError(f"No alert was raised by {len(sentences):,} editorials. Windows: `evertune monitor --help`")
    people.print(f"  [bold yellow]alert[/] in window {alert.window}: {', '.join(alert.signals)}", highlight=False)
    for sentence in alert.explanation.sentences if alert.explanation else ():
        people.print(f"    {sentence}", markup=False, highlight=False)
    people.print(f"  {alert.ruling}", markup=False, highlight=False)


def _labels(loop: Loop) -> None:
    sentences = loop.traffic.editorials_before
    _say("3", f"{len(sentences):,} labels come back as feedback")
    if (alert := loop.alert()) and alert.status is AlertStatus.OPEN:
        with _bar("sending", len(sentences)) as moved:
            loop.replay.label(BEFORE, moved)


def _retrain(loop: Loop) -> None:
    _say("4", "the alert starts a retrain, and the traffic goes on")
    before = loop.current().generation
    with Steady(loop.replay, loop.traffic.reviews) as steady:
        if (alert := loop.alert()) and alert.status is AlertStatus.OPEN:
            _monitor(loop)
        run = _woken(loop)
        follow(loop.airflow, run, loop.here, loop.slug)
        check_ended_well(loop.airflow, run, loop.here)
        if loop.current().generation > before:
            await_generation(loop.here, loop.current().generation)
    entry = runs.history(loop.ledger, loop.slug, limit=1)[0]
    verdict = entry.outcome.verdict if entry.outcome else None
    people.print(f"  verdict: [bold]{verdict.decision if verdict else 'none'}[/]", highlight=False)
    for reason in verdict.reasons if verdict else ():
        people.print(f"    {reason}", markup=False, highlight=False)
    loop.failed += steady.failed
    people.print(f"  {steady.asked:,} requests meanwhile, {len(steady.failed)} failed", highlight=False)
    for fault in steady.failed[:3]:
        people.print(f"    {fault}", markup=False, highlight=False, style="red")


def _woken(loop: Loop) -> DagRun:
    """The run of the retrain DAG that the alert's asset event has started."""
    dag_id = f"retrain__{loop.slug}"
    deadline = time.monotonic() + START_S
    while True:
        for found in loop.airflow.runs(dag_id):
            if found["run_type"] == "asset_triggered":
                return DagRun(dag_id, found["dag_run_id"])
        if time.monotonic() > deadline:
            alert = loop.alert()
            raise EvertuneError(
                f"The alert has started no run of {dag_id} within {START_S:.0f} s. "
                f"The policy says: {alert.ruling if alert else 'nothing, there is no alert'}"
            )
        time.sleep(POLL_S)


def _afterwards(loop: Loop) -> None:
    sentences = loop.traffic.editorials_after
    _say("5", f"{len(sentences):,} sentences of other editorials, kept back until now")
    with _bar("sending", len(sentences)) as moved:
        answers = loop.replay.send(AFTER, sentences, moved)
    _monitor(loop)
    before = loop.replay.answered(BEFORE)
    people.print(
        f"  macro F1 on editorials: {f1(before):.3f} before, [bold green]{f1(answers):.3f}[/] after", highlight=False
    )


def _monitor(loop: Loop) -> None:
    """Wait until all answers can be cut into windows, then have the monitor look at them."""
    dag_id = f"monitor__{loop.slug}"
    loop.airflow.await_dag(dag_id)
    with people.status("The traffic log is drained, and the monitor looks at it …"):
        _await_drained(loop)
        run = DagRun(dag_id, loop.airflow.trigger(dag_id, {}))
        while loop.airflow.run_state(*run) in RUNNING:
            time.sleep(POLL_S)
    check_ended_well(loop.airflow, run, loop.here)
    for window in windows.history(loop.ledger, loop.slug, limit=None):
        if window.number > loop.shown and window.findings:
            loop.shown = window.number
            worst = min((one for one in window.findings if one.rows), key=lambda one: one.p)
            told = f"most unlikely: {worst.signal} (p {worst.p:.1e}, effect {worst.effect:.2f})"
            people.print(f"    window {window.number}: {window.rows} answers, {told}", highlight=False)


def _await_drained(loop: Loop) -> None:
    """Until the segment of the newest answer is closed and in Parquet, and the ledger knows of it."""
    newest = loop.replay.answered()[-1]
    place = decode(newest.id)
    deadline = time.monotonic() + DRAIN_S
    while place and hex_of(place.segment) not in {segment.id for segment in segments.all(loop.ledger)}:
        if time.monotonic() > deadline:
            log = f"{loop.here.folder}/logs/evertune-serve.log"
            raise EvertuneError(f"The server has not drained its log for {DRAIN_S:.0f} s. Its own log: {log}")
        time.sleep(POLL_S)


def _say(number: str, what: str) -> None:
    people.print(f"\n[bold cyan]{number}[/] {what}", highlight=False)


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    with Progress(TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                  console=people) as bar:  # fmt: skip
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
