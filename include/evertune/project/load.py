"""A YAML file becomes a :class:`Project`, or all its faults at once.

The DAG processor loads every project file every 30 s: nothing heavier than pydantic and PyYAML is imported here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evertune.project import document as yamltext
from evertune.project.across import Crossed, across
from evertune.project.document import Document
from evertune.project.explain import is_block, nearest
from evertune.project.faults import Fault, ProjectError, of_options, of_text, position
from evertune.project.forms import is_local
from evertune.project.options import Project
from evertune.project.places import Mark, Place, UnreadableError, where
from evertune.project.slugs import is_slug
from evertune.records import UnfitError
from evertune.settings import Settings

__all__ = ["Fault", "ProjectError", "find", "intended_slug", "load", "load_all", "load_many", "slug_of", "slugs"]

SUFFIXES = (".yaml", ".yml")
_SLUG_LINE = re.compile(r"""^slug:[ \t]+(?P<quote>["']?)(?P<slug>[a-z0-9-]+)(?P=quote)[ \t]*(#.*)?\r?$""", re.MULTILINE)
Check = Callable[[Mapping[str, Any]], Iterable[Crossed]]
"""What more is asked of a document, as raw as it was read."""


def load(path: Path, also: Check | None = None) -> Project:
    """The project of the file; raises :class:`ProjectError` with everything that is wrong with it.

    Local addresses come out absolute, relative ones being meant from the file's folder. ``also`` is a check that is too
    slow for the DAG processor.
    """
    path = path.absolute()
    try:
        document = yamltext.read(yamltext.decode(_bytes(path)))
    except UnreadableError as fault:
        raise ProjectError([of_text(path, fault.note)]) from fault
    project, faults = _project(path, document)
    faults.extend(of_text(path, note) for note in document.notes)
    if also is not None and isinstance(document.value, dict):
        faults.extend(_new(path, document, also(document.value), faults))
    if project is None or faults:
        raise ProjectError(sorted(faults))
    return _with_absolute_paths(project, path.parent)


def load_all(settings: Settings, also: Check | None = None) -> tuple[dict[str, Project], list[Fault]]:
    """The sound projects of the projects folder by slug, and the faults of the other files.

    A file is not harmed by another's fault, but for two of one slug: none of these is loaded, because nobody can
    tell which is meant.
    """
    if not settings.projects.is_dir():
        message = "expected the folder of the project files; it is not there"
        return {}, [Fault(settings.projects, 0, 0, "", message, "make it, or set EVERTUNE_PROJECTS to another")]
    files, faults = load_many(_files(settings.projects), also)
    return {project.slug: project for project in files.values()}, faults


def load_many(paths: Iterable[Path], also: Check | None = None) -> tuple[dict[Path, Project], list[Fault]]:
    """The sound projects by file, and all faults of all files, sorted by file and line."""
    projects: dict[Path, Project] = {}
    faults: list[Fault] = []
    for path in paths:
        try:
            projects[path] = load(path, also)
        except ProjectError as fault:
            faults.extend(fault.faults)
    by_slug: dict[str, list[Path]] = {}
    for path, project in projects.items():
        by_slug.setdefault(project.slug, []).append(path)
    for slug, same in by_slug.items():
        if len(same) > 1:
            faults.extend(_same_slug(path, slug, [other for other in same if other != path]) for path in same)
            for path in same:
                del projects[path]
    return projects, sorted(faults)


def find(name_or_path: str, settings: Settings) -> Path:
    """The file of a project: a path to a YAML file anywhere, or the slug of one in the projects folder.

    The slug is what counts in the projects folder, not the file's name. Raises :class:`UnfitError` where there is none.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix in SUFFIXES or len(path.parts) > 1:
        if path.is_file():
            return path.absolute()
        raise UnfitError(f"There is no project file {path}. Give the path of a YAML file, or the name of a project.")
    there = slugs(settings)
    same = [file for file, slug in there.items() if slug == name_or_path]
    if len(same) > 1:
        raise ProjectError([_same_slug(file, name_or_path, [o for o in same if o != file]) for file in same])
    # A file without a slug is meant by the line that should give it, or else by its name: so its faults are told.
    known = {file: slug for file, slug in there.items() if slug and is_slug(slug)}
    unread = [file for file in there if file not in known and _called(file) == name_or_path]
    for file in (*same, *unread):
        return file
    raise UnfitError(_no_project(name_or_path, sorted(set(known.values())), settings.projects))


def slug_of(name_or_path: str, settings: Settings) -> str:
    """The slug of a project, for what needs no more of it: of one whose file is unfit at the moment, too.

    Raises :class:`UnfitError` where there is no such project, or none can be made out.
    """
    if is_slug(name_or_path) and name_or_path in map(_called, _files(settings.projects)):
        return name_or_path
    path = find(name_or_path, settings)
    return intended_slug(path) or load(path).slug


def slugs(settings: Settings) -> dict[Path, str | None]:
    """The files of the projects folder with their slugs, sound or not; ``None`` where a slug cannot be made out."""
    return {file: _slug(file) for file in _files(settings.projects)}


def intended_slug(path: Path) -> str | None:
    """The slug that an unfit file means to have, if any: where it is no YAML, what the line says that gives it."""
    slug = _slug(path)
    if slug is None:
        with contextlib.suppress(UnreadableError, ProjectError):
            found = _SLUG_LINE.search(yamltext.decode(_bytes(path)))
            slug = found["slug"] if found else None
    return slug if slug and is_slug(slug) else None


def _called(path: Path) -> str:
    return intended_slug(path) or path.stem


def _no_project(name: str, known: list[str], folder: Path) -> str:
    if not known:
        return f"There is no project {name!r}, nor any in {folder}: `evertune init NAME` makes one."
    hint = nearest(name, known).capitalize()
    return " ".join(
        filter(None, (f"There is no project {name!r} in {folder}.", hint, f"There are: {', '.join(known)}."))
    )


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and not path.name.startswith("."))


def _bytes(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ProjectError([Fault(path, 0, 0, "", "expected a file; found something else (a folder, a pipe)")])
        with path.open("rb") as stream:
            return stream.read(yamltext.BYTES_LIMIT + 1)
    except OSError as fault:
        hint = "check the name and the permissions"
        raise ProjectError([Fault(path, 0, 0, "", f"expected a readable file; {fault.strerror}", hint)]) from fault


def _project(path: Path, document: Document) -> tuple[Project | None, list[Fault]]:
    if not isinstance(document.value, dict):
        found = "nothing" if document.value is None else f"a {_kind(document.value)}"
        hint = "begin with schema_version: 1, or let `evertune init NAME` make a new file"
        return None, [Fault(path, 1, 1, "", f"expected a project's options, one a line; found {found}", hint)]
    try:
        # Strict JSON is what the published schema describes: a text is no number, a number no text, true no 1.
        return Project.model_validate_json(json.dumps(_filled(document.value, ())), strict=True), []
    except ValidationError as error:
        return None, _all(path, document, error)


def _filled(value: Any, place: Place) -> Any:
    """``value`` with blocks for nothing, where a block's options have all been taken out or put behind a ``#``."""
    if isinstance(value, dict):
        return {name: _filled(inner, (*place, name)) for name, inner in value.items()}
    return {} if value is None and is_block(place) else value


def _all(path: Path, document: Document, error: ValidationError) -> list[Fault]:
    faults = of_options(path, document, error)
    return faults + _new(path, document, across(document.value), faults)


def _new(path: Path, document: Document, crossed: Iterable[Crossed], told: Iterable[Fault]) -> list[Fault]:
    """The faults of ``crossed``, without those at places of which something is told already."""
    places, faults = {fault.where for fault in told}, []
    for place, given, message, known in crossed:
        if where(place) not in places:
            mark = position(document, place)
            faults.append(Fault(path, mark.line, mark.column, where(place), message, nearest(str(given), known)))
    return faults


def _kind(value: object) -> str:
    return {list: "list", str: "text", bool: "truth value"}.get(type(value), "number")


def _slug(path: Path) -> str | None:
    try:
        value = yamltext.read(yamltext.decode(_bytes(path))).value
    except (UnreadableError, ProjectError):
        return None
    slug = value.get("slug") if isinstance(value, dict) else None
    return slug if isinstance(slug, str) else None


def _same_slug(path: Path, slug: str, others: list[Path]) -> Fault:
    try:
        mark = yamltext.read(yamltext.decode(_bytes(path))).marks[("slug",)]
    except (UnreadableError, ProjectError, KeyError):  # the file has changed since it was loaded
        mark = Mark(1, 1)
    names = ", ".join(str(other) for other in others)
    message = f"expected a slug that no other project has; {slug!r} is also that of {names}"
    return Fault(path, mark.line, mark.column, "slug", message, "rename one of them, or take one out")


def _with_absolute_paths(project: Project, folder: Path) -> Project:
    sources = tuple(
        source.model_copy(update={"uri": _absolute(source.uri, folder)}) if is_local(source.uri) else source
        for source in project.data.sources
    )
    changes: dict[str, object] = {"data": project.data.model_copy(update={"sources": sources})}
    if is_local(project.base.uri):
        changes["base"] = project.base.model_copy(update={"uri": _absolute(project.base.uri, folder)})
    return project.model_copy(update=changes)


def _absolute(path: str, folder: Path) -> str:
    return os.path.normpath(folder / Path(path).expanduser())
