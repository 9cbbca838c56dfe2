"""PEFT's LoRA layers with the frozen weights cast once, and without what autograd would do over and over.

``y = x Wᵀ + b + s·(x Aᵀ) Bᵀ``, as PEFT computes it (``tests/tuning/test_adapters.py``): the two narrow products are
added into the wide one's result, and the gradients of A and B need no gradient of W.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from evertune.project.options import Lora

_ADAPTER = "default"


class _Adapted(torch.autograd.Function):
    """``x [tokens, in]``, frozen ``weight [out, in]``, ``a [rank, in]``, ``b [out, rank]`` → ``[tokens, out]``.

    Everything is computed in the type of ``weight``. The weight and its adapter are not summed up before: in bf16 an
    adapter that has only begun to learn is less than the weight's last digit.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes them by position
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        ctx.scale, ctx.kept = scale, a.dtype
        with torch.autocast(x.device.type, enabled=False):
            x, a, b = x.to(weight.dtype), a.to(weight.dtype), (b * scale).to(weight.dtype)
            flat = x.flatten(0, -2)
            narrow = flat @ a.T
            found = linear(narrow, b, bias).addmm_(flat, weight.T)
            ctx.save_for_backward(flat, narrow, weight, a, b)
            return found.view(*x.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, narrow, weight, a, b = ctx.saved_tensors
        gradient = gradients[0].flatten(0, -2)
        for_narrow = gradient @ b
        for_a = (for_narrow.T @ x).to(ctx.kept)
        # The narrow matrix on the left: the product is the same, transposed, and takes half of the time.
        for_b = (narrow.T @ gradient).T.to(ctx.kept) * ctx.scale
        for_x = None
        if ctx.needs_input_grad[0]:
            for_x = (for_narrow @ a).addmm_(gradient, weight).view(*gradients[0].shape[:-1], weight.shape[1])
        return for_x, None, None, for_a, for_b, None


class _Forward:
    """A layer's forward pass. Its frozen weights are cast once, not at each step."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._cast: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor | None]] = {}

    def __call__(self, x: Tensor) -> Tensor:
        layer, kind = self._layer, x.device.type
        own = layer.base_layer.weight.dtype
        weight, bias = self._frozen(torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else own)
        a, b = layer.lora_A[_ADAPTER].weight, layer.lora_B[_ADAPTER].weight
        return _Adapted.apply(x, weight, bias, a, b, layer.scaling[_ADAPTER])  # type: ignore[no-any-return, no-untyped-call]

    def _frozen(self, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        base = self._layer.base_layer
        key = (dtype, base.weight.device)
        if key not in self._cast:
            bias = None if base.bias is None else base.bias.detach().to(dtype)
            self._cast[key] = (base.weight.detach().to(dtype), bias)
        return self._cast[key]


def _layers(model: nn.Module) -> list[Any]:
    from peft.tuners.lora import Linear

    return [module for module in model.modules() if isinstance(module, Linear)]


def attach(model: Any, options: Lora) -> Any:
    """The model with fresh adapters on all linear layers but the head, which is trained whole."""
    import peft

    wanted = peft.LoraConfig(
        task_type=peft.TaskType.SEQ_CLS,
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules="all-linear",
    )
    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5.23 for a name that this calls deprecated.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        return peft.get_peft_model(model, wanted)


def starts_at_zero(name: str) -> bool:
    """Whether the parameter of this name is an adapter's second matrix, B ``[out, rank]``."""
    return ".lora_B." in name


def speed_up(model: nn.Module) -> None:
    """Let plain LoRA layers over frozen linear ones run faster. Others (dropout, DoRA) stay PEFT's."""
    for layer in _layers(model):
        drop = layer.lora_dropout[_ADAPTER]
        simple = not isinstance(drop, nn.Dropout) and not layer.use_dora.get(_ADAPTER, False)
        if simple and isinstance(layer.base_layer, nn.Linear) and not layer.base_layer.weight.requires_grad:
            layer.forward = _Forward(layer)


def slow_down(model: nn.Module) -> None:
    """Give the layers PEFT's own forward back."""
    for layer in _layers(model):
        layer.__dict__.pop("forward", None)
