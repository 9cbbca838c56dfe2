"""Work aside: one a project, not too much at once, and nothing that waits outlives the end."""

from __future__ import annotations

import threading

import pytest

from evertune.serving import aside
from evertune.serving.aside import Aside


def test_of_one_project_one_thing_is_done_at_a_time() -> None:
    stop, go, done = threading.Event(), threading.Event(), list[str]()
    one = Aside(stop)

    def first() -> None:
        go.wait(20)
        done.append("first")

    one.begin("spam", first)
    assert one.busy("spam")
    one.begin("spam", lambda: done.append("second"))
    one.begin("ham", lambda: done.append("other"))
    while one.busy("ham"):
        pass
    assert done == ["other"]
    go.set()
    assert one.join(20)
    assert done == ["other", "first"]


def test_what_fails_is_told_and_may_be_begun_again(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise RuntimeError("unforeseen")

    one = Aside(threading.Event())
    one.begin("spam", fails)
    assert one.join(20)
    assert "following the releases of spam failed" in caplog.text
    assert not one.busy("spam")


@pytest.mark.parametrize("bound", ["AT_ONCE", "CONVERSIONS"])
def test_no_more_than_so_much_at_once_and_what_waits_ends_with_the_server(
    bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, bound, 1)
    stop, go, begun = threading.Event(), threading.Event(), list[str]()
    one = Aside(stop)

    def work(name: str) -> None:
        with one.converting():
            begun.append(name)
            go.wait(20)

    for name in ("spam", "ham"):
        one.begin(name, lambda name=name: work(name))  # type: ignore[misc]
    assert not one.join(0.3)
    assert len(begun) == 1
    stop.set()
    go.set()
    assert one.join(20)
    assert len(begun) == 1
