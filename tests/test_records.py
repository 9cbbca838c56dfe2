"""Which faults are worth another try by itself."""

from __future__ import annotations

import errno

import pytest

from evertune.files import BusyError, CorruptError
from evertune.jobs import CancelledError
from evertune.records import CutOffError, EvertuneError, StaleError, UnfitError, UnreachableError, retry_helps
from evertune.releases.promote import RolledBackError

PASSES = [UnreachableError("away"), CutOffError("killed"), BusyError("held"), ConnectionResetError(), TimeoutError()]
STAYS = [
    EvertuneError("refuses this login"), UnfitError("bad rows"), StaleError("not yours"), CancelledError("enough"),
    CorruptError("flipped"), RolledBackError("taken out"), ValueError("a mistake in code"), KeyError("x"),
    OSError(errno.ENOSPC, "full"), OSError(errno.EDQUOT, "full"),
]  # fmt: skip


@pytest.mark.parametrize("fault", PASSES, ids=repr)
def test_what_passes_by_itself_is_tried_again(fault: Exception) -> None:
    assert retry_helps(fault)


@pytest.mark.parametrize("fault", STAYS, ids=repr)
def test_what_a_person_must_mend_is_not(fault: Exception) -> None:
    assert not retry_helps(fault)
