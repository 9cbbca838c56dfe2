"""Sources of batch scoring that are no Parquet: the same rows, each cell as it stands in the file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.loop.test_score import PROJECT, TEXTS, Served, served

from evertune.loop import score as scoring
from evertune.loop import score_texts
from evertune.records import EvertuneError, UnfitError
from evertune.settings import Settings

assert served  # the fixture

ROWS = [(f"{number:03}", text or "") for number, text in enumerate(TEXTS)]
CSV = "id,body\n" + "".join(f'{id_},"{text}"\n' for id_, text in ROWS)
CONTENTS = {
    "in.csv": CSV.encode(),
    "in.CSV.gz": gzip.compress(CSV.encode()),
    "in.tsv": ("id\tbody\n" + "".join(f"{id_}\t{text}\n" for id_, text in ROWS)).encode(),
    "in.jsonl": "".join(json.dumps({"id": id_, "body": text}) + "\n" for id_, text in ROWS).encode(),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_every_row_comes_back_with_its_answer(served: Served, where: Settings, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(CONTENTS[name])
    done = scoring.score(PROJECT, str(tmp_path / name), str(tmp_path / "out.parquet"), where)
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["id"], row["body"]) for row in rows] == ROWS
    assert [row["label"] for row in rows] == ["short", "short", None, "long", None, "short", "long", "short"]
    assert done.rows == len(ROWS)
    assert not list((where.home / "scoring").rglob(score_texts.COPY))


def test_what_was_cut_off_goes_on(served: Served, where: Settings, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(CONTENTS["in.csv"])
    source, sink = str(tmp_path / "in.csv"), str(tmp_path / "out.parquet")
    served.dies_at = "d"
    with pytest.raises(KeyboardInterrupt):
        scoring.score(PROJECT, source, sink, where)
    served.dies_at = None
    assert scoring.score(PROJECT, source, sink, where).kept == 6


def test_a_cell_may_have_lines_quotes_and_what_looks_like_nothing(
    served: Served, where: Settings, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text('id,body\n007,"two\nlines, and ""quotes"""\nNA,null\n', "utf-8")
    scoring.score(PROJECT, str(tmp_path / "in.csv"), str(tmp_path / "out.parquet"), where)
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["id"], row["body"]) for row in rows] == [("007", 'two\nlines, and "quotes"'), ("NA", "null")]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("in.csv", b"", "cannot be read as CSV"),
        ("in.csv", b"id,body\n1,a,b\n", "cannot be read as CSV"),
        ("in.csv", b"body\n\xff\xfe\n", "cannot be read as CSV"),
        ("in.jsonl", b'{"body": 1}\n{"body"', "cannot be read as JSON Lines"),
        ("in.tsv", b"text\na\n", "no column 'body'; it has: text"),
    ],
)
@pytest.mark.usefixtures("served")
def test_what_is_not_what_its_name_says_is_told(
    where: Settings, tmp_path: Path, name: str, content: bytes, told: str
) -> None:  # fmt: skip
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnfitError, match=told):
        scoring.score(PROJECT, str(tmp_path / name), str(tmp_path / "out.parquet"), where)


def test_one_that_is_not_there_is_told(served: Served, where: Settings, tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match="There is no file"):
        scoring.score(PROJECT, str(tmp_path / "none.csv"), str(tmp_path / "out.parquet"), where)


def test_a_packed_file_that_is_torn_is_told(served: Served, where: Settings, tmp_path: Path) -> None:
    (tmp_path / "in.csv.gz").write_bytes(CONTENTS["in.CSV.gz"][:40])
    with pytest.raises(EvertuneError, match=r"in\.csv\.gz cannot be read"):
        scoring.score(PROJECT, str(tmp_path / "in.csv.gz"), str(tmp_path / "out.parquet"), where)
