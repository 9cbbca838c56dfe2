"""The embedded installation: Airflow, MLflow, Evidently and the server on this machine, on loopback, stores in files.

`make up` and `make down` end here. The components are started one by one rather than by `airflow standalone`, because
that serves task logs on every interface and leaves orphans when it is ended by SIGTERM. What was started is written
down with when it began, so that `down` ends those processes and no other that got the same number later.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
from rich.console import Console

from evertune import files
from evertune.cli.output import complain
from evertune.records import EvertuneError
from evertune.settings import load
from scripts import health, ports, processes
from scripts.installation import USER, Embedded, installation

STOP_S = 20.0

console = Console(stderr=True)


def _commands(embedded: Embedded) -> dict[str, list[str]]:
    python, home = sys.executable, embedded.settings.home
    airflow = [python, "-m", "airflow"]
    return {
        "mlflow": [
            python, "-m", "mlflow", "server", "--app-name", "basic-auth", "--host", "127.0.0.1",
            "--port", str(embedded.mlflow_port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{home}/mlflow/mlflow.db",
            "--default-artifact-root", f"{home}/mlflow/artifacts", "--no-serve-artifacts",
        ],
        "airflow-api-server": [
            *airflow, "api-server", "--host", "127.0.0.1", "--port", str(embedded.airflow_port), "--workers", "1",
        ],
        "airflow-scheduler": [*airflow, "scheduler", "--skip-serve-logs"],
        "airflow-dag-processor": [*airflow, "dag-processor"],
        "airflow-triggerer": [*airflow, "triggerer", "--skip-serve-logs"],
        "evidently": [
            python, "-m", "evertune.monitoring.interface", f"{home}/evidently", "--port", str(embedded.evidently_port),
        ],
        "evertune-serve": [
            python, "-m", "evertune.cli.main", "serve", "--port", str(embedded.serving_port), "--segment", "10",
        ],
    }  # fmt: skip


def up() -> Embedded:
    """Start what does not run yet, wait until it answers, and return where it is."""
    with _alone():
        embedded = installation()
        with files.lock(embedded.folder / "lock", wait=True):
            started, wanted = processes.records(embedded), _commands(embedded)
            missing = [name for name in wanted if name not in started or not processes.alive(started[name])]
            if len(missing) == len(wanted):
                embedded = _on_free_ports(embedded)
            for name, port in embedded.listeners().items():
                ports.check(name, port, runs=name not in missing)
            if missing:
                _prepare(embedded)
                for name in missing:
                    _start(embedded, name)
        with console.status("Waiting until all of it answers …"):
            health.await_all(embedded)
    return embedded


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One clone after the other: until something listens on a port that one has chosen, it looks free to all."""
    path = Path(tempfile.gettempdir()) / f"evertune-up-{os.getuid()}.lock"
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(files.lock(path))
        except files.BusyError:
            with console.status("Waiting for another clone that is starting …"):
                held.enter_context(files.lock(path, wait=True))
        yield


def _on_free_ports(before: Embedded) -> Embedded:
    now = installation(idle=True)
    for name, port in now.listeners().items():
        if (old := before.listeners()[name]) != port:
            console.print(f"{name} moves from port {old} to {port}.", highlight=False)
    return now


def _prepare(embedded: Embedded) -> None:
    home = embedded.settings.home
    for folder in (home / "airflow" / "logs", home / "mlflow" / "artifacts", embedded.folder / "logs"):
        folder.mkdir(parents=True, exist_ok=True)
    _write_secret(embedded.folder / "airflow-passwords.json", json.dumps({USER: embedded.password}))
    _write_secret(
        embedded.folder / "mlflow-auth.ini",
        "[mlflow]\ndefault_permission = NO_PERMISSIONS\n"
        f"database_uri = sqlite:///{home}/mlflow/auth.db\n"
        f"admin_username = {USER}\nadmin_password = {embedded.password}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
    )
    console.print("Preparing Airflow's database …")
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env=embedded.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise EvertuneError(f"`airflow db migrate` failed:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
    at_once = max(1, embedded.settings.gpus)  # without a GPU one trains on the CPU; in a pool of none nobody ever would
    subprocess.run(
        [sys.executable, "-m", "airflow", "pools", "set", "gpu", str(at_once), "training jobs at once"],
        env=embedded.environment(), capture_output=True, check=True,
    )  # fmt: skip


def _write_secret(path: Path, text: str) -> None:
    files.write_text(path, text)
    path.chmod(0o600)


def _start(embedded: Embedded, name: str) -> None:
    console.print(f"Starting {name} …")
    log = embedded.folder / "logs" / f"{name}.log"
    with log.open("ab") as stream, _heeding_interrupts():
        child = subprocess.Popen(
            _commands(embedded)[name], env=embedded.environment(), cwd=embedded.settings.home,
            stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    records = processes.records(embedded)
    records[name] = processes.record(psutil.Process(child.pid))
    files.write_json(embedded.folder / "processes.json", records)


@contextlib.contextmanager
def _heeding_interrupts() -> Iterator[None]:
    """What is started here ends on SIGINT, by which :func:`down` ends it, also where this process ignores that signal.

    It does in the background of a script (`make up &`, `nohup`), and whoever ignores a signal hands that down.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: None)  # no handler outlives the start of another program
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def api_key(embedded: Embedded) -> str:
    """The key of the installation's own person, for every project; made the first time."""
    path = embedded.folder / "api-key"
    if not path.exists():
        from evertune.ledger import engine, keys

        _, secret = keys.create(
            engine.ready(embedded.settings.database_url),
            name="embedded", projects=["*"], scopes=["predict", "feedback", "admin"], by="make up", rate_per_s=10_000,
        )  # fmt: skip
        _write_secret(path, secret)
    return path.read_text("utf-8").strip()


def down() -> list[str]:
    """End the processes that :func:`up` started and that still run; return their names."""
    path = load().home / "embedded" / "installation.json"
    if not path.exists():
        return []
    embedded = installation()
    with files.lock(embedded.folder / "lock", wait=True):
        running = {
            name: one for name, record in processes.records(embedded).items() if (one := processes.alive(record))
        }
        for process in running.values():
            # The scheduler and the servers end their children on SIGINT; on SIGTERM some were left behind.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGINT)
        psutil.wait_procs(list(running.values()), timeout=STOP_S)
        while left := processes.offspring(embedded):  # a task that is ending may still start its training again
            processes.end(left)
        (embedded.folder / "processes.json").unlink(missing_ok=True)
    return list(running)


def _check_ports() -> int:
    """Print what listens; status 1 where anything of it can be reached from another machine."""
    found = processes.open_ports(installation())
    for name, address, port in found:
        print(f"{name:22} {address}:{port}")
    outside = [entry for entry in found if entry[1] not in ("127.0.0.1", "::1")]
    if outside or not found:
        print("reachable from other machines!" if outside else "nothing listens: is it up?", file=sys.stderr)
    return 1 if outside or not found else 0


def addresses(embedded: Embedded) -> list[tuple[str, str]]:
    """What a person opens, and with which login."""
    return [
        ("Airflow", embedded.airflow_url),
        ("MLflow", embedded.mlflow_url),
        ("login of both", f"{USER} / {embedded.password}"),
        ("Evidently", f"{embedded.evidently_url} (reports of traffic)"),
        ("server", f"{embedded.serving_url} (its page), {embedded.serving_url}/docs"),
        ("its API key", api_key(embedded)),
    ]


def main() -> int:
    """`python -m scripts.embedded up|down|ports`."""
    try:
        match sys.argv[1:]:
            case ["up"]:
                for what, where in addresses(up()):
                    print(f"{what:14} {where}")
            case ["down"]:
                ended = down()
                print(f"ended: {', '.join(ended)}" if ended else "nothing of evertune's was running")
            case ["ports"]:
                return _check_ports()
            case _:
                print("usage: python -m scripts.embedded up|down|ports", file=sys.stderr)
                return 2
    except EvertuneError as fault:
        complain(fault)
        return fault.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
