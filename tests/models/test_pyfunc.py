"""A real bundle behind MLflow's own loader: what ``mlflow models serve`` does."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from evertune.models import bundle
from evertune.releases.mlflow import model_folder

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning"),  # of MLflow about its own classes
]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "book", "a"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder as it is registered, around a tiny model of random weights."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    (tmp_path / "tokenizer").mkdir()
    tokenizer.save(str(tmp_path / "tokenizer" / "tokenizer.json"))
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, num_labels=2, id2label={0: "bad", 1: "good"}, label2id={"bad": 0, "good": 1},
    )  # fmt: skip
    model = tmp_path / "model"
    model.mkdir()
    bundle.write(model / "bundle", BertForSequenceClassification(config), tmp_path / "tokenizer", ["bad", "good"], 32)
    model_folder.write(model, "m-1", "run", "# card", ["a good book", "a bad book"])
    return model


def test_mlflow_loads_and_answers_without_a_pickle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.pyfunc

    loaded = mlflow.pyfunc.load_model(str(folder))
    example = loaded.input_example
    answers = loaded.predict(example)
    assert list(example["text"]) == ["a good book", "a bad book"]
    assert list(answers.columns) == ["label", "probability", "probabilities"]
    for _, row in answers.iterrows():
        assert row["probabilities"][row["label"]] == row["probability"] == max(row["probabilities"].values())
        assert sum(row["probabilities"].values()) == pytest.approx(1.0)
    assert loaded.metadata.signature.outputs.input_names() == list(answers.columns)
    assert not [file for file in folder.rglob("*") if file.suffix in {".pkl", ".pickle", ".bin", ".pt", ".pth"}]


def test_a_table_without_texts_is_refused_by_the_signature(folder: Path) -> None:
    import mlflow.exceptions
    import mlflow.pyfunc
    import pandas as pd

    with pytest.raises(mlflow.exceptions.MlflowException, match="text"):
        mlflow.pyfunc.load_model(str(folder)).predict(pd.DataFrame({"words": ["a"]}))


def test_the_requirements_are_pinned_and_known_without_asking_mlflow(folder: Path) -> None:
    lines = (folder / "requirements.txt").read_text().split()
    assert {line.split("==")[0] for line in lines} >= {"mlflow", "torch", "transformers", "safetensors"}
    assert all("==" in line for line in lines)
    flavor = yaml.safe_load((folder / "MLmodel").read_text())["flavors"]["python_function"]
    assert flavor["loader_module"] == "evertune.models.pyfunc"
