"""The shipped project question-routing, cut down: LoRA, and classes that are numbers in the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from safetensors import safe_open
from tests.quick import evertune
from tests.support import ROOT, write_project

from evertune.cli.run import EXIT
from evertune.records import Decision
from evertune.releases import mlflow
from evertune.settings import Settings

pytestmark = pytest.mark.integration

SLUG = "question-routing"


def test_small_adapters_are_tuned_judged_and_merged(environment: Settings, tmp_path: Path) -> None:
    shipped = yaml.safe_load((ROOT / "projects" / f"{SLUG}.yaml").read_text())
    shipped["data"]["sources"][0]["rows"] = 1600
    shipped["tuning"] |= {"epochs": 3}
    write_project(environment, shipped)
    status, told = evertune(environment, "run", SLUG)
    assert status == EXIT[Decision(told["verdict"]["decision"])]
    assert told["method"] == "lora"
    assert told["rows"]["drawn"] == 1600
    names = {cut["label"] for cut in shipped["data"]["label"]["cuts"]}
    assert set(told["metrics"]["per_class"]) == names
    assert told["metrics"]["accuracy"] > told["baseline"]["majority"]["accuracy"]
    version = mlflow.describe(environment, SLUG, told["model_version"])
    assert version.tags["evertune.method"] == "lora"
    folder = mlflow.fetch(environment, SLUG, version.version, version.digest, tmp_path / "bundle")
    with safe_open(folder / "model.safetensors", "np") as weights:
        assert not [name for name in weights.keys() if "lora" in name], "adapters must be merged"  # noqa: SIM118
