"""The command ``evertune``: one file a subcommand; what they do is in the library."""

from __future__ import annotations

import errno
import logging
import os
import sys

import structlog
import typer

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


def main() -> None:
    """Run a command; a fault is one sentence on stderr (with ``--json``: one object on stdout) and an exit status."""
    _quiet_logs()
    try:
        status_code = app(standalone_mode=False)
    except EvertuneError as fault:
        _complain(str(fault), type(fault).__name__)
        sys.exit(fault.exit_code)
    except OSError as fault:
        if fault.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _complain(
            f"The disk is full: {fault.filename or 'a file'} could not be written. Nothing half-written is left; "
            "free some space and run the same command again.",
            "FullDisk",
        )
        sys.exit(1)
    except typer.Exit as left:
        sys.exit(left.exit_code)
    except typer.exceptions.TyperException as fault:
        _complain(f"{fault} (see `evertune --help`)", "Usage")
        sys.exit(1)  # 2 is taken: it says that the project file or its data is unfit
    except (KeyboardInterrupt, typer.Abort):
        _complain("Interrupted. What was finished is kept and found again by the next run.", "Interrupted")
        sys.exit(130)
    sys.exit(status_code if isinstance(status_code, int) else 0)


def _complain(message: str, kind: str) -> None:
    if "--json" in sys.argv:
        output.print_json({"error": {"type": kind, "message": message}})
    else:
        output.notes.print(message, style="red", markup=False, highlight=False)


def _quiet_logs() -> None:
    """Logs go to stderr, so that stdout is the result alone; ``EVERTUNE_LOG=INFO`` shows more of them."""
    level = getattr(logging, os.environ.get("EVERTUNE_LOG", "WARNING").upper(), logging.WARNING)
    logging.basicConfig(stream=sys.stderr, level=level)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


if __name__ == "__main__":
    main()
