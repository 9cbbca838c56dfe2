"""Attention of packed rows: once a length, on the rows that have this very length, without a mask.

torch's fused attention is made for long rows. On a CPU its backward pass in bf16 takes nine times as long as in fp32
(seen with 2.13), and on rows of a sentence even its fp32 pass is slower than plain products of ``[tokens, tokens]``
matrices, which fit into the cache there: with those a step takes 7 to 20% less time (docs/log.md). So a CPU computes in
fp32, and short rows by :class:`_Short`. Everything else takes torch's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

SHORT = 64
"""Tokens of the longest row that is short. Seen in a step with rows of 64 tokens: 3 to 8% less time, of 128: none."""


class Group(NamedTuple):
    """Rows of one length in a batch: how many, the tokens of each, and how many of those ask (all, or the first)."""

    rows: int
    length: int
    asking: int


def attend(
    own: Any, groups: tuple[tuple[int, int], ...], query: Tensor, key: Tensor, value: Tensor, *, one: bool = False
) -> Tensor:
    """What each asking token gathers, ``[asking tokens, width]`` in the type of ``query``.

    ``own`` is a ``BertSelfAttention``, ``groups`` the (rows, length) behind one another in ``key`` and ``value``,
    ``[tokens, width]``. ``query`` is of all tokens, or of ``one`` token a row. What lies behind the groups' tokens
    belongs to no row: it gathers zeros, and has no gradient.
    """
    told = tuple(Group(rows, length, 1 if one else length) for rows, length in groups)
    if query.device.type != "cpu":
        return _fused(own, told, query, key, value)
    if _dropout(own) == 0.0 and max(group.length for group in told) <= SHORT:
        return _Short.apply(query, key, value, told, own.num_attention_heads, own.scaling)  # type: ignore[no-any-return, no-untyped-call]
    with torch.autocast("cpu", enabled=False):
        return _fused(own, told, query.float(), key.float(), value.float()).to(query.dtype)


def _dropout(own: Any) -> float:
    return float(own.dropout.p) if own.training else 0.0


def _fused(own: Any, groups: tuple[Group, ...], query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    heads = own.num_attention_heads
    parts = []
    for group, q, k, v in _parts(groups, (query,), (key, value)):
        mixed = scaled_dot_product_attention(
            _by_head(q, group.rows, heads),
            _by_head(k, group.rows, heads),
            _by_head(v, group.rows, heads),
            dropout_p=_dropout(own),
            scale=own.scaling,
        )
        parts.append(mixed.transpose(1, 2).reshape(len(q), -1))
    left_over = len(query) - sum(len(part) for part in parts)
    if left_over:
        parts.append(query.new_zeros(left_over, query.shape[1]))
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _by_head(flat: Tensor, rows: int, heads: int) -> Tensor:
    # [rows * tokens, width] as [rows, heads, tokens, width / heads], without a copy.
    return flat.view(rows, len(flat) // rows, heads, flat.shape[1] // heads).transpose(1, 2)


class _Short(torch.autograd.Function):
    """``softmax(s·QKᵀ)V`` by products of whole matrices, in 32 bits (64 where those are given)."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes them by position
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, groups: tuple[Group, ...], heads: int, scale: float
    ) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            found = torch.empty_like(query)
            _clear_rest(found, _sizes(groups)[0])
            kept = []
            for group, into, *given in _parts(groups, (found, query), (key, value)):
                q, k, v = (_wide(flat, group.rows, heads) for flat in given)
                weights = torch.softmax(_scaled(q, k.transpose(1, 2), scale), -1)
                _put(into, torch.bmm(weights, v), group.rows, heads)
                kept += [q, k, v, weights]
        ctx.save_for_backward(*kept)
        ctx.groups, ctx.heads, ctx.scale, ctx.tokens = groups, heads, scale, len(key)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast("cpu", enabled=False):
            gradient = gradients[0].contiguous()
            groups, heads, scale = ctx.groups, ctx.heads, ctx.scale
            for_query = torch.empty_like(gradient)
            for_key, for_value = (gradient.new_empty(ctx.tokens, gradient.shape[1]) for _ in range(2))
            asking, asked = _sizes(groups)
            for flat, sizes in ((for_query, asking), (for_key, asked), (for_value, asked)):
                _clear_rest(flat, sizes)
            kept = iter(ctx.saved_tensors)
            for group, into_q, g, into_k, into_v in _parts(groups, (for_query, gradient), (for_key, for_value)):
                q, k, v, weights = (next(kept) for _ in range(4))
                g_wide = _wide(g, group.rows, heads)
                _put(into_v, torch.bmm(weights.transpose(1, 2), g_wide), group.rows, heads)
                for_weights = torch.bmm(g_wide, v.transpose(1, 2))
                for_scores = torch._softmax_backward_data(for_weights, weights, -1, weights.dtype)  # noqa: SLF001 - what autograd calls
                _put(into_q, _scaled(for_scores, k, scale), group.rows, heads)
                _put(into_k, _scaled(for_scores.transpose(1, 2), q, scale), group.rows, heads)
        return for_query, for_key, for_value, None, None, None


def _parts(
    groups: tuple[Group, ...], asking: tuple[Tensor, ...], asked: tuple[Tensor, ...]
) -> Iterator[tuple[Any, ...]]:
    # Each group with its part of the tensors of asking tokens, and then of those of all tokens.
    of_asking, of_all = _sizes(groups)
    parts = [split(flat, of_asking) for flat in asking] + [split(flat, of_all) for flat in asked]
    return zip(groups, *parts, strict=True)


def _sizes(groups: tuple[Group, ...]) -> tuple[list[int], list[int]]:
    # Of each group, how many tokens ask, and how many there are.
    return [group.rows * group.asking for group in groups], [group.rows * group.length for group in groups]


def split(flat: Tensor, sizes: list[int]) -> tuple[Tensor, ...]:
    """``flat`` in parts of these sizes, without what is filled in behind them."""
    return torch.split(flat[: sum(sizes)], sizes)


def _clear_rest(flat: Tensor, sizes: list[int]) -> None:
    # What lies behind the rows' tokens takes part in products of whole matrices: it must be numbers.
    flat[sum(sizes) :].zero_()


def _wide(flat: Tensor, rows: int, heads: int) -> Tensor:
    # [rows * tokens, width] as matrices of their own, [rows * heads, tokens, width / heads], in at least 32 bits.
    by_head = _by_head(flat, rows, heads)
    wide = torch.empty(by_head.shape, dtype=torch.promote_types(flat.dtype, torch.float32))
    return wide.copy_(by_head).flatten(0, 1)


def _put(into: Tensor, matrices: Tensor, rows: int, heads: int) -> None:
    # The inverse of _wide: one pass that casts and transposes.
    _by_head(into, rows, heads).copy_(matrices.view(rows, heads, *matrices.shape[1:]))


def _scaled(left: Tensor, right: Tensor, scale: float) -> Tensor:
    return torch.baddbmm(left.new_empty(()), left, right, beta=0, alpha=scale)
