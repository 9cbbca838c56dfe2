"""Which faults of a task are worth another try, and when Airflow makes it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from evertune.records import EvertuneError, retry_helps

RETRIES: dict[str, Any] = {
    "retries": 3,
    "retry_delay": timedelta(seconds=15),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=10),
}
"""For tasks that reach a service or start a job. What no retry can mend fails at once: see :class:`translated`."""


class translated:  # noqa: N801 - reads as a statement
    """Errors that no retry can mend end the task for good; others are Airflow's to retry."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, fault: BaseException | None, trace: object) -> None:
        if not isinstance(fault, Exception) or isinstance(fault, AirflowException) or retry_helps(fault):
            return
        told = str(fault) if isinstance(fault, EvertuneError) else f"{type(fault).__name__}: {fault}"
        raise AirflowFailException(told) from fault
