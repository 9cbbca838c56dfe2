"""Who is told how a DAG run went: a last task that posts what the ledger knows, and notifiers of Airflow.

A team's own notifier (Slack, SMTP, PagerDuty, …) hears of a project's events through :class:`ProjectEvents`.

The task is a teardown, so that it runs however the others ended and never turns a failed DAG run into a good one, nor a
good one into a failed.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseNotifier, task

from evertune import settings
from evertune.records import UnfitError

log = logging.getLogger("evertune")


class FailedTask(BaseNotifier):  # type: ignore[misc]  # Airflow's classes are not typed for mypy here
    """Records in the ledger that a task failed for good, where the task could not itself, and tells the webhooks.

    A task that is killed, or fails before it has a run, leaves no trace in the ledger otherwise.
    """

    def __init__(self, slug: str) -> None:
        super().__init__()
        self.slug = slug

    def notify(self, context: Any) -> None:
        """Airflow's call; a fault here is logged, and the task has failed either way."""
        from evertune.loop import notify

        run, where = context["dag_run"], settings.load()
        try:
            notify.failed(
                self.slug, where, owner=f"airflow:{run.dag_id}:{run.run_id}", dag=run.dag_id,
                task=context["ti"].task_id, message=str(context.get("exception") or "The task was ended."),
            )  # fmt: skip
            notices(self.slug)
        except Exception:
            log.exception("what failed could not be told")


class ProjectEvents(BaseNotifier):  # type: ignore[misc]  # see above
    """Passes a project's events on to a notifier of the team's own: each once, in their order, whichever DAG caused it.

    Attach it wherever Airflow takes a callback, on success and on failure, in these DAGs or in one of the team's own
    that `champion__<project>` starts. The templates of the notifier see the event as `event`, a CloudEvent::

        ProjectEvents("tickets", SlackNotifier(text="{{ event.type }}: {{ event.subject }}"), ["alert", "release"])

    A DAG in another bundle finds this after ``sys.path.append`` of the folder of evertune's.

    ``events`` are of the kinds that `notifications.webhooks` takes. Two notifiers of one class need a ``name`` each.
    """

    def __init__(self, slug: str, notifier: BaseNotifier, events: Sequence[str] = (), name: str = "") -> None:
        super().__init__()
        self.slug, self.notifier, self.events = slug, notifier, tuple(events)
        self.name = name or type(notifier).__name__

    def notify(self, context: Any) -> None:
        """Airflow's call; what a notifier does not take is tried again at the next one."""
        from evertune.loop import notify_others
        from evertune.project.monitoring_options import Notice

        def give(event: dict[str, Any]) -> None:
            one = copy.copy(self.notifier)  # rendering overwrites the templates
            about = {**context, "event": event}
            one.render_template_fields(about)
            one.notify(about)  # not called as Airflow calls it: that hides what fails

        kinds = [Notice(kind) for kind in self.events] or list(Notice)
        notify_others.pass_on(self.slug, settings.load(), self.name, kinds, give)


def notices(slug: str) -> None:
    """Tell the project's webhooks what they do not know yet. Fails for nothing: the next DAG run tries again."""
    from evertune.loop import notify
    from evertune.project.load import find, load

    where = settings.load()
    try:
        project = load(find(slug, where))
    except UnfitError as fault:
        log.warning("Nobody is told until the project file is mended, which says whom to tell:\n%s", fault)
        return
    notify.tell(project, where)


def last(slug: str) -> Any:
    """The DAG's last task."""
    told = task(task_id="notify", retries=0)(notices)(slug)
    return told.as_teardown(on_failure_fail_dagrun=False)
