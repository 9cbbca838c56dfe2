"""How busy the machine is, under the names that MLflow's System metrics tab shows."""

from __future__ import annotations

import shutil
import subprocess

_QUERY = "--query-gpu=index,utilization.gpu,memory.used,memory.total"


def system_metrics() -> dict[str, float]:
    """Processor, memory and, where there is one, GPU: percent and megabytes, of the whole machine."""
    import psutil

    memory = psutil.virtual_memory()
    values = {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": memory.used / 1e6,
        "system_memory_usage_percentage": memory.percent,
        **_gpus(),
    }
    return {f"system/{name}": value for name, value in values.items()}


def _gpus() -> dict[str, float]:
    """Asked of ``nvidia-smi``, because a training that holds a GPU must not wait for its driver in its own process."""
    if shutil.which("nvidia-smi") is None:
        return {}
    command = ["nvidia-smi", _QUERY, "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.splitlines()
        rows = [[float(value) for value in line.split(",")] for line in lines]
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}
    values = {}
    for index, busy, used, total in rows:
        values[f"gpu_{index:.0f}_utilization_percentage"] = busy
        values[f"gpu_{index:.0f}_memory_usage_megabytes"] = used * 1.048576
        values[f"gpu_{index:.0f}_memory_usage_percentage"] = 100 * used / total
    return values
