"""The servers of `serving.py`: each starts as its documentation says, answers one text a request, and is ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

HERE = Path(__file__).parent
START_S = 180.0


@dataclass(frozen=True)
class Server:
    """One server in one setting."""

    name: str
    command: list[str]
    path: str
    body: Callable[[str], str]
    """A text as the JSON that this server wants."""
    headers: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


@contextlib.contextmanager
def running(server: Server, port: int) -> Iterator[psutil.Process]:
    """The server, answering, until the block ends; its process group is ended then."""
    # MLflow finds its own web server by PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": path, **server.environment, "PEER_PORT": str(port)}
    command = [part.replace("{port}", str(port)) for part in server.command]
    log = Path(f"/tmp/evertune-benchmark-{os.getpid()}-{port}.log")  # noqa: S108 - of a benchmark, told when it fails
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, env=environment, cwd=server.folder, stdout=sink, stderr=sink, start_new_session=True
        )
    try:
        _await(server, port, process, log)
        yield psutil.Process(process.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        log.unlink(missing_ok=True)


def _await(server: Server, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(httpx.HTTPError):
            answer = ask(server, port, "Good to see that it answers.")
            if answer.status_code == httpx.codes.OK:
                return
        time.sleep(0.3)
    raise RuntimeError(f"{server.name} does not answer:\n{log.read_text(errors='replace')[-3000:]}")


def ask(server: Server, port: int, text: str) -> httpx.Response:
    """One request."""
    headers = {**server.headers, "Content-Type": "application/json"}
    return httpx.post(f"http://127.0.0.1:{port}{server.path}", content=server.body(text), headers=headers, timeout=30)


def memory_mb(process: psutil.Process) -> float:
    """Memory of the process and its children that is their own (USS), in MB."""
    return sum(one.memory_full_info().uss for one in [process, *process.children(recursive=True)]) / 1e6


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def evertune(slug: str, key: str, home: Path) -> Server:
    """`evertune serve`, with its log, keys and limits as they come."""
    return Server(
        name="evertune serve",
        command=[sys.executable, "-m", "evertune.cli.main", "serve", "--port", "{port}"],
        path=f"/v1/projects/{slug}/predict",
        body=lambda text: json.dumps({"texts": text}),
        headers={"Authorization": f"Bearer {key}"},
        environment={"EVERTUNE_HOME": str(home)},
    )


def mlflow(model: Path, *, workers: int = 1) -> Server:
    """`mlflow models serve` on the registered version's own folder."""
    return Server(
        name=f"mlflow models serve, {workers} worker{'s' if workers > 1 else ''}",
        command=[
            sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local",
            "--host", "127.0.0.1", "-p", "{port}", "--workers", str(workers),
        ],
        path="/invocations",
        body=lambda text: json.dumps({"dataframe_split": {"columns": ["text"], "data": [[text]]}}),
        environment={"MLFLOW_DISABLE_TELEMETRY": "true"},
    )  # fmt: skip


def litserve(python: Path, settings: Mapping[str, str]) -> Server:
    """LitServe with these settings (see `_peer_litserve.py`)."""
    return Server(
        name=f"LitServe, {_told(settings)}",
        command=[str(python), "_peer_litserve.py"],
        path="/predict",
        body=lambda text: json.dumps({"text": text}),
        environment=settings,
        folder=HERE,
    )


def bentoml(python: Path, settings: Mapping[str, str]) -> Server:
    """BentoML with these settings (see `_peer_bentoml.py`)."""
    return Server(
        name=f"BentoML, {_told(settings)}",
        command=[
            str(python), "-m", "bentoml", "serve", "_peer_bentoml:Classify", "--host", "127.0.0.1", "--port", "{port}",
        ],
        path="/predict",
        body=lambda text: json.dumps({"texts": [text]}),
        environment={**settings, "BENTOML_DO_NOT_TRACK": "true"},
        folder=HERE,
    )  # fmt: skip


def _told(settings: Mapping[str, str]) -> str:
    model = "ONNX int8" if settings.get("PEER_ONNX") else "torch fp32"
    batch, waits = settings.get("PEER_BATCH", "1"), settings.get("PEER_WAIT_MS", "0")
    workers = settings.get("PEER_WORKERS", "1")
    return f"{model}, batches of {batch}, {waits} ms, {workers} worker{'s' if workers != '1' else ''}"


def peers(folder: Path) -> Path:
    """The interpreter of the peers' own virtual environment, which sees evertune's packages too; made once."""
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        uv = str(Path(sys.executable).parent / "uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
        wanted = str(HERE / "requirements-peers.txt")
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), "-r", wanted], check=True)
        site = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
        (folder / site / "evertune-packages.pth").write_text(f"{Path(sys.prefix) / site}\n")
        (folder / "ready").touch()
    return python
