from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.models import tiny

from evertune import files
from evertune.models import bundle
from evertune.serving.engine import build


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="session")
def checks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Check rows as the evaluation leaves them."""
    drawn = tiny.sentences(200, seed=9)
    path = tmp_path_factory.mktemp("checks") / "checks.parquet"
    pq.write_table(pa.table({"text": [words for words, _ in drawn], "truth": [truth for _, truth in drawn]}), path)
    return path


@pytest.fixture(scope="session")
def shared_bundle(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """A bundle of a random classifier. Not to be changed."""
    folder = tmp_path_factory.mktemp("shared") / "bundle"
    bundle.write(folder, tiny.classifier(), base, tiny.LABELS, 32, temperature=2.0)
    return folder


@pytest.fixture(scope="session")
def shared_engine(shared_bundle: Path, checks: Path) -> Path:
    """The bundle's engine, really converted once. Not to be changed."""
    to = shared_bundle.parent / "engine"
    build.build(shared_bundle, files.digest(shared_bundle), checks, 1.0, to)
    return to
