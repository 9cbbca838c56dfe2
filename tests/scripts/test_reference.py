"""`make docs` writes every generated document, and each commit is checked as `make lint` checks."""

from __future__ import annotations

import re

import yaml
from scripts.reference import ROOT, documents


def test_every_file_of_the_reference_is_generated() -> None:
    folder = ROOT / "docs" / "reference"
    assert set(documents()) == set(folder.iterdir())


def test_a_commit_is_checked_by_all_that_make_lint_runs() -> None:
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
    assert lint is not None
    wanted = {line.strip().removeprefix("@$(BIN)/").removesuffix(" .") for line in lint[1].splitlines()}
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    found = {hook["entry"].removeprefix(".venv/bin/") for hook in repository["hooks"]}
    assert found == {"ruff format" if command == "ruff format --check" else command for command in wanted}
