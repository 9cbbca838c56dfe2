"""What DAGs there are: those of the projects, and those of files that are none at the moment.

An edit that makes a file unfit takes no DAG away: Airflow would forget what is scheduled, and take the tasks out of
runs that are under way. Such a DAG still has its tasks; those that cannot work without the file fail with its faults.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

from evertune.project import Project
from evertune.project.load import intended_slug, load_all
from evertune.project.slugs import is_slug
from evertune.settings import load

LONGEST = 200
"""Characters of a name that are taken from a file's. A DAG's id may have 250, a folder that is called by it 255."""


class Unfit(NamedTuple):
    """A file that is no project."""

    name: str
    """What its DAGs are called by."""
    faults: str
    was_one: bool
    """Whether it may have been a project before it was edited: none was ever called otherwise, nor was the folder."""

    @property
    def tags(self) -> list[str]:
        """Those of its DAGs."""
        return ["evertune", "invalid", *([self.name] if self.was_one else [])]

    @property
    def told(self) -> str:
        """What stands on the page of a DAG that cannot work without the file."""
        return (
            f"# The project file of {self.name} is not valid\n\n```\n{self.faults}\n```\n\n"
            "Mend it; `evertune validate` checks it."
        )


class Files(NamedTuple):
    """All files of the projects folder."""

    projects: list[Project]
    unfit: list[Unfit]

    @property
    def edited(self) -> list[Unfit]:
        """The unfit ones that may have been projects: of those every DAG is kept."""
        return [unfit for unfit in self.unfit if unfit.was_one]


def found() -> Files:
    """All projects, and all files that are none."""
    settings = load()
    projects, faults = load_all(settings)
    names = set(projects)
    slugs = {file: intended_slug(file) for file in sorted({fault.file for fault in faults})}
    unfit = []
    # A name goes to the file that says it, first to the one that is called so too; last to those only called so.
    for file in sorted(slugs, key=lambda file: (slugs[file] is None, slugs[file] != file.stem)):
        names.add(name := _name_of(file, slugs[file], names))
        told = "\n".join(str(fault) for fault in faults if fault.file == file)
        unfit.append(Unfit(name, told, is_slug(name) and file != settings.projects))
    return Files(list(projects.values()), unfit)


def _name_of(file: Path, slug: str | None, taken: Container[str]) -> str:
    """What the DAGs of an unfit file are called: by its slug, else as the file, but never as another's.

    Those they would replace. No slug has a dot, so a name with the file's ending, or a digest behind a dot, is no
    project's.
    """
    stem, whole = (re.sub(r"[^A-Za-z0-9_.-]", "-", name) for name in (file.stem, file.name))
    for name in (slug or stem, whole):
        if name not in taken and len(name) <= LONGEST:
            return name
    return f"{stem[:LONGEST]}.{hashlib.sha256(os.fsencode(file.name)).hexdigest()[:16]}"
