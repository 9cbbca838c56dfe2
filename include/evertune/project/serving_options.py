"""Options of a project's serving: how exact the engine must be, and what becomes of answers. Training knows none."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from evertune.project.block import Options, Share


class LogUnavailable(StrEnum):
    """What happens to a request whose answer cannot be written to the traffic log."""

    REFUSE = "refuse"
    ANSWER = "answer"


class Int8(Options):
    """Fewer bits in the engine (8, or bf16 where the processor has matrix units): faster, where it is as good."""

    allowed_loss: Share = 0.003
    """Macro F1 on the release's own test rows that fewer bits may cost, as a share: `0.003` is 0.3 points. At least
    99% of the labels must be the same, too. Where either is missed, 32-bit numbers answer; `0` asks for no loss."""


class Serving(Options):
    """How the server answers. A change counts from the next release on, and never retrains."""

    int8: Int8 = Int8()
    """Arithmetic with fewer bits in the engine."""
    log_unavailable: LogUnavailable = LogUnavailable.REFUSE
    """What happens when the traffic log cannot be written, because a disk is full: `refuse` answers 503 rather than
    without a record, `answer` answers without one, and counts them."""
    retention_days: Annotated[int, Field(ge=1, le=3650)] = 90
    """Days that answers and feedback are kept in the traffic log. Redacted texts that data sets, references and reports
    have taken from there stay with them."""
