"""The records of a run, from the request to the release."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from evertune.records.core import Record
from evertune.records.evaluations import Recent, Scores


class Cause(StrEnum):
    """Who asked for a run."""

    CLOCK = "clock"
    PERSON = "person"
    ALERT = "alert"


class Decision(StrEnum):
    """What the gate says of a challenger."""

    PROMOTE = "promote"
    REJECT = "reject"
    NOT_ENOUGH_EVIDENCE = "not enough evidence"
    UNCHANGED = "unchanged"


class RunStatus(StrEnum):
    """Where a run is in its life. At most one run a project is ``active``."""

    ACTIVE = "active"
    AWAITING_APPROVAL = "awaiting approval"
    FINISHED = "finished"
    FAILED = "failed"


class Step(StrEnum):
    """The steps of a run, in their order. Also the names of the Airflow tasks."""

    CLAIM = "claim"
    SNAPSHOT = "snapshot"
    VALIDATE = "validate"
    PREPARE = "prepare"
    TUNE = "tune"
    JUDGE = "judge"
    PROMOTE = "promote"


class Trigger(Record):
    """A request to retrain."""

    project: str
    cause: Cause
    key: str
    """Unique: the same request made twice (a retried task, a doubled event) is one trigger."""
    reason: str
    generation: int | None = None
    """The release that an alert accuses; the trigger closes unanswered when that one no longer answers."""
    created: datetime


class Run(Record):
    """One pass of the loop, as its owner holds it. Every commit to the ledger checks ``token``."""

    key: str
    project: str
    owner: str
    token: int
    """Fencing token: rises each time the run changes hands, so that a zombie's write is refused."""
    status: RunStatus
    champion: int
    """Generation judged against; 0 where there is no release yet."""
    plan_hash: str | None = None
    reasons: tuple[str, ...] = ()
    """Why it was started: the reasons of the triggers that it absorbed."""
    created: datetime
    lease_until: datetime


class Pins(Record):
    """The world as an input: with the same pins, the same project and the same recipes, a run is the same run."""

    sources: dict[str, str]
    """Source URI → SHA-256 of its bytes (or a hub's commit)."""
    base: str
    """SHA-256 of the base model's files."""
    label_watermark: str | None = None
    """SHA-256 of the file of labelled traffic that is learned from; ``None`` where there is none."""
    recipes: dict[str, int]
    """Step → version of its recipe; raised by hand when a step's code changes what it produces."""


class TrafficCounts(Record):
    """Labelled traffic on its way into a dataset; ``labelled`` is the sum of the others."""

    labelled: int
    quarantined: int
    deduplicated: int
    """Dropped as copies of rows that stay."""
    left_out: int
    """Beyond the share of traffic that is trained on, or not fit to be judged on."""
    train: int
    validation: int
    recent: int
    """Judged on, never trained on."""


class RowCounts(Record):
    """Rows of the sources on their way through the data steps; ``drawn`` is the sum of the six after it."""

    drawn: int
    unlabelled: int = 0
    """Left out by the label rule as ambiguous."""
    quarantined: int
    deduplicated: int
    """Dropped as exact or near duplicates, those near a test row included."""
    train: int
    validation: int
    test: int
    traffic: TrafficCounts | None = None
    """What came on top of them out of the traffic: in none of the numbers above."""


class Dataset(Record):
    """Rows as prepared: a folder of Parquet files, token ids and the label map."""

    project: str
    version: str
    """SHA-256 over the manifest of the prepared folder."""
    path: str
    rows: RowCounts
    labels: tuple[str, ...]
    lock: str
    """Text of the ``dvc.lock`` that restores it."""


class Candidate(Record):
    """A tuned model that nobody has judged yet."""

    run_key: str
    digest: str
    """SHA-256 over the bundle's manifest."""
    mlflow_run: str
    model_version: int
    method: str
    seconds: float


class Verdict(Record):
    """What the gate decided, with its numbers and its reasons in words."""

    decision: Decision
    reasons: tuple[str, ...]
    gain: float | None = None
    """Challenger − opponent in the primary metric, a share."""
    interval: tuple[float, float] | None = None
    """Confidence interval of ``gain``."""
    opponent: str | None = None
    """``champion`` or the name of the baseline."""
    judged_on: str = "test"
    """Where the gain had to be shown: ``test``, or ``traffic`` where there were labels enough."""
    alpha: float | None = None
    """Error probability spent on this look."""
    more_rows: int | None = None
    """Test rows to add so that the next look would probably decide, where the evidence was not enough."""
    checks: dict[str, bool] = Field(default_factory=dict)
    """Every test that was made, by name, and whether it passed."""


class Release(Record):
    """A generation of a project: which model version answers, and who let it."""

    project: str
    generation: int
    model_version: int
    digest: str
    run_key: str
    kind: str
    """``promote`` or ``rollback``."""
    approved_by: str
    traffic_share: float = 1.0
    created: datetime
    reason: str = ""
    """What the person said why; empty where the gate decided, whose reasons are the run's verdict."""


class Outcome(Record):
    """How a run ended: what ``evertune run --json`` prints."""

    run_key: str
    project: str
    data_version: str | None = None
    rows: RowCounts | None = None
    notes: tuple[str, ...] = ()
    """What the validation found that stops nothing and somebody should look at."""
    method: str
    metrics: Scores | None = None
    baseline: dict[str, Scores] = Field(default_factory=dict)
    champion: Scores | None = None
    recent: Recent | None = None
    """Both models on recent labelled traffic, where there was some to judge on."""
    verdict: Verdict | None = None
    release: Release | None = None
    """The release that answers after the run; ``None`` where there is none."""
    model_version: int | None = None
    """The candidate's version in MLflow's registry."""
    seconds: dict[str, float] = Field(default_factory=dict)
    """Step → seconds it took."""
    pictures: tuple[str, ...] = ()
    awaiting_approval: bool = False
