from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from structlog.testing import capture_logs

from evertune.project.options import Precision
from evertune.tuning import hardware

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_vnni", False),
        ("flags\t\t: fpu avx512f avx512_bf16 amx_tile", True),
        ("flags\t\t: fpu amx_bf16", True),
        ("flags\t\t: fpu avx_ne_convert", False),
        ("Features\t: fp asimd bf16", True),
        ("model name\t: bf16", False),
    ],
)
def test_bf16_is_taken_only_where_the_processor_multiplies_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, has: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line}\n")
    monkeypatch.setattr(hardware, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(hardware, "bf16_pays", lambda: True)
    expected = torch.bfloat16 if has else torch.float32
    assert hardware.precision(Precision.AUTO, CPU) is expected


def test_a_processor_that_has_bf16_but_is_no_faster_in_it_takes_fp32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu avx512f avx512_bf16\n")
    monkeypatch.setattr(hardware, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(hardware, "bf16_pays", lambda: False)
    assert hardware.precision(Precision.AUTO, CPU) is torch.float32


@pytest.mark.parametrize(("bf16_s", "pays"), [(0.5, True), (0.9, False), (1.0, False), (2.0, False)])
def test_bf16_pays_where_its_products_are_a_good_deal_faster(
    monkeypatch: pytest.MonkeyPatch, bf16_s: float, pays: bool
) -> None:
    # The clock goes by what was multiplied, and the first tries take long, as they do.
    clock = _Clock([9.0, 9.0] + [1.0, bf16_s] * (hardware._TRIES - 1))
    monkeypatch.setattr(time, "thread_time", clock)
    threads = torch.get_num_threads()
    assert hardware.bf16_pays.__wrapped__() is pays
    assert torch.get_num_threads() == threads


class _Clock:
    """Every second reading ends what the one before began."""

    def __init__(self, seconds: list[float]) -> None:
        self._left, self._now, self._begins = iter(seconds), 0.0, True

    def __call__(self) -> float:
        if not self._begins:
            self._now += next(self._left)
        self._begins = not self._begins
        return self._now


def test_a_person_may_decide() -> None:
    assert hardware.precision(Precision.BF16, CPU) is torch.bfloat16
    assert hardware.precision(Precision.FP32, CPU) is torch.float32


@pytest.mark.parametrize(
    ("wanted", "capability", "taken", "warned"),
    [
        (Precision.BF16, (7, 5), torch.bfloat16, True),
        (Precision.BF16, (8, 0), torch.bfloat16, False),
        (Precision.FP32, (7, 5), torch.float32, False),
        (Precision.AUTO, (7, 5), torch.float32, False),
        (Precision.AUTO, (9, 0), torch.bfloat16, False),
    ],
)
def test_a_gpu_that_only_emulates_bf16_is_named_to_who_asks_for_it(
    monkeypatch: pytest.MonkeyPatch, wanted: Precision, capability: tuple[int, int], taken: torch.dtype, warned: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    with capture_logs() as told:
        assert hardware.precision(wanted, torch.device("cuda")) is taken
    assert ["emulates" in entry["event"] for entry in told if entry["log_level"] == "warning"] == [True] * warned


def test_no_cpuinfo_no_bf16(tmp_path: Path) -> None:
    assert not hardware.cpu_has_bf16(tmp_path / "none")
