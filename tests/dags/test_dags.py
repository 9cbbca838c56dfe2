"""Every DAG is found, parses without anything heavy, and runs for real."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests import quick
from tests.ledger.made import window
from tests.support import ROOT

from evertune.ledger import alerts, engine, events, releases, runs, triggers
from evertune.project.load import load_all
from evertune.records import Cause, Evidence
from evertune.settings import Settings, load

pytestmark = pytest.mark.integration

HEAVY = ("torch", "transformers", "peft", "mlflow", "great_expectations", "evidently", "pandas", "dvc")
DAG_FILES = {"monitor.py": "monitor__", "retrain.py": "retrain__", "release.py": "release__", "score.py": "score__"}
TEMPLATE = "{{ 7*7 }} ok {% if %}"


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, registry: Path, airflow_db: Path) -> Iterator[dict[str, str]]:
    """The environment of an Airflow with a database of its own, one small project and one that is none."""
    root = tmp_path_factory.mktemp("airflow")
    where = quick.home(root, registry)
    quick.write(where, slug="small-reviews")
    (where.projects / "broken.yaml").write_text(f"schema_version: 1\nslug: broken\ntask: '{TEMPLATE}'\n")
    yield quick.airflow(where, airflow_db)
    shutil.rmtree(root, ignore_errors=True)


def _python(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return done.stdout


def _run(environment: dict[str, str], dag_id: str, conf: dict[str, object]) -> dict[str, str]:
    return _told(environment, dag_id, conf)[0]


def _told(environment: dict[str, str], dag_id: str, conf: dict[str, object]) -> tuple[dict[str, str], str]:
    """The states of the DAG run and its tasks, and all that was printed."""
    printed = _python(environment, str(Path(__file__).parent / "run_dag.py"), dag_id, json.dumps(conf))
    line = next(line for line in printed.splitlines() if line.startswith("STATES "))
    states: dict[str, str] = json.loads(line.removeprefix("STATES "))
    return states, printed


def test_every_dag_file_is_listed_here() -> None:
    assert {path.name for path in (ROOT / "dags").glob("*.py")} == set(DAG_FILES)


def test_parsing_finds_every_dag_and_imports_nothing_heavy(airflow: dict[str, str]) -> None:
    script = (
        "import json, sys\nfrom airflow.dag_processing.dagbag import DagBag\nbag = DagBag()\n"
        "print('FOUND ' + json.dumps({'dags': sorted(bag.dags), 'errors': bag.import_errors,"
        f" 'heavy': [m for m in {HEAVY} if m in sys.modules],"
        " 'files': sorted(stat.file.rpartition('/')[2] for stat in bag.dagbag_stats),"
        " 'docs': {i: d.doc_md for i, d in bag.dags.items()},"
        " 'tags': {i: sorted(d.tags) for i, d in bag.dags.items()}}))"
    )
    printed = _python(airflow, "-c", script)
    found = json.loads(next(line for line in printed.splitlines() if line.startswith("FOUND ")).removeprefix("FOUND "))
    assert found["errors"] == {}
    kinds = ("monitor", "release", "retrain", "score")
    assert found["dags"] == sorted(f"{kind}__{slug}" for kind in kinds for slug in ("small-reviews", "broken"))
    assert found["heavy"] == []
    assert found["files"] == sorted(DAG_FILES)
    assert all(found["docs"].values())
    assert {tuple(found["tags"][f"{kind}__broken"]) for kind in kinds} == {("broken", "evertune", "invalid")}
    assert [kind for kind in kinds if "is not valid" in found["docs"][f"{kind}__broken"]] == [
        "monitor", "retrain", "score"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "first", "last"),
    [("retrain", "claim", "promote"), ("monitor", "window", "wake"), ("score", "score", "score")],
)
def test_the_dag_of_a_broken_file_tells_the_fault_in_the_words_of_the_file(
    airflow: dict[str, str], kind: str, first: str, last: str
) -> None:
    states, printed = _told(airflow, f"{kind}__broken", {"source": "a.csv", "sink": "b.parquet"})
    assert (states["run"], states[first]) == ("failed", "failed")
    assert states[last] == ("failed" if first == last else "upstream_failed")
    assert states.get("notify", "success") == "success"  # nobody can be told, which ends nothing
    _, faults = load_all(load(airflow))
    assert any(TEMPLATE in str(fault) for fault in faults)
    assert "\n".join(map(str, faults)) in printed


def test_a_monitor_without_traffic_wakes_nobody(airflow: dict[str, str]) -> None:
    states = _run(airflow, "monitor__small-reviews", {})
    assert states == {"run": "success", "window": "success", "report": "success", "decide": "success",
                      "wake": "skipped", "notify": "success"}  # fmt: skip


def test_the_button_of_the_task_leads_to_the_newest_report(airflow: dict[str, str], tmp_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from evertune_dags import buttons, tasks\n"
        "from evertune.loop import monitor\n"
        "pushed = {}\n"
        "class Task:\n"
        "    task_id = 'report'\n"
        "    def xcom_push(self, key, value): pushed[key] = value\n"
        "    def xcom_pull(self, task_ids, key): return pushed.get(key) if task_ids == 'report' else None\n"
        "def fail(*_): raise RuntimeError('no window after the second can be tested')\n"
        "monitor.report = lambda *_: []\n"
        "tasks.get_current_context = lambda: {'ti': Task()}\n"
        "print('LINK', buttons.DriftReport().get_link(None, ti_key=Task()) or 'none')\n"
        "pushed.clear(); tasks.check_windows('small-reviews')\n"
        "print('LINK', buttons.DriftReport().get_link(None, ti_key=Task()))\n"
        "pushed.clear(); monitor.report = fail\n"
        "try: tasks.check_windows('small-reviews')\n"
        "except Exception as fault: print('LINK', pushed['report'], fault)\n"
        "import monitor as dag\n"
        "task = dag.build('small-reviews', '', '', []).get_task('report')\n"
        "print('BUTTON', [type(one).__name__ for one in task.operator_extra_links])\n"
    )
    apart = {**airflow, "EVERTUNE_HOME": str(tmp_path)}
    ledger = engine.ready(load(apart).database_url)
    for number, report in enumerate(("http://evidently/1", "http://evidently/2", ""), 1):
        about = window(ledger, number, project="small-reviews")
        alerts.record(ledger, about, (), Evidence(), (), report=report)
    printed = _python(apart, "-c", script, str(ROOT / "dags")).splitlines()
    assert [line for line in printed if line.startswith(("LINK", "BUTTON"))] == [
        "LINK none", "LINK http://evidently/2",
        "LINK http://evidently/2 RuntimeError: no window after the second can be tested", "BUTTON ['DriftReport']",
    ]  # fmt: skip


def test_a_task_that_failed_before_it_had_a_run_is_told_of(airflow: dict[str, str]) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from evertune_dags import notices\n"
        "class Run: dag_id, run_id = 'retrain__small-reviews', 'manual__1'\n"
        "class Task: task_id = 'claim'\n"
        "for slug in ('small-reviews', 'broken', 'small-reviews'):\n"
        "    notices.FailedTask(slug)({'dag_run': Run, 'ti': Task, 'dag': None})\n"
    )
    _python(airflow, "-c", script, str(ROOT / "dags"))
    (event,) = events.after(engine.ready(load(airflow).database_url), "small-reviews", 0, limit=1)
    assert (event.kind, event.payload["task"]) == (events.Kind.FAILED, "claim")


def test_a_notifier_of_the_teams_own_hears_of_each_event_once(airflow: dict[str, str]) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from evertune_dags import notices\n"
        "from airflow.sdk import BaseNotifier\n"
        "from evertune.ledger import engine, events\n"
        "from evertune.settings import load\n"
        "class Shout(BaseNotifier):\n"
        "    template_fields = ('text',)\n"
        "    def __init__(self, text):\n        super().__init__()\n        self.text = text\n"
        "    def notify(self, context): print('SHOUT', self.text)\n"
        "with engine.writing(engine.ready(load().database_url)) as session:\n"
        "    for kind, about in (('alert', 'one'), ('failed', 'other'), ('alert', 'two')):\n"
        "        events.append(session, 'small-reviews', events.Kind(kind), {'alert': about})\n"
        "told = notices.ProjectEvents('small-reviews', Shout('{{ event.type }} {{ event.subject }}'), ['alert'])\n"
        "told({'dag': None}); told({'dag': None})\n"
    )
    printed = _python(airflow, "-c", script, str(ROOT / "dags")).splitlines()
    assert [line for line in printed if line.startswith("SHOUT")] == [
        "SHOUT evertune.alert one", "SHOUT evertune.alert two"
    ]  # fmt: skip


def test_a_drift_alert_wakes_the_retrain_and_the_retrain_claims_it(airflow: dict[str, str]) -> None:
    """All by Airflow but the traffic: the alert and its request are in the ledger, as the policy leaves them."""
    where = load(airflow)
    ledger = engine.ready(where.database_url)
    triggers.request(ledger, "small-reviews", Cause.ALERT, "drift-0-1", "drift in window 1", 0)
    states = _run(airflow, "monitor__small-reviews", {})
    assert (states["wake"], states["run"]) == ("success", "success")
    asked = (
        "from airflow.utils.session import create_session\n"
        "from airflow.models.asset import AssetEvent, AssetModel\n"
        "with create_session() as session:\n"
        "    names = session.query(AssetModel.name).join(AssetEvent, AssetEvent.asset_id == AssetModel.id)\n"
        "    print('EVENTS', sorted(name for name, in names))\n"
    )
    assert "EVENTS ['drift_alert__small-reviews']" in _python(airflow, "-c", asked)

    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from evertune_dags import tasks\n"
        "class Run: run_type, dag_id, run_id = 'asset_triggered', 'retrain__small-reviews', 'asset__1'\n"
        "told = {'dag_run': Run, 'triggering_asset_events': {},"
        " 'params': {'method': tasks.AS_IN_FILE, 'reason': '', 'force': False}}\n"
        "tasks.get_current_context = lambda: told\n"
        "print('CLAIMED', tasks.claim('small-reviews'))\n"
    )
    claimed = _python(airflow, "-c", script, str(ROOT / "dags"))
    key = next(line for line in claimed.splitlines() if line.startswith("CLAIMED ")).removeprefix("CLAIMED ")
    run = runs.get(ledger, key)
    assert run is not None
    assert run.reasons == ("drift in window 1",)
    assert triggers.pending(ledger, "small-reviews") == []
    assert _run(airflow, "monitor__small-reviews", {})["wake"] == "skipped"  # somebody works on it
    runs.fail(ledger, run, "the test is over")
    with engine.writing(ledger) as session:
        triggers.close_outdated(session, "small-reviews", 1, engine.clock(session))


def test_a_retrain_that_is_woken_for_nothing_trains_nothing(airflow: dict[str, str]) -> None:
    """As by a drift alert that came twice; what it is about is in the ledger, or there is nothing."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from evertune_dags import tasks\n"
        "class Run: run_type = 'asset_triggered'\n"
        "class Event:\n    def __init__(self, extra): self.extra = extra\n"
        "told = lambda *extra: tasks._cause({'dag_run': Run, 'triggering_asset_events': {0: map(Event, extra)}})\n"
        "print('CAUSES', told({}), told(None), told({}, {'from_rest_api': True}))"
    )
    assert "CAUSES alert alert person" in _python(airflow, "-c", script, str(ROOT / "dags"))


def test_a_project_is_trained_promoted_left_unchanged_and_rolled_back(airflow: dict[str, str]) -> None:
    where: Settings = load(airflow)
    first = _run(airflow, "retrain__small-reviews", {"reason": "the first"})
    assert set(first.values()) == {"success"}, first
    ledger = engine.ready(where.database_url)
    release = releases.current(ledger, "small-reviews")
    assert release is not None
    assert release.generation == 1

    second = _run(airflow, "retrain__small-reviews", {"reason": "nothing new"})
    assert second["claim"] == "skipped"
    assert second["tune"] == "skipped"
    assert runs.history(ledger, "small-reviews", limit=1)[0].decision == "unchanged"

    forced = _run(airflow, "retrain__small-reviews", {"force": True, "method": "lora"})
    assert forced["judge"] == "success"
    decision = runs.history(ledger, "small-reviews", limit=1)[0].decision
    assert forced["promote"] == ("success" if decision == "promote" else "skipped")
    by_hand = _run(airflow, "release__small-reviews", {"action": "promote", "model_version": 2})
    assert by_hand["release"] == "success"
    back = _run(airflow, "release__small-reviews", {"action": "rollback"})
    assert back["release"] == "success"
    now = releases.current(ledger, "small-reviews")
    assert now is not None
    assert (now.generation, now.model_version, now.kind) == (3, 1, "rollback")

    texts = pa.table({"text": ["It works well.", None, "It broke at once."]})
    pq.write_table(texts, source := where.home / "texts.parquet")
    form: dict[str, object] = {"source": str(source), "sink": str(where.home / "scored.parquet"), "column": "text"}
    assert _run(airflow, "score__small-reviews", form)["score"] == "success"
    scored = pq.read_table(where.home / "scored.parquet").to_pylist()
    assert [row["text"] for row in scored] == texts["text"].to_pylist()
    assert [row["label"] is None for row in scored] == [False, True, False]
    assert {row["generation"] for row in scored} == {3}


def test_every_project_file_of_the_repository_is_valid() -> None:
    projects, faults = load_all(load({"EVERTUNE_PROJECTS": str(ROOT / "projects")}))
    assert faults == []
    assert set(projects) == {path.stem for path in (ROOT / "projects").glob("*.yaml")}
