"""What tests of the demo share."""

from __future__ import annotations

from typing import cast

import pytest
from scripts.airflow_api import Airflow
from scripts.demo.drift import Loop
from scripts.installation import ROOT, installation

from evertune.client import Client
from evertune.project.load import load
from evertune.settings import Settings


@pytest.fixture
def loop(warm: Settings) -> Loop:
    """The real project and traffic, a ledger in which nothing has happened, and nobody to ask."""
    project = load(ROOT / "projects" / "review-sentiment.yaml")
    nobody = cast(Airflow, None)  # the page asks the ledger and its own notes alone
    return Loop(installation(warm), nobody, project, Client("http://127.0.0.1:9", "key"))
