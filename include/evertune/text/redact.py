"""Personal data and secrets out of a text, by patterns, before anything of it is stored.

A match leaves its kind in angle brackets: ``write to <email>``. Placeholders are never looked into again, and the
patterns are tried until nothing changes, so redacting twice is redacting once. Where in doubt a text loses too much
rather than too little. Named entities (people, places) are not found here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from evertune.records import UnfitError
from evertune.text import patterns as built_in
from evertune.text.normalise import normalise

Finder = Callable[[str, str], tuple[str, int]]
"""(text without placeholders, placeholder) → (text with the finds replaced, how many there were)."""

_PASSES = 12
"""A text that still changes after so many passes was built to; it is then dropped whole, so time stays linear."""
_WHOLE = "redacted"
_DIGIT = re.compile(r"\d")


class Redactor:
    """The patterns of one project, compiled once. Safe to share between threads."""

    def __init__(self, patterns: Sequence[str], custom: Mapping[str, str]) -> None:
        """``patterns`` names built-in ones; ``custom`` maps a placeholder's name to a regular expression.

        The project's own patterns come first: what they claim is theirs. Raises :class:`UnfitError` for an unknown
        name or an expression that does not compile.
        """
        own = [(name, _custom(name, custom[name])) for name in custom]
        for name in patterns:
            if name not in built_in.FINDERS:
                known = ", ".join(built_in.FINDERS)
                raise UnfitError(f"There is no redaction pattern {name!r}. There are: {known}.")
        chosen = [(name, finder) for name, finder in built_in.FINDERS.items() if name in patterns]
        self._finders = own + chosen
        self._without_digits = own + [(name, find) for name, find in chosen if name not in built_in.NEED_A_DIGIT]
        names = "|".join(map(re.escape, [*custom, *built_in.FINDERS, _WHOLE]))
        self._placeholder = re.compile(f"(<(?:{names})>)")

    def redact(self, text: str) -> tuple[str, dict[str, int]]:
        """``text`` without what the patterns find, and how often each found something. Idempotent."""
        found: dict[str, int] = {}
        finders = self._finders if _DIGIT.search(text) else self._without_digits
        for _ in range(_PASSES):
            changed = self._pass(text, finders, found)
            if changed == text:
                return text, found
            text = changed
        return f"<{_WHOLE}>", {_WHOLE: 1}

    def _pass(self, text: str, finders: list[tuple[str, Finder]], found: dict[str, int]) -> str:
        for name, find in finders:
            if "<" not in text:
                text, n = find(text, f"<{name}>")
            else:
                text, n = self._between_placeholders(text, find, f"<{name}>")
            if n:
                found[name] = found.get(name, 0) + n
        return text

    def _between_placeholders(self, text: str, find: Finder, placeholder: str) -> tuple[str, int]:
        pieces = self._placeholder.split(text)
        count = 0
        for at in range(0, len(pieces), 2):
            if pieces[at]:
                pieces[at], n = find(pieces[at], placeholder)
                count += n
        return "".join(pieces), count


def clean(text: str, redactor: Redactor) -> tuple[str, dict[str, int]]:
    """The text of a row: normalised, then redacted; and what was found. Idempotent.

    In this order, because an invisible character inside an address would otherwise hide it. The second
    normalisation mends what a placeholder and a combining mark after it make together.
    """
    found: dict[str, int] = {}
    text = normalise(text)
    for _ in range(_PASSES):
        redacted, counts = redactor.redact(text)
        if not counts:
            return text, found
        found = {name: found.get(name, 0) + counts.get(name, 0) for name in {**found, **counts}}
        text = normalise(redacted)
        if text == redacted:
            return text, found
    return f"<{_WHOLE}>", {_WHOLE: 1}


def _custom(name: str, pattern: str) -> Finder:
    try:
        compiled = re.compile(pattern)
    except re.error as fault:
        raise UnfitError(f"Redaction pattern {name!r} is not a regular expression: {fault}.") from fault

    def find(text: str, placeholder: str) -> tuple[str, int]:
        return built_in.replace(compiled, text, lambda _: placeholder)

    return find
