"""A transformers encoder as an ONNX graph with fused operators."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from evertune.serving.engine.graphs import first, plain
from evertune.serving.engine.served import MODEL, WEIGHTS
from evertune.serving.engine.session import INPUTS, OUTPUTS

OPSET = 17
_MAPPED_FROM = 1 << 14
"""Bytes of a tensor that lies in the file of weights."""
_FUSED_AS = {
    "albert": "bert", "bert": "bert", "camembert": "bert", "distilbert": "bert", "electra": "bert", "mpnet": "bert",
    "roberta": "bert", "xlm-roberta": "bert",
}  # fmt: skip
"""Architectures → the family under which onnxruntime's optimiser knows their layers."""


def to_onnx(network: Any, to: Path, embedded: int) -> None:
    """Write the model that gives logits and embeddings of any number of rows of any length.

    ``embedded`` tells of which hidden states, as :func:`evertune.models.forward.embeddings` has it.

    Attention is fused where the architecture is known. Raises whatever the exporter raises.
    """
    import torch

    network = network.to("cpu")
    network.set_attn_implementation("eager")  # what the fusions look for
    raw = to.with_suffix(".raw.onnx")
    ids = torch.tensor([[1, 5, 6, 7, 2], [1, 8, 2, 0, 0]]) % network.config.vocab_size
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    rows, both = {0: "rows"}, {0: "rows", 1: "length"}
    axes = {INPUTS[0]: both, INPUTS[1]: both, OUTPUTS[0]: rows, OUTPUTS[1]: rows}
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The older of torch's exporters: of the newer one's graphs onnxruntime fuses no attention (seen with 1.32).
        torch.onnx.export(
            _wrapped(network, embedded), (ids, mask), str(raw), dynamo=False, opset_version=OPSET, dynamic_axes=axes,
            input_names=list(INPUTS), output_names=list(OUTPUTS),
        )  # fmt: skip
    _fuse(raw, to, network.config)


def _wrapped(network: Any, embedded: int) -> Any:
    import torch

    class Outputs(torch.nn.Module):
        """Logits, and the mean of hidden states over the real tokens."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            found = self.network(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
            weights = attention_mask.to(torch.float32).unsqueeze(2)
            return found.logits, (found.hidden_states[embedded] * weights).sum(1) / weights.sum(1)

    return Outputs().eval()


def _fuse(raw: Path, to: Path, config: Any) -> None:
    family = _FUSED_AS.get(config.model_type)
    if family is None:
        raw.replace(to)
        return
    from onnxruntime.transformers import optimizer

    # opt_level 0: only the fusions. The runtime's own optimisations suit a machine, so they are left to loading.
    fused = optimizer.optimize_model(
        str(raw), family, num_heads=config.num_attention_heads, hidden_size=config.hidden_size, opt_level=0
    )
    fused.save_model_to_file(str(to))
    raw.unlink()
    plain.take_apart(to)
    first.narrow(to)


def place(model: Path, folder: Path) -> None:
    """Write the model with its weights in a file beside it.

    The runtime maps that file: sessions of the same model share its memory, what no text has read of an embedding takes
    none, and products that keep a packed copy of their weights need no other.
    """
    import onnx

    onnx.save_model(
        onnx.load(str(model)), str(folder / MODEL), save_as_external_data=True, location=WEIGHTS,
        size_threshold=_MAPPED_FROM,
    )  # fmt: skip
