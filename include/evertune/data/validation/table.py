"""Rows as a table in SQLite, for what Great Expectations can only do in SQL.

Beside the result, not in the folder for temporary files: that may be a small disk in memory, and what a killed process
leaves there nobody removes.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from evertune import files
from evertune.project.expectations import ROW_NUMBER

if TYPE_CHECKING:
    import pandas as pd

TABLE, KEY = "rows", ROW_NUMBER
"""Names of the table and of its column that holds the row numbers."""
FULL = "database or disk is full"
"""What SQLite says, also by the mouth of others."""
_WHAT = "the table of rows for expectations in SQL"
_NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
_TEMPORARY = "SQLITE_TMPDIR"


@contextmanager
def table(frame: pd.DataFrame, folder: Path, name: str) -> Iterator[Path]:
    """The frame as table :data:`TABLE` of a database in ``folder``, which is made anew and removed afterwards.

    ``name`` is one that no other table of this process has: whoever has a database of the same name open would go on
    reading that one. Raises :class:`EvertuneError` where the disk is full.
    """
    shutil.rmtree(folder, ignore_errors=True)  # a process that was killed
    before = os.environ.get(_TEMPORARY)
    try:
        with files.full_disk_in_words(folder, _WHAT):
            folder.mkdir(mode=0o700, parents=True)
            os.environ[_TEMPORARY] = str(folder)  # SQLite sorts in files, and would do it in the temporary folder
            _write(frame, database := folder / f"{name}.db")
        yield database
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if before is None:
            os.environ.pop(_TEMPORARY, None)
        else:
            os.environ[_TEMPORARY] = before


def _write(frame: pd.DataFrame, database: Path) -> None:
    import pandas as pd

    try:
        with closing(sqlite3.connect(database)) as connection:
            frame.to_sql(TABLE, connection, index_label=KEY, chunksize=10_000)
    except (sqlite3.OperationalError, pd.errors.DatabaseError) as fault:
        cause = fault if isinstance(fault, sqlite3.Error) else fault.__cause__
        if getattr(cause, "sqlite_errorcode", 0) & 0xFF in _NO_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(database)) from fault
        raise


def see_room(error: str | None, folder: Path) -> None:
    """Raise :class:`EvertuneError` where it was for a full disk that something could not be judged."""
    if error is not None and FULL in error:
        with files.full_disk_in_words(folder, _WHAT):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
