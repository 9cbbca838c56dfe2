"""One data stage as a process of its own: ``python -m evertune.data.stages STEP SLUG``, what dvc.yaml's commands call.

It runs in a workspace and finds there all it needs: the project and the pins, the folder of the step before. Who may
write: one process a stage, by a file lock, because killing DVC leaves its stage command running; the next one waits
until that has ended and then writes the whole folder anew. A fault is left in ``faults/STEP.json`` for the caller, who
only sees DVC's exit status, to raise again.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from evertune import files
from evertune import settings as environment
from evertune.project import Project
from evertune.records import EvertuneError, Pins, Step, UnfitError
from evertune.settings import Settings


def inputs(workspace: Path, slug: str) -> tuple[Project, Pins]:
    """The project and pins of a workspace: of a run's own in its folder, at a repository's root beside the plans."""
    here = workspace / "plans" / slug
    folder = here if (here / "project.json").is_file() else workspace
    project = Project.model_validate(files.read_json(folder / "project.json"))
    return project, Pins.model_validate(files.read_json(folder / "pins.json"))


def run(step: Step, slug: str, workspace: Path, settings: Settings) -> None:
    """Do the step in ``workspace``. Its result is a sealed folder, or not there."""
    project, pins = inputs(workspace, slug)
    data = workspace / "data" / slug
    if step is Step.SNAPSHOT:
        from evertune.data.snapshot import draw

        draw(project, pins, data / "snapshot", settings)
    elif step is Step.VALIDATE:
        _validate(project, data, workspace / "failed" / slug / "valid")
    else:
        from evertune.data.prepare import prepare

        prepare(project, data / "valid", _base(project, pins, settings), data / "dataset")


def _base(project: Project, pins: Pins, settings: Settings) -> Path:
    """The base model's folder, for its tokenizer, if it still is what was pinned."""
    from evertune.models import bases

    if bases.fingerprint(project.base, settings) != pins.base:
        raise UnfitError(f"The base model {project.base.uri} has changed since this run was planned. Start a new run.")
    return bases.fetch(project.base, settings)


def _validate(project: Project, data: Path, failed: Path) -> None:
    """Validate; where the data is unfit, keep quarantine and Data Docs out of DVC's reach, for people."""
    from evertune.data.validate import validate

    out = data / "valid"
    try:
        validate(project, data / "snapshot", out)
    except UnfitError as fault:
        if not out.exists():
            raise
        shutil.rmtree(failed, ignore_errors=True)
        failed.parent.mkdir(parents=True, exist_ok=True)
        out.rename(failed)
        raise UnfitError(str(fault).replace(str(out), str(failed))) from fault


def main(arguments: list[str] | None = None) -> int:
    """Run the stage that the command line names, in the working directory; return the exit status."""
    step, slug = sys.argv[1:] if arguments is None else arguments
    workspace = Path.cwd()
    with files.lock(workspace / ".dvc" / "tmp" / f"evertune.{slug}.{step}.lock", wait=True):
        try:
            with files.full_disk_in_words(workspace, f"step {step} of {slug}"):
                run(Step(step), slug, workspace, environment.load())
        except EvertuneError as fault:
            return _left(workspace, step, fault)
    return 0


def _left(workspace: Path, step: str, fault: EvertuneError) -> int:
    print(fault, file=sys.stderr)  # noqa: T201 (DVC shows a stage's output; the caller gets the fault by its file)
    try:
        files.write_json(workspace / "faults" / f"{step}.json", {"type": type(fault).__name__, "message": str(fault)})
    except OSError as full:  # the same full disk
        print(full, file=sys.stderr)  # noqa: T201
    return fault.exit_code


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
