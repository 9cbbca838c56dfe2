"""Logits and embeddings of rows of token ids, by the fastest way that is exact for the model's architecture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evertune.models import packed

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Ids = Sequence[int] | NDArray[Any]
LAST, BEFORE_LAST = -1, -2
"""Hidden states, counted from the end. Where those before the last are enough, the last layer is computed for the first
token alone, which is all that a classification head reads."""


def logits(model: Any, rows: Sequence[Ids]) -> Tensor:
    """Logits ``[rows, classes]`` of a transformers classifier (PEFT's included), in the order of ``rows``."""
    plain = unwrapped(model)
    if not packed.supports(plain):
        return model(**padded(model, rows)).logits  # type: ignore[no-any-return]
    batch = packed.pack(rows, plain.device)
    return _as_given(packed.logits(plain, batch), batch)


def embeddings(model: Any, rows: Sequence[Ids], states: int = LAST) -> Tensor:
    """Mean of hidden states over each row's tokens, ``[rows, width]``, in the order of ``rows``.

    ``states`` tells which, counted from the end as transformers counts them: :data:`LAST` or :data:`BEFORE_LAST`.
    """
    plain = unwrapped(model)
    if not packed.supports(plain):
        inputs = padded(model, rows)
        found = plain.base_model(**inputs, output_hidden_states=True)
        return _means(found.hidden_states[states], inputs["attention_mask"])
    batch = packed.pack(rows, plain.device)
    bert = plain.base_model
    wanted = packed.before_last(bert, batch) if states == BEFORE_LAST else packed.hidden(bert, batch, first_only=False)
    return _as_given(_packed_means(wanted, batch), batch)


def both(model: Any, rows: Sequence[Ids], states: int) -> tuple[Tensor, Tensor]:
    """Logits, and embeddings as :func:`embeddings` has them, in one pass: two would be twice the price."""
    plain = unwrapped(model)
    if not packed.supports(plain):
        inputs = padded(model, rows)
        found = model(**inputs, output_hidden_states=True)
        return found.logits, _means(found.hidden_states[states], inputs["attention_mask"])
    batch = packed.pack(rows, plain.device)
    before = packed.before_last(plain.base_model, batch)
    if states == BEFORE_LAST:
        wanted, first = before, packed.last(plain.base_model, before, batch, first_only=True)
    else:
        wanted = packed.last(plain.base_model, before, batch, first_only=False)
        first = wanted[batch.starts]
    return _as_given(packed.head(plain, first), batch), _as_given(_packed_means(wanted, batch), batch)


def _means(states: Tensor, mask: Tensor) -> Tensor:
    weights = mask[:, :, None].to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)


def _packed_means(states: Tensor, batch: packed.Packed) -> Tensor:
    import torch

    from evertune.models import attention

    parts = attention.split(states, [count * length for count, length in batch.groups])
    means = [part.view(count, length, -1).mean(1) for part, (count, length) in zip(parts, batch.groups, strict=True)]
    return torch.cat(means)


def _as_given(found: Tensor, batch: packed.Packed) -> Tensor:
    """The packed rows' results in the order in which the rows were given."""
    import torch

    back = torch.empty(batch.rows, dtype=torch.int64)
    back[torch.from_numpy(batch.order)] = torch.arange(batch.rows)
    return found[back.to(found.device)]


def padded(model: Any, rows: Sequence[Ids]) -> dict[str, torch.Tensor]:
    """Inputs of any transformers encoder: ids and attention mask, ``[rows, longest]``."""
    import torch

    longest = max(len(row) for row in rows)
    filler = model.config.pad_token_id or 0
    ids = np.full((len(rows), longest), filler, np.int64)
    mask = np.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
        mask[place, : len(row)] = 1
    return {
        "input_ids": torch.from_numpy(ids).to(model.device),
        "attention_mask": torch.from_numpy(mask).to(model.device),
    }


def unwrapped(model: Any) -> Any:
    """The transformers model itself, where PEFT has put its own around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def by_length(lengths: Sequence[int] | NDArray[np.int64], tokens_per_batch: int) -> Iterator[NDArray[np.int64]]:
    """Row numbers of batches of near-equal lengths, longest first, whose padded size stays in the budget."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    start = 0
    while start < len(order):
        take = max(1, tokens_per_batch // int(lengths[order[start]]))
        yield order[start : start + take]
        start += take
