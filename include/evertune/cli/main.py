"""The command ``evertune``: one file a subcommand; what they do is in the library."""

from __future__ import annotations

import errno
import logging
import os
import shlex
import sys
import traceback
from datetime import UTC, datetime

import structlog
import typer

from evertune import settings
from evertune.cli import (
    data,
    db,
    init,
    keys,
    labels,
    monitor,
    notify,
    output,
    release,
    run,
    schema,
    score,
    serve,
    status,
    validate,
)
from evertune.records import EvertuneError

app = typer.Typer(
    name="evertune",
    help="Keeps a fine-tuned language model fresh: validate, version, tune, judge, promote.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("validate")(validate.command)
app.command("init")(init.command)
app.command("schema")(schema.command)
app.command("run")(run.command)
app.command("status")(status.command)
app.command("serve")(serve.command)
app.command("score")(score.command)
app.command("monitor")(monitor.command)
app.command("notify")(notify.command)
app.add_typer(data.app, name="data")
app.add_typer(release.app, name="release")
app.add_typer(labels.app, name="labels")
app.add_typer(keys.app, name="keys")
app.add_typer(db.app, name="db")

INTERRUPTED = 130
"""Exit status, as shells have it: 128 and the signal's number."""


def main() -> None:
    """Run a command; a fault is one sentence on stderr (with ``--json``: one object on stdout) and an exit status."""
    _quiet_logs()
    output.never_fail_on_a_character()
    try:
        status_code = app(standalone_mode=False)
    except typer.Exit as left:
        status_code = left.exit_code
    except typer.exceptions.TyperException as fault:
        _complain(f"{fault} (see `evertune --help`)", "Usage")
        sys.exit(1)  # 2 is taken: it says that the project file or its data is unfit
    except (KeyboardInterrupt, typer.Abort):
        status_code = INTERRUPTED
    except Exception as fault:  # noqa: BLE001 - the process ends here; a script that reads --json gets its object
        _complain(*_in_words(fault))
        sys.exit(fault.exit_code if isinstance(fault, EvertuneError) else 1)
    if status_code == INTERRUPTED:  # typer makes this of Ctrl-C where a command runs
        _complain("Interrupted. What was finished is kept and found again by the next run.", "Interrupted")
    sys.exit(status_code if isinstance(status_code, int) else 0)


def _in_words(fault: Exception) -> tuple[str, str]:
    """What a person reads of the fault, and its kind for scripts."""
    if isinstance(fault, EvertuneError):
        return str(fault), type(fault).__name__
    if isinstance(fault, OSError) and fault.errno in {errno.ENOSPC, errno.EDQUOT}:
        return (
            f"The disk is full: {fault.filename or 'a file'} could not be written. Nothing half-written is left; "
            "free some space and run the same command again."
        ), "FullDisk"
    if isinstance(fault, OSError) and fault.filename:
        return (
            f"{fault.filename}: {fault.strerror}. See that it is there and that you may read and write it, or let "
            f"EVERTUNE_HOME and EVERTUNE_PROJECTS name other folders. {_keep_traceback(fault)}"
        ), type(fault).__name__
    told = " ".join(f"{type(fault).__name__}: {fault}".split())
    return f"This should not happen, and is a mistake in evertune. {told}. {_keep_traceback(fault)}", "Bug"


def _keep_traceback(fault: Exception) -> str:
    """Write it where it can be found later, and say where that is."""
    text = "".join(traceback.format_exception(fault))
    try:
        path = settings.load().home / "logs" / "faults.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", errors="backslashreplace") as kept:
            kept.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {shlex.join(sys.argv)}\n{text}\n")
    except (OSError, EvertuneError):
        sys.stderr.write(text)
        return "The traceback stands above."
    return f"The traceback is in {path}."


def _complain(message: str, kind: str) -> None:
    if "--json" in sys.argv:
        output.print_json({"error": {"type": kind, "message": message}})
    else:
        output.complain(message)


def _quiet_logs() -> None:
    """Logs go to stderr, so that stdout is the result alone; ``EVERTUNE_LOG=INFO`` shows more of them."""
    level = getattr(logging, os.environ.get("EVERTUNE_LOG", "WARNING").upper(), logging.WARNING)
    logging.basicConfig(stream=sys.stderr, level=level)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Without the variables that structlog shows where rich is installed: they hold secrets and people's texts.
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # as it is then: whoever calls main() may swap it
    )


if __name__ == "__main__":
    main()
