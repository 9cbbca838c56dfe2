"""What is printed arrives, whatever encoding the terminal has."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable

import pytest
from rich.console import Console

from evertune.cli import output

Terminal = Callable[[str], io.BytesIO]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Makes standard output one of the encoding, and gives what its bytes go to."""

    def of(encoding: str) -> io.BytesIO:
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, write_through=True))
        return raw

    return of


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize("text", ["Zoë…", "m\udcff", "plain"])
def test_json_is_json_in_every_encoding(terminal: Terminal, encoding: str, text: str) -> None:
    printed = terminal(encoding)
    output.print_json({"a": text})
    assert json.loads(printed.getvalue()) == {"a": text}


def test_json_has_the_characters_themselves_where_it_can(terminal: Terminal) -> None:
    printed = terminal("utf-8")
    output.print_json("Zoë…")
    assert printed.getvalue().decode() == '"Zoë…"\n'


def test_people_see_a_character_that_there_is_not_by_its_number(terminal: Terminal) -> None:
    printed = terminal("ascii")
    output.never_fail_on_a_character()
    Console().print("Zoë…")
    assert printed.getvalue() == b"Zo\\xeb\\u2026\n"
