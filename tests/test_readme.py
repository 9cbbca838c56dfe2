"""The README's tree names what is there, and nothing that is not; its table has every setting."""

from __future__ import annotations

import re
from pathlib import Path

from evertune.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
UNNAMED = {"LICENSE", "CHANGELOG.md", "CONTRIBUTING.md"}
PINNED = {"data", "logs", "params.yaml", "plans"}
"""What `evertune data pin --all` and `dvc repro` leave here, where a person wants that."""


def _tree() -> list[str]:
    block = re.search(r"## The tree\n\n```\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert block is not None
    paths, folder = [], ""
    for line in block[1].splitlines():
        name = line.split()[0]
        if line.startswith("  "):
            paths.append(folder + name)
        else:
            folder = name
            paths.append(name)
    return paths


def test_everything_in_the_tree_exists() -> None:
    assert [path for path in _tree() if not (ROOT / path).exists()] == []


def test_every_room_of_the_library_is_in_the_tree() -> None:
    rooms = {
        f"include/evertune/{path.name}{'/' if path.is_dir() else ''}"
        for path in (ROOT / "include" / "evertune").iterdir()
        if not path.name.startswith(("_", "."))
    }
    assert rooms - {"include/evertune/py.typed"} - set(_tree()) == set()


def test_every_folder_and_file_of_the_root_is_in_the_tree() -> None:
    ignored = {line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split()}
    found = {
        path.name + ("/" if path.is_dir() else "")
        for path in ROOT.iterdir()
        if not path.name.startswith(".")
        and path.name not in ignored
        and path.suffix != ".lock"
        and path.name not in UNNAMED | PINNED
    }
    named = {path.split("/")[0] + ("/" if "/" in path else "") for path in _tree()}
    assert found - named == set()


def test_every_setting_is_told_with_its_variable() -> None:
    told = set(re.findall(r"`(EVERTUNE_[A-Z_]+)`", (ROOT / "README.md").read_text().split("## In production")[1]))
    assert told == {f"EVERTUNE_{name.upper()}" for name in Settings.model_fields}
