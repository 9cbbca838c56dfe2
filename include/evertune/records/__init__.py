"""The records that travel between steps, processes and the ledger.

Everything here is small, frozen and JSON-serialisable: between steps travel an address and a content hash, never
rows. ``record.model_dump(mode="json")`` and ``Record.model_validate`` are the one way in which a record is stored,
printed and read back; a field that a newer version added is dropped on reading.
"""

from __future__ import annotations

from evertune.records.core import (
    EvertuneError,
    JsonObject,
    Record,
    StaleError,
    UnfitError,
    UnreachableError,
)
from evertune.records.runs import (
    Candidate,
    Cause,
    ClassScores,
    Dataset,
    Decision,
    Evaluation,
    Outcome,
    Pins,
    Recent,
    Release,
    RowCounts,
    Run,
    RunStatus,
    Scores,
    Slice,
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
]
