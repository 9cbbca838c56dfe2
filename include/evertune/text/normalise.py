"""One spelling for texts that look the same, so that equal rows get equal hashes and a model sees one of them."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_SPACES = [*range(0x20), *range(0x7F, 0xA1), 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
# Invisible: soft hyphen, zero-width space and no-break space, word joiner, direction marks. A text that differs in
# these only is the same text, and one hidden inside an e-mail address would carry it past the redaction.
_INVISIBLE = [0xAD, 0x180E, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF]
_SURROGATES = range(0xD800, 0xE000)
_TABLE: dict[int, str | None] = {
    **dict.fromkeys(_SPACES, " "),
    **dict.fromkeys(_INVISIBLE),
    **dict.fromkeys(_SURROGATES, "\ufffd"),
}
# The joiners spell words in Persian, Hindi and others and build emoji; beside ASCII they only hide things.
_JOINERS = re.compile(r"(?<=[\x00-\x7f])[\u200c\u200d]+|[\u200c\u200d]+(?=[\x00-\x7f])")

# Marks upon one letter. Composing sorts them in quadratic time (a megabyte of them takes hours), and no script needs
# more than 30: the limit of Unicode's stream-safe text format (UAX 15).
_MOST_MARKS = 30
_MANY_MARKS = re.compile(rf"[^\w\s\x00-\x7f]{{{_MOST_MARKS + 1},}}")


def normalise(text: str) -> str:
    """``text`` in Unicode NFC with every run of white space and control characters as one space, stripped.

    Invisible characters are dropped, as are marks beyond 30 upon one letter; a lone surrogate, which no file can
    hold, becomes U+FFFD. Idempotent.
    """
    if not text.isprintable():  # everything in the table is unprintable to Python, and asking is cheap
        text = text.translate(_TABLE)
    if not text.isascii():
        text = _MANY_MARKS.sub(_fewer_marks, _JOINERS.sub("", text))
        text = unicodedata.normalize("NFC", text)
    if "  " in text:
        text = " ".join(filter(None, text.split(" ")))
    return text.strip(" ")


def _fewer_marks(match: re.Match[str]) -> str:
    kept, run = [], 0
    for character in match.group():
        run = run + 1 if unicodedata.combining(character) else 0
        if run <= _MOST_MARKS:
            kept.append(character)
    return "".join(kept)


def row_id(text: str) -> str:
    """Hex SHA-256 of a text that is already redacted and normalised: the row's identity everywhere."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
