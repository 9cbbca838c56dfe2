"""From a snapshot to the rows that are fit to learn from, and a quarantine with the reason for each of the others.

An expectation on a row sends the row to quarantine; one on a column's whole stops the run, and so do too many bad
rows (design, decision 9). Whatever happens, the folder is written whole first, so that a person can look; where the
run must stop it has no ``rows.parquet``, so that no later step can take it for valid.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evertune import files
from evertune.data.validation import docs, expectations, facts, scripts
from evertune.data.validation.engine import Engine
from evertune.data.validation.expectations import Named
from evertune.data.validation.findings import Findings, unfit
from evertune.data.validation.frames import TARGET
from evertune.data.validation.judging import judge
from evertune.data.validation.traffic import judge_traffic
from evertune.project.options import Project
from evertune.records import UnfitError

if TYPE_CHECKING:
    import numpy.typing as npt

ROWS, QUARANTINE, SUMMARY, RESULTS = "rows.parquet", "quarantine.parquet", "summary.json", "validation.json"
TRAFFIC = "traffic.parquet"
DATA_DOCS = "data_docs"
PAGE_EXAMPLES = 20


def validate(project: Project, snapshot: Path, out: Path) -> None:
    """Judge the snapshot's rows and write the folder ``out``, sealed.

    It holds ``rows.parquet`` (the good rows with their ``target``), ``quarantine.parquet`` (the others with their
    ``reasons``), ``summary.json``, ``validation.json`` (Great Expectations' results) and ``data_docs/``. Of labelled
    traffic, where the snapshot has some, there are the same files again (``traffic.parquet`` …); none of its rows
    changes what is found of the sources' rows, or stops the run.

    Raises :class:`UnfitError` before anything is written where the expectations cannot be asked (a name, an argument
    or a column that does not exist), and after ``out`` is written, without ``rows.parquet``, where the data is unfit.
    """
    import pyarrow.parquet as pq

    if project.validation.script is not None:
        scripts.check(project.validation.script)
    files.verify(snapshot)
    rows = snapshot / ROWS
    columns = [name for name in pq.read_schema(rows).names if name != "fault"]
    named = expectations.bind(project, [*columns, TARGET])
    engine = Engine()
    scratch = out.with_name(f".{out.name}.sql")  # named so that the next run removes what a killed one has left
    found = judge(project, rows, facts.gather(project, rows), named, engine, scratch)
    faults = unfit(project, found)
    with files.new_folder(out) as folder:
        _write_rows(rows, found, folder / ROWS, folder / QUARANTINE, fit=not faults)
        again = expectations.bind(project, [*columns, TARGET])  # Great Expectations takes each for one suite only
        more = _traffic(project, snapshot / TRAFFIC, again, found, folder, scratch) if not faults else {}
        _write_report(project, found, faults, engine, folder, more)
    if faults:
        raise UnfitError(_message(project, found, faults, out))


def _traffic(  # noqa: PLR0917
    project: Project, rows: Path, named: list[Named], of_sources: Findings, folder: Path, scratch: Path
) -> dict[str, dict[str, object]]:
    """Part the labelled traffic, if there is any, and write what was found of it; the account of it for the summary."""
    if not rows.is_file():
        return {}
    found, engine = judge_traffic(project, rows, named, of_sources, scratch)
    _write_rows(rows, found, folder / TRAFFIC, folder / "traffic_quarantine.parquet", fit=True)
    files.write_json(folder / "traffic_validation.json", engine.described)
    docs_folder = folder / DATA_DOCS / "traffic"
    pages = engine.write_docs(docs_folder)
    summary = found.summary([])
    page = docs.page(project, summary, found.examples(PAGE_EXAMPLES), pages)
    files.write_text(docs_folder / "summary.html", page)
    # By its hash the preparation, which depends on the summary, depends on the rows.
    return {"traffic": {**summary, "sha256": files.sha256(folder / TRAFFIC)}}


def _write_report(  # noqa: PLR0917
    project: Project,
    found: Findings,
    faults: list[str],
    engine: Engine,
    folder: Path,
    more: dict[str, dict[str, object]],
) -> None:
    summary = {**found.summary(faults), **more}
    files.write_json(folder / SUMMARY, summary)
    files.write_json(folder / RESULTS, engine.described)
    pages = engine.write_docs(folder / DATA_DOCS)
    if more:
        pages["labelled traffic: rows and reasons"] = "traffic/summary.html"
    page = docs.page(project, summary, found.examples(PAGE_EXAMPLES), pages)
    files.write_text(folder / DATA_DOCS / "summary.html", page)


def _message(project: Project, found: Findings, faults: list[str], out: Path) -> str:
    lines = [f"The data of {project.slug} is unfit.", *faults]
    if found.reasons:
        counts = ", ".join(f"{kind} ({count:,})" for kind, count in list(found.reasons.items())[:5])
        lines += [f"Most frequent reasons: {counts}.", "For example:", *(f"- {one}" for one in found.examples())]
        lines.append(f"All bad rows with their reasons: {out / QUARANTINE}.")
    lines.append(f"Report: {out / DATA_DOCS / 'summary.html'}.")
    return "\n".join(lines)


def _write_rows(rows: Path, found: Findings, good: Path, bad_rows: Path, *, fit: bool) -> None:
    """Part the snapshot's file in two, batch by batch: ``good`` is not written where the data is unfit."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(rows).remove_metadata()
    valid = schema.remove(schema.get_field_index("fault")).append(pa.field(TARGET, pa.list_(pa.string())))
    bad = schema.append(pa.field("reasons", pa.list_(pa.string())))
    start = 0
    with pq.ParquetWriter(bad_rows, bad, compression="zstd") as quarantine:
        writer = pq.ParquetWriter(good, valid, compression="zstd") if fit else None
        for batch in facts.batches(rows, schema.names):
            stop = start + len(batch)
            if found.quarantined[start:stop].any():
                quarantine.write_batch(_bad(batch, found, start).cast(bad))
            if writer is not None and found.good[start:stop].any():
                writer.write_batch(_valid(batch, found, start).cast(valid))
            start = stop
        if writer is not None:
            writer.close()


def _bad(batch: Any, found: Findings, start: int) -> Any:
    import pyarrow as pa

    mask = found.quarantined[start : start + len(batch)]
    said = found.reasons_of(start, start + len(batch))
    reasons = pa.array([said[row] for row in (np.flatnonzero(mask) + start).tolist()], pa.list_(pa.string()))
    return batch.filter(pa.array(mask)).append_column("reasons", reasons)


def _valid(batch: Any, found: Findings, start: int) -> Any:
    import pyarrow as pa

    mask: npt.NDArray[np.bool_] = found.good[start : start + len(batch)]
    codes = pa.array(found.codes[start : start + len(batch)][mask])
    targets = pa.ListArray.from_arrays(
        pa.array(np.arange(len(codes) + 1, dtype=np.int32)), pa.array(found.classes, pa.string()).take(codes)
    )
    return batch.drop_columns(["fault"]).filter(pa.array(mask)).append_column(TARGET, targets)
