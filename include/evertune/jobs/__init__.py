"""Jobs: work that outlives whoever asked for it, is done once, and is taken up again where it stopped.

A job is a folder named by its key::

    job.json        the payload          lock            held by the worker as long as it lives
    log.txt         what it printed      progress.json   how far it is
    result.json     or fault.json        cancel          made by whoever wants it to stop

A long training must not hang on an Airflow task that the scheduler may kill or start twice. So the worker is a process
of its own, in a session of its own, with its output in a file (an inherited pipe would hold the task). Who works is
told by one thing only, a ``flock``: the kernel frees it when the process ends, however that ends, so there are no pids,
ports or heartbeats that could lie.

The starter takes the lock *before* it starts the worker and hands the open file over, so that the lock is never free in
between: eight rivals that meet here start one worker, although that imports torch for ten seconds before it does
anything. Starter, worker, or both may be killed at any line. The next :func:`attach` finds a result, a living worker,
or a free lock, and then starts a worker that resumes.
"""

from __future__ import annotations

from evertune.jobs.attachment import attach
from evertune.jobs.folder import CancelledError, cancel, cancelled, discard, hand_over, progress, remove, report
from evertune.jobs.work import BUSY, worker

__all__ = [
    "BUSY",
    "CancelledError",
    "attach",
    "cancel",
    "cancelled",
    "discard",
    "hand_over",
    "progress",
    "remove",
    "report",
    "worker",
]
