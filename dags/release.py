"""Release: a person lets a model version answer, refuses one, or goes back to an earlier one. One DAG a project file.

## When this DAG runs
Only by hand, with its form. `promote` without a model version says yes to the run that awaits approval; with one, that
version answers, whatever the gate said. `refuse` says no to the run that awaits approval, and needs a reason; nothing
is released, so the task ends as skipped. `rollback` lets the model of an earlier generation answer again.

## What happens when two meet
A release is a compare-and-set on the project's generation: where another one answers than the person saw, it is refused
with the reason and changes nothing. `expected_generation` says which that was; left empty, it is the one that answered
when the form was sent. So of two forms that are sent before either is done, one acts; the same rollback of the same
person, sent twice or run again after a clearing, finds itself done. A form without `expected_generation` that is sent
after the other one is done is a new decision: two rollbacks after one another go back two models.

Each release is a new generation, in the ledger's chain of events with the name of who asked; the reason stands beside.

## What is looked at first
The version's signature, and that MLflow still has the files that servers fetch: what cannot answer is not released.
The project file is not: a release can be made, and taken back, also while that one is unfit.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param, chain, task

from evertune_dags import projects
from evertune_dags.assets import champion
from evertune_dags.notices import last
from evertune_dags.tasks import release


def params() -> dict[str, Param]:
    """The form."""
    whole = {"type": ["null", "integer"], "minimum": 1}
    return {
        "action": Param("promote", enum=["promote", "refuse", "rollback"], description="What is to be done"),
        "model_version": Param(
            None, description="promote: which version; empty for the one awaiting approval", **whole
        ),
        "generation": Param(None, description="rollback: to which generation; empty for the one before", **whole),
        "expected_generation": Param(
            None,
            type=["null", "integer"],
            minimum=0,
            description="promote, rollback: the generation that you saw answer (0: none); where another does by now, "
            "nothing is changed. Empty: the one that answered when this form was sent",
        ),
        "reason": Param("", type="string", maxLength=500, description="Why, for the ledger"),
    }


def build(slug: str, tags: list[str], **settings: Any) -> DAG:
    """The DAG of one project, which needs no more of it than the slug."""
    with DAG(
        f"release__{slug}", schedule=None, max_active_runs=1, params=params(), doc_md=__doc__, tags=tags,
        default_args={**settings, "retries": 0},
    ) as dag:  # fmt: skip
        done = task(task_id="release", outlets=[champion(slug)])(release)(slug)
        chain(done, last(slug))
    return dag


files = projects.found()
for project in files.projects:
    build(project.slug, ["evertune", project.slug], owner=project.owner)
for unfit in files.edited:
    build(unfit.name, unfit.tags)
