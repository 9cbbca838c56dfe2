"""Files are whole or not there."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evertune import files


def _folder(root: Path) -> Path:
    with files.new_folder(root / "made") as folder:
        (folder / "a.txt").write_text("one")
        (folder / "sub").mkdir()
        (folder / "sub" / "b.bin").write_bytes(bytes(range(256)))
    return root / "made"


def test_a_folder_verifies_to_the_same_digest_wherever_it_is_made(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    assert files.verify(_folder(tmp_path / "x")) == files.verify(_folder(tmp_path / "y"))


@pytest.mark.parametrize("name", ["a.txt", "sub/b.bin", "manifest.json"])
def test_one_flipped_byte_in_any_file_is_found(tmp_path: Path, name: str) -> None:
    folder = _folder(tmp_path)
    expected = files.digest(folder)
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(files.CorruptError):
        files.verify(folder, expected)


def test_a_missing_an_added_and_a_linked_file_are_found(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "extra").write_text("x")
    with pytest.raises(files.CorruptError, match="extra"):
        files.verify(folder)
    (folder / "extra").unlink()
    (folder / "a.txt").rename(tmp_path / "outside.txt")
    with pytest.raises(files.CorruptError, match=r"a\.txt"):
        files.verify(folder)
    (folder / "a.txt").symlink_to(tmp_path / "outside.txt")
    with pytest.raises(files.CorruptError, match=r"a\.txt"):
        files.verify(folder)


def test_a_folder_without_manifest_is_not_taken_for_whole(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / files.MANIFEST).unlink()
    with pytest.raises(files.CorruptError, match="not written to its end"):
        files.verify(folder)


def test_an_error_while_filling_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    before = files.digest(folder)

    def fill_and_fail() -> None:
        with files.new_folder(folder) as aside:
            (aside / "a.txt").write_text("two")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_and_fail()
    assert files.verify(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_full_disk_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    files.write_json(path, {"generation": 1})
    child = (
        "import resource, signal, sys; from pathlib import Path; from evertune import files\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.RLIM_INFINITY}))\n"
        f"files.write_json(Path({str(path)!r}), ['x' * 5000])\n"
    )
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert files.read_json(path) == {"generation": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_a_nameless_file_is_read_back_and_never_seen(tmp_path: Path) -> None:
    with files.nameless(tmp_path) as path:
        path.write_bytes(b"once")
        assert (path.read_bytes(), path.read_bytes()) == (b"once", b"once")
        assert not list(tmp_path.iterdir())


def test_a_lock_is_held_by_one_and_goes_free_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = (
        "from evertune import files; from pathlib import Path\n"
        f"with files.lock(Path({str(path)!r})):\n print('held', flush=True); input()"
    )
    process = subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(files.BusyError), files.lock(path):
        pass
    process.kill()
    process.communicate()
    with files.lock(path):
        pass


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_equal_values_have_equal_hashes_whatever_their_order(value: object) -> None:
    def turned(part: object) -> object:
        if isinstance(part, dict):
            return {key: turned(part[key]) for key in reversed(part)}
        return [turned(one) for one in part] if isinstance(part, list) else part

    assert files.hash_of(value) == files.hash_of(turned(value))
