"""The assets that DAGs hand to each other, defined once."""

from airflow.sdk import Asset


def drift_alert(slug: str) -> Asset:
    """Says that a project's traffic has drifted. It only wakes `retrain__<slug>`: what to do is in the ledger."""
    return Asset(name=f"drift_alert__{slug}", uri=f"evertune://drift-alert/{slug}", group="evertune")


def champion(slug: str) -> Asset:
    """Says that a new release of a project answers from now on."""
    return Asset(name=f"champion__{slug}", uri=f"evertune://champion/{slug}", group="evertune")
