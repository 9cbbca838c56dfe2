from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest
import torch
from tests.models import tiny

from evertune import files
from evertune.models import tensors
from evertune.records import EvertuneError, UnreachableError
from evertune.tuning import checkpoints

HELD = {"weight.a": torch.arange(2000.0), "random.cpu": torch.get_rng_state()}


def _two(home: Path) -> None:
    for step in (1, 2):
        checkpoints.save(home, step, HELD, {"inputs": "same", "step": step})


def _newest(home: Path) -> int | None:
    found = checkpoints.newest(home, "same")
    return found.state["step"] if found else None


def test_the_newest_two_are_kept_and_read_back(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        checkpoints.save(tmp_path, step, HELD, {"inputs": "same", "step": step})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000002", "000000010"]
    found = checkpoints.newest(tmp_path, "same")
    assert found is not None
    assert found.state["step"] == 10
    assert torch.equal(found.tensors["weight.a"], HELD["weight.a"])


def test_nothing_there_is_nothing_to_resume(tmp_path: Path) -> None:
    assert checkpoints.newest(tmp_path / "none", "same") is None


def test_other_inputs_are_not_resumed_from(tmp_path: Path) -> None:
    _two(tmp_path)
    assert checkpoints.newest(tmp_path, "other") is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["state.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("attempt", range(8))
def test_any_flip_or_cut_is_refused_and_the_one_before_taken(tmp_path: Path, name: str, attempt: int) -> None:
    chance = random.Random(f"{name}{attempt}")
    _two(tmp_path)

    def flip(data: bytearray) -> None:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)

    def cut(data: bytearray) -> None:
        del data[chance.randrange(len(data)) :]

    tiny.spoil(tmp_path / "000000002" / name, flip if attempt % 2 else cut)
    assert _newest(tmp_path) == 1
    tiny.spoil(tmp_path / "000000001" / name, cut if attempt % 2 else flip)
    assert _newest(tmp_path) is None


def test_one_without_manifest_was_not_written_to_its_end(tmp_path: Path) -> None:
    _two(tmp_path)
    (tmp_path / "000000002" / "manifest.json").unlink()
    assert _newest(tmp_path) == 1


@pytest.mark.parametrize("reader", ["verify", "read_json"])
def test_a_disk_that_is_away_for_a_moment_costs_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    _two(tmp_path)

    def away(path: Path) -> None:
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(files, reader, away)
        with pytest.raises(UnreachableError, match=r"000000002 cannot be read.*Stale") as caught:
            _newest(tmp_path)
    assert caught.value.retry
    assert _newest(tmp_path) == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_a_bug_that_looks_like_no_full_disk_is_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="ours"), checkpoints.full_disk_told(tmp_path):
        raise OSError(errno.EACCES, "ours")


@pytest.mark.faults
def test_a_really_full_disk(tmp_path: Path) -> None:
    """On /dev/full's like: a file system of 1 MB, where the machine lets us mount one."""
    import subprocess

    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("may not mount a file system here")
    try:
        checkpoints.save(small, 1, HELD, {"inputs": "same", "step": 1})
        with pytest.raises(EvertuneError, match="disk is full"):
            checkpoints.save(small, 2, {"weight.a": torch.zeros(400_000)}, {"inputs": "same", "step": 2})
        assert _newest(small) == 1
        assert [path.name for path in small.iterdir()] == ["000000001"]
    finally:
        subprocess.run(["umount", small], check=True)


def test_safetensors_full_disk_is_an_os_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import safetensors.torch

    def full(*_: object, **__: object) -> None:
        raise safetensors.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError, match="space") as caught:
        tensors.save(tmp_path / "x.safetensors", HELD)
    assert caught.value.errno == errno.ENOSPC
