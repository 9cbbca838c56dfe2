from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa
import pytest

from evertune.data.validation import scripts
from evertune.data.validation.scripts import LETTER, OF_SCRIPT, VISIBLE, count, table
from evertune.records import UnfitError


def counted(script: str, text: str) -> tuple[int, int, int]:
    letters, members, visible = count(pa.array([text]), table(script), (LETTER, OF_SCRIPT, VISIBLE))
    return int(letters[0]), int(members[0]), int(visible[0])


@pytest.mark.parametrize(
    ("script", "text", "expected"),
    [
        ("Latin", "Grüße, 42!", (5, 5, 9)),
        ("Latin", "Привет you", (9, 3, 9)),
        ("Cyrillic", "Привет you", (9, 6, 9)),
        ("Han", "日本語です", (5, 3, 5)),
        ("Japanese", "日本語です", (5, 5, 5)),
        ("Korean", "한국어 漢字", (5, 5, 5)),
        ("Arabic", "مرحبا", (5, 5, 5)),
        ("Latin", "\U0001d4b3 😀", (1, 0, 2)),
        ("Latin", " \u200b\x00\t", (0, 0, 0)),
        ("Latin", "", (0, 0, 0)),
    ],
)
def test_letters_letters_of_the_script_and_visible_characters(
    script: str, text: str, expected: tuple[int, int, int]
) -> None:
    assert counted(script, text) == expected


def test_letters_are_those_that_python_knows() -> None:
    letters = table(None) & LETTER != 0
    known = np.array([unicodedata.category(chr(point)).startswith("L") for point in range(0x3000)])
    assert np.count_nonzero(letters[:0x3000] != known) < 20, "Unicode versions differ by a few letters, not by many"


def test_without_a_script_nothing_is_of_it() -> None:
    assert not (table(None) & OF_SCRIPT).any()


def test_texts_are_counted_in_pieces_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = pa.array(["ab1", "", "c", "ddd d", "éé"])
    whole = count(texts, table("Latin"), (LETTER, VISIBLE))
    monkeypatch.setattr(scripts, "AT_ONCE", 2)
    pieces = count(texts, table("Latin"), (LETTER, VISIBLE))
    assert [p.tolist() for p in pieces] == [w.tolist() for w in whole] == [[2, 0, 1, 4, 2], [3, 0, 1, 4, 2]]


@pytest.mark.parametrize("name", ["Latin", "Yi", "Old_Italic", "Han", "Japanese"])
def test_scripts_of_unicode_are_known(name: str) -> None:
    scripts.check(name)


@pytest.mark.parametrize(("name", "hint"), [("latin", "Latin"), ("Kyrillic", "Cyrillic")])
def test_an_unknown_script_names_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UnfitError, match=f'"{name}".*Did you mean "{hint}"'):
        scripts.check(name)


@pytest.mark.parametrize("name", ["L", "Lu", "Any", "", "}|.", "Klingonese"])
def test_what_is_no_script_is_refused(name: str) -> None:
    with pytest.raises(UnfitError, match="no script of that name"):
        scripts.check(name)
