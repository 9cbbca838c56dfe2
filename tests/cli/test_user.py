from __future__ import annotations

import getpass
import os
from typing import NoReturn

import pytest

from evertune.cli import user


@pytest.mark.parametrize("kind", [KeyError, OSError])
def test_who_has_no_name_is_told_by_number(monkeypatch: pytest.MonkeyPatch, kind: type[Exception]) -> None:
    assert user.name() == getpass.getuser()

    def nobody() -> NoReturn:
        raise kind("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert user.name() == f"uid {os.getuid()}"
