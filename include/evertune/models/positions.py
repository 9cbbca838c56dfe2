"""How many tokens an encoder can read, by its ``config.json``. Imports nothing heavy."""

from __future__ import annotations

from evertune.records import JsonObject

_AFTER_PADDING = frozenset({"camembert", "roberta", "xlm-roberta"})
"""Position 0 of these is the number of their padding token plus 1, so the first rows of the table are never read."""
_PADDING = 1
"""Number of the padding token where the configuration does not say it."""


def most(config: JsonObject) -> int | None:
    """The longest row of tokens that the model takes, or ``None`` where its configuration names no limit.

    Not ``max_position_embeddings`` itself for RoBERTa and its like: 514 are 512 tokens, and one more crashes.
    """
    rows = config.get("max_position_embeddings")
    if not isinstance(rows, int):
        return None
    kind = config.get("model_type")
    if kind == "mpnet":  # whatever its padding token is
        return rows - _PADDING - 1
    if kind in _AFTER_PADDING:
        padding = config.get("pad_token_id")
        return rows - (_PADDING if padding is None else int(padding)) - 1
    return rows
