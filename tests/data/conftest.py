"""A base model that is small but real for everything up to training, and a project on generated reviews."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import numpy as np
import pytest

from evertune.project import Project

WORDS = {
    "good": ("great", "lovely", "sharp", "quick", "solid", "bright"),
    "bad": ("broken", "awful", "blurred", "slow", "flimsy", "dim"),
}
THINGS = ("screen", "battery", "lens", "case", "button", "manual", "sound", "zoom", "flash", "menu", "strap", "cable")


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model's folder: a word-level tokenizer and weights of a few numbers."""
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("base")
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "is", "and", *THINGS, *WORDS["good"], *WORDS["bad"]]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(known)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(known[:4])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    size = {"hidden_size": 4, "max_position_embeddings": 64, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = {"model_type": "bert", "architectures": ["BertModel"], "intermediate_size": 4, "vocab_size": len(known)}
    config = {**config, **size}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"embeddings.word_embeddings.weight": np.zeros((len(known), 4), dtype=np.float32)},
              folder / "model.safetensors")  # fmt: skip
    return folder


def reviews(count: int, seed: int = 3) -> list[dict[str, str]]:
    """Rows of a CSV: documents of three sentences each."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        label = rng.choice(("good", "bad"))
        said = (f"the {rng.choice(THINGS)} {number}x is {rng.choice(WORDS[label])}" for _ in range(rng.randint(2, 5)))
        text = " and ".join(said)
        rows.append({"id": f"{number // 3}_{number % 3}", "body": text, "stars": label, "shop": f"shop {number % 2}"})
    return rows


@pytest.fixture
def review_file(tmp_path: Path) -> Path:
    """A CSV of 300 reviews, two of them twice."""
    rows = reviews(300)
    rows += [{**rows[0], "id": "700_0"}, {**rows[1], "id": "701_0"}]
    path = tmp_path / "reviews.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def local_project(review_file: Path, tiny_base: Path) -> Project:
    """A project on the reviews, with the tiny base."""
    return Project.model_validate(
        {
            "schema_version": 1,
            "slug": "shop-reviews",
            "owner": "tests",
            "data": {
                "sources": [{"uri": str(review_file)}],
                "columns": {"text": "body", "label": "stars", "id": "id", "keep": ["shop"],
                            "group": {"column": "id", "pattern": r"^(\d+)_"}},
            },
            "validation": {"max_bad_share": 0.5},
            "preparation": {"max_tokens": 16},
            "base": {"uri": str(tiny_base)},
        }
    )  # fmt: skip
