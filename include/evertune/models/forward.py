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


def logits(model: Any, rows: Sequence[Ids]) -> Tensor:
    """Logits ``[rows, classes]`` of a transformers classifier (PEFT's included), in the order of ``rows``."""
    plain = unwrapped(model)
    if not packed.supports(plain):
        return model(**padded(model, rows)).logits  # type: ignore[no-any-return]
    batch = packed.pack(rows, plain.device)
    return _as_given(packed.logits(plain, batch), batch)


def embeddings(model: Any, rows: Sequence[Ids]) -> Tensor:
    """Mean of the last hidden states over each row's tokens, ``[rows, width]``, in the order of ``rows``."""
    plain = unwrapped(model)
    if not packed.supports(plain):
        inputs = padded(model, rows)
        return _means(plain.base_model(**inputs).last_hidden_state, inputs["attention_mask"])
    batch = packed.pack(rows, plain.device)
    return _as_given(_packed_means(packed.hidden(plain.base_model, batch, first_only=False), batch), batch)


def both(model: Any, rows: Sequence[Ids]) -> tuple[Tensor, Tensor]:
    """Logits and embeddings in one pass through the network: two would be twice the price."""
    plain = unwrapped(model)
    if not packed.supports(plain):
        inputs, seen = padded(model, rows), list[Any]()
        hook = plain.base_model.register_forward_hook(lambda _model, _inputs, found: seen.append(found))
        try:
            found = model(**inputs).logits
        finally:
            hook.remove()
        return found, _means(seen[0].last_hidden_state, inputs["attention_mask"])
    batch = packed.pack(rows, plain.device)
    states = packed.hidden(plain.base_model, batch, first_only=False)
    found = packed.head(plain, states[batch.starts])
    return _as_given(found, batch), _as_given(_packed_means(states, batch), batch)


def _means(states: Tensor, mask: Tensor) -> Tensor:
    weights = mask[:, :, None].to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)


def _packed_means(states: Tensor, batch: packed.Packed) -> Tensor:
    import torch

    parts = torch.split(states, [count * length for count, length in batch.groups])
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
