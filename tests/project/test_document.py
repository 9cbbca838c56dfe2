from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from evertune.project import document
from evertune.project.document import decode, read
from evertune.project.places import Mark, UnreadableError, where


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("2024-01-01", "2024-01-01"),
        ("1e-4", 1e-4),
        ("-.5", -0.5),
        ("010", 10),
        ("0o17", 15),
        ("0xff", 255),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("true", True),
        ("True", True),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("! 1", "1"),
        (".inf", ".inf"),
        ("[1, a]", [1, "a"]),
        ("{1: a, true: b}", {"1": "a", "true": "b"}),
        ("[&x {a: 1}, *x]", [{"a": 1}, {"a": 1}]),
    ],
)
def test_scalars_are_read_as_editors_read_them(text: str, value: object) -> None:
    found = read(text).value
    assert found == value
    assert type(found) is type(value)


def test_an_empty_text_is_nothing() -> None:
    assert read("").value is None
    assert read("# only a comment\n").value is None


def test_each_value_and_name_has_its_place() -> None:
    found = read("a:\n  - x\n  - b: é y\nc: 1\n")
    assert found.marks[("a", 1, "b")] == Mark(3, 8)
    assert found.keys[("a", 1, "b")] == Mark(3, 5)
    assert found.marks[("c",)] == Mark(4, 4)


def test_columns_count_characters_not_bytes() -> None:
    assert read("{é: ü, b: 1}").marks[("b",)] == Mark(1, 11)


def test_a_name_given_twice_is_noted_and_the_rest_is_read() -> None:
    found = read("a: 1\nb: 2\na: [3]\nc: 4\n")
    assert found.value == {"a": 1, "b": 2, "c": 4}
    (note,) = found.notes
    assert note.mark == Mark(3, 1)
    assert "line 1" in note.message
    assert found.marks[("a",)] == Mark(1, 4)


@pytest.mark.parametrize(
    ("text", "mark", "words"),
    [
        ("a: [1", (1, 6), "begun in line 1"),
        ("a: 1\n\tb: 2", (2, 1), "spaces"),
        ("a:\n\t- b", (2, 1), "spaces"),
        ("a: b: c", (1, 5), "quotes"),
        ("a: @b", (1, 4), "quotes"),
        ("a: 1\n---\nb: 2", (2, 1), "one document"),
        ("a: !!python/object/apply:os.system [ls]", (1, 4), "tags"),
        ("a: !!int 1", (1, 4), "tags"),
        ("!!map {a: 1}", (1, 1), "tags"),
        ("a: &x {b: 1}\nc: {<<: *x}", (2, 5), "merge keys"),
        ("{[1]: a}", (1, 2), "name before the colon"),
        ("a: *b", (1, 4), "no &b"),
        ("a: &b [*b]", (1, 8), "no &b"),
        ("a: 1e999", (1, 4), "number"),
        ('a: "\\0"', (1, 4), "NUL"),
        ("a: 'b\x07'", (1, 6), "U+0007"),
        ("[" * 30 + "]" * 30, (1, 22), "levels"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(text: str, mark: tuple[int, int], words: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        read(text)
    note = caught.value.note
    assert words in f"{note.message} {note.hint}"
    assert note.mark == mark


def test_a_merge_key_in_quotes_is_a_name() -> None:
    assert read("{'<<': 1}").value == {"<<": 1}


def test_aliases_that_expand_to_very_much_are_refused_before_they_do() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(UnreadableError, match="aliases"):
        read("\n".join(lines))


def test_brackets_without_end_are_no_stack_overflow() -> None:
    with pytest.raises(UnreadableError, match="levels"):
        read("[" * 200_000)


def test_too_many_values_are_refused() -> None:
    with pytest.raises(UnreadableError, match="values"):
        read("[" + "1," * 30_000 + "]")


@pytest.mark.parametrize(
    ("data", "mark", "words"),
    [
        (b"a: 1\nb: \xff", (2, 4), "0xff"),
        ("é: ü".encode("latin-1"), (1, 1), "UTF-8"),
        ("a: 1".encode("utf-16"), (1, 1), "UTF-8"),
        ("a: 1".encode("utf-16-le"), (1, 2), "NUL"),
        ("é\0".encode(), (1, 2), "NUL"),
        (b"#" * (document.BYTES_LIMIT + 1), (1, 1), "KiB"),
    ],
)
def test_wrong_bytes_are_told_with_their_place(data: bytes, mark: tuple[int, int], words: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        decode(data)
    note = caught.value.note
    assert words in f"{note.message} {note.hint}"
    assert note.mark == mark


def test_a_byte_order_mark_is_no_part_of_the_first_name() -> None:
    assert read(decode(b"\xef\xbb\xbfa: 1")).value == {"a": 1}


def test_a_place_is_written_as_people_write_it() -> None:
    assert where(()) == ""
    assert where(("data", "sources", 0, "uri")) == "data.sources[0].uri"


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(PLAIN)
def test_what_pyyaml_writes_is_read_back(value: object) -> None:
    assert _same(read(yaml.safe_dump(value, allow_unicode=True)).value, value)


def _same(found: Any, value: Any) -> bool:
    match value:
        case dict():
            return list(found) == sorted(value) and all(_same(found[key], value[key]) for key in value)
        case list():
            return len(found) == len(value) and all(map(_same, found, value))
        case float() if not isinstance(found, str):
            return math.isclose(found, value, rel_tol=1e-12)
    # YAML 1.1, by which PyYAML writes, has other plain texts: "1e5" is a text there and a number here.
    return bool(found == value) or (isinstance(value, str) and found == float(value))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    _is_read_or_refused(lambda: read(decode(data)))


@given(st.text("{}[]:-*&!<'\"#|>%@`,? \n\tab1.\\", max_size=60))
def test_any_punctuation_is_read_or_refused(text: str) -> None:
    _is_read_or_refused(lambda: read(text))


def _is_read_or_refused(reading: Callable[[], object]) -> None:
    note = None
    try:
        reading()
    except UnreadableError as fault:
        note = fault.note
    assert note is None or (note.message and min(note.mark) >= 1)
