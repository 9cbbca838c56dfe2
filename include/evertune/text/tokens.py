"""Token ids from text, with the promise that a user's text never becomes a control token.

``[SEP]`` or ``<|im_end|>`` typed by a user would end the text for the model, in training and in serving alike. So
control tokens come only from the tokenizer's own template; in a text they are spelt out like any other characters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from evertune.records import UnfitError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_MARKUP = re.compile(r"[<>\[\]|\uff5c\u2581]")
_BATCH = 1000
_PASSES = 4


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in ``folder/tokenizer.json``, without the padding and truncation that came with it.

    Raises :class:`UnfitError` where there is none or it cannot be read. No network, nothing is executed.
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UnfitError(f"{folder} has no tokenizer.json. Name a base model that ships a fast tokenizer.")
    try:
        content = json.loads(path.read_bytes())
        for token in content.get("added_tokens", []):
            # Some models mark role tokens such as `<tool_call>` as ordinary words; in a user's text they are not.
            token["special"] = token["special"] or bool(_MARKUP.search(token["content"]))
        tokenizer: Tokenizer = Tokenizer.from_str(json.dumps(content))
    except Exception as fault:  # tokenizers raises plain Exception
        raise UnfitError(f"{path} is not a tokenizer that can be read: {fault}.") from fault
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


class _Frame(NamedTuple):
    """What the tokenizer's template puts around one text, and which ids a text itself must not give."""

    before: list[int]
    after: list[int]
    control: frozenset[int]


_FRAMES: WeakKeyDictionary[Tokenizer, _Frame] = WeakKeyDictionary()
"""Each is read once (15 ms) and goes with its tokenizer, however many a server has and lets go of."""


def _frame(tokenizer: Tokenizer) -> _Frame:
    found = _FRAMES.get(tokenizer)
    if found is None:
        found = _FRAMES[tokenizer] = _read_frame(tokenizer)
    return found


def _read_frame(tokenizer: Tokenizer) -> _Frame:
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    framed = tokenizer.encode("a").ids
    start = next(at for at in range(len(framed)) if framed[at : at + len(plain)] == plain)
    unknown = json.loads(tokenizer.to_str())["model"].get("unk_token")
    control = {
        id_ for id_, token in tokenizer.get_added_tokens_decoder().items() if token.special and token.content != unknown
    }
    return _Frame(framed[:start], framed[start + len(plain) :], frozenset(control))


def encode(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> tuple[list[list[int]], list[bool]]:
    """Ids of each text, with the template's tokens around it, and whether it was cut to ``max_tokens``.

    Raises :class:`UnfitError` where ``max_tokens`` leaves no room for a text.
    """
    frame = _frame(tokenizer)
    room = _room(frame, max_tokens)
    ids: list[list[int]] = []
    cut: list[bool] = []
    for start in range(0, len(texts), _BATCH):
        batch = list(texts[start : start + _BATCH])
        for text, encoding in zip(batch, tokenizer.encode_batch_fast(batch, add_special_tokens=False), strict=True):
            found = encoding.ids
            if not frame.control.isdisjoint(found):
                found = _spelt_out(tokenizer, text, frame.control)
            ids.append(frame.before + found[:room] + frame.after)
            cut.append(len(found) > room)
    return ids, cut


def _room(frame: _Frame, max_tokens: int) -> int:
    room = max_tokens - len(frame.before) - len(frame.after)
    if room < 1:
        raise UnfitError(f"max_tokens is {max_tokens}, but the model's own tokens already take {max_tokens - room}.")
    return room


def spans(tokenizer: Tokenizer, text: str, max_tokens: int) -> list[tuple[int, int]]:
    """Where in the text each of its tokens begins and ends that :func:`encode` keeps.

    Slower than that; for those who want to know what the model saw of which part of the text.
    """
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    return [(start, end) for start, end in offsets[: _room(_frame(tokenizer), max_tokens)]]


def _spelt_out(tokenizer: Tokenizer, text: str, control: frozenset[int]) -> list[int]:
    """Ids of a text that a tokenizer still reads control tokens in (Unigram has them in its vocabulary).

    A space goes into each until there is none; what withstands that is left out.
    """
    for _ in range(_PASSES):
        encoding = tokenizer.encode(text, add_special_tokens=False)
        spans = [span for id_, span in zip(encoding.ids, encoding.offsets, strict=True) if id_ in control]
        if not spans:
            return encoding.ids
        for start, end in reversed(spans):
            middle = start + max(1, (end - start) // 2)
            text = f"{text[:middle] if end - start > 1 else text[:start]} {text[middle:]}"
    return [id_ for id_ in tokenizer.encode(text, add_special_tokens=False).ids if id_ not in control]
