"""A base model and a dataset so small that a test trains in a second, in the very formats of the real ones."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from evertune import files, text
from evertune.project.options import Project

WORDS = [
    "good",
    "great",
    "fine",
    "bad",
    "awful",
    "poor",
    "the",
    "a",
    "it",
    "was",
    "is",
    "very",
    "phone",
    "film",
    "book",
    "screen",
    "story",
    "and",
    "but",
    "not",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LABELS = ("negative", "positive")


def tokenizer() -> Tokenizer:
    """A WordPiece tokenizer over a few words and all lower-case letters."""
    letters = [f"{mark}{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789<>_@." for mark in ("", "##")]
    vocabulary = {token: place for place, token in enumerate(dict.fromkeys(SPECIAL + WORDS + letters))}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.add_special_tokens(SPECIAL)
    return made


def config(**changes: Any) -> transformers.BertConfig:
    """Two layers of width 32."""
    sizes = {"vocab_size": 128, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return transformers.BertConfig(**{**sizes, "intermediate_size": 64, "max_position_embeddings": 64, **changes})


def base(folder: Path, seed: int = 0) -> Path:
    """A sealed base model's folder, without a head, as bases.fetch gives it."""
    with files.new_folder(folder) as aside:
        raw_base(aside, seed)
    return folder


def raw_base(folder: Path, seed: int = 0) -> Path:
    """The same files as somebody may have them in a folder of their own."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(seed)
    _enlarged(transformers.BertModel(config())).save_pretrained(folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 64}))
    return folder


def classifier(seed: int = 0, **changes: Any) -> Any:
    """A random BERT classifier, in evaluation mode, whose weights are large enough to tell its rows apart."""
    torch.manual_seed(seed)
    return _enlarged(transformers.BertForSequenceClassification(config(num_labels=2, **changes)).eval())


def _enlarged(model: Any) -> Any:
    # At their initial size the weights of so narrow a model pass hardly anything on.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def rows(count: int, longest: int = 20, seed: int = 0) -> list[list[int]]:
    """Random rows of token ids, of random lengths."""
    chance = random.Random(seed)
    return [[2, *(chance.randrange(5, 128) for _ in range(chance.randint(0, longest - 2))), 3] for _ in range(count)]


def sentences(count: int, seed: int) -> list[tuple[str, int]]:
    """Texts whose class is told by one of their words."""
    chance = random.Random(seed)
    found = []
    for _ in range(count):
        label = chance.randrange(2)
        words = [chance.choice(WORDS[6:]) for _ in range(chance.randint(2, 12))]
        words.insert(chance.randrange(len(words)), chance.choice(WORDS[:3] if label else WORDS[3:6]))
        found.append((" ".join(words), label))
    return found


def dataset(folder: Path, base_folder: Path, sizes: tuple[int, int, int] = (200, 60, 60)) -> Path:
    """A sealed prepared dataset."""
    coder = text.load_tokenizer(base_folder)
    with files.new_folder(folder) as aside:
        for seed, (split, count) in enumerate(zip(("train", "validation", "test"), sizes, strict=True)):
            drawn = sentences(count, seed)
            ids, _ = text.encode(coder, [words for words, _ in drawn], 32)
            np.save(aside / f"{split}.ids.npy", np.concatenate([np.array(row, np.int32) for row in ids]))
            np.save(aside / f"{split}.offsets.npy", np.cumsum([0, *map(len, ids)]).astype(np.int64))
            truth = pa.array([label for _, label in drawn], pa.int32())
            table = {"text": [words for words, _ in drawn], "label_index": truth}
            pq.write_table(pa.table(table), aside / f"{split}.parquet")
        files.write_json(aside / "labels.json", list(LABELS))
    return folder


def project(**tuning: Any) -> Project:
    """A project with these settings of tuning."""
    settings = {"epochs": 3, "learning_rate": 5e-3, "tokens_per_batch": 128, **tuning}
    data = {"sources": [{"uri": "/rows.csv"}], "columns": {"text": "text", "label": "label"}}
    return Project.model_validate({
        "schema_version": 1, "slug": "tiny", "owner": "tests", "data": data, "base": {"uri": "/base"},
        "preparation": {"max_tokens": 32}, "tuning": settings,
    })  # fmt: skip


def never() -> bool:
    """Nobody cancels."""
    return False


def ignore(_: object) -> None:
    """Nobody listens."""


def spoil(path: Path, change: Callable[[bytearray], object]) -> None:
    """Change the file's bytes in place."""
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(bytes(data))


def flip(data: bytearray) -> None:
    """Flip one bit in the middle."""
    data[len(data) // 2] ^= 1


def halve(data: bytearray) -> None:
    """Cut the second half off."""
    del data[len(data) // 2 :]
