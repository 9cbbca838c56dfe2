"""What a project file may say, for editors (JSON Schema) and for people (Markdown), made from the options' classes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from evertune.project.document import BYTES_LIMIT, DEPTH_LIMIT
from evertune.project.options import Project

Schema = Mapping[str, Any]

_BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "{} character(s) or more",
    "maxLength": "{} characters or fewer",
    "minItems": "{} or more",
    "maxItems": "{} or fewer",
    "pattern": "form `{}`",
}
_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`"}

_INTRODUCTION = f"""# The project file

One YAML file a model says what to learn, from where, how, and when it may go live. This page is made from the classes
that read it (`evertune schema --markdown`), so it cannot be out of date. `evertune init NAME` writes a new file with
every option in it, `evertune validate` tells all faults of all files at once, and `evertune schema` prints the same
options as a JSON Schema, for completion and checks while you type: put
`# yaml-language-server: $schema=PATH` on top of the file, PATH being that of
[project-file.schema.json](project-file.schema.json).

- **Where:** project files lie in the folder `EVERTUNE_PROJECTS`, `projects/` unless set, and end in `.yaml` or `.yml`.
  Most commands also take the path of a file anywhere else. Files that begin with a dot are passed over.
- **Name:** what counts is the `slug`; the file may be called otherwise. Two files of one slug are a fault of both, and
  neither is loaded. A bad file harms no other.
- **YAML:** UTF-8, at most {BYTES_LIMIT // 1024} KiB, one document, at most {DEPTH_LIMIT} levels deep, read as YAML 1.2
  (`no` is a text, `1e-4` a number, `true` and `false` the only truth values). Anchors and aliases may be used; tags and
  merge keys (`<<`) may not. A name given twice is a fault. A text that looks like a number belongs into quotes.
- **Paths** are meant from the folder of the project file.
- **Blocks and lists** are written below as `data.sources[]`: a list `sources` in the block `data`.
"""


class _Generate(GenerateJsonSchema):
    """Without the titles that pydantic makes from the options' names: they say nothing more."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a project file, as YAML language servers take it."""
    schema = _on_one_line(Project.model_json_schema(schema_generator=_Generate))
    for block in schema["$defs"].values():
        if "properties" in block and "required" not in block:
            block["type"] = ["object", "null"]  # a block without any option has the defaults of all
    return {"$schema": _Generate.schema_dialect, **schema, "title": "evertune project file"}


def json_schema_text() -> str:
    """:func:`json_schema` as ``evertune schema`` prints it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def reference_markdown() -> str:
    """The reference of all options: a table a block, in the order in which a file has them."""
    schema = json_schema()
    parts = [_INTRODUCTION]
    for path, block in _blocks(schema, schema, ""):
        title = f"`{path}`" if path else "Top level"
        lines = [f"## {title}", "", block["description"], "", *_table(schema, block, path)]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _on_one_line(value: Any) -> Any:
    """``value`` with each description as one line: in the code they are wrapped."""
    if isinstance(value, dict):
        return {
            key: " ".join(inner.split()) if key == "description" and isinstance(inner, str) else _on_one_line(inner)
            for key, inner in value.items()
        }
    return [_on_one_line(item) for item in value] if isinstance(value, list) else value


def _blocks(schema: Schema, block: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    yield path, block
    for name, option in block["properties"].items():
        below = f"{path}.{name}" if path else name
        kind = _kind(schema, option)
        if "properties" in kind:
            yield from _blocks(schema, kind, below)
        elif "properties" in (item := _kind(schema, kind.get("items", {}))):
            yield from _blocks(schema, item, f"{below}[]")


def _kind(schema: Schema, option: Schema) -> Schema:
    """The option's schema without its reference and without the alternative of nothing."""
    for alternative in option.get("anyOf", ()):
        if alternative.get("type") != "null":
            return _kind(schema, alternative)
    reference = option.get("$ref")
    return schema["$defs"][reference.rsplit("/", 1)[1]] if reference else option


def _table(schema: Schema, block: Schema, path: str) -> Iterator[str]:
    yield "| option | type | default | meaning | bounds |"
    yield "|---|---|---|---|---|"
    for name, option in block["properties"].items():
        kind = _kind(schema, option)
        below = f"{path}.{name}" if path else name
        meaning = option.get("description") or kind.get("description", "")
        cells = (
            f"`{name}`",
            _type(schema, kind, below),
            _default(name, option, block, kind),
            meaning,
            _bounds(schema, kind),
        )
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(schema: Schema, kind: Schema, path: str) -> str:
    if "properties" in kind:
        return f"[block](#{_anchor(path)})"
    if "const" in kind:
        return f"`{kind['const']}`"
    if "enum" in kind:
        return " or ".join(f"`{choice}`" for choice in kind["enum"])
    if kind.get("type") == "array":
        item = _kind(schema, kind["items"])
        return (
            f"[list of blocks](#{_anchor(path)})" if "properties" in item else f"list of {_items(schema, item, path)}"
        )
    if kind.get("type") == "object":
        values = kind.get("additionalProperties")
        return f"names with {'texts' if isinstance(values, Mapping) else 'values'}"
    return "regular expression" if kind.get("format") == "regex" else _TYPES[kind["type"]]


def _items(schema: Schema, item: Schema, path: str) -> str:
    return _type(schema, item, path) if "enum" in item else f"{_type(schema, item, path)}s"


def _anchor(path: str) -> str:
    return "".join(character for character in path if character.isalnum() or character in "_-").lower()


def _default(name: str, option: Schema, block: Schema, kind: Schema) -> str:
    if name in block.get("required", ()):
        return "**required**"
    if "properties" in kind and option.get("default") is not None:
        return "that of its options"
    default = option.get("default", [] if kind.get("type") == "array" else {})
    return "none" if default is None else f"`{json.dumps(default, ensure_ascii=False)}`"


def _bounds(schema: Schema, kind: Schema) -> str:
    found = [text.format(kind[word]) for word, text in _BOUNDS.items() if word in kind]
    items = kind.get("items")
    if items and "properties" not in (item := _kind(schema, items)) and (inner := _bounds(schema, item)):
        found.append(f"each {inner}")
    return ", ".join(found)
