"""A new project file with every option in it, made from the options' classes: it cannot go stale."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from evertune.project.explain import options
from evertune.project.load import slugs
from evertune.project.options import SCHEMA_VERSION, Project
from evertune.project.places import Place
from evertune.project.slugs import LONGEST, is_slug, suggestion
from evertune.records import UnfitError
from evertune.settings import Settings

WIDTH = 110
SCHEMA = Path("docs/reference/project-file.schema.json")
"""Where a clone has the JSON Schema, from the folder that the projects folder lies in."""

_HEAD = """\
# What to learn, from where, how, and when it may go live. Begin with `data`: where your texts are, and which column
# holds the text and which the label. All other options stand here with their defaults and may be taken out; lines
# such as `# rows: 10000` are options too. `evertune validate` checks the file, `evertune run {slug}` does one pass.
"""


def new_file(name: str, settings: Settings) -> Path:
    """Write the project file ``name`` into the projects folder; it is valid as it is.

    Raises :class:`UnfitError` where ``name`` is no slug or is taken.
    """
    if not is_slug(name):
        raise UnfitError(
            f"{name!r} cannot name a project: expected lower-case letters, digits and single hyphens, a letter first, "
            f"at most {LONGEST} characters. {suggestion(name)!r} would do."
        )
    path = settings.projects / f"{name}.yaml"
    taken = [file for file, slug in slugs(settings).items() if name in {slug, file.stem}]
    if taken:
        raise _taken(taken[0])
    _create(path, text(name, path))
    return path


def text(slug: str, path: Path) -> str:
    """The new file's text, for a file at ``path``: where the JSON Schema lies is told from there."""
    columns = ("data", "columns")
    project = Project.model_validate(
        {
            "schema_version": SCHEMA_VERSION,
            "slug": slug,
            "owner": _example(("owner",)),
            "data": {
                "sources": [{"uri": _example(("data", "sources", 0, "uri"))}],
                "columns": {name: _example((*columns, name)) for name in ("text", "label")},
            },
        }
    )
    lines = _block((), project.model_dump(mode="json"), "")
    return f"{_modeline(path)}\n{_HEAD.format(slug=slug)}\n" + "\n".join(lines) + "\n"


def _create(path: Path, content: str) -> None:
    # Mode x and not files.write_text: two people may ask for one name at once, and neither's file may be lost.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("x", encoding="utf-8")
    except FileExistsError as fault:
        raise _taken(path if path.parent.is_dir() else path.parent) from fault
    except OSError as fault:
        raise _unwritable(path, fault) from fault
    try:
        with stream:
            stream.write(content)
    except OSError as fault:
        path.unlink(missing_ok=True)
        raise _unwritable(path, fault) from fault


def _taken(path: Path) -> UnfitError:
    return UnfitError(f"{path} is there already, and stays as it is. Choose another name, or edit that.")


def _unwritable(path: Path, fault: OSError) -> UnfitError:
    return UnfitError(f"{path} cannot be written: {fault.strerror}. Mend that, or set EVERTUNE_PROJECTS.")


def _example(place: Place) -> Any:
    return options(place[:-1])[str(place[-1])].examples[0]


def _block(place: Place, values: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, field in options(place).items():
        if not place and values[name] and options((name,)):
            yield ""  # blocks of the top level stand apart
        yield from _comment(field.description, indent)
        yield from _option((*place, name), name, values[name], indent)


def _option(place: Place, name: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict) and options(place):
        yield f"{indent}{name}:"
        yield from _block(place, value, indent + "  ")
    elif isinstance(value, list) and value and options((*place, 0)):
        yield f"{indent}{name}:"
        for item in value:
            yield from _item(list(_block((*place, 0), item, indent + "    ")), indent)
    elif value is None or value in ([], {}):
        examples = options(place[:-1])[name].examples
        yield f"{indent}# {name}: {_flow(examples[0] if examples else value)}"
    else:
        yield f"{indent}{name}: {_flow(value)}"


def _item(lines: list[str], indent: str) -> Iterator[str]:
    first = next(index for index, line in enumerate(lines) if not line.lstrip().startswith("#"))
    yield from (line[2:] for line in lines[:first])
    yield f"{indent}  - {lines[first].lstrip()}"
    yield from lines[first + 1 :]


def _comment(description: str | None, indent: str) -> Iterator[str]:
    prefix = f"{indent}# "
    yield from textwrap.wrap(
        " ".join((description or "").split()),
        WIDTH,
        initial_indent=prefix,
        subsequent_indent=prefix,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _flow(value: Any) -> str:
    """``value`` on one line of YAML."""
    dumped: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False)
    return dumped.removesuffix("\n").removesuffix("\n...")


def _modeline(path: Path) -> str:
    schema = path.parent.parent / SCHEMA
    if schema.is_file():
        return f"# yaml-language-server: $schema={os.path.relpath(schema, path.parent)}\n"
    return "# For completion while you type: `evertune schema > FILE`, and here `yaml-language-server: $schema=FILE`.\n"
