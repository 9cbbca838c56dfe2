"""Every command is listed here, takes --json, and ends with the right status."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import typer
from tests.support import small_project, write_project

from evertune.cli.main import app
from evertune.settings import Settings

COMMANDS = {
    "validate", "init", "schema", "run", "status",
    "data checkout", "data pin", "release promote", "release refuse", "release rollback", "release list",
    "serve", "score", "monitor", "notify", "labels export", "labels import",
    "keys create", "keys list", "keys revoke", "db upgrade", "db verify",
}  # fmt: skip
HEAVY = ("torch", "transformers", "peft", "mlflow", "great_expectations", "evidently", "pandas", "dvc", "airflow",
         "sqlalchemy", "numpy", "pyarrow")  # fmt: skip


def _commands(command: Any, path: tuple[str, ...] = ()) -> dict[str, Any]:
    inner = getattr(command, "commands", None)
    if inner is None:
        return {" ".join(path): command}
    return {name: found for key, sub in inner.items() for name, found in _commands(sub, (*path, key)).items()}


ALL = _commands(typer.main.get_command(app))


def evertune(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "evertune.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_command_is_listed() -> None:
    assert set(ALL) == COMMANDS


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_command_takes_json_and_has_help(name: str) -> None:
    command = ALL[name]
    assert "--json" in {option for parameter in command.params for option in parameter.opts}
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name} has no help"


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['evertune', '--help']\nfrom evertune.cli.main import main\n"
        f"try: main()\nexcept SystemExit as e: assert e.code == 0\nassert not [m for m in {HEAVY} if m in sys.modules]"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_wrong_option_is_not_taken_for_unfit_data() -> None:
    assert evertune("run", "x", "--nonsense").returncode == 1


def test_a_project_that_is_not_there_is_told_with_status_2(environment: Settings) -> None:
    write_project(environment, small_project("review-routing"))
    done = evertune("run", "review-routin")
    assert done.returncode == 2
    assert "review-routing" in done.stderr
    assert "Traceback" not in done.stderr


def test_with_json_a_fault_is_one_object_on_stdout(environment: Settings) -> None:
    done = evertune("run", "nothing-here", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["message"]


def test_status_of_a_new_project_is_told_without_a_registry(environment: Settings) -> None:
    write_project(environment, small_project())
    done = evertune("status", "--json")
    assert done.returncode == 0, done.stderr
    (project,) = json.loads(done.stdout)["projects"]
    assert project["release"] is None
    assert not (environment.home / "mlflow").exists()


def test_the_ledger_is_made_upgraded_and_verified(environment: Settings) -> None:
    assert evertune("db", "upgrade").returncode == 0
    done = evertune("db", "verify", "--json")
    assert (done.returncode, json.loads(done.stdout)["faults"]) == (0, [])
