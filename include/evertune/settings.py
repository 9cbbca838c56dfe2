"""Where databases, stores and servers are: read from the environment, frozen for the process.

Everything that runs makes lies under ``EVERTUNE_HOME``. With nothing set, all of it is files below ``.evertune/``:
a laptop needs no server. The same code runs in production by these variables alone.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from evertune.records import EvertuneError


class Settings(BaseModel):
    """One field a variable: ``EVERTUNE_`` and the field's name in capitals."""

    model_config = ConfigDict(frozen=True)

    home: Path
    """Folder of everything generated at run time."""
    projects: Path
    """Folder of the project files, one YAML a model."""
    database_url: str
    """The ledger: a SQLAlchemy URL (``sqlite:///…`` or ``postgresql+psycopg2://…``)."""
    mlflow_uri: str
    """MLflow's tracking and registry URI."""
    mlflow_artifacts: str
    """Root of MLflow's artefacts where evertune makes the experiment: a folder or ``s3://…``."""
    remote: str
    """DVC's remote: a folder, ``s3://…`` or ``gs://…``."""
    python: str
    """Interpreter of the jobs and of DVC's stages; may be another than Airflow's."""
    mlflow_ui: str
    """Address under which people reach MLflow's web UI, for links; empty where there is none."""
    evidently_ui: str = ""
    """Address under which people reach Evidently's web UI, for links; empty where there is none."""
    gpus: int
    """How many jobs may hold a GPU of this machine at once."""
    lease_s: int
    """Seconds without a renewal after which a run may be taken over by another owner."""
    subject_salt: str = ""
    """Secret of the hashes that stand for subjects (people) in stored rows; with the same one, the same hash."""

    @property
    def runs(self) -> Path:
        """Folder of the runs' workspaces, one a run key."""
        return self.home / "runs"

    @property
    def cache(self) -> Path:
        """Downloads, converted base models and DVC's cache: may be deleted at any time when nothing runs."""
        return self.home / "cache"

    @property
    def jobs(self) -> Path:
        """Folder of the jobs, one a job key."""
        return self.home / "jobs"

    def environment(self) -> dict[str, str]:
        """The variables that give a subprocess these very settings."""
        return {f"EVERTUNE_{name.upper()}": str(value) for name, value in self.model_dump().items()}

    def not_started(self, fault: OSError) -> EvertuneError:
        """What to raise where a process of :attr:`python` could not be started."""
        return EvertuneError(
            f"{self.python} cannot be started ({fault.strerror}). Set EVERTUNE_PYTHON to a Python that has evertune."
        )

    def public(self) -> dict[str, str]:
        """The settings as text without passwords, for people and logs."""
        shown = self.model_dump(exclude={"subject_salt"})
        return {name: masked(str(value)) for name, value in shown.items()}


_NOT_IN_ADDRESSES = frozenset("?#%")
"""What SQLAlchemy, MLflow, Airflow and DVC each read in a way of its own in ``sqlite:///<home>/…``."""
_PASSWORDS = (re.compile(r"(//[^/:@\s]*):[^/@\s]*@"), re.compile(r"(//[^/:@\s]*):[^?\s]*@"))
"""The second finds one with ``/`` or ``@`` in it. It takes a path with an ``@`` for one too: better too much hidden."""
_SECRET_PARAMETER = re.compile(
    r"([?&;][\w.-]*(?:pass|pwd|secret|token|key|sig|credential|auth|code)[\w.-]*=)[^&;#\s]*", re.IGNORECASE
)


def masked(address: str) -> str:
    """The address without what is secret in it: a password, or a parameter that is named like one."""
    for password in _PASSWORDS:
        address = password.sub(r"\1:***@", address)
    return _SECRET_PARAMETER.sub(r"\1***", address)


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings of this process; ``environment`` stands in for :data:`os.environ` in tests.

    Every process of evertune's begins with it, before any library that keeps files of its own is imported. So it is
    here that those are told to keep them below the home, and by inheritance the process's children. What a person has
    set stays.
    """
    env = os.environ if environment is None else environment
    home = Path(_text(env, "EVERTUNE_HOME", ".evertune")).expanduser().absolute()
    if odd := _NOT_IN_ADDRESSES & set(str(home)):
        raise EvertuneError(
            f"EVERTUNE_HOME is {home}: {' and '.join(map(repr, sorted(odd)))} would be taken for something else in the "
            "addresses of the databases below it. Let it name a folder without."
        )
    if environment is None:
        for name, value in _for_libraries(home / "cache").items():
            os.environ.setdefault(name, value)
    return Settings(
        home=home,
        projects=Path(_text(env, "EVERTUNE_PROJECTS", "projects")).expanduser().absolute(),
        database_url=_text(env, "EVERTUNE_DATABASE_URL", f"sqlite:///{home}/ledger.db"),
        mlflow_uri=_text(env, "EVERTUNE_MLFLOW_URI", f"sqlite:///{home}/mlflow/mlflow.db"),
        mlflow_artifacts=_text(env, "EVERTUNE_MLFLOW_ARTIFACTS", f"{home}/mlflow/artifacts"),
        remote=_text(env, "EVERTUNE_REMOTE", f"{home}/remote"),
        python=_text(env, "EVERTUNE_PYTHON", sys.executable),
        mlflow_ui=_text(env, "EVERTUNE_MLFLOW_UI", ""),
        evidently_ui=_text(env, "EVERTUNE_EVIDENTLY_UI", ""),
        gpus=_number(env, "EVERTUNE_GPUS", default=1, least=0),
        lease_s=_number(env, "EVERTUNE_LEASE_S", default=300, least=1),
        subject_salt=_text(env, "EVERTUNE_SUBJECT_SALT", ""),
    )


def _for_libraries(cache: Path) -> dict[str, str]:
    """Variables by which libraries are told where to keep what they make, and to call nobody."""
    told = {
        "HF_HOME": str(cache / "huggingface"),
        "MPLCONFIGDIR": str(cache / "matplotlib"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "torchinductor"),
        # ONNX Runtime 1.32 reports to Microsoft, by an id of this machine that it keeps in the person's home.
        "ORT_DISABLE_TELEMETRY": "1",
    }
    if "HF_HOME" not in os.environ:  # who has logged in at the hub stays so: the token lies in the home of old
        usual = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        told["HF_TOKEN_PATH"] = str(usual / "huggingface" / "token")
    return told


def _text(env: Mapping[str, str], name: str, default: str) -> str:
    # Set to nothing is not set, as in a shell's ${NAME:-default}: else the home would be the working directory.
    return env.get(name) or default


def _number(env: Mapping[str, str], name: str, *, default: int, least: int) -> int:
    text = env.get(name, str(default)).strip()
    if not text.isdecimal() or int(text) < least:
        raise EvertuneError(
            f"{name} is {text!r}: expected a whole number of at least {least}. Set it to one, or leave it unset for "
            f"{default}."
        )
    return int(text)
