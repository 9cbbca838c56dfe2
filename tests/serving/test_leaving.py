from __future__ import annotations

import ctypes
import gc

import pytest

from evertune.serving import leaving
from evertune.serving.leaving import Leaving


class _Release:
    pass


def test_memory_is_given_back_once_when_the_last_request_lets_go() -> None:
    given: list[None] = []
    found, release = Leaving(lambda: given.append(None)), _Release()
    taken_by_a_request = release
    found.add(release)
    del release
    found.look()
    assert not given
    del taken_by_a_request
    gc.collect()
    found.look()
    found.look()
    assert given == [None]


def test_a_c_library_that_cannot_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    leaving.trim()
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    leaving.trim()
