"""A window's report as one HTML file that can be opened from anywhere without trusting what the texts contain.

Evidently puts its data into a script without escaping ``</script>``, so that a text or label of traffic could run as a
program. Here that cannot be: the data are escaped on the way in, all of Evidently's page lies in a frame without the
rights of the page around it (no cookies, no storage, no other pages), and a policy in both forbids every connection.
The page around holds no script at all, and what is in it is escaped.
"""

from __future__ import annotations

import html
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from evertune.records import JsonObject, Window

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; form-action 'none'"
FRAME_POLICY = f"{_POLICY}; script-src 'unsafe-inline'; worker-src blob:"
"""For the frame: its own scripts run, and reach nothing."""
PAGE_POLICY = f"{_POLICY}; script-src 'unsafe-inline'; frame-src 'self'; base-uri 'none'"
"""A frame from ``srcdoc`` takes over the policy of the page, so this must allow what the frame needs; the page itself
has no script and no place where one could come in."""

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1b1b1f}
table{border-collapse:collapse;margin:.5rem 0}th,td{padding:.25rem .8rem;border-bottom:1px solid #ddd;text-align:left}
td.n,th+th{text-align:right}td.n{font-variant-numeric:tabular-nums}.raised{color:#b3261e;font-weight:600}
iframe{width:100%;height:85vh;border:1px solid #ddd;margin-top:1rem}blockquote{margin:.3rem 0 .3rem 1rem;color:#444}
"""


def page(title: str, body: Sequence[str], framed: str) -> str:
    """The whole file. ``body`` is HTML whose texts are escaped already; ``framed`` is Evidently's page."""
    frame = html.escape(framed, quote=True)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(PAGE_POLICY)}">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>\n"
        + "\n".join(body)
        + f'\n<iframe sandbox="allow-scripts" title="Evidently\'s report" srcdoc="{frame}"></iframe>\n</body></html>\n'
    )


def evidently_page(widgets: Mapping[str, Any], graphs: Mapping[str, Any], library: str, font: str) -> str:
    """Evidently's viewer with its data; ``library`` is its script and ``font`` its icons in base64."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(FRAME_POLICY)}">'
        "<style>@font-face{font-family:'Material Icons';src:url(data:font/woff2;base64,"
        f"{font}) format('woff2')}}.material-icons{{font-family:'Material Icons';font-size:24px;line-height:1;"
        "display:inline-block;white-space:nowrap;direction:ltr}</style></head>"
        '<body><div id="root_report"></div>'
        f"<script>var global = globalThis; var report = {in_script(widgets)}; "
        f"var graphs = {in_script(graphs)};</script>"
        f"<script>{library}</script>"
        '<script>window.drawDashboard(report, new Map(Object.entries(graphs)), "root_report");</script></body></html>'
    )


def in_script(value: object) -> str:
    """``value`` as JSON that can stand in a script: nothing in it ends the script or begins a comment."""
    text = json.dumps(value, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], marked: Sequence[bool] = ()) -> str:
    """A table of texts; all but the first column are numbers. Rows that are ``marked`` stand out."""
    lines = ["<table><tr>", *(f"<th>{html.escape(name)}</th>" for name in head), "</tr>"]
    for place, row in enumerate(rows):
        cells = "".join(
            f"<td{' class=n' if column else ''}>{html.escape(cell)}</td>" for column, cell in enumerate(row)
        )
        lines.append(f"<tr{' class=raised' if place < len(marked) and marked[place] else ''}>{cells}</tr>")
    return "".join([*lines, "</table>"])


def paragraph(text: str) -> str:
    """A sentence."""
    return f"<p>{html.escape(text)}</p>"


def heading(text: str) -> str:
    """A heading."""
    return f"<h2>{html.escape(text)}</h2>"


def quotation(text: str) -> str:
    """A text of somebody else's."""
    return f"<blockquote>{html.escape(text)}</blockquote>"


def verdict(window: Window, told: JsonObject) -> Iterator[str]:
    """What was found and what is different, in tables and sentences."""
    raised, explanation = told["raised"], told["explanation"]
    said = f"Alert: {', '.join(raised)}." if raised else "No alert."
    yield paragraph(
        f"{said} {window.rows:,} answers of release {window.generation}, "
        f"{window.since:%Y-%m-%d %H:%M} to {window.until:%Y-%m-%d %H:%M} UTC."
    )
    if told["evidence"]:
        yield paragraph(f"Evidence since the release: {told['evidence']['total']:.4g}; an alert takes 1.")
    if told["lacks"]:
        yield paragraph(told["lacks"])
    yield _findings(told["findings"], raised)
    if explanation:
        yield heading("What is different")
        yield from map(paragraph, explanation["sentences"])
        for place, cluster in enumerate(explanation["clusters"], 1):
            yield paragraph(f"Examples of kind {place} (redacted):")
            yield from map(quotation, cluster["examples"])
    yield heading("Evidently")


def _findings(findings: Sequence[JsonObject], raised: Collection[str]) -> str:
    rows = [
        (
            one["signal"],
            f"{one['effect']:.3f}",
            f"{one['smallest']:g}",
            f"{one['p']:.2g}" if one["rows"] else "not tested",
            f"{one['e']:.3g}",
            f"{one['rows']:,}",
        )
        for one in findings
    ]
    head = ("signal", "effect", "smallest that matters", "p", "evidence", "rows")
    return table(head, rows, [one["signal"] in raised for one in findings])
