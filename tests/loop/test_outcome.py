from __future__ import annotations

from pathlib import Path

from tests.support import small_project, write_project

from evertune.ledger import engine, runs, triggers
from evertune.loop.outcome import unchanged
from evertune.project.load import load
from evertune.records import Cause, Decision, Outcome, Verdict
from evertune.settings import Settings


def test_what_is_unchanged_shows_the_earlier_ones_pictures_as_far_as_they_are_there(
    warm: Settings, tmp_path: Path
) -> None:
    project = load(write_project(warm, small_project()))
    there = tmp_path / "confusion.png"
    there.touch()
    pictures = (str(there), str(tmp_path / "of a run that was cleared up.png"))
    earlier = Outcome(run_key="old", project=project.slug, method="full", pictures=pictures)
    verdict = Verdict(decision=Decision.UNCHANGED, reasons=("nothing has changed",))
    ledger = engine.ready(warm.database_url)
    triggers.request(ledger, project.slug, Cause.CLOCK, "night", "night")
    run = runs.claim(ledger, project.slug, "me", 60)
    assert run is not None
    found = unchanged(run, project, earlier, verdict, None)
    assert (found.run_key, found.pictures) == (run.key, (str(there),))
