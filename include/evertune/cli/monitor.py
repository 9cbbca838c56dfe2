"""``evertune monitor``: one look at a project's traffic, as the DAG ``monitor__<project>`` takes every quarter hour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from evertune.cli import output
from evertune.project.load import find, load
from evertune.settings import load as load_settings

if TYPE_CHECKING:
    from evertune.loop.monitor import Watched
    from evertune.loop.window_findings import Tested


def command(project: output.ProjectName, json: output.Json = False) -> None:
    """Cut traffic into windows, test each for drift, and let the policy rule on what was found. Again, it goes on."""
    from evertune.loop import monitor

    watched = monitor.watch(load(find(project, load_settings())), load_settings())
    if json:
        output.print_json(watched.model_dump(mode="json"))
        return
    _show(watched)


def _show(watched: Watched) -> None:
    if not watched.tested:
        _say("No window of traffic was due: see `monitoring.window` in the project file.")
    else:
        output.people.print(_table(watched))
    for told in dict.fromkeys(one.lacks for one in watched.tested if one.lacks):
        _say(told)
    if watched.lost:
        _say(f"{watched.lost:,} records were passed over since the first window: their files were gone or torn.")
    if watched.unreported:
        _say(f"{watched.unreported} of the newest windows have no report: it could not be made, the log says why.")
    if watched.alert is not None:
        alert = watched.alert
        _say(f"Alert {alert.key} ({', '.join(alert.signals)}) is {alert.status}. {alert.ruling}")
        for sentence in alert.explanation.sentences if alert.explanation else ():
            _say(f"  {sentence}")
    if watched.held_back:
        _say(f"The retrain that was asked for is not begun yet: {watched.held_back}.")
    if watched.wakes:
        _say(f"A retrain waits: `evertune run {watched.project}`, or the next run of retrain__{watched.project}.")


def _table(watched: Watched) -> Table:
    table = Table("window", "release", "answers", "labels", "evidence", "what moved", title=watched.project)
    for one in watched.tested:
        row = (one.window, one.generation, one.rows, one.labelled, f"{one.evidence:.3g}", _moved(one))
        table.add_row(*map(str, row))
    return table


def _moved(one: Tested) -> str:
    if not one.findings:
        return "not tested: an older release"
    found = [f"{it.signal} {it.effect:.2f}" for it in one.findings if it.matters]
    told = ", ".join(found) or "nothing"
    if one.faded:
        told += f"; faded: {', '.join(one.faded)}"
    return f"ALERT: {', '.join(one.raised)} ({told})" if one.raised else told


def _say(told: str) -> None:
    output.people.print(told, markup=False, highlight=False)
