"""What a person already has where pinned plans are to be written, so that nothing of theirs is lost.

A file is evertune's where all that stands in it is what evertune writes there, not where it bears some mark: a person
adds stages to a ``dvc.yaml`` below any header.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from evertune.data.plans import DATA_STEPS
from evertune.records import UnfitError

HEADER = "# Written by `evertune data pin`, and written anew by the next.\n"
"""First line of ``params.yaml``: a list of names alone could be anybody's."""
_STAGE = "python -m evertune.data.stages "
_PARAMS = re.compile(rf"(?P<header>{re.escape(HEADER)})?projects:\n(?P<names>(  - [a-z0-9-]+\n)+)")
_LISTED = re.compile(r"^  - (.*)$", re.MULTILINE)
GIVES_WAY = frozenset({"remote", "analytics", "check_update", "type", "shared"})
"""Keys of DVC's configuration that a person's own value is kept of: the stages work with any."""


def refuse_others(root: Path, files: Iterable[Path]) -> None:
    """Raise :class:`UnfitError` where one of the files is there and is not evertune's."""
    others = [str(path.relative_to(root)) for path in files if os.path.lexists(path) and not _ours(path, root)]
    if others:
        them = "it" if len(others) == 1 else "them"
        raise UnfitError(
            f"{root} has {', '.join(others)}, not written by `evertune data pin`, which would replace {them}. "
            f"Pin in another folder (an empty one will do), or move {them} away. Nothing was written."
        )


def _ours(path: Path, root: Path) -> bool:
    try:
        text = path.read_text("utf-8")
        if path.name == "dvc.yaml":
            return _is_pipeline(yaml.safe_load(text))
        if path.name == "params.yaml":
            return _is_list(text, root)
        return _is_record(path, json.loads(text))
    except (OSError, ValueError, yaml.YAMLError):
        return False


def _is_pipeline(value: Any) -> bool:
    stages = value.get("stages") if isinstance(value, dict) and set(value) == {"stages"} else None
    if not isinstance(stages, dict) or not set(stages) <= set(DATA_STEPS):
        return False
    return all(isinstance(stage, dict) and str(stage.get("cmd")).startswith(_STAGE) for stage in stages.values())


def _is_list(text: str, root: Path) -> bool:
    found = _PARAMS.fullmatch(text)
    if found is None:
        return False
    # Earlier versions wrote no header; the plans that they wrote beside it tell whose list it is.
    names = _LISTED.findall(found["names"])
    return found["header"] is not None or all((root / "plans" / name / "pins.json").is_file() for name in names)


def _is_record(path: Path, value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    if path.name == "project.json":
        return value.get("slug") == path.parent.name
    if path.name == "pins.json":
        return {"sources", "base", "recipes"} <= set(value)
    return value.get("step") == path.stem and "recipe" in value


def merged(text: str, wanted: Mapping[str, Mapping[str, str]]) -> str:
    """DVC's configuration ``text`` with the keys ``wanted`` of each section set, and all else as it stands there."""
    lines = text.splitlines()
    for section, keys in wanted.items():
        start = next((at for at, line in enumerate(lines) if _section(line) == section), None)
        if start is None:
            start = len(lines)
            lines.append(header(section))
        for key, value in keys.items():
            _set(lines, start, key, value)
    return "\n".join(lines) + "\n"


def _set(lines: list[str], start: int, key: str, value: str) -> None:
    at = start + 1
    while at < len(lines) and _section(lines[at]) is None:
        if lines[at].partition("=")[0].strip() == key:
            if key not in GIVES_WAY:
                lines[at] = f"    {key} = {value}"
            return
        at += 1
    while not lines[at - 1].strip():  # before the empty lines that part it from the next section
        at -= 1
    lines.insert(at, f"    {key} = {value}")


def header(section: str) -> str:
    """The line that begins the section: DVC quotes names with a space in them."""
    return f"['{section}']" if " " in section else f"[{section}]"


def _section(line: str) -> str | None:
    found = re.fullmatch(r"\[(.+)\]", line.partition("#")[0].strip())
    return found[1].strip().strip("'") if found else None


def added(text: str, lines: Iterable[str]) -> str:
    """The text with those of the lines at its end that it lacks."""
    there = text.splitlines()
    return "\n".join([*there, *(line for line in lines if line not in there)]) + "\n"
