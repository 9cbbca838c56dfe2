"""The records that travel between steps, processes and the ledger.

Everything here is small, frozen and JSON-serialisable: between steps travel an address and a content hash, never
rows. ``record.model_dump(mode="json")`` and ``Record.model_validate`` are the one way in which a record is stored,
printed and read back; a field that a newer version added is dropped on reading.
"""

from __future__ import annotations

from evertune.records.core import (
    CutOffError,
    EvertuneError,
    JsonObject,
    Record,
    StaleError,
    UnfitError,
    UnreachableError,
    retry_helps,
)
from evertune.records.evaluations import ClassScores, Evaluation, Recent, Scores, Slice
from evertune.records.runs import (
    Candidate,
    Cause,
    Dataset,
    Decision,
    Outcome,
    Pins,
    Release,
    RowCounts,
    Run,
    RunStatus,
    Step,
    TrafficCounts,
    Trigger,
    Verdict,
)
from evertune.records.traffic import (
    Alert,
    AlertStatus,
    Cluster,
    Evidence,
    Explanation,
    Finding,
    Moved,
    Part,
    Signal,
    Window,
)

__all__ = [
    "Alert",
    "AlertStatus",
    "Candidate",
    "Cause",
    "ClassScores",
    "Cluster",
    "CutOffError",
    "Dataset",
    "Decision",
    "Evaluation",
    "EvertuneError",
    "Evidence",
    "Explanation",
    "Finding",
    "JsonObject",
    "Moved",
    "Outcome",
    "Part",
    "Pins",
    "Recent",
    "Record",
    "Release",
    "RowCounts",
    "Run",
    "RunStatus",
    "Scores",
    "Signal",
    "Slice",
    "StaleError",
    "Step",
    "TrafficCounts",
    "Trigger",
    "UnfitError",
    "UnreachableError",
    "Verdict",
    "Window",
    "retry_helps",
]
