"""The files around a bundle that make it a model which MLflow can show and serve.

Written by hand rather than by ``mlflow.pyfunc.save_model``, because that costs the import of MLflow and of whatever it
finds, and because this way nothing can be pickled: the folder holds safetensors, JSON, YAML and text. The format is
https://mlflow.org/docs/latest/ml/model/#storage-format; the tests read it with MLflow itself.
"""

from __future__ import annotations

import json
import platform
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

BUNDLE = "bundle"
"""Folder of the bundle in the model's folder."""
CHECKS, CHECK_ROWS = "checks", "checks.parquet"
"""Folder of the check rows in the model's folder, and the file in it."""
CARD = "README.md"
"""The model card, where people look for it."""
_LOADER = "evertune.models.pyfunc"
_PACKAGES = ("mlflow", "torch", "transformers", "tokenizers", "safetensors", "numpy", "pandas", "pydantic")
_INPUTS = [{"type": "string", "name": "text", "required": True}]
_OUTPUTS = [
    {"type": "string", "name": "label", "required": True},
    {"type": "double", "name": "probability", "required": True},
    {"type": "map", "values": {"type": "double"}, "name": "probabilities", "required": True},
]


def write(folder: Path, model_id: str, run_id: str, card: str, examples: Sequence[str]) -> None:
    """Write everything but the bundle itself, ``MLmodel`` last: a folder without it is no model to MLflow."""
    python = platform.python_version()
    packages = [f"{name}=={version(name)}" for name in _PACKAGES]
    (folder / CARD).write_text(card, "utf-8")
    (folder / "requirements.txt").write_text("\n".join(packages) + "\n", "utf-8")
    _yaml(folder / "python_env.yaml", {"python": python, "dependencies": ["-r requirements.txt"]})
    conda = [f"python={python}", "pip", {"pip": packages}]
    _yaml(folder / "conda.yaml", {"name": "evertune", "channels": ["conda-forge"], "dependencies": conda})
    model: dict[str, Any] = {
        "artifact_path": f"models:/{model_id}",
        "flavors": {"python_function": _flavor(python)},
        "mlflow_version": version("mlflow"),
        "model_id": model_id,
        "model_uuid": uuid.uuid4().hex,
        "run_id": run_id,
        "signature": {"inputs": json.dumps(_INPUTS), "outputs": json.dumps(_OUTPUTS), "params": None},
        "utc_time_created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
    }
    if examples:
        model["saved_input_example_info"] = _write_examples(folder, examples)
    _yaml(folder / "MLmodel", model)


def _flavor(python: str) -> dict[str, Any]:
    return {
        "loader_module": _LOADER,
        "data": BUNDLE,
        "python_version": python,
        "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
    }


def _write_examples(folder: Path, examples: Sequence[str]) -> dict[str, Any]:
    table = {"columns": ["text"], "data": [[text] for text in examples]}
    (folder / "input_example.json").write_text(json.dumps(table), "utf-8")
    (folder / "serving_input_example.json").write_text(json.dumps({"dataframe_split": table}, indent=2), "utf-8")
    return {
        "artifact_path": "input_example.json",
        "pandas_orient": "split",
        "serving_input_path": "serving_input_example.json",
        "type": "dataframe",
    }


def _yaml(path: Path, value: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(value, sort_keys=True), "utf-8")
