"""The few calls of Airflow's REST API that the demo, the benchmarks and the tests need."""

from __future__ import annotations

import time
from typing import Any

import httpx

from evertune.records import EvertuneError, UnreachableError

RUNNING = {"queued", "running"}
ATTEMPTS = 5


class Airflow:
    """A logged-in client. Times out rather than hangs; raises :class:`UnreachableError` with the address."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=30)
        token = self._call("POST", "/auth/token", json={"username": user, "password": password})["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def _call(self, method: str, path: str, **options: Any) -> Any:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = self._client.request(method, path, **options)
                break
            except httpx.HTTPError as fault:  # a machine at its limit answers late; only reading is safe to repeat
                if method != "GET" or attempt == ATTEMPTS:
                    told = f"Airflow at {self.url} does not answer ({fault}). Is it up? `make up`"
                    raise UnreachableError(told) from fault
        if answer.is_error:
            raise EvertuneError(f"Airflow refused {method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json()

    def await_dag(self, dag_id: str, seconds: float = 120) -> None:
        """Wait until the DAG processor has found the DAG."""
        deadline = time.monotonic() + seconds
        while True:
            answer = self._client.get(f"/api/v2/dags/{dag_id}")
            if answer.status_code == httpx.codes.OK:
                return
            if time.monotonic() > deadline:
                errors = self._call("GET", "/api/v2/importErrors")["import_errors"]
                told = "\n".join(f"{error['filename']}: {error['stack_trace']}" for error in errors)
                raise EvertuneError(f"Airflow has no DAG {dag_id} after {seconds:.0f} s. {told}")
            time.sleep(0.5)

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Start a run by hand, then let the DAG's schedule work too; returns the DAG run's id.

        In this order, so that the run by hand is the first in the queue.
        """
        body = {"logical_date": None, "conf": conf}
        run_id = str(self._call("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])
        self._call("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": False})
        return run_id

    def runs(self, dag_id: str, limit: int = 20) -> list[dict[str, Any]]:
        """The latest runs, newest first, with ``dag_run_id``, ``run_type``, ``state``, ``start_date``."""
        query = {"order_by": "-run_after", "limit": limit}
        found: list[dict[str, Any]] = self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns", params=query)["dag_runs"]
        return found

    def run_state(self, dag_id: str, run_id: str) -> str:
        """``queued``, ``running``, ``success`` or ``failed``."""
        return str(self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def tasks(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Task id → its instance, with ``state``, ``start_date``, ``duration``, ``try_number``."""
        found = self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return {instance["task_id"]: instance for instance in found}

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> str:
        """A task's log as text."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        content = self._call("GET", path, params={"full_content": "true"})["content"]
        return "\n".join(line if isinstance(line, str) else str(line.get("event", "")) for line in content)
