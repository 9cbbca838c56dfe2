"""A row condition as pandas' ``query`` takes it: which columns it names, and what it compares them with.

Read without pandas, so that a project file can be checked by the DAG processor too. What a column is compared with
tells how it is to be read: everything in a snapshot is text, and no text equals the number 3.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from typing import NamedTuple

_QUOTED = re.compile(r"`([^`]*)`")
_WORDS = {"&": "and", "|": "or"}
"""What pandas makes of these, which bind less tightly there than in Python."""
INDEX = "index"
"""A name that is no column: what pandas calls the row's number."""


class Compared(NamedTuple):
    """The columns of a condition."""

    columns: tuple[str, ...]
    """All that it names, in their order."""
    numbers: frozenset[str]
    """Those that it compares with numbers."""
    texts: frozenset[str]
    """Those that it compares with texts, or takes for text."""
    alike: tuple[frozenset[str], ...]
    """Those that it compares with each other."""

    @property
    def both(self) -> tuple[str, ...]:
        """Those that it compares with numbers and with texts: one of the two is never so."""
        return tuple(name for name in self.columns if name in self.numbers & self.texts)


def read(condition: str) -> Compared:
    """Raises :class:`ValueError` or :class:`SyntaxError` where it is no condition."""
    quoted: dict[str, str] = {}

    def plain(match: re.Match[str]) -> str:
        return quoted.setdefault(match[1], f"_quoted_{len(quoted)}_")

    code = _QUOTED.sub(plain, condition.strip())
    names = {stand_in: name for name, stand_in in quoted.items()}
    try:
        parts = list(_parts(ast.parse(_as_python(code), mode="eval").body))
    except (RecursionError, MemoryError) as fault:
        raise ValueError("it is nested too deeply") from fault
    columns: dict[str, None] = {}
    numbers: set[str] = set()
    texts: set[str] = set()
    alike: list[frozenset[str]] = []
    for part in parts:
        strings, others = ([names.get(name, name) for name in found] for found in _columns(part))
        columns |= dict.fromkeys([*strings, *others])
        texts.update(strings)
        kinds = {type(node.value) for node in ast.walk(part) if isinstance(node, ast.Constant)}
        if str in kinds:
            texts.update(others)
        elif kinds & {int, float}:
            numbers.update(others)
        else:
            alike.append(frozenset(others))
    return Compared(tuple(columns), frozenset(numbers), frozenset(texts), tuple(alike))


def _as_python(code: str) -> str:
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
    except tokenize.TokenError as fault:
        raise ValueError(str(fault.args[0])) from fault
    return tokenize.untokenize(
        [(tokenize.NAME, _WORDS[text]) if text in _WORDS else (kind, text) for kind, text, *_ in tokens]
    ).strip()


def _parts(node: ast.expr) -> Iterator[ast.expr]:
    """What ``and``, ``or`` and ``not`` join."""
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from _parts(value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
        yield from _parts(node.operand)
    else:
        yield node


def _columns(part: ast.expr) -> tuple[list[str], list[str]]:
    """The columns whose text methods are called, and the others."""
    functions = {id(node.func) for node in ast.walk(part) if isinstance(node, ast.Call)}
    of_text = {id(node.value) for node in ast.walk(part) if isinstance(node, ast.Attribute) and node.attr == "str"}
    named = [node for node in ast.walk(part) if isinstance(node, ast.Name) and node.id != INDEX]
    columns = [node for node in named if id(node) not in functions]
    strings = [node.id for node in columns if id(node) in of_text]
    return strings, [node.id for node in columns if id(node) not in of_text]
