"""What a model folder may hold: weights as safetensors, everything else as JSON, and nothing that is ever executed.

Lists of what is allowed, not of what is forbidden: a file or a configuration key that nobody thought of is refused.
Imports nothing heavy, so that every process that moves models about can afford to look.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from evertune.records import JsonObject, UnfitError

ARCHITECTURES = frozenset({
    "albert", "bert", "camembert", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet", "roberta",
    "xlm-roberta",
})  # fmt: skip
"""``model_type`` of the encoders that are accepted. All classify sequences in transformers itself."""

CONFIG_KEYS = frozenset({
    "activation", "add_cross_attention", "architectures", "attention_bias", "attention_dropout",
    "attention_probs_dropout_prob", "bos_token_id", "chunk_size_feed_forward", "classifier_activation",
    "classifier_bias", "classifier_dropout", "classifier_dropout_prob", "classifier_pooling", "cls_token_id",
    "decoder_bias", "deterministic_flash_attn", "dim", "dropout", "dtype", "embedding_dropout", "embedding_size",
    "eos_token_id", "hidden_act", "hidden_activation", "hidden_dim", "hidden_dropout_prob", "hidden_size", "id2label",
    "initializer_cutoff_factor", "initializer_range", "inner_group_num", "intermediate_size", "is_decoder",
    "is_encoder_decoder", "label2id", "layer_norm_eps", "layer_types", "legacy", "local_attention",
    "max_position_embeddings", "max_relative_positions", "mlp_bias", "mlp_dropout", "model_type", "n_heads", "n_layers",
    "norm_bias", "norm_eps", "num_attention_heads", "num_hidden_groups", "num_hidden_layers", "output_attentions",
    "output_hidden_states", "pad_token_id", "pooler_dropout", "pooler_hidden_act", "pooler_hidden_size", "pos_att_type",
    "position_biased_input", "problem_type", "qa_dropout", "relative_attention", "relative_attention_num_buckets",
    "return_dict", "rope_parameters", "sep_token_id", "seq_classif_dropout", "sinusoidal_pos_embds",
    "sparse_pred_ignore_index", "sparse_prediction", "summary_activation", "summary_last_dropout", "summary_type",
    "summary_use_proj", "tie_word_embeddings", "transformers_version", "type_vocab_size", "use_cache", "vocab_size",
})  # fmt: skip
"""Keys of a bundle's ``config.json``: what the configuration classes of ARCHITECTURES define, paths left out."""

TOKENIZER_KEYS = frozenset({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                            "post_processor", "decoder", "model"})  # fmt: skip
"""Top level of ``tokenizer.json``, the format of the tokenizers library."""

_REMOTE_CODE = ("auto_map", "custom_pipelines", "trust_remote_code", "quantization_config")
_EXECUTABLE = re.compile(
    r"\.(bin|pt|pth|pkl|pickle|ckpt|joblib|npy|npz|h5|keras|msgpack|pb|onnx|so|dll|pyd|py|pyc|sh|whl|zip|tar)$", re.I
)
_DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_MAX_HEADER = 100_000_000
_MAX_JSON = 256_000_000


def executables(names: Iterable[str]) -> list[str]:
    """The names that a loader of models might unpickle or run."""
    return sorted(name for name in names if _EXECUTABLE.search(name))


def read_object(path: Path) -> JsonObject:
    """The JSON object in the file. Raises :class:`UnfitError` for a link, a huge file or anything else."""
    if path.is_symlink() or not path.is_file():
        raise UnfitError(f"{path} is missing or no regular file. Fetch the model again.")
    if path.stat().st_size > _MAX_JSON:
        raise UnfitError(f"{path} is {path.stat().st_size:,} bytes; no model's JSON is that long. Do not use it.")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as fault:
        raise UnfitError(f"{path} is not JSON ({fault}). Fetch the model again.") from fault
    if not isinstance(value, dict):
        raise UnfitError(f"{path} holds {type(value).__name__}, expected an object. Do not use this model.")
    return value


def check_base_config(path: Path) -> JsonObject:
    """A base model's ``config.json``, which may have odd keys (they are dropped) but none that brings code along."""
    config = read_object(path)
    brought = sorted(key for key in _REMOTE_CODE if key in config)
    if brought:
        raise UnfitError(
            f"{path} has {', '.join(brought)}: the model wants code or formats of its own, which is never run here. "
            "Name a base model that transformers supports by itself."
        )
    _known_architecture(path, config)
    return config


def check_bundle_config(path: Path, labels: Iterable[str]) -> JsonObject:
    """A bundle's ``config.json``: allowed keys only, a known classifier, and exactly these labels in this order."""
    config = read_object(path)
    odd = sorted(set(config) - CONFIG_KEYS)
    if odd:
        raise UnfitError(f"{path} has keys that no bundle has: {', '.join(odd[:5])}. Do not use this model.")
    _known_architecture(path, config)
    named = config.get("architectures")
    if not (
        isinstance(named, list) and len(named) == 1 and re.fullmatch(r"\w+ForSequenceClassification", str(named[0]))
    ):
        raise UnfitError(f"{path} names architectures {named!r}, expected one ...ForSequenceClassification.")
    if config.get("id2label") != {str(i): label for i, label in enumerate(labels)}:
        raise UnfitError(f"{path} and evertune.json disagree about the labels. Do not use this model.")
    return config


def _known_architecture(path: Path, config: JsonObject) -> None:
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise UnfitError(f"{path} says model_type {kind!r}. Name a base model of one of these: {known}.")


def check_tokenizer(path: Path) -> None:
    """Refuse a ``tokenizer.json`` with keys that the tokenizers library does not write."""
    odd = sorted(set(read_object(path)) - TOKENIZER_KEYS)
    if odd:
        raise UnfitError(f"{path} has keys that no tokenizer has: {', '.join(odd[:5])}. Do not use this model.")


def check_safetensors(path: Path) -> int:
    """Walk the file's header: every tensor inside the file, none overlapping. Returns the number of tensors."""
    try:
        with path.open("rb") as stream:
            entries, size = _header(stream, path.stat().st_size)
        return _walk(entries, size)
    except (ValueError, KeyError, TypeError, RecursionError, struct.error) as fault:
        raise UnfitError(f"{path} is not a whole safetensors file ({fault}). Fetch the model again.") from fault


def _header(stream: IO[bytes], size: int) -> tuple[JsonObject, int]:
    (length,) = struct.unpack("<Q", stream.read(8))
    if length > min(_MAX_HEADER, size - 8):
        raise ValueError(f"its header claims {length:,} bytes")
    entries = json.loads(stream.read(length))
    if not isinstance(entries, dict):
        raise TypeError("its header is no object")
    return entries, size - 8 - length


def _walk(entries: JsonObject, size: int) -> int:
    end = count = 0
    for name, entry in sorted(
        ((name, entry) for name, entry in entries.items() if name != "__metadata__"),
        key=lambda item: item[1]["data_offsets"],
    ):
        start, stop = entry["data_offsets"]
        needed = _DTYPES[entry["dtype"]]
        for extent in entry["shape"]:
            needed *= extent
        if start != end or stop - start != needed:
            raise ValueError(f"tensor {name!r} does not lie where the header says")
        end, count = stop, count + 1
    if end != size or not count:
        raise ValueError(f"it holds {size:,} bytes of weights, its header describes {end:,}")
    return count
