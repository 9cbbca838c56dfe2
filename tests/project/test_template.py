from __future__ import annotations

import re
from pathlib import Path

import pytest

from evertune.project.explain import options
from evertune.project.load import load, load_all
from evertune.project.options import Project
from evertune.project.template import new_file, text
from evertune.records import UnfitError
from evertune.settings import Settings

from .conftest import MINIMAL

COMMENTED = re.compile(r"^( *)# ([a-z_0-9]+: .*)$")


def test_a_new_file_is_valid_and_means_the_defaults(where: Settings) -> None:
    path = new_file("my-project", where)
    assert path == where.projects / "my-project.yaml"
    project = load(path)
    bare = Project.model_validate(
        {
            "schema_version": 1, "slug": "my-project", "owner": "x",
            "data": {"sources": [{"uri": "x.csv"}], "columns": {"text": "text", "label": "label"}},
        }
    )  # fmt: skip
    same = project.model_copy(update={"owner": "x"})
    same = same.model_copy(update={"data": same.data.model_copy(update={"sources": bare.data.sources})})
    assert same == bare
    assert load_all(where)[1] == []


def test_a_new_file_has_every_option_with_its_meaning(where: Settings) -> None:
    content = text("x", where.projects / "x.yaml")
    for place in (
        (),
        ("data",),
        ("data", "sources", 0),
        ("data", "columns"),
        ("tuning",),
        ("tuning", "lora"),
        ("gate",),
    ):
        for name, field in options(place).items():
            assert re.search(rf"^ *(- |# )?{name}:", content, re.MULTILINE), name
            assert " ".join((field.description or "").split()[:4]) in re.sub(r"\s+#? *", " ", content)
    assert max(map(len, content.splitlines())) <= 120


def _commented() -> list[int]:
    return [n for n, line in enumerate(text("x", Path("x.yaml")).splitlines()) if COMMENTED.match(line)]


def test_some_options_are_commented_out() -> None:
    assert len(_commented()) > 10


@pytest.mark.parametrize("number", _commented())
def test_each_option_that_is_commented_out_is_valid_when_it_is_not(tmp_path: Path, number: int) -> None:
    lines = text("x", tmp_path / "x.yaml").splitlines()
    lines[number] = COMMENTED.sub(r"\1\2", lines[number])
    path = tmp_path / "x.yaml"
    path.write_text("\n".join(lines))
    load(path)


@pytest.mark.parametrize(
    ("name", "good"),
    [("My Project", "my-project"), ("../x", "x"), ("1st", "project-1st"), ("", "my-project"), ("a" * 64, "a" * 63)],
)
def test_a_name_that_is_no_slug_is_refused_and_a_good_one_told(where: Settings, name: str, good: str) -> None:
    with pytest.raises(UnfitError, match=f"'{good}' would do"):
        new_file(name, where)
    assert not where.projects.exists()


@pytest.mark.parametrize("taken", ["tickets.yaml", "tickets.yml", "other.yaml"])
def test_nothing_is_overwritten_and_no_slug_is_given_twice(where: Settings, taken: str) -> None:
    where.projects.mkdir()
    (where.projects / taken).write_text(MINIMAL)
    with pytest.raises(UnfitError, match="is there already"):
        new_file("tickets", where)
    assert [path.name for path in where.projects.iterdir()] == [taken]
    assert (where.projects / taken).read_text() == MINIMAL


def test_a_broken_link_of_that_name_is_not_written_through(where: Settings, tmp_path: Path) -> None:
    where.projects.mkdir()
    (where.projects / "tickets.yaml").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnfitError, match="is there already"):
        new_file("tickets", where)
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_cannot_be_made_is_told(where: Settings) -> None:
    where.projects.parent.mkdir(exist_ok=True)
    where.projects.write_text("a file, no folder")
    with pytest.raises(UnfitError, match=f"{where.projects} is there already"):
        new_file("tickets", where)


def test_a_full_disk_leaves_nothing_behind(where: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **more: object) -> object:
        where.projects.mkdir(exist_ok=True)
        (where.projects / "tickets.yaml").touch()
        return original(Path("/dev/full"), "w")

    original = Path.open
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UnfitError, match="No space left"):
        new_file("tickets", where)
    assert list(where.projects.iterdir()) == []


def test_an_editor_finds_the_schema_where_there_is_a_clone(where: Settings) -> None:
    schema = where.projects.parent / "docs" / "reference" / "project-file.schema.json"
    schema.parent.mkdir(parents=True)
    schema.write_text("{}")
    first = new_file("tickets", where).read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=../docs/reference/project-file.schema.json"
