from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from evertune.ledger.keys import Key
from evertune.serving import key_cache

KEY = Key(
    id="aaaaaaaaaaaa", name="shop", hash="0" * 64, projects=("spam",), scopes=("predict",), rate_per_s=2.5,
    created=datetime(2026, 11, 22, tzinfo=UTC), expires=None, revoked=None,
)  # fmt: skip


def test_what_is_saved_is_loaded_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "keys.json"
    assert key_cache.load(path) == []
    assert key_cache.save(path, [KEY])
    assert key_cache.load(path) == [KEY]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys.json"
    key_cache.save(path, [KEY])

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert not key_cache.save(path, [])
    assert key_cache.load(path) == [KEY]
    assert list(tmp_path.iterdir()) == [path]
