"""The two methods: which weights are tuned, and how the tuned model becomes plain weights again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evertune.models.classifier import quiet
from evertune.models.forward import unwrapped
from evertune.project.options import Method, Tuning
from evertune.records import UnfitError
from evertune.tuning import adapters


def build(base: Path, labels: Sequence[str], options: Tuning, device: torch.device) -> Any:
    """The base model with a fresh classification head, ready to be tuned; its random parts come from the seed."""
    import transformers

    torch.manual_seed(options.seed)
    with quiet():
        model, loaded = transformers.AutoModelForSequenceClassification.from_pretrained(
            base,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: place for place, label in enumerate(labels)},
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    _check_loaded(base, model, loaded)
    without_dropout(model)
    if options.freeze_embeddings:
        _freeze_embeddings(model)
    if options.method is Method.LORA:
        model = adapters.attach(model, options.lora)
        adapters.speed_up(model)
    return model.to(device).train()


def _check_loaded(base: Path, model: Any, loaded: dict[str, Any]) -> None:
    # A head is always missing or of another size. A missing trunk means that the file is of another model.
    trunk = f"{model.base_model_prefix}."
    missing = [name for name in loaded["missing_keys"] if str(name).startswith(trunk) and "pooler" not in str(name)]
    if missing:
        raise UnfitError(
            f"The weights in {base} lack {len(missing)} tensors of a {model.config.model_type}, such as "
            f"{sorted(missing)[0]}. Is config.json that of another model?"
        )


def without_dropout(model: nn.Module) -> None:
    """Set every dropout to 0.

    On a CPU its random numbers cost a good part of a step, and early stopping guards against the same thing. Held-out
    F1 is as good as that of transformers.Trainer, which has it (docs/benchmarks.md).
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def _freeze_embeddings(model: Any) -> None:
    for parameter in model.base_model.embeddings.parameters():
        parameter.requires_grad_(False)


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are tuned, by name, in the model's order."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def optimiser(model: nn.Module, options: Tuning) -> torch.optim.AdamW:
    """AdamW in one fused sweep; biases and norms do not decay, and each adapter's B has a rate of its own (LoRA+)."""
    matrices: list[nn.Parameter] = []
    second: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in trainable(model).items():
        (plain if parameter.ndim < 2 else second if adapters.starts_at_zero(name) else matrices).append(parameter)
    decay = options.weight_decay
    groups = [
        {"params": matrices, "weight_decay": decay, "rate": 1.0},
        {"params": second, "weight_decay": decay, "rate": options.lora.rate_ratio},
        {"params": plain, "weight_decay": 0.0, "rate": 1.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=options.learning_rate, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Let the next step be taken at this learning rate, and the groups that differ at their multiple of it."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["rate"]


def learning_rate(options: Tuning, epochs_done: float) -> float:
    """Rises linearly to its peak during warm-up, then falls linearly to 0 at the end of the last epoch."""
    share, warmup = epochs_done / options.epochs, options.warmup
    rising = share / warmup if warmup > 0 else 1.0
    falling = (1 - share) / (1 - warmup) if warmup < 1 else 1.0
    return options.learning_rate * max(0.0, min(1.0, rising, falling))


def finished(model: Any) -> Any:
    """The tuned model in plain weights: adapters merged, so that serving knows one form only."""
    if hasattr(model, "merge_and_unload"):
        adapters.slow_down(model)
        model = model.merge_and_unload()
    return unwrapped(model).eval()
