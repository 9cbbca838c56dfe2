"""Personal data and secrets out of a text, by patterns, before anything of it is stored.

A match leaves its kind in angle brackets: ``write to <email>``. Placeholders are never looked into again, and the
patterns are tried until nothing changes, so redacting twice is redacting once. Where in doubt a text loses too much
rather than too little. Named entities (people, places) are not found here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from evertune.records import UnfitError
from evertune.text import patterns as built_in
from evertune.text.normalise import normalise

Finder = Callable[[str, str], tuple[str, int]]
"""(text without placeholders, placeholder) → (text with the finds replaced, how many there were)."""

_PASSES = 12
"""A text that still changes after so many passes was built to; it is then dropped whole, so time stays linear."""
_WHOLE = "redacted"


class Redactor:
    """The patterns of one project, compiled once. Safe to share between threads."""

    def __init__(self, patterns: Sequence[str], custom: Mapping[str, str]) -> None:
        """``patterns`` names built-in ones; ``custom`` maps a placeholder's name to a regular expression.

        The project's own patterns come first: what they claim is theirs. Raises :class:`UnfitError` for an unknown
        name or an expression that does not compile.
        """
        self._finders: list[tuple[str, Finder]] = [(name, _custom(name, custom[name])) for name in custom]
        for name in patterns:
            if name not in built_in.FINDERS:
                known = ", ".join(built_in.FINDERS)
                raise UnfitError(f"There is no redaction pattern {name!r}. There are: {known}.")
        self._finders += [(name, finder) for name, finder in built_in.FINDERS.items() if name in patterns]
        names = [*custom, *built_in.FINDERS, _WHOLE]
        self._placeholder = re.compile("(<(?:" + "|".join(map(re.escape, names)) + ")>)")

    def redact(self, text: str) -> tuple[str, dict[str, int]]:
        """``text`` without what the patterns find, and how often each found something. Idempotent."""
        found: Counter[str] = Counter()
        for _ in range(_PASSES):
            changed = self._pass(text, found)
            if changed == text:
                return text, dict(found)
            text = changed
        return f"<{_WHOLE}>", {_WHOLE: 1}

    def _pass(self, text: str, found: Counter[str]) -> str:
        for name, finder in self._finders:
            pieces = self._placeholder.split(text) if "<" in text else [text]
            for at in range(0, len(pieces), 2):
                if pieces[at]:
                    pieces[at], n = finder(pieces[at], f"<{name}>")
                    if n:
                        found[name] += n
            text = "".join(pieces)
        return text


def clean(text: str, redactor: Redactor) -> tuple[str, dict[str, int]]:
    """The text of a row: normalised, then redacted; and what was found. Idempotent.

    In this order, because an invisible character inside an address would otherwise hide it. The second
    normalisation mends what a placeholder and a combining mark after it make together.
    """
    found: Counter[str] = Counter()
    text = normalise(text)
    for _ in range(_PASSES):
        redacted, counts = redactor.redact(text)
        found.update(counts)
        mended = normalise(redacted)
        if mended == redacted:
            return mended, dict(found)
        text = mended
    return f"<{_WHOLE}>", {_WHOLE: 1}


def _custom(name: str, pattern: str) -> Finder:
    try:
        compiled = re.compile(pattern)
    except re.error as fault:
        raise UnfitError(f"Redaction pattern {name!r} is not a regular expression: {fault}.") from fault

    def find(text: str, placeholder: str) -> tuple[str, int]:
        return built_in.replace(compiled, text, lambda _: placeholder)

    return find
