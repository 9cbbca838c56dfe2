"""The plain products for short rows, held to torch's own attention, forward and backward."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from evertune.models import attention

HEADS, SIZE = 3, 4
WIDTH = HEADS * SIZE
GROUPS = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 9)), min_size=1, max_size=4)


def _own(dropout: float = 0.0) -> Any:
    return SimpleNamespace(
        num_attention_heads=HEADS, scaling=SIZE**-0.5, training=True, dropout=SimpleNamespace(p=dropout)
    )


def _random(tokens: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    made = torch.randn(tokens, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return made.to(dtype).requires_grad_()


def _inputs(groups: list[tuple[int, int]], one: bool, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    tokens = sum(rows * length for rows, length in groups)
    asking = sum(rows for rows, _ in groups) if one else tokens
    return [_random(asking, 1, dtype), _random(tokens, 2, dtype), _random(tokens, 3, dtype)]


def _row_by_row(groups: list[tuple[int, int]], query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    lengths = [length for rows, length in groups for _ in range(rows)]
    asking = [1] * len(lengths) if len(query) == len(lengths) else lengths
    parts = []
    for q, k, v in zip(*map(torch.split, (query, key, value), (asking, lengths, lengths)), strict=True):
        heads = (part.view(-1, HEADS, SIZE).transpose(0, 1) for part in (q, k, v))
        parts.append(scaled_dot_product_attention(*heads).transpose(0, 1).reshape(len(q), WIDTH))
    return torch.cat(parts)


@pytest.mark.parametrize("one", [False, True])
@given(groups=GROUPS)
@settings(deadline=None, max_examples=25)
def test_results_and_gradients_are_those_of_torch_row_by_row(groups: list[tuple[int, int]], one: bool) -> None:
    ours, theirs = _inputs(groups, one), _inputs(groups, one)
    found = attention.attend(_own(), tuple(groups), *ours, one=one)
    expected = _row_by_row(groups, *theirs)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    upstream = _random(len(found), 4).detach()
    found.backward(upstream)  # type: ignore[no-untyped-call]
    expected.backward(upstream)  # type: ignore[no-untyped-call]
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("longest", [9, attention.SHORT + 1])
@pytest.mark.parametrize("one", [False, True])
def test_filling_gathers_zeros_and_has_no_gradient(one: bool, longest: int) -> None:
    groups = [(2, 3), (1, longest)]
    inputs, whole = _inputs(groups, one), _inputs(groups, one)
    filled = [torch.cat([tensor.detach(), _random(5, 9).detach()]).requires_grad_() for tensor in inputs]
    found = attention.attend(_own(), tuple(groups), *filled, one=one)
    expected = attention.attend(_own(), tuple(groups), *whole, one=one)
    assert torch.equal(found[:-5], expected)
    assert not found[-5:].any()
    upstream = _random(len(found), 4).detach()
    found.backward(upstream)  # type: ignore[no-untyped-call]
    expected.backward(upstream[:-5])  # type: ignore[no-untyped-call]
    for mine, other in zip(filled, whole, strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(mine.grad[:-5], other.grad)
        assert not mine.grad[-5:].any()


@pytest.mark.parametrize("one", [False, True])
def test_gradients_are_those_of_small_steps(one: bool) -> None:
    groups = [(2, 3), (1, 5)]
    own, told = _own(), tuple(groups)
    inputs = _inputs(groups, one, torch.float64)
    assert torch.autograd.gradcheck(lambda q, k, v: attention.attend(own, told, q, k, v, one=one), inputs)


def test_bf16_is_computed_in_32_bits_even_where_products_are_cast() -> None:
    groups = [(3, 7)]
    narrow = _inputs(groups, one=False, dtype=torch.bfloat16)
    wide = [tensor.detach().float().requires_grad_() for tensor in narrow]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attention.attend(_own(), tuple(groups), *narrow)
    expected = attention.attend(_own(), tuple(groups), *wide)
    assert found.dtype is torch.bfloat16
    assert torch.equal(found, expected.to(torch.bfloat16))
    found.sum().backward()  # type: ignore[no-untyped-call]
    expected.sum().backward()  # type: ignore[no-untyped-call]
    for mine, other in zip(narrow, wide, strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        assert torch.equal(mine.grad, other.grad.to(torch.bfloat16))


def test_long_rows_and_dropout_take_torchs_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[float] = []

    def fused(q: Tensor, k: Tensor, v: Tensor, *, dropout_p: float, scale: float) -> Tensor:
        calls.append(dropout_p)
        return scaled_dot_product_attention(q, k, v, dropout_p=dropout_p, scale=scale)

    monkeypatch.setattr(attention, "scaled_dot_product_attention", fused)
    for length, dropout in ((attention.SHORT, 0.0), (attention.SHORT + 1, 0.0), (5, 0.5)):
        attention.attend(_own(dropout), ((2, length),), *_inputs([(2, length)], one=False))
    assert calls == [0.0, 0.5]
    long = [(1, 3), (2, attention.SHORT + 1)]
    inputs = _inputs(long, one=False)
    torch.testing.assert_close(
        attention.attend(_own(), tuple(long), *inputs), _row_by_row(long, *inputs), atol=1e-5, rtol=1e-5
    )
