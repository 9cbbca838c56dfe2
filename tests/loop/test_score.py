from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support import small_project

from evertune import files
from evertune.ledger import engine as engines
from evertune.ledger import runs, triggers
from evertune.loop import score as scoring
from evertune.loop import score_places
from evertune.project import Project
from evertune.records import Cause, EvertuneError, UnfitError
from evertune.releases.promote import promote
from evertune.serving.engine.answers import Prediction
from evertune.settings import Settings

PROJECT = Project.model_validate(small_project(data={
    "sources": [{"uri": "/x.csv"}], "columns": {"text": "body", "label": "label"}}, evaluation={}))  # fmt: skip


class Served:
    """Answers with a text's length; counts what it was asked."""

    labels = ("short", "long")

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.dies_at: str | None = None

    def answer(self, texts: Sequence[str]) -> list[Prediction]:
        if self.dies_at in texts:
            raise KeyboardInterrupt
        self.asked += texts
        nothing = np.zeros(1, np.float16)
        return [Prediction(self.labels[len(t) > 6], (0.25, 0.75), nothing, t, len(t) > 20, 3) for t in texts]


@pytest.fixture
def served(where: Settings, monkeypatch: pytest.MonkeyPatch) -> Served:
    """A release in a real ledger, answered by :class:`Served`; parts of three rows."""
    ledger = engines.ready(where.database_url)
    for generation in (1, 2):
        triggers.request(ledger, PROJECT.slug, Cause.CLOCK, f"n{generation}", "night")
        run = runs.claim(ledger, PROJECT.slug, "one", 60)
        assert run is not None
        promote(
            ledger, run, PROJECT.slug, generation, f"{generation}" * 64, run.key, expected=generation - 1, by="gate"
        )
        runs.fail(ledger, run, "the test needs no verdict")
    ledger.dispose()
    stub = Served()
    monkeypatch.setattr(scoring, "served_here", lambda settings, release: stub)
    monkeypatch.setattr(scoring, "PART_ROWS", 3)
    return stub


def _file(folder: Path, texts: Sequence[str | None]) -> Path:
    path = folder / "in.parquet"
    pq.write_table(pa.table({"id": range(len(texts)), "body": pa.array(texts, pa.string())}), path)
    return path


TEXTS = ["a", "bb", None, "a longer text", "", "ccc", "another longer text than that", "d"]


def test_every_row_comes_back_with_its_answer(served: Served, where: Settings, tmp_path: Path) -> None:
    sink = tmp_path / "deep" / "out.parquet"
    heard: list[tuple[int, int]] = []
    done = scoring.score(
        PROJECT, str(_file(tmp_path, TEXTS)), str(sink), where, report=lambda *told: heard.append(told)
    )
    rows = pq.read_table(sink).to_pylist()
    assert [(row["id"], row["body"]) for row in rows] == list(enumerate(TEXTS))
    assert [row["label"] for row in rows] == ["short", "short", None, "long", None, "short", "long", "short"]
    assert [row["cut"] for row in rows if row["label"]] == [False, False, False, False, True, False]
    assert rows[0]["scores"] == {"short": 0.25, "long": 0.75}
    assert {row["generation"] for row in rows} == {2}
    assert heard == [(3, 8), (6, 8), (8, 8)]
    assert (done.rows, done.kept, done.release.generation) == (8, 0, 2)


def test_what_is_empty_to_the_model_has_no_answer(served: Served, where: Settings, tmp_path: Path) -> None:
    sink = tmp_path / "out.parquet"
    scoring.score(PROJECT, str(_file(tmp_path, ["a", " \t", "\u200b\ufeff", "\n"])), str(sink), where)
    assert [row["label"] for row in pq.read_table(sink).to_pylist()] == ["short", None, None, None]
    assert served.asked == ["a"]


def test_what_was_cut_off_goes_on_with_its_release(served: Served, where: Settings, tmp_path: Path) -> None:
    source, sink = str(_file(tmp_path, TEXTS)), tmp_path / "out.parquet"
    served.dies_at = "d"
    with pytest.raises(KeyboardInterrupt):
        scoring.score(PROJECT, source, str(sink), where)
    assert not sink.exists()
    first, served.asked, served.dies_at = list(served.asked), [], None
    _promote_again(where)
    done = scoring.score(PROJECT, source, str(sink), where)
    assert not set(first) & set(served.asked)
    assert (done.kept, done.release.generation) == (6, 2)
    assert {row["generation"] for row in pq.read_table(sink).to_pylist()} == {2}
    # It is done: the next one begins anew, with what answers now.
    assert scoring.score(PROJECT, source, str(sink), where).release.generation == 3


def _promote_again(where: Settings) -> None:
    ledger = engines.ready(where.database_url)
    run_key = runs.history(ledger, PROJECT.slug)[0].key
    promote(ledger, None, PROJECT.slug, 3, "3" * 64, run_key, expected=2, by="ann")
    ledger.dispose()


@pytest.mark.parametrize("kinds", [["a", "b"] * 4, ["a"] * 8])
def test_rows_meet_their_answers_however_the_file_is_cut(
    served: Served, where: Settings, tmp_path: Path, kinds: list[str]
) -> None:
    """A column with a dictionary lets a batch of all columns end with its row group; one of texts alone goes on."""
    source, sink = tmp_path / "in.parquet", tmp_path / "out.parquet"
    columns = {"body": TEXTS, "kind": pa.array(kinds).dictionary_encode(), "id": range(len(TEXTS))}
    pq.write_table(pa.table(columns), source, row_group_size=5)
    scoring.score(PROJECT, str(source), str(sink), where)
    rows = pq.read_table(sink).to_pylist()
    assert [(row["id"], row["body"], row["kind"]) for row in rows] == list(zip(range(8), TEXTS, kinds, strict=True))
    assert [row["label"] for row in rows] == ["short", "short", None, "long", None, "short", "long", "short"]


def test_parts_are_removed_while_nobody_else_may_write_any(
    served: Served, where: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear, free = scoring._clear, []

    def cleared(workspace: Path) -> None:
        with suppress(files.BusyError), files.lock(workspace / "lock"):
            free.append(workspace)
        clear(workspace)

    monkeypatch.setattr(scoring, "_clear", cleared)
    scoring.score(PROJECT, str(_file(tmp_path, TEXTS)), str(tmp_path / "out.parquet"), where)
    assert free == []
    assert not list((where.home / "scoring").rglob("*.parquet"))


@pytest.mark.parametrize("name", ["in.parquet", "linked.parquet", "folder", "file/out.parquet", "locked/out.parquet"])
def test_a_sink_that_cannot_be_written_is_found_before_anything_is_scored(
    served: Served, where: Settings, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _file(tmp_path, TEXTS)
    (tmp_path / "linked.parquet").symlink_to(source)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    before, opened = source.read_bytes(), Path.open

    def refuse(self: Path, *arguments: Any, **options: Any) -> Any:  # whoever runs the tests may write everywhere
        if self.parent.name == "locked":
            raise PermissionError(13, "Permission denied")
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UnfitError, match=r"cannot be written|is the source itself"):
        scoring.score(PROJECT, str(source), str(tmp_path / name), where)
    assert (served.asked, source.read_bytes()) == ([], before)


def test_a_sink_that_fails_at_the_end_costs_no_answer(
    served: Served, where: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    source = str(_file(tmp_path, TEXTS))
    with monkeypatch.context() as patch:
        patch.setattr(score_places, "_copy", full)
        with pytest.raises(EvertuneError, match="The disk is full") as told:
            scoring.score(PROJECT, source, str(tmp_path / "out.parquet"), where)
    assert f"more room at {tmp_path} than" in str(told.value)
    assert "EVERTUNE_HOME" not in str(told.value), "the sink lies elsewhere"
    asked = list(served.asked)
    done = scoring.score(PROJECT, source, str(tmp_path / "another.parquet"), where)
    assert (done.kept, served.asked) == (8, asked)
    assert pq.read_table(tmp_path / "another.parquet").num_rows == 8


def test_nothing_beside_the_sink_is_touched(
    served: Served, where: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(_file(tmp_path, TEXTS))
    for name in ("out.parquet.part", ".out.parquet", "out.parquet.tmp"):
        (tmp_path / name).write_text("somebody's own")
    before = {path.name for path in tmp_path.iterdir()}
    scoring.score(PROJECT, source, str(tmp_path / "out.parquet"), where)
    assert {path.name for path in tmp_path.iterdir()} == before | {"out.parquet"}
    assert (tmp_path / "out.parquet.part").read_text() == "somebody's own"
    written = (tmp_path / "out.parquet").read_bytes()

    def full(whole: Path, system: object, path: str) -> None:
        Path(path).write_bytes(b"a half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(score_places, "_copy", full)
        with pytest.raises(EvertuneError, match="Nothing half-written was left"):
            scoring.score(PROJECT, source, str(tmp_path / "out.parquet"), where)
    assert {path.name for path in tmp_path.iterdir()} == before | {"out.parquet"}
    assert (tmp_path / "out.parquet").read_bytes() == written


def test_what_a_killed_delivery_left_beside_the_sink_goes_with_the_next(
    served: Served, where: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(_file(tmp_path, TEXTS))
    before = {path.name for path in tmp_path.iterdir()}
    copies: list[Path] = []

    def killed(whole: Path, system: object, path: str) -> None:
        copies.append(Path(path))
        raise EvertuneError("cut off")

    with monkeypatch.context() as patch:
        patch.setattr(score_places, "_copy", killed)
        with pytest.raises(EvertuneError, match="cut off"):
            scoring.score(PROJECT, source, str(tmp_path / "out.parquet"), where)
    copies[0].write_text("a half")  # as kill -9 leaves it, which clears nothing up
    scoring.score(PROJECT, source, str(tmp_path / "out.parquet"), where)
    assert {path.name for path in tmp_path.iterdir()} == before | {"out.parquet"}


def test_a_sink_is_as_private_as_the_person_makes_files(served: Served, where: Settings, tmp_path: Path) -> None:
    source, before = str(_file(tmp_path, TEXTS)), os.umask(0o077)
    try:
        scoring.score(PROJECT, source, str(tmp_path / "out.parquet"), where)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.parquet").stat().st_mode) == 0o600


def test_a_sink_that_is_a_device_is_refused(served: Served, where: Settings, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out.parquet")
    with pytest.raises(UnfitError, match="cannot be written: it is no file"):
        scoring.score(PROJECT, str(_file(tmp_path, TEXTS)), str(tmp_path / "out.parquet"), where)
    assert (tmp_path / "out.parquet").is_fifo()


def test_memory_that_runs_out_is_told_with_advice_and_costs_no_answer(
    served: Served, where: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, sink = str(_file(tmp_path, TEXTS)), str(tmp_path / "out.parquet")
    answer = served.answer

    def hungry(texts: Sequence[str]) -> list[Prediction]:
        if "d" in texts:
            np.empty(1 << 50)
        return answer(texts)

    with monkeypatch.context() as patch:
        patch.setattr(served, "answer", hungry)
        with pytest.raises(UnfitError, match=r"ran out while .*in\.parquet was scored.*To make it fit: .*taskset"):
            scoring.score(PROJECT, source, sink, where)
    assert scoring.score(PROJECT, source, sink, where).kept == 6


def test_parts_of_another_content_are_never_taken(served: Served, where: Settings, tmp_path: Path) -> None:
    source, sink = _file(tmp_path, TEXTS), str(tmp_path / "out.parquet")
    served.dies_at = "d"
    with pytest.raises(KeyboardInterrupt):
        scoring.score(PROJECT, str(source), sink, where)
    served.asked, served.dies_at = [], None
    _file(tmp_path, ["x" * 9, *TEXTS[1:]])
    assert scoring.score(PROJECT, str(source), sink, where).kept == 0
    assert pq.read_table(sink)["label"][0].as_py() == "long"


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"text": ["a"]}, "no column 'body'; it has: text"),
        ({"body": [1]}, "holds int64, not texts"),
        ({"body": ["a"], "label": ["b"]}, "columns that the answers need: label"),
        ({"body": pa.array([], pa.string())}, "no rows"),
    ],
)
def test_a_file_that_cannot_be_scored_is_said(
    served: Served, where: Settings, tmp_path: Path, table: dict[str, Any], told: str
) -> None:
    pq.write_table(pa.table(table), tmp_path / "in.parquet")
    with pytest.raises(UnfitError, match=told):
        scoring.score(PROJECT, str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"), where)
    assert not (tmp_path / "out.parquet").exists()


def test_what_is_no_parquet_or_not_there_is_said(served: Served, where: Settings, tmp_path: Path) -> None:
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and then nothing")
    for name, told in (("torn.parquet", "cannot be read as Parquet"), ("none.parquet", "There is no file")):
        with pytest.raises(UnfitError, match=told):
            scoring.score(PROJECT, str(tmp_path / name), str(tmp_path / "out.parquet"), where)
    with pytest.raises(UnfitError, match="no place that can be reached"):
        scoring.score(PROJECT, "what://ever", str(tmp_path / "out.parquet"), where)


def test_what_of_a_parquet_file_is_not_utf_8_is_said_where_it_is_to_be_scored(
    served: Served, where: Settings, tmp_path: Path
) -> None:
    ends, letters = pa.array([0, 4], pa.int32()).buffers()[1], pa.py_buffer("caf\u00e9".encode("latin-1"))
    odd = pa.StringArray.from_buffers(1, ends, letters)
    source, sink = str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet")
    pq.write_table(pa.table({"body": odd}), source)
    with pytest.raises(UnfitError, match=r"in\.parquet cannot be read as Parquet: 'utf-8' .* byte 0xe9"):
        scoring.score(PROJECT, source, sink, where)
    pq.write_table(pa.table({"body": ["a"], "of": odd}), source)
    assert scoring.score(PROJECT, source, sink, where).rows == 1


def test_a_project_without_a_release_is_said(where: Settings, tmp_path: Path) -> None:
    with pytest.raises(EvertuneError, match="no release to score with"):
        scoring.score(PROJECT, str(_file(tmp_path, TEXTS)), str(tmp_path / "out.parquet"), where)


def test_two_at_once_do_not_mix(served: Served, where: Settings, tmp_path: Path) -> None:
    source, sink = str(_file(tmp_path, TEXTS)), str(tmp_path / "out.parquet")
    both = SimpleNamespace(fault=None)

    def rival(done: int, rows: int) -> None:
        if both.fault is None:
            with pytest.raises(EvertuneError) as caught:
                scoring.score(PROJECT, source, sink, where)
            both.fault = caught.value

    scoring.score(PROJECT, source, sink, where, report=rival)
    assert "held by another process" in str(both.fault)
