"""The table that SQL is asked of lies beside the result, whatever happens, and a full disk is told as elsewhere."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from tests.support import small_disk

from evertune.data.validation.table import KEY, TABLE, see_room, table
from evertune.records import EvertuneError

FRAME = pd.DataFrame({"text": ["a", None]}, index=[7, 9])


def test_the_rows_are_there_by_their_numbers_and_gone_afterwards(tmp_path: Path) -> None:
    with table(FRAME, tmp_path / "sql", "one") as database:
        assert sqlite3.connect(database).execute(f"select {KEY}, text from {TABLE}").fetchall() == [(7, "a"), (9, None)]
        assert oct(database.parent.stat().st_mode & 0o777) == "0o700"
        assert os.environ["SQLITE_TMPDIR"] == str(tmp_path / "sql")
    assert not list(tmp_path.iterdir())
    assert "SQLITE_TMPDIR" not in os.environ


def test_what_is_set_stays_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLITE_TMPDIR", "/elsewhere")
    with pytest.raises(ZeroDivisionError), table(FRAME, tmp_path / "sql", "one"):
        raise ZeroDivisionError
    assert os.environ["SQLITE_TMPDIR"] == "/elsewhere"
    assert not list(tmp_path.iterdir())


def test_what_a_killed_one_has_left_is_removed(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; import pandas as pd\n"
        "from evertune.data.validation.table import table\n"
        "with table(pd.DataFrame({'text': ['a']}), Path(sys.argv[1]), 'one'): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "sql")], check=False)
    assert [path.name for path in tmp_path.rglob("*.db")] == ["one.db"]
    with table(FRAME, tmp_path / "sql", "two") as database:
        assert [path.name for path in database.parent.iterdir()] == ["two.db"]
    assert not list(tmp_path.iterdir())


@pytest.mark.faults
def test_a_full_disk_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["x" * 10_000] * 100})
    said = r"The disk is full: the table of rows for expectations in SQL needs more room at .*EVERTUNE_HOME"
    with small_disk(tmp_path / "disk", "100k"):
        with pytest.raises(EvertuneError, match=said), table(frame, tmp_path / "disk" / "sql", "one"):
            pass
        assert not list((tmp_path / "disk").iterdir())


def test_a_disk_that_was_full_while_it_was_asked_is_told(tmp_path: Path) -> None:
    see_room(None, tmp_path)
    see_room("(sqlite3.OperationalError) no such column: x", tmp_path)
    with pytest.raises(EvertuneError, match="The disk is full"):
        see_room("(sqlite3.OperationalError) database or disk is full", tmp_path)


def test_another_fault_of_the_database_stays_what_it_is(tmp_path: Path) -> None:
    frame = pd.DataFrame([["a", "b"]], columns=["text", "Text"])
    with pytest.raises((sqlite3.OperationalError, pd.errors.DatabaseError)), table(frame, tmp_path / "sql", "one"):
        pass
