"""What the characters of a text are: letters, letters of one script, visible at all.

Works on code points in one NumPy gather from a table over all of Unicode: a million texts of 100 characters take
seconds, where :mod:`unicodedata` character by character takes minutes. The table comes from RE2 as ``pyarrow`` ships
it, because Python's own :mod:`unicodedata` does not know scripts.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from evertune.records import UnfitError

if TYPE_CHECKING:
    import numpy.typing as npt

LETTER, OF_SCRIPT, VISIBLE = 1, 2, 4
AT_ONCE = 1_000_000
"""Characters looked at in one go: about 20 MB of memory."""
SURROGATES = range(0xD800, 0xE000)

WRITTEN_WITH = {"Japanese": ("Han", "Hiragana", "Katakana"), "Korean": ("Hangul", "Han")}
"""Writing systems that mix scripts, as ISO 15924 also names them (Jpan, Kore)."""

COMMON = """
Arabic Armenian Bengali Cherokee Coptic Cyrillic Devanagari Ethiopic Georgian Greek Gujarati Gurmukhi Han Hangul
Hebrew Hiragana Japanese Kannada Katakana Khmer Korean Lao Latin Malayalam Mongolian Myanmar Nko Oriya Sinhala
Syriac Tamil Telugu Thaana Thai Tibetan Tifinagh Vai Yi
"""
"""Names to suggest when one is not known. Every other script that Unicode names is accepted too."""


def check(script: str) -> None:
    """Raise :class:`UnfitError` where Unicode knows no script of this name."""
    _members(script)


def _members(script: str) -> npt.NDArray[np.bool_]:
    import pyarrow as pa

    names = WRITTEN_WITH.get(script, (script,))
    # RE2 takes general categories in the same place (``\p{Lu}``); no script but Yi has a name that short.
    if script.replace("_", "").isalpha() and script != "Any" and (len(script) > 2 or script == "Yi"):
        with contextlib.suppress(pa.ArrowInvalid):
            return _matching("[" + "".join(rf"\p{{{name}}}" for name in names) + "]")
    common = COMMON.split()
    near = difflib.get_close_matches(script.title(), common, n=1, cutoff=0.5)
    hint = f'Did you mean "{near[0]}"?' if near else f"Common ones: {', '.join(common)}."
    raise UnfitError(f'validation.script is "{script}", and Unicode has no script of that name. {hint}')


@functools.cache
def _matching(pattern: str) -> npt.NDArray[np.bool_]:
    """For every code point, whether it matches the RE2 pattern."""
    import pyarrow as pa
    import pyarrow.compute as pc

    points = np.arange(0x110000, dtype="<u4")
    points[SURROGATES.start : SURROGATES.stop] = 0x20  # no characters, and not to be encoded
    sizes = 1 + (points >= 0x80) + (points >= 0x800) + (points >= 0x10000)
    offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int32)
    text = points.tobytes().decode("utf-32-le").encode()
    characters = pa.StringArray.from_buffers(len(points), pa.py_buffer(offsets), pa.py_buffer(text))
    matches: npt.NDArray[np.bool_] = pc.match_substring_regex(characters, pattern).to_numpy(zero_copy_only=False)
    return matches


@functools.cache
def table(script: str | None) -> npt.NDArray[np.uint8]:
    """For every code point the bits :data:`LETTER`, :data:`OF_SCRIPT` (0 without a script) and :data:`VISIBLE`."""
    letters = _matching(r"\p{L}")
    bits = letters * np.uint8(LETTER) | ~_matching(r"[\p{Z}\p{Cc}\p{Cf}]") * np.uint8(VISIBLE)
    if script is not None:
        bits |= (letters & _members(script)) * np.uint8(OF_SCRIPT)
    return bits.astype(np.uint8)


def count(texts: Any, bits: npt.NDArray[np.uint8], which: tuple[int, ...]) -> list[npt.NDArray[np.int64]]:
    """For each text of a ``pyarrow`` string array without nulls, how many characters have each of the bits."""
    import pyarrow.compute as pc

    lengths = pc.utf8_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
    if len(texts) > 1 and lengths.sum() > AT_ONCE:
        half = len(texts) // 2
        parts = (count(texts[:half], bits, which), count(texts[half:], bits, which))
        return [np.concatenate(both) for both in zip(*parts, strict=True)]
    kinds = bits[np.frombuffer("".join(texts.to_pylist()).encode("utf-32-le"), dtype="<u4")]
    ends = np.cumsum(lengths)
    sums = []
    for bit in which:
        total = np.concatenate((np.zeros(1, np.int32), np.cumsum((kinds & bit) != 0, dtype=np.int32)))
        sums.append((total[ends] - total[ends - lengths]).astype(np.int64))
    return sums
