"""A BERT encoder's forward pass without padding: the tokens of a batch lie behind one another in one matrix.

A padded batch computes every layer on tokens that are not there (up to half of all, arXiv 2107.02027), and needs a
mask that keeps attention off the fast kernels. Here every matrix product runs on exactly the real tokens ``[tokens,
width]``, and attention runs once a length, on the rows that have this very length, without a mask. A classification
head reads the first token only, so the last layer computes keys and values for all tokens but everything else for
one token a row: about 5/6 of that layer is not computed at all, forward and backward.

The results are those of the transformers model (``tests/models/test_packed.py`` holds them to 1e-4), and gradients
arrive at its own parameters, PEFT's adapters included, so that everything else (optimiser, saving, merging) stays as
it is. Other architectures take :func:`evertune.models.forward.padded`.

A few tokens that belong to no row fill a batch up to a multiple of :data:`STEP`: a CPU's kernels are made for the very
size of a matrix, when it is met first, so batches shall have few sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor, nn

STEP = 32
"""Tokens that a batch's number of them is a multiple of. Making oneDNN's kernels for each size took a fifth to
two fifths of a tuning's time (docs/log.md); 16 tokens of filling a batch are 2 to 3%."""
_ROWS_STEP = 16
"""The same of rows, for what is computed of one token a row."""


@dataclass(frozen=True)
class Packed:
    """Rows behind one another, shortest first, so that rows of one length are neighbours; filling at the end."""

    ids: Tensor
    """Token ids, int64 ``[tokens]``."""
    positions: Tensor
    """Position of each token in its row, int64 ``[tokens]``."""
    starts: Tensor
    """Where each row begins, int64 ``[rows]``; behind them zeros, up to a multiple of 16."""
    groups: tuple[tuple[int, int], ...]
    """(rows, length) of each run of rows of one length, in order. Lengths are at least 1."""
    order: np.ndarray[Any, np.dtype[np.int64]]
    """``order[i]`` is the place among the given rows of row i here."""

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.order)


def pack(rows: Sequence[Sequence[int] | np.ndarray[Any, Any]], device: torch.device | None = None) -> Packed:
    """Pack rows of token ids (none empty), sorted by length; equal lengths keep their order."""
    import torch

    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    if len(rows) == 0 or lengths.min() < 1:
        raise ValueError("a batch needs at least one row, and each row at least one token")
    order = np.argsort(lengths, kind="stable")
    sorted_lengths = lengths[order]
    starts = np.zeros(_filled(len(rows), _ROWS_STEP), np.int64)
    starts[1 : len(rows)] = np.cumsum(sorted_lengths)[:-1]
    tokens = int(lengths.sum())
    ids, positions = np.zeros((2, _filled(tokens, STEP)), np.int64)
    ids[:tokens] = np.concatenate([np.asarray(rows[place], dtype=np.int64) for place in order])
    positions[:tokens] = np.arange(tokens) - np.repeat(starts[: len(rows)], sorted_lengths)
    values, counts = np.unique(sorted_lengths, return_counts=True)
    groups = tuple((int(count), int(value)) for value, count in zip(values, counts, strict=True))
    tensors = [torch.from_numpy(array).to(device, non_blocking=True) for array in (ids, positions, starts)]
    return Packed(tensors[0], tensors[1], tensors[2], groups, order)


def _filled(count: int, step: int) -> int:
    return -(-count // step) * step


def supports(model: Any) -> bool:
    """Whether this is a plain BERT encoder, for which :func:`hidden` is exact."""
    config = model.config
    return (
        getattr(config, "model_type", None) == "bert"
        and getattr(config, "position_embedding_type", "absolute") in (None, "absolute")
        and not getattr(config, "is_decoder", False)
        and not getattr(config, "add_cross_attention", False)
    )


def hidden(bert: Any, batch: Packed, *, first_only: bool) -> Tensor:
    """Last hidden states of a ``BertModel``: ``[rows, width]`` of the first tokens, else ``[tokens, width]``.

    Rows and tokens of filling are among them, at the end.
    """
    return last(bert, before_last(bert, batch), batch, first_only=first_only)


def before_last(bert: Any, batch: Packed) -> Tensor:
    """What its last layer is given, ``[tokens, width]``."""
    states = _embed(bert.embeddings, batch)
    for layer in list(bert.encoder.layer)[:-1]:
        states = _layer(layer, states, batch, None)
    return states


def last(bert: Any, states: Tensor, batch: Packed, *, first_only: bool) -> Tensor:
    """The last layer's output, as :func:`hidden` has it, of what :func:`before_last` gave."""
    return _layer(bert.encoder.layer[-1], states, batch, batch.starts if first_only else None)


def logits(model: Any, batch: Packed) -> Tensor:
    """Logits of a ``BertForSequenceClassification``, ``[rows, classes]``, of the packed rows; behind them filling."""
    return head(model, hidden(model.bert, batch, first_only=True))


def head(model: Any, first: Tensor) -> Tensor:
    """Logits out of the last hidden states of the first tokens."""
    pooler = model.bert.pooler
    return model.classifier(model.dropout(pooler.activation(pooler.dense(first))))  # type: ignore[no-any-return]


def _embed(embeddings: Any, batch: Packed) -> Tensor:
    states = (
        embeddings.word_embeddings(batch.ids)
        + embeddings.token_type_embeddings.weight[0]
        + embeddings.position_embeddings(batch.positions)
    )
    return _dropped(embeddings.dropout, embeddings.LayerNorm(states))


def _layer(layer: Any, states: Tensor, batch: Packed, kept: Tensor | None) -> Tensor:
    # kept: the tokens whose output is wanted (one a row), or None for all.
    from evertune.models import attention

    block, own = layer.attention, layer.attention.self
    narrow = _cast(states)
    key, value = own.key(narrow), own.value(narrow)
    query = own.query(narrow if kept is None else narrow[kept])
    wanted = states if kept is None else states[kept]
    mixed = attention.attend(own, batch.groups, query, key, value, one=kept is not None)
    mixed = _dropped(block.output.dropout, block.output.dense(mixed))
    middle = block.output.LayerNorm(mixed + wanted)
    inner = layer.intermediate.intermediate_act_fn(layer.intermediate.dense(middle))
    inner = _dropped(layer.output.dropout, layer.output.dense(inner))
    return layer.output.LayerNorm(inner + middle)  # type: ignore[no-any-return]


def _cast(states: Tensor) -> Tensor:
    # Once for the three products to come, which would each do it, and sum up their gradients after three casts back.
    import torch

    kind = states.device.type
    return states.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else states


def _dropped(dropout: nn.Dropout, states: Tensor) -> Tensor:
    # A dropout of p = 0 still draws its random numbers on a CPU, which costs as much as a matrix product.
    return dropout(states) if dropout.p > 0 and dropout.training else states
