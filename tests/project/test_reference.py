from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from evertune.project.explain import options
from evertune.project.reference import json_schema, json_schema_text, reference_markdown

from .conftest import MINIMAL

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def test_the_reference_is_that_of_the_code() -> None:
    told = (REFERENCE / "project-file.md").read_text()
    assert told == reference_markdown(), "run: evertune schema --markdown > docs/reference/project-file.md"


def test_the_schema_is_that_of_the_code() -> None:
    told = (REFERENCE / "project-file.schema.json").read_text()
    assert told == json_schema_text(), "run: evertune schema > docs/reference/project-file.schema.json"


def test_the_reference_has_each_option_of_each_block() -> None:
    page = reference_markdown()
    for place, title in (
        ((), "Top level"),
        (("data", "sources", 0), "`data.sources[]`"),
        (("tuning", "lora"), "`tuning.lora`"),
    ):
        section = page.split(f"## {title}\n")[1].split("\n## ")[0]
        for name in options(place):
            assert f"| `{name}` |" in section


def test_links_lead_to_headings() -> None:
    page = reference_markdown()
    anchors = {
        "".join(c for c in line.removeprefix("## ").lower() if c.isalnum() or c in "_-")
        for line in page.splitlines()
        if line.startswith("## ")
    }
    linked = {part.split(")")[0] for part in page.split("](#")[1:]}
    assert linked
    assert linked <= anchors


def test_rows_of_the_tables_have_five_cells() -> None:
    rows = [line for line in reference_markdown().splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    for row in rows:
        assert row.replace("\\|", "").count("|") == 6, row


def test_the_schema_is_a_valid_one_and_describes_every_option() -> None:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    for block in (schema, *schema["$defs"].values()):
        for name, option in block.get("properties", {}).items():
            described = option.get("description") or schema["$defs"].get(option.get("$ref", "/").rsplit("/", 1)[1], {})
            assert described, name
            assert "\n" not in str(described)


@pytest.mark.parametrize("file", sorted((ROOT / "projects").glob("*.yaml")), ids=lambda file: file.name)
def test_the_schema_takes_the_examples(file: Path) -> None:
    assert list(_errors(yaml.safe_load(file.read_text()))) == []


@pytest.mark.parametrize(
    "lines",
    ["tuning: {epochs: 0}", "tuning: {epoch: 1}", "gate: {metric: x}", "tuning: {class_weights: off_}", "slug: A"],
)
def test_the_schema_refuses_what_loading_refuses(lines: str) -> None:
    assert list(_errors({**yaml.safe_load(MINIMAL), **yaml.safe_load(lines)}))


def test_the_schema_takes_a_block_with_nothing_in_it() -> None:
    assert list(_errors({**yaml.safe_load(MINIMAL), "tuning": None})) == []


def _errors(document: Any) -> Any:
    return Draft202012Validator(json.loads(json_schema_text())).iter_errors(document)
