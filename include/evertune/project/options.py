"""A project file's top block, and all other blocks by name: one class a block, a docstring under every field.

``docs/reference/project-file.md`` and ``evertune schema`` are made from these classes, so a docstring here is what a
user reads there.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from evertune.project.across import across
from evertune.project.block import SHA256, SLUG, Options, Share
from evertune.project.data_options import Columns, CustomPattern, Cut, Data, Group, LabelRule, Redaction
from evertune.project.forms import unfit
from evertune.project.model_options import (
    Base,
    EvaluationOptions,
    Gate,
    Guard,
    Lora,
    Method,
    Metric,
    Precision,
    Schedule,
    Tuning,
)
from evertune.project.monitoring_options import (
    Monitoring,
    Notice,
    Notifications,
    Policy,
    QuietHours,
    Retraining,
    Signals,
    Webhook,
    WindowOptions,
)
from evertune.project.row_options import Expectation, Preparation, Split, Validation
from evertune.project.serving_options import Int8, LogUnavailable, Serving
from evertune.project.slugs import LONGEST
from evertune.project.source_options import Format, Quoting, Source

__all__ = [
    "SCHEMA_VERSION",
    "SHA256",
    "SLUG",
    "Base",
    "Columns",
    "CustomPattern",
    "Cut",
    "Data",
    "EvaluationOptions",
    "Expectation",
    "Format",
    "Gate",
    "Group",
    "Guard",
    "Int8",
    "LabelRule",
    "LogUnavailable",
    "Lora",
    "Method",
    "Metric",
    "Monitoring",
    "Notice",
    "Notifications",
    "Options",
    "Policy",
    "Precision",
    "Preparation",
    "Project",
    "QuietHours",
    "Quoting",
    "Redaction",
    "Retraining",
    "Schedule",
    "Serving",
    "Share",
    "Signals",
    "Source",
    "Split",
    "Tuning",
    "Validation",
    "Webhook",
    "WindowOptions",
]

SCHEMA_VERSION = 1


class Project(Options):
    """A project file: what to learn, from where, how, and when it may go live."""

    schema_version: Literal[1]
    """Version of this format."""
    slug: Annotated[str, Field(pattern=SLUG, max_length=LONGEST)]
    """Name of the project, in lower-case letters, digits and hyphens. It never changes: all history hangs on it."""
    owner: Annotated[str, Field(min_length=1, max_length=500, examples=["team@example.org"])]
    """Who is asked when something is wrong."""
    description: str = ""
    """One sentence for people."""
    task: Literal["sequence-classification"] = "sequence-classification"
    """What the model does."""
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$")] = "en"
    """Language of the texts, as BCP 47 names it."""
    data: Data
    """What to learn from."""
    validation: Validation = Validation()
    """What rows must be like."""
    preparation: Preparation = Preparation()
    """From valid rows to a dataset."""
    base: Base = Base()
    """The model that fine-tuning starts from."""
    tuning: Tuning = Tuning()
    """How to fine-tune."""
    evaluation: EvaluationOptions = EvaluationOptions()
    """What is measured."""
    gate: Gate = Gate()
    """When a challenger may go live."""
    schedule: Schedule = Schedule()
    """When the project is retrained by the clock."""
    serving: Serving = Serving()
    """How the server answers."""
    monitoring: Monitoring = Monitoring()
    """How its traffic is watched."""
    retraining: Retraining = Retraining()
    """What is learned from labelled traffic."""
    notifications: Notifications = Notifications()
    """Who hears of it."""

    def with_method(self, method: Method) -> Project:
        """The same project tuned by another method: what a run's own choice makes of the file's."""
        return self.model_copy(update={"tuning": self.tuning.with_method(method)})

    @model_validator(mode="after")
    def _names_columns_that_are_there(self) -> Project:
        found = list(across(self.model_dump(mode="json")))
        if found:
            raise ValidationError.from_exception_data(
                "Project",
                [
                    {"type": unfit(message, known), "loc": place, "input": given}
                    for place, given, message, known in found
                ],
            )
        return self
