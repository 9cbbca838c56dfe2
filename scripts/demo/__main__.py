"""`python -m scripts.demo [--quick]`: what `make demo` and `make demo-quick` do."""

from __future__ import annotations

import argparse
import sys
import time

from evertune.cli.output import people
from evertune.client import Client
from evertune.project.load import find, load
from evertune.records import EvertuneError
from scripts import embedded
from scripts.airflow_api import Airflow
from scripts.demo import drift, held, page
from scripts.demo.first import PROJECT, first_release
from scripts.demo.follow import address
from scripts.installation import USER


def main() -> int:
    """Status 0 when the run has a recorded verdict, a champion exists, and all of :mod:`scripts.demo.held` holds."""
    parser = argparse.ArgumentParser(description="The loop on real text, through Airflow.")
    parser.add_argument("--quick", action="store_true", help="only the first release")
    quick = parser.parse_args().quick
    try:
        return _demo(quick=quick)
    except EvertuneError as fault:
        people.print(str(fault), style="red", markup=False, highlight=False)
        return fault.exit_code
    except KeyboardInterrupt:
        people.print("Interrupted. The run goes on in Airflow; `make demo` shows it again, `make down` stops all.")
        return 130


def _demo(*, quick: bool) -> int:
    started = time.monotonic()
    here = embedded.up()
    airflow = Airflow(here.airflow_url, USER, here.password)
    outcome, run = first_release(here, airflow)
    told, broken = None, False
    if not quick and outcome.release is not None:
        with Client(here.serving_url, embedded.api_key(here)) as client:
            loop = drift.Loop(here, airflow, load(find(PROJECT, here.settings)), client)
            drift.tell(loop)
            told, broken = page.write(loop), held.show(loop)
    seconds = time.monotonic() - started
    people.print(f"\nTook {seconds:.0f} s. Left running on this machine only (`make down` stops it):", highlight=False)
    for what, where in embedded.addresses(here):
        people.print(f"  {what:14} {where}", highlight=False)
    people.print(f"  {'this run':14} {address(here, run)}", highlight=False, soft_wrap=True)
    if told is not None:
        people.print(f"\nThe story in pictures: {told}", highlight=False, soft_wrap=True)
    return 0 if outcome.verdict is not None and outcome.release is not None and not broken else 1


if __name__ == "__main__":
    sys.exit(main())
