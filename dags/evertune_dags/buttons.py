"""Buttons of tasks in Airflow's web interface: each leads to an address that the task has pushed."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperatorLink


class DataDocs(BaseOperatorLink):  # type: ignore[misc]  # Airflow's classes are not typed for mypy here
    """Button of the task `validate`: Great Expectations' page on the rows of this run."""

    name = "Data Docs"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's interface
        """What the task pushed; empty where it was cut off before."""
        return str(ti_key.xcom_pull(task_ids=ti_key.task_id, key="data_docs") or "")


class DriftReport(BaseOperatorLink):  # type: ignore[misc]  # Airflow's classes are not typed for mypy here
    """Button of the task `report`: Evidently's page on the newest window that was tested."""

    name = "Drift report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's interface
        """What the task pushed; empty where there is no report yet."""
        return str(ti_key.xcom_pull(task_ids=ti_key.task_id, key="report") or "")
