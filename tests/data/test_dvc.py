"""What DVC's last words mean: worth another try, or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from evertune import files
from evertune.data import dvc
from evertune.files import CorruptError
from evertune.records import CutOffError, EvertuneError, UnreachableError
from evertune.settings import Settings


@pytest.mark.parametrize(
    ("argument", "output", "kind"),
    [
        ("repro", "ERROR: failed to reproduce 'snapshot@a': Killed", CutOffError),
        ("repro", "Traceback (most recent call last):\nZeroDivisionError: division by zero", EvertuneError),
        ("repro", "ERROR: [Errno 28] No space left on device", EvertuneError),
        (
            "repro",
            "ERROR: no possible cache link types. See <https://dvc.org/doc/user-guide/troubleshooting#cache-types>",
            EvertuneError,
        ),
        ("push", "ERROR: connection reset", UnreachableError),
    ],
)
def test_what_failed_without_a_fault_of_ours(
    where: Settings, tmp_path: Path, argument: str, output: str, kind: type[EvertuneError]
) -> None:
    fault = dvc._fault(tmp_path, where, [argument], output)
    assert type(fault) is kind
    assert fault.retry is (kind is not EvertuneError)
    assert output.splitlines()[-1] in str(fault)


def test_what_a_stage_told_is_raised_as_it_was(where: Settings, tmp_path: Path) -> None:
    files.write_json(tmp_path / "faults" / "validate.json", {"type": "CorruptError", "message": "flipped"})
    fault = dvc._fault(tmp_path, where, ["repro"], "Traceback (most recent call last):")
    assert type(fault) is CorruptError
    assert not fault.retry


def test_an_interpreter_that_does_not_exist_is_named(where: Settings, tmp_path: Path) -> None:
    elsewhere = where.model_copy(update={"python": str(tmp_path / "no-python")})
    with pytest.raises(EvertuneError, match=r"no-python cannot be started .*Set EVERTUNE_PYTHON") as fault:
        dvc.run(tmp_path, elsewhere, "push", ["push"])
    assert not fault.value.retry
