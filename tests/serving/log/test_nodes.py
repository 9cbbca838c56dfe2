from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from evertune.files import BusyError
from evertune.serving.log import nodes
from evertune.serving.log.nodes import TAG_BITS, Node, claim


def test_two_servers_of_a_home_never_share_a_folder(tmp_path: Path) -> None:
    one, two = claim(tmp_path), claim(tmp_path)
    assert one.folder != two.folder
    assert one.tag != two.tag
    with pytest.raises(BusyError):
        Node(one.folder)
    one.release()
    three = claim(tmp_path)
    assert three.folder == one.folder, "a folder that nobody holds is used again"
    two.release()
    three.release()


def test_a_server_in_another_process_is_seen(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib\nfrom evertune.serving.log.nodes import claim\n"
        "node = claim(pathlib.Path(sys.argv[1]))\nprint(node.folder.name, flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = other.stdout.readline().strip()
        mine = claim(tmp_path)
        assert mine.folder.name != theirs
        mine.release()
        other.kill()
    names = {claim(tmp_path).folder.name, claim(tmp_path).folder.name}
    assert names == {mine.folder.name, theirs}, "the lock fell with its process"


def test_numbers_rise_and_never_come_twice_even_when_the_clock_is_set_back(tmp_path: Path) -> None:
    node = claim(tmp_path)
    given = [node.next(now) for now in (1000.0, 1000.0, 1000.004, 1001.0, 10.0)]
    assert given == sorted(set(given))
    assert {number & (2**TAG_BITS - 1) for number in given} == {node.tag}
    node.note(given[-1])
    node.release()
    again = claim(tmp_path)
    assert again.newest == given[-1]
    assert again.next(0.0) > given[-1]
    again.release()


def test_numbers_rise_above_those_of_files_that_are_there(tmp_path: Path) -> None:
    node = claim(tmp_path)
    number = node.next(5e9)
    (node.folder / f"{number:016x}.log").touch()
    node.release()
    again = claim(tmp_path)
    assert again.next(1.0) > number
    again.release()


def test_the_name_tells_the_host_and_the_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "../Büro 1")
    node = claim(tmp_path)
    assert re.fullmatch(r"[A-Za-z0-9.-]+-[0-9a-f]{6}", node.folder.name)
    assert node.folder.parent == tmp_path
    assert nodes.folders_of(tmp_path, node.next(1.0)) == [node.folder]
    assert nodes.folders_of(tmp_path, node.next(1.0) + 1) == []
    node.release()


def test_what_is_left_by_the_dead_is_found_and_that_of_the_living_is_not(tmp_path: Path) -> None:
    living, dead, mine = claim(tmp_path), claim(tmp_path), claim(tmp_path)
    for node in (living, dead, mine):
        (node.folder / f"{node.next(1.0):016x}.log").touch()
    dead.release()
    assert [node.folder for node in nodes.abandoned(tmp_path, mine.folder)] == [dead.folder]
    Node(dead.folder).release()
    for node in (living, mine):
        node.release()


def test_other_folders_are_not_taken_for_servers(tmp_path: Path) -> None:
    for name in ("parquet", "x-12345", "x-GGGGGG"):
        (tmp_path / name).mkdir()
    (tmp_path / "file-abcdef").touch()
    assert nodes.folders(tmp_path) == []
    assert nodes.folders(tmp_path / "nowhere") == []
