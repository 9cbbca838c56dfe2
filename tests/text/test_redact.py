import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evertune.records import UnfitError
from evertune.text import Redactor, clean, normalise
from evertune.text.patterns import FINDERS

ALL = Redactor(list(FINDERS), {})
CUSTOM = Redactor(list(FINDERS), {"customer": r"\bC-\d{4}\b", "greedy": r"<?x+>?", "start": r"^\d", "empty": r"q*"})

# Built from what the patterns look for, so that matches touch, overlap and unlock each other.
PIECES = [
    "john", "@", "example.com", ".", "+44", " ", "20", "7946", "0958", "4111", "1111", "-", "DE89", "3704", "0044",
    "0532", "0130", "00", "10.0.0.1", "::1", ":", "password=", "token: ", "hunter2", "Bearer ", "a" * 20, "ghp_", "<",
    "<email>", "<secret>", ">", '"', "C-1234", "xx", "<redacted>", "\u0338", "\u200d", "é", "0", "1", "(", ")", "\n",
    "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "://", "AKIA", "A" * 16, "/", "٣", "q",
]  # fmt: skip
HOSTILE = st.lists(st.sampled_from(PIECES), max_size=24).map("".join) | st.text(max_size=60)


@settings(max_examples=150)
@given(HOSTILE)
def test_redacting_twice_is_redacting_once(text: str) -> None:
    for redactor in (ALL, CUSTOM):
        once, _ = redactor.redact(text)
        assert redactor.redact(once) == (once, {})


@settings(max_examples=150)
@given(HOSTILE)
def test_a_clean_text_stays_as_it_is(text: str) -> None:
    once, _ = clean(text, CUSTOM)
    assert clean(once, CUSTOM) == (once, {})
    assert normalise(once) == once


@settings(max_examples=100)
@given(
    HOSTILE, st.sampled_from(["john.doe@example.com", "4111 1111 1111 1111", "GB82WEST12345698765432", "192.168.7.9"])
)
def test_a_canary_between_spaces_never_survives(around: str, canary: str) -> None:
    redacted, found = clean(f"{around} ; {canary} ; {around}", ALL)
    assert canary not in redacted
    assert sum(found.values()) >= 1


def test_what_was_found_is_counted_by_kind() -> None:
    text, found = ALL.redact("a@b.com, c@d.org or +44 20 7946 0958")
    assert text == "<email>, <email> or <phone>"
    assert found == {"email": 2, "phone": 1}


def test_only_the_named_patterns_are_looked_for() -> None:
    assert Redactor(["phone"], {}).redact("a@b.com") == ("a@b.com", {})


def test_the_projects_own_pattern_comes_first() -> None:
    redactor = Redactor(["phone"], {"customer_number": r"\b\d{10}\b"})
    assert redactor.redact("it is 5551234567")[0] == "it is <customer_number>"


def test_an_own_pattern_that_matches_everything_still_ends() -> None:
    assert Redactor([], {"all": r".*"}).redact("abc def") == ("<all>", {"all": 1})


@pytest.mark.parametrize(
    ("patterns", "custom", "said"),
    [(["emial"], {}, "no redaction pattern 'emial'"), ([], {"x": "(["}, "'x' is not a regular expression")],
)
def test_a_wrong_pattern_is_told(patterns: list[str], custom: dict[str, str], said: str) -> None:
    with pytest.raises(UnfitError, match=said):
        Redactor(patterns, custom)


def test_an_invisible_character_does_not_hide_an_address() -> None:
    assert clean("john\u200b@exam\u00adple.com", ALL)[0] == "<email>"


MEGABYTE = 1_000_000
HOSTILE_TEXTS = {
    "letters, then @": "a" * (MEGABYTE - 2) + "@b",
    "only @": "@" * MEGABYTE,
    "a@a@a@": "a@" * (MEGABYTE // 2),
    "labels without an end": "x@" + "a." * (MEGABYTE // 2),
    "digits": "1" * MEGABYTE,
    "digit groups": "12 34 " * (MEGABYTE // 6),
    "card groups": "4111 " * (MEGABYTE // 5),
    "IBAN starts": "DE89 " * (MEGABYTE // 5),
    "IBAN letters": "DE89" + "A1 " * (MEGABYTE // 3),
    "colons": ":" * MEGABYTE + "1",
    "hex groups": "1:" * (MEGABYTE // 2),
    "dots": "1." * (MEGABYTE // 2),
    "brackets": "(+" * (MEGABYTE // 2) + "1",
    "keys that begin": "-----BEGIN PRIVATE KEY-----" * (MEGABYTE // 27),
    "key dashes": "-" * MEGABYTE + "PRIVATE KEY",
    "passwords": "password" * (MEGABYTE // 8),
    "assignments": "password=" * (MEGABYTE // 9),
    "open quotes": 'token="' * (MEGABYTE // 7),
    "bearer": "bearer " * (MEGABYTE // 7),
    "urls": "://a:" * (MEGABYTE // 5),
    "jwt": "eyJ" * (MEGABYTE // 3),
    "jwt dots": "eyJaaaaaaaa.eyJ" * (MEGABYTE // 15),
    "underscores": "ghp_" * (MEGABYTE // 4),
    "placeholders": "<email>" * (MEGABYTE // 7),
    "phones that touch": "+12345678 " * (MEGABYTE // 10),
    "brackets and digits": "<1" * (MEGABYTE // 2),
}


@pytest.mark.parametrize("size", [MEGABYTE // 8, pytest.param(MEGABYTE, marks=pytest.mark.faults)])
@pytest.mark.parametrize("name", HOSTILE_TEXTS)
def test_a_hostile_text_takes_time_in_proportion_to_its_length(name: str, size: int) -> None:
    text = HOSTILE_TEXTS[name]

    def in_proportion() -> bool:
        eighth, whole = (_seconds(text[:length]) for length in (size // 8, size))
        # Linear is 8 times; quadratic would be 64 times.
        return whole < max(24 * eighth, size / MEGABYTE)

    assert any(in_proportion() for _ in range(5)), "five times in a row, not while something else took the processor"


def _seconds(text: str) -> float:
    start = time.process_time()
    clean(text, ALL)
    return time.process_time() - start
