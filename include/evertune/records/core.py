"""What all records have in common, and the errors that people read."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

JsonObject = dict[str, Any]
"""A JSON object as read: its values are JSON values."""


class EvertuneError(Exception):
    """A fault whose message tells a person what is wrong, where, and what to do next.

    ``exit_code`` is the status with which the command line ends.
    """

    exit_code = 1


class UnfitError(EvertuneError):
    """The project file, its data or its base model cannot be used as it is. Trying again will not help."""

    exit_code = 2


class StaleError(EvertuneError):
    """Another owner has the run, or the champion has changed since it was judged: the write is refused."""


class UnreachableError(EvertuneError):
    """A service (database, MLflow, DVC remote, package index) did not answer. Trying again may help."""


class Record(BaseModel):
    """Base of all records."""

    model_config = ConfigDict(frozen=True, extra="ignore")
