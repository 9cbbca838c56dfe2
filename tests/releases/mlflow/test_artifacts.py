from __future__ import annotations

import os
from pathlib import Path

import pytest

from evertune.records import EvertuneError, UnreachableError
from evertune.releases.mlflow import artifacts
from evertune.settings import load


@pytest.mark.parametrize(
    ("uri", "folder"),
    [("/a/b", "/a/b"), ("file:///a/b%20c", "/a/b c"), ("s3://bucket/a", None), ("mlflow-artifacts:/1", None)],
)
def test_a_store_that_is_a_folder_is_known(uri: str, folder: str | None) -> None:
    assert artifacts.local(uri) == (Path(folder) if folder else None)


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EvertuneError, match="EVERTUNE_MLFLOW_ARTIFACTS"):
        artifacts.upload(load({}), tmp_path, str(tmp_path / "file" / "below"))


@pytest.mark.integration
def test_a_remote_store_that_is_away_is_given_up_and_leaves_the_environment(tmp_path: Path) -> None:
    where = load({"EVERTUNE_HOME": str(tmp_path), "EVERTUNE_MLFLOW_URI": "http://127.0.0.1:9"})
    before = dict(os.environ)
    with pytest.raises(UnreachableError, match="mlflow-artifacts:/1 does not answer"):
        artifacts.download(where, "mlflow-artifacts:/1", tmp_path)
    assert dict(os.environ) == before


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_a_bucket_keeps_the_files(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    where = load({"EVERTUNE_HOME": str(tmp_path / "home")})
    address = f"{request.getfixturevalue(kind)}/models/1"
    made = tmp_path / "made"
    (made / "inner").mkdir(parents=True)
    (made / "weights").write_bytes(bytes(range(256)) * 10_000)
    (made / "inner" / "card.md").write_text("what it is")
    artifacts.upload(where, made, address)
    artifacts.upload(where, made / "inner" / "card.md", address)
    (back := tmp_path / "back").mkdir()
    artifacts.download(where, address, back)
    assert {path.relative_to(back).as_posix() for path in back.rglob("*") if path.is_file()} == {
        "weights", "inner/card.md", "card.md",
    }  # fmt: skip
    assert (back / "weights").read_bytes() == (made / "weights").read_bytes()
