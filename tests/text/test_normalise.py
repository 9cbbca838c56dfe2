import hashlib
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evertune.text import normalise, row_id

ANYTHING = st.text(st.characters(codec=None), max_size=80)


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("  a\t b\r\nc \x00d\x1f ", "a b c d"),
        ("a\u00a0\u2003\u3000b\u2028c\x85d", "a b c d"),
        ("soft\u00adhy\u200bphen\ufeff", "softhyphen"),
        ("jo\u200chn\u200d@x.com", "john@x.com"),
        ("cafe\u0301", "café"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),  # in Persian the joiner spells the word
        ("👩\u200d👧", "👩\u200d👧"),
        ("a\ud800b", "a\ufffdb"),
        ("\u202edesrever\u202c", "desrever"),
        ("", ""),
    ],
)
def test_texts_that_look_the_same_become_the_same(given_text: str, expected: str) -> None:
    assert normalise(given_text) == expected


@given(ANYTHING)
def test_it_is_idempotent_composed_and_storable(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once == once.strip()
    once.encode("utf-8")


def test_marks_beyond_what_any_script_needs_go_because_composing_them_takes_quadratic_time() -> None:
    text = normalise("a" + "\u0301\u0323" * 50_000 + "b")
    assert 28 <= len(text) <= 32
    assert normalise(text) == text
    assert normalise("🙂" * 100) == "🙂" * 100


def test_the_row_id_is_the_hash_of_the_text() -> None:
    assert row_id("é") == hashlib.sha256("é".encode()).hexdigest()
