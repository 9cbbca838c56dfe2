"""Data versions: a DVC workspace a run, a cache that all share, a remote that keeps what was used.

A run's workspace is ``runs/<run_key>/`` with its own copy of the stages, so that runs never wait for each other and
nothing is ever written to git. What makes a version come back is small and kept by the ledger: the text of
``dvc.lock``, the project and the pins.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evertune import files
from evertune.data import dvc, pinning
from evertune.data.plans import DATA_STEPS, RECIPES, plan, plan_hash, same_model
from evertune.project import Project
from evertune.records import Dataset, EvertuneError, Pins, RowCounts, Step, UnfitError
from evertune.settings import Settings

__all__ = [
    "Workspace",
    "checkout",
    "dataset",
    "open_workspace",
    "pin",
    "pin_all",
    "plan_hash",
    "push",
    "repro",
    "same_model",
    "write",
]

PIPELINE = Path(__file__).with_name("pipeline.yaml")
"""The definition of the stages; the root ``dvc.yaml`` is equal to it. (Not named dvc.yaml: DVC would find it twice.)"""

ASIDE = ".evertune-checkout"
"""Name of the folder in which a checkout is made before it is whole; its name's ending, where it lies beside."""
WHOLE = f"{ASIDE}-whole"
"""Its name from when it is whole until all that is in it has been moved to where it belongs."""


@dataclass(frozen=True)
class Workspace:
    """Where one run's data is made."""

    folder: Path
    slug: str
    settings: Settings


def pin(project: Project, settings: Settings) -> Pins:
    """The world as the project's input: what its sources and base model are at this moment, by hash."""
    from evertune.data.sources import fingerprint
    from evertune.models import bases

    sources = {source.uri: fingerprint(source, settings) for source in project.data.sources}
    return Pins(sources=sources, base=bases.fingerprint(project.base, settings), recipes=dict(RECIPES))


def open_workspace(settings: Settings, run_key: str, project: Project, pins: Pins) -> Workspace:
    """The run's workspace, made where it is not there yet. Opening it again with the same inputs changes nothing."""
    if Path(run_key).name != run_key:
        raise EvertuneError(f"{run_key!r} cannot name a folder, so it is no run key.")
    folder = settings.runs / run_key
    dvc.reach(settings)
    _lay_out(settings, folder, {project.slug: (project, pins)})
    _write(folder / ".dvc" / "config", dvc.config(settings))
    _write(folder / "project.json", files.canonical(project.model_dump(mode="json")))
    _write(folder / "pins.json", files.canonical(pins.model_dump(mode="json")))
    return Workspace(folder, project.slug, settings)


def repro(workspace: Workspace, step: Step) -> float:
    """Bring the step, and those before it, up to date; return the seconds that took.

    Raises what the stage raised, or :class:`EvertuneError` with the end of DVC's output.
    """
    shutil.rmtree(workspace.folder / "faults", ignore_errors=True)
    return dvc.run(workspace.folder, workspace.settings, step.value, ["repro", f"{step.value}@{workspace.slug}"])


def push(workspace: Workspace) -> None:
    """Bring the workspace's data to the remote, and the record of which inputs made it (DVC's run cache)."""
    dvc.reach(workspace.settings)
    dvc.run(workspace.folder, workspace.settings, "push", ["push", "--run-cache"])


def dataset(workspace: Workspace) -> Dataset:
    """The prepared data, verified."""
    folder = workspace.folder / "data" / workspace.slug / "dataset"
    version = files.verify(folder)
    return Dataset(
        project=workspace.slug,
        version=version,
        path=str(folder),
        rows=RowCounts.model_validate(files.read_json(folder / "summary.json")),
        labels=tuple(files.read_json(folder / "labels.json")),
        lock=(workspace.folder / "dvc.lock").read_text("utf-8"),
    )


def checkout(settings: Settings, lock: str, project: Project, pins: Pins, to: Path) -> Path:
    """Restore those very bytes into the empty folder ``to``; return the dataset's folder in it, verified.

    Files are copies, not links into the cache: they are the person's who asked. Where one that was killed had brought
    all of them and only not moved them in, that is finished.
    """
    to = to.absolute()
    dataset = to / "data" / project.slug / "dataset"
    if _moved_in(to) and _text(to / "dvc.lock") == lock:
        files.verify(dataset)
        return dataset
    if os.path.lexists(to) and not (to.is_dir() and all(path.name == ASIDE for path in to.iterdir())):
        raise UnfitError(f"{to} is not an empty folder. Name a new one to check the data out into.")
    dvc.reach(settings, make=False)
    with _whole(to) as folder:
        write(settings, lock, project, pins, folder)
        _write(folder / ".dvc" / "config", dvc.config(settings, links="reflink,copy"))
        dvc.run(folder, settings, "pull", ["pull"])
        files.verify(folder / "data" / project.slug / "dataset")
    return dataset


@contextlib.contextmanager
def _whole(to: Path) -> Iterator[Path]:
    """A folder to fill, which becomes ``to`` when the block ends well. Else ``to`` is as before, and nothing stays.

    It always has the same name, so that the next try removes what one that was killed has left. Where ``to`` is there
    already it lies within: ``to`` may be another disk, or where the person stands.
    """
    within = to.exists()
    aside = to / ASIDE if within else to.with_name(f".{to.name}{ASIDE}")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        yield aside
        aside.rename(to / WHOLE if within else to)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    if within:
        _moved_in(to)


def _moved_in(to: Path) -> bool:
    """Whether there was a whole checkout within ``to``; what was in it lies in ``to`` now. Cut off, it goes on."""
    whole = to / WHOLE
    if not whole.is_dir():
        return False
    for path in sorted(whole.iterdir()):
        goal = to / path.name
        if os.path.lexists(goal):  # a person's: what was moved is no longer in the other
            raise UnfitError(f"{goal} is in the way of the data. Move it away, and run the same command again.")
        path.rename(goal)
    whole.rmdir()
    return True


def write(settings: Settings, lock: str, project: Project, pins: Pins, to: Path) -> None:
    """All that brings a version back from the remote by ``dvc pull``: the stages, the plans and the lock; no data."""
    _lay_out(settings, to, {project.slug: (project, pins)})
    _write(to / "dvc.lock", lock)


def pin_all(settings: Settings, root: Path, projects: dict[str, Project]) -> list[Path]:
    """Write every project's plans at the repository's root, for a person who runs plain ``dvc repro`` there.

    Returns the files. The cache and remote are those of the runs, so what a run has made is not made again. What is
    there and not evertune's is kept: :class:`UnfitError`, before anything is written.
    """
    pinned = {slug: (project, pin(project, settings)) for slug, project in projects.items()}
    texts = _texts(settings, root, pinned, pinning.HEADER)
    for slug, (project, pins) in pinned.items():
        for name, record in (("project.json", project), ("pins.json", pins)):
            texts[root / "plans" / slug / name] = files.canonical(record.model_dump(mode="json"))
    pinning.refuse_others(root, texts)
    dvc.reach(settings)
    for path, content in texts.items():
        _write(path, content)
    # Machine-local: paths of this EVERTUNE_HOME are nobody else's, and git does not see config.local.
    local, ignored = root / ".dvc" / "config.local", root / ".dvc" / ".gitignore"
    _write(local, pinning.merged(_text(local), dvc.options(settings, no_scm=not (root / ".git").exists())))
    _write(ignored, pinning.added(_text(ignored), ("/config.local", "/tmp", "/cache")))  # noqa: S108 (a pattern)
    if not (root / ".dvc" / "config").exists():
        _write(root / ".dvc" / "config", "")
    return list(texts)


def _lay_out(settings: Settings, folder: Path, pinned: dict[str, tuple[Project, Pins]]) -> None:
    """Write the files that every workspace has."""
    for path, content in _texts(settings, folder, pinned).items():
        _write(path, content)


def _texts(
    settings: Settings, folder: Path, pinned: dict[str, tuple[Project, Pins]], header: str = ""
) -> dict[Path, str]:
    """The files that every workspace has, with what stands in them: stages, their parameters and plans."""
    texts = {
        folder / "dvc.yaml": PIPELINE.read_text("utf-8"),
        folder / "params.yaml": "".join([header, "projects:\n", *(f"  - {slug}\n" for slug in sorted(pinned))]),
    }
    for slug, (project, pins) in pinned.items():
        for step in DATA_STEPS:
            content = files.canonical(plan(step, project, pins, settings)) + "\n"
            texts[folder / "plans" / slug / f"{step.value}.json"] = content
    return texts


def _text(path: Path) -> str:
    return path.read_text("utf-8") if path.is_file() else ""


def _write(path: Path, content: str) -> None:
    """Write unless it is there already: a retry then leaves times, and so what DVC knows of the file, alone."""
    if not path.is_file() or path.read_text("utf-8") != content:
        files.write_text(path, content)
