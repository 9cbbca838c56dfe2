"""``evertune validate``: all faults of all project files at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from evertune.cli import output
from evertune.project.load import Fault, ProjectError, find, load_all, load_many
from evertune.records import UnfitError
from evertune.settings import Settings
from evertune.settings import load as load_settings


def command(
    projects: Annotated[
        list[str] | None, typer.Argument(help="Names, or paths to YAML files; all of the projects folder without any.")
    ] = None,
    json: output.Json = False,
) -> None:
    """Check project files: every fault with its place, what was expected and the nearest valid name.

    Great Expectations is asked what the arguments of expectations may be, where a file names some; that takes seconds.
    """
    from evertune.data.validation.arguments import unfit

    settings = load_settings()
    if projects:
        paths, lost = _paths(projects, settings)
        sound, faults = load_many(paths, unfit)
        good, faults = [project.slug for project in sound.values()], lost + faults
    else:
        by_slug, faults = load_all(settings, unfit)
        good = list(by_slug)
    if json:
        told = [{**dataclasses.asdict(fault), "file": str(fault.file)} for fault in faults]
        output.print_json({"valid": not faults, "projects": good, "faults": told})
    else:
        _print(good, faults, settings.projects)
    if faults:
        raise typer.Exit(UnfitError.exit_code)


def _paths(names: list[str], settings: Settings) -> tuple[list[Path], list[Fault]]:
    """The files of the names, each once, and a fault for each name that has none, so that the others are checked."""
    paths: dict[Path, None] = {}
    lost: list[Fault] = []
    for name in names:
        try:
            paths[find(name, settings)] = None
        except ProjectError as fault:
            lost.extend(fault.faults)
        except UnfitError as fault:
            lost.append(Fault(Path(name), 0, 0, "", str(fault)))
    return list(paths), lost


def _print(good: list[str], faults: list[Fault], folder: Path) -> None:
    for fault in faults:
        shown = dataclasses.replace(fault, file=_short(fault.file))
        output.people.print(str(shown), markup=False, highlight=False, soft_wrap=True)
    files = len({fault.file for fault in faults})
    sound = f"{len(good)} sound ({', '.join(good)})" if good else "none sound"
    unfit = (
        f"{len(faults)} fault{'s' * (len(faults) != 1)} in {files} file{'s' * (files != 1)}" if faults else "no faults"
    )
    hint = "" if good or faults else f" There are none in {folder}: `evertune init NAME` makes one."
    output.people.print(f"Project files: {sound}, {unfit}.{hint}", markup=False, highlight=False, soft_wrap=True)


def _short(path: Path) -> Path:
    """Relative where it lies below the working directory, as compilers print paths."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
