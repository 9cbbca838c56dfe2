from __future__ import annotations

from pathlib import Path

from evertune.project.document import read
from evertune.project.faults import Fault, position
from evertune.project.places import Mark

FILE = Path("a.yaml")


def test_a_fault_is_written_so_that_editors_jump_to_it() -> None:
    assert str(Fault(FILE, 3, 7, "slug", "expected x", "take y")) == "a.yaml:3:7: slug: expected x; take y"
    assert str(Fault(FILE, 3, 7, "", "expected x")) == "a.yaml:3:7: expected x"
    assert str(Fault(FILE, 0, 0, "", "expected x")) == "a.yaml: expected x"


def test_faults_are_ordered_by_file_and_line() -> None:
    other = Path("b.yaml")
    faults = [Fault(other, 1, 1, "", ""), Fault(FILE, 10, 1, "", ""), Fault(FILE, 2, 1, "", "")]
    assert [(fault.file, fault.line) for fault in sorted(faults)] == [(FILE, 2), (FILE, 10), (other, 1)]


def test_the_position_is_the_nearest_thing_that_stands_in_the_text() -> None:
    document = read("a:\n  b:\n    - c: 1\n")
    assert position(document, ("a", "b", 0, "c")) == Mark(3, 10)
    assert position(document, ("a", "b", 0, "c"), of_name=True) == Mark(3, 7)
    assert position(document, ("a", "b", 0, "d")) == Mark(3, 7)
    assert position(document, ("a", "b", 5, "d")) == Mark(2, 3)
    assert position(document, ("a", "x", "y")) == Mark(1, 1)
    assert position(document, ("x",)) == Mark(1, 1)
