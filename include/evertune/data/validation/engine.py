"""Great Expectations, driven: a context that leaves nothing behind, suites judged, Data Docs written.

Results are asked for with row numbers (the frame's index) and without the query that repeats all of them. What is
kept of a result is short: at most a few values, each shortened, because texts are long and a report is for people.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evertune.data.validation.brief import LONGEST, brief, harmless, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    import pandas as pd

MARK = "evertune"
"""Key in an expectation's meta: its place in the suite. Great Expectations gives results in another order."""
CONDITION = "row_condition"
EXAMPLES = 10
SITE = "evertune"


@dataclass(frozen=True)
class Judged:
    """What Great Expectations found of one expectation."""

    success: bool
    rows: npt.NDArray[np.int64] | None
    """Numbers of the rows that do not meet it, ascending; ``None`` where it is not about rows."""
    observed: str
    """What was seen, in short."""
    error: str | None
    """Why it could not be judged at all."""


class Engine:
    """One ephemeral context. Every :meth:`judge` adds a page to the Data Docs that :meth:`write_docs` writes."""

    def __init__(self) -> None:
        with _quiet():
            self._context = _context()
        self._sources = 0
        self.described: dict[str, Any] = {}
        """Suite name → Great Expectations' own description of the result, as plain JSON."""

    def judge(self, name: str, frame: pd.DataFrame, expectations: Sequence[Any]) -> list[Judged]:
        """Judge the expectations on the frame, whose index holds the row numbers. Results in the order given."""
        source = self._context.data_sources.add_pandas(f"{name} {self._sources}")
        asset = source.add_dataframe_asset(name="rows")
        definition = asset.add_batch_definition_whole_dataframe("all rows")
        with _no_fingerprint():
            return self._judge(name, definition.get_batch({"dataframe": frame}), expectations, {})

    def judge_sql(self, name: str, database: Path, table: str, key: str, expectations: Sequence[Any]) -> list[Judged]:
        """The same on a table in SQLite, whose column ``key`` holds the row numbers."""
        source = self._context.data_sources.add_or_update_sqlite(MARK, connection_string=f"sqlite:///{database}")
        asset = source.add_table_asset(name=table, table_name=table)
        batch = asset.add_batch_definition_whole_table("all rows").get_batch()
        return self._judge(name, batch, expectations, {"unexpected_index_column_names": [key]})

    def _judge(self, name: str, batch: Any, expectations: Sequence[Any], extra: dict[str, Any]) -> list[Judged]:
        import great_expectations as gx

        self._sources += 1
        for place, expectation in enumerate(expectations):
            expectation.meta = {**(expectation.meta or {}), MARK: place}
        conditions = [expectation.configuration.kwargs.get(CONDITION) for expectation in expectations]
        suite = self._context.suites.add(gx.ExpectationSuite(name=name, expectations=_unconditional(expectations)))
        wanted = {
            "result_format": "COMPLETE",
            "partial_unexpected_count": EXAMPLES,
            "return_unexpected_index_query": False,
            **extra,
        }
        with _quiet():
            result = batch.validate(suite, result_format=wanted)
        judged: dict[int, Judged] = {}
        for one in result.results:
            place = one.expectation_config.meta[MARK]
            judged[place] = _judged(one, extra)
            if conditions[place] is not None:
                one.expectation_config.kwargs[CONDITION] = conditions[place]
            one.success, one.result = bool(one.success), brief(one.result)
            one.exception_info = brief(one.exception_info)
        self.described[name] = brief(result.describe_dict())
        for one in result.results:
            one.result, one.exception_info = harmless(one.result), harmless(one.exception_info)
        self._keep(name, result)
        suite.expectations = list(expectations)
        self._context.suites.add_or_update(suite)
        return [judged[place] for place in range(len(expectations))]

    def _keep(self, name: str, result: Any) -> None:
        from great_expectations.core.run_identifier import RunIdentifier
        from great_expectations.data_context.types.resource_identifiers import (
            ExpectationSuiteIdentifier,
            ValidationResultIdentifier,
        )

        result.meta["batch_markers"] = {}  # when it was loaded: different bytes for equal data
        key = ValidationResultIdentifier(
            expectation_suite_identifier=ExpectationSuiteIdentifier(name),
            # The same time always: the snapshot's content, not the clock, is what a result belongs to.
            run_id=RunIdentifier(run_name=f"{self._sources}", run_time=datetime(2000, 1, 1, tzinfo=UTC)),
            batch_identifier="rows",
        )
        self._context.validation_results_store.add(key=key, value=result)

    def write_docs(self, folder: Path) -> dict[str, str]:
        """Write the Data Docs, a static site that begins at ``index.html``. Returns suite name → its page.

        The index is made by scripts from a CDN, and empty without a network; the pages can be read without one.
        """
        site = {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)},
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        }
        with _quiet():
            self._context.add_data_docs_site(SITE, site)
            self._context.build_data_docs(site_names=[SITE])
        for unused in (folder / "static" / "images").glob("*.gif"):
            unused.unlink()
        pages = (page.relative_to(folder) for page in sorted(folder.glob("validations/**/*.html")))
        return {page.parts[1]: page.as_posix() for page in pages}


def _unconditional(expectations: Sequence[Any]) -> list[Any]:
    """Copies that ask all rows of the batch, because it holds those rows only that meet the condition."""
    return [
        expectation.copy(update={CONDITION: None}) if getattr(expectation, CONDITION, None) is not None else expectation
        for expectation in expectations
    ]


def _context() -> Any:
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    return gx.get_context(mode="ephemeral", project_config=config)


@contextmanager
def _quiet() -> Iterator[None]:
    """No analytics while Great Expectations runs, whatever its configuration file says: it would call the network."""
    import logging
    import warnings

    before = os.environ.get("GX_ANALYTICS_ENABLED")
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    logger = logging.getLogger("great_expectations")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        if before is None:
            del os.environ["GX_ANALYTICS_ENABLED"]
        else:
            os.environ["GX_ANALYTICS_ENABLED"] = before


@contextmanager
def _no_fingerprint() -> Iterator[None]:
    """Spare the fingerprint that Great Expectations makes of each frame, and that nobody reads.

    For it every text becomes a Python object in a hash table: of a million texts, a gigabyte.
    """
    from great_expectations.execution_engine import pandas_execution_engine as module

    name = "hash_pandas_dataframe"
    before = getattr(module, name, None)
    setattr(module, name, lambda _: "")
    try:
        yield
    finally:
        setattr(module, name, before)


def _judged(one: Any, extra: dict[str, Any]) -> Judged:
    error = _error(one.exception_info)
    found = one.result or {}
    rows = found.get("unexpected_index_list")
    if rows is not None:
        if extra:
            rows = [entry[extra["unexpected_index_column_names"][0]] for entry in rows]
        rows = np.unique(np.array(rows, np.int64))
    return Judged(bool(one.success), rows, _observed(found), error)


def _observed(found: dict[str, Any]) -> str:
    if found.get("observed_value") is not None:
        return f"observed: {plain(found['observed_value'])}"[:LONGEST]
    if found.get("element_count") is not None:
        return f"{found['unexpected_count']:,} of {found['element_count']:,} values do not meet it"
    if found.get("partial_unexpected_list"):
        return f"observed also: {plain(found['partial_unexpected_list'])}"[:LONGEST]
    return "that is not so"


def _error(info: dict[str, Any] | None) -> str | None:
    """The first line of the exception, wherever Great Expectations has put it."""
    if not info:
        return None
    for entry in [info, *info.values()]:
        if isinstance(entry, dict) and entry.get("raised_exception"):
            message = str(entry.get("exception_message") or entry.get("exception_traceback") or "no reason given")
            return message.strip().splitlines()[0][:300]
    return None
