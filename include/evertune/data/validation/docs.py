"""One page for people: what was drawn, what was wrong, examples. Self-contained, so that it reads without a network.

Great Expectations' Data Docs beside it have every expectation, but take their style sheets from a CDN. Texts are
untrusted: everything is escaped, and the page's policy lets no script run.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from evertune.project.options import Project

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: #8884; --good: #2a7a3b; --bad: #b3261e; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.1rem; margin-top: 2rem; }}
.verdict {{ padding: .75rem 1rem; border-left: .3rem solid; }}
.fit {{ border-color: var(--good); }} .unfit {{ border-color: var(--bad); }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }}
td.n {{ text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; width: 8rem; }}
</style>
</head>
<body>
<h1>{title}</h1>
{verdict}
{notes}
<h2>Rows</h2>
{rows}
<h2>Why rows are in quarantine</h2>
{reasons}
<h2>Examples</h2>
{examples}
<h2>Good rows of each class</h2>
{classes}
<h2>All expectations with their results</h2>
{pages}
<p>These are pages of <a href="index.html">Great Expectations' Data Docs</a>, whose index and style sheets need a
network. MLflow shows each page alone, where no link leads to another: pick them there in the list of files, under
<code>data_docs</code>. Every bad row with its reasons is in <code>quarantine.parquet</code>.</p>
</body>
</html>
"""


def page(project: Project, summary: Mapping[str, object], examples: Iterable[str], pages: Mapping[str, str]) -> str:
    """The page as HTML. ``summary`` is what ``summary.json`` holds, ``pages`` name the Data Docs' pages."""
    drawn = _count(summary["drawn"])
    counts = {
        "drawn": drawn,
        "good: these go on": _count(summary["valid"]),
        "of these, copies of another row": _count(summary["duplicates"]),
        "bad: in quarantine": _count(summary["quarantined"]),
        "left out as ambiguous": _count(summary["unlabelled"]),
    }
    return PAGE.format(
        title=html.escape(f"Validation of {project.slug}"),
        verdict=_verdict(summary),
        notes=_notes(summary.get("notes")),
        rows=_table(counts, drawn),
        reasons=_table(_counts(summary["reasons"]), drawn) or "<p>None is.</p>",
        examples=_list(examples) or "<p>There are none.</p>",
        pages=_links(pages),
        classes=_table(_counts(summary["classes"]), _count(summary["valid"])) or "<p>There are none.</p>",
    )


def _verdict(summary: Mapping[str, object]) -> str:
    faults = summary["faults"]
    if summary["fit"] or not isinstance(faults, list):
        return '<div class="verdict fit"><strong>Fit.</strong> The run goes on with the good rows.</div>'
    return f'<div class="verdict unfit"><strong>Unfit: the run was stopped.</strong>{_list(faults)}</div>'


def _notes(notes: object) -> str:
    return f"<h2>To look at</h2>\n{_list(notes)}" if isinstance(notes, list) else ""


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _counts(value: object) -> dict[str, int]:
    return {str(name): _count(count) for name, count in value.items()} if isinstance(value, dict) else {}


def _table(counts: Mapping[str, int], whole: int) -> str:
    lines = [
        f"<tr><td>{html.escape(name)}</td><td class=n>{count:,}</td>"
        f"<td class=n>{f'{count / whole:.2%}' if whole else ''}</td></tr>"
        for name, count in list(counts.items())[:200]
    ]
    return "<table>" + "".join(lines) + "</table>" if lines else ""


def _list(items: Iterable[str]) -> str:
    lines = [f"<li>{html.escape(item)}</li>" for item in items]
    return "<ul>" + "".join(lines) + "</ul>" if lines else ""


def _links(pages: Mapping[str, str]) -> str:
    lines = [f'<li><a href="{quote(path)}">{html.escape(name)}</a></li>' for name, path in pages.items()]
    return "<ul>" + "".join(lines) + "</ul>"
