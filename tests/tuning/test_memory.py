from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import transformers
from tests.models import tiny

from evertune import files
from evertune.models import forward, safety
from evertune.records import UnfitError
from evertune.tuning import memory, methods


def test_what_is_needed_is_told_beside_what_is_there(base: Path, dataset: Path) -> None:
    found = memory.preflight(tiny.project(), dataset, base)
    assert 0 < found.needed < found.available
    held = sum(p.numel() for p in transformers.BertModel(tiny.config()).parameters())
    assert found.parameters == held


def test_trainable_weights_are_counted_as_they_are(base: Path, dataset: Path) -> None:
    for settings in ({}, {"freeze_embeddings": False}):
        project = tiny.project(**settings)
        model = methods.build(base, tiny.LABELS, project.tuning, torch.device("cpu"))
        really = sum(parameter.numel() for parameter in methods.trainable(model).values())
        assert memory.preflight(project, dataset, base).trainable == pytest.approx(really, rel=0.01)


@pytest.mark.parametrize(
    ("settings", "advice"),
    [({"tokens_per_batch": 4096}, "tokens_per_batch"), ({"method": "full"}, "tuning.method to lora"), ({}, "smaller")],
)
def test_too_little_memory_is_refused_with_advice(
    base: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], advice: str
) -> None:
    monkeypatch.setattr(memory, "_available", lambda _: 10_000_000)
    with pytest.raises(UnfitError, match=advice):
        memory.preflight(tiny.project(**settings), dataset, base)


def test_more_tokens_need_more(base: Path, dataset: Path) -> None:
    small, large = (memory.preflight(tiny.project(tokens_per_batch=size), dataset, base).needed for size in (64, 65536))
    assert large > small


@pytest.mark.parametrize(("kind", "most"), [("bert", 8), ("roberta", 6)])
def test_rows_longer_than_the_model_are_refused(tmp_path: Path, dataset: Path, kind: str, most: int) -> None:
    short = tmp_path / "short"
    tiny.base(short)
    config = files.read_json(short / "config.json")
    config |= {"model_type": kind, "pad_token_id": 1, "max_position_embeddings": 8}
    (short / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnfitError, match=rf"Set preparation\.max_tokens to {most}\."):
        memory.preflight(tiny.project(), dataset, short)


@pytest.mark.parametrize("kind", sorted(safety.ARCHITECTURES))
def test_no_architecture_keeps_more_in_a_step_than_is_counted(kind: str) -> None:
    # Narrow and long, so that what attention keeps outweighs everything else.
    length, rows = 200, 2
    model = _classifier(kind, length)
    ids = [[9] * length] * (rows - 1) + [[9] * (length - 1)]  # a padded one: fused attention then has a mask
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        loss = torch.nn.functional.cross_entropy(forward.logits(model, ids), torch.zeros(rows, dtype=torch.int64))
        loss.backward()  # type: ignore[no-untyped-call]
    counted = memory._activations(model.config.to_dict(), rows * length, length)
    held = _peak(profile) - 4 * sum(parameter.numel() for parameter in model.parameters())
    assert held < counted < 6 * held, f"{kind} held {held:,} bytes, {counted:,.0f} were counted"


def _classifier(kind: str, length: int) -> Any:
    width, layers, heads = 16, 3, 4
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, "embedding_size": width}
    if kind == "distilbert":
        sizes = {"dim": width, "n_layers": layers, "n_heads": heads, "hidden_dim": 4 * width}
    also: dict[str, dict[str, Any]] = {
        "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 64},
        "modernbert": dict.fromkeys(("pad_token_id", "cls_token_id", "sep_token_id"), 3),
    }
    config = transformers.CONFIG_MAPPING[kind](
        **sizes, **also.get(kind, {}), vocab_size=64, max_position_embeddings=length + 2, intermediate_size=4 * width
    )
    model = transformers.AutoModelForSequenceClassification.from_config(config).train()
    methods.without_dropout(model)
    return model


def _peak(profile: Any) -> int:
    """The most bytes that were allocated at once while it was watched."""
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return int(np.cumsum(changes).max())


@pytest.mark.parametrize(
    "fault",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nOf the rest 3 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_memory_that_runs_out_is_told_with_advice_and_not_tried_again(fault: Exception) -> None:
    project = tiny.project(tokens_per_batch=512, method="full")
    advice = r"tokens_per_batch below 512.*max_tokens below 128.*to lora"
    with pytest.raises(UnfitError, match=advice) as caught, memory.shortage_told(project, lambda: 128):
        raise fault
    assert "Of the rest" not in str(caught.value)
    assert not caught.value.retry


def test_torch_says_on_a_cpu_that_memory_ran_out() -> None:
    with pytest.raises(UnfitError, match="Memory ran out"), memory.shortage_told(tiny.project(), lambda: 8):
        torch.empty(1 << 60, dtype=torch.uint8)


def test_another_fault_is_no_want_of_memory_and_reads_no_rows() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory.shortage_told(tiny.project(), lambda: pytest.fail("read")):
        raise RuntimeError("shapes cannot be multiplied")


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That of a container: 8 GB, of which 7 are used, 6 by pages of files."""
    told = "anon 1000000000\nfile 6100000000\nshmem 100000000\ninactive_file 4000000000\nactive_file 2000000000\n"
    for name, content in (("max", "8000000000\n"), ("current", "7000000000\n"), ("stat", told)):
        (tmp_path / f"memory.{name}").write_text(content)
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    return tmp_path


def test_pages_of_files_that_the_kernel_gives_up_are_free(cgroup: Path) -> None:
    assert memory._cgroup_room() == 7_000_000_000
    (cgroup / "memory.current").write_text("15000000000\n")
    assert memory._cgroup_room() == 0


def test_a_container_without_a_limit_has_the_machines_memory(cgroup: Path) -> None:
    (cgroup / "memory.max").write_text("max\n")
    assert memory._available(torch.device("cpu")) == pytest.approx(psutil.virtual_memory().available, rel=0.1)
