"""``evertune run PROJECT``: a whole pass of the loop without Airflow."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from evertune.cli import output, report
from evertune.project import Project
from evertune.project.load import find, load
from evertune.project.options import Method
from evertune.records import Decision, Outcome, Step
from evertune.settings import Settings, masked
from evertune.settings import load as load_settings

EXIT = {
    Decision.PROMOTE: 0,
    Decision.UNCHANGED: 0,
    Decision.REJECT: 3,
    Decision.NOT_ENOUGH_EVIDENCE: 4,
}


def command(  # noqa: PLR0917 - typer calls it by name
    project: output.ProjectName,
    force: Annotated[bool, typer.Option(help="Train even where nothing has changed.")] = False,
    method: Annotated[str | None, typer.Option(help="full or lora, instead of what the file says.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved plan and do nothing.")] = False,
    json: output.Json = False,
) -> None:
    """Validate, prepare, tune, judge and promote once, and show what came of it.

    Exit status: 0 promoted or unchanged, 3 rejected, 4 not enough evidence, 2 the project file or its data is unfit,
    1 anything else.
    """
    where = load_settings()
    loaded = _with_method(load(find(project, where)), method)
    if dry_run:
        _print_plan(loaded, where, json=json)
        return
    outcome = _run(loaded, where, force=force, reason=reason, quiet=json)
    if json:
        output.print_json(outcome.model_dump(mode="json"))
    else:
        report.show(outcome, output.people)
    raise typer.Exit(EXIT[outcome.verdict.decision] if outcome.verdict else 1)


def _with_method(project: Project, method: str | None) -> Project:
    if method is None:
        return project
    if method not in list(Method):
        raise typer.BadParameter(f"{method!r} is none of: {', '.join(Method)}", param_hint="--method")
    return project.with_method(Method(method))


def _print_plan(project: Project, where: Settings, *, json: bool) -> None:
    from evertune.data import versions

    pins = versions.pin(project, where)
    plan = {
        "plan_hash": versions.plan_hash(project, pins),
        "project": project.model_dump(mode="json"),
        "pins": pins.model_dump(mode="json"),
        "settings": where.public(),
    }
    shown = _without_secrets(plan)
    if json:
        output.print_json(shown)
    else:
        output.people.print_json(data=shown)


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_secrets(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_secrets(inner) for inner in value]
    return masked(value) if isinstance(value, str) and "://" in value else value


def _run(project: Project, where: Settings, *, force: bool, reason: str, quiet: bool) -> Outcome:
    from evertune import loop
    from evertune.loop.run import describe, share

    names = [step.value for step in Step]
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=output.notes, disable=quiet, transient=True) as bar:
        task = bar.add_task(project.slug, total=len(names), detail="")

        def show(progress: loop.Progress) -> None:
            done = names.index(progress.step.value) + share(progress.detail)
            bar.update(
                task, completed=done, description=f"{project.slug}: {progress.step}", detail=describe(progress.detail)
            )

        return loop.run(project, where, force=force, reason=reason, report=show)
