"""What all records have in common, and the errors that people read."""

from __future__ import annotations

import errno
from typing import Any

from pydantic import BaseModel, ConfigDict

JsonObject = dict[str, Any]
"""A JSON object as read: its values are JSON values."""


class EvertuneError(Exception):
    """A fault whose message tells a person what is wrong, where, and what to do next.

    ``exit_code`` is the status with which the command line ends. ``retry`` says whether the same, tried again by
    itself, may go well: what a person must mend first is not mended by waiting.
    """

    exit_code = 1
    retry = False


class UnfitError(EvertuneError):
    """The project file, its data or its base model cannot be used as it is. Trying again will not help."""

    exit_code = 2


class StaleError(EvertuneError):
    """Another owner has the run, or the champion has changed since it was judged: the write is refused."""


class UnreachableError(EvertuneError):
    """A service (database, MLflow, DVC remote, package index) did not answer. Trying again may help."""

    retry = True


class CutOffError(EvertuneError):
    """A process ended in the middle without a word, as one that was killed. Trying again goes on where it was."""

    retry = True


def retry_helps(fault: BaseException) -> bool:
    """Whether what failed with ``fault`` may go well when it is tried again by itself.

    Of faults that are not evertune's own, only the system's (a network, a mount) pass by themselves, and a full disk
    does not; the others are mistakes in code, which fail the same way each time.
    """
    if isinstance(fault, EvertuneError):
        return fault.retry
    return isinstance(fault, OSError) and fault.errno not in {errno.ENOSPC, errno.EDQUOT}


class Record(BaseModel):
    """Base of all records."""

    model_config = ConfigDict(frozen=True, extra="ignore")
