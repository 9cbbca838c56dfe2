"""Where the embedded installation keeps its things: ports, secrets, and the environment of its processes."""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from evertune import files
from evertune.settings import Settings, load
from scripts import ports

ROOT = Path(__file__).resolve().parent.parent
USER = "admin"
MARK = "EVERTUNE_EMBEDDED"
"""Environment variable of every process of an installation; its value is the home."""


@dataclass(frozen=True)
class Embedded:
    """Where the embedded installation keeps its things, and the ports and secrets that it was given."""

    settings: Settings
    airflow_port: int
    mlflow_port: int
    serving_port: int
    evidently_port: int
    password: str
    fernet_key: str
    jwt_secret: str
    api_secret: str
    mlflow_secret: str

    @property
    def airflow_url(self) -> str:
        """Address of Airflow's web UI and REST API."""
        return f"http://127.0.0.1:{self.airflow_port}"

    @property
    def mlflow_url(self) -> str:
        """Address of MLflow's web UI and REST API."""
        return f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def serving_url(self) -> str:
        """Address of the server that answers."""
        return f"http://127.0.0.1:{self.serving_port}"

    @property
    def evidently_url(self) -> str:
        """Address of Evidently's web UI: the reports of traffic."""
        return f"http://127.0.0.1:{self.evidently_port}"

    @property
    def folder(self) -> Path:
        """Folder of process records, secrets and logs."""
        return self.settings.home / "embedded"

    def listeners(self) -> dict[str, int]:
        """The port of each component that listens on one."""
        return {name: getattr(self, port) for name, port in ports.SERVERS.items()}

    def environment(self) -> dict[str, str]:
        """The environment of every process of the installation."""
        home = self.settings.home
        binaries = str(Path(sys.executable).parent)
        airflow = {
            "CORE__DAGS_FOLDER": ROOT / "dags",
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": "4",
            "CORE__FERNET_KEY": self.fernet_key,
            "CORE__EXECUTION_API_SERVER_URL": f"{self.airflow_url}/execution/",
            "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": self.folder / "airflow-passwords.json",
            "API_AUTH__JWT_SECRET": self.jwt_secret,
            "API__SECRET_KEY": self.api_secret,
            "API__HOST": "127.0.0.1",
            "API__PORT": str(self.airflow_port),
            "API__BASE_URL": self.airflow_url,
            "API__WORKERS": "1",
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow/airflow.db",
            "LOGGING__BASE_LOG_FOLDER": home / "airflow" / "logs",
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
            "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "DAG_PROCESSOR__REFRESH_INTERVAL": "30",
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",
            "USAGE_DATA_COLLECTION__ENABLED": "False",
        }
        return {
            **os.environ,
            **{f"AIRFLOW__{name}": str(value) for name, value in airflow.items()},
            "AIRFLOW_HOME": str(home / "airflow"),
            "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONUNBUFFERED": "1",
            "EVERTUNE_HOME": str(home),
            MARK: str(home),
            "EVERTUNE_PROJECTS": str(self.settings.projects),
            "EVERTUNE_MLFLOW_URI": self.mlflow_url,
            "EVERTUNE_MLFLOW_UI": self.mlflow_url,
            "EVERTUNE_EVIDENTLY_UI": self.evidently_url,
            "MLFLOW_TRACKING_USERNAME": USER,
            "MLFLOW_TRACKING_PASSWORD": self.password,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": self.mlflow_secret,
            "MLFLOW_AUTH_CONFIG_PATH": str(self.folder / "mlflow-auth.ini"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "DO_NOT_TRACK": "1",
            "DVC_NO_ANALYTICS": "1",
        }


def installation(settings: Settings | None = None, *, idle: bool = False) -> Embedded:
    """The installation of this home: as it was made the first time.

    Where nothing of it runs (``idle``), its ports are chosen anew: those from before, but for what the environment says
    now, and for those that somebody else has taken meanwhile, such as the installation of another clone.
    """
    settings = settings or load()
    path = settings.home / "embedded" / "installation.json"
    known: dict[str, str | int] = files.read_json(path) if path.exists() else {}
    values = {**_secrets(), **known}
    recorded = {name: int(known[name]) for name in ports.USUAL if name in known}
    values |= ports.choose([name for name in ports.USUAL if idle or name not in recorded], recorded)
    if values != known:
        files.write_json(path, values)
        path.chmod(0o600)
        path.parent.chmod(0o700)
    return Embedded(settings=settings, **values)  # type: ignore[arg-type]  # one dict for two types of value


def _secrets() -> dict[str, str | int]:
    """New ones, for an installation that has none, or not yet all of them after an upgrade."""
    from cryptography.fernet import Fernet

    sizes = {"password": 12, "jwt_secret": 48, "api_secret": 32, "mlflow_secret": 32}
    made = {name: secrets.token_urlsafe(size) for name, size in sizes.items()}
    return {**made, "fernet_key": Fernet.generate_key().decode()}
