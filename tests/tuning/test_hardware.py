from __future__ import annotations

from pathlib import Path

import pytest
import torch

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
    expected = torch.bfloat16 if has else torch.float32
    assert hardware.precision(Precision.AUTO, CPU) is expected


def test_a_person_may_decide() -> None:
    assert hardware.precision(Precision.BF16, CPU) is torch.bfloat16
    assert hardware.precision(Precision.FP32, CPU) is torch.float32


def test_no_cpuinfo_no_bf16(tmp_path: Path) -> None:
    assert not hardware.cpu_has_bf16(tmp_path / "none")
