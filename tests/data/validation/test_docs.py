from __future__ import annotations

from collections.abc import Callable

from evertune.data.validation.docs import page
from evertune.project.options import Project

MakeProject = Callable[..., Project]

SUMMARY: dict[str, object] = {
    "drawn": 200, "unlabelled": 10, "quarantined": 20, "valid": 170, "duplicates": 3, "fit": True, "faults": [],
    "reasons": {"too long": 12, "empty text": 8}, "classes": {"ham": 100, "spam": 70},
}  # fmt: skip
PAGES = {"evertune": "validations/evertune/1/rows.html"}


def test_the_page_tells_counts_and_shares(project: MakeProject) -> None:
    html = page(project(), SUMMARY, ["row 7: too long: 20,000 characters"], PAGES)
    assert "<td>too long</td><td class=n>12</td><td class=n>6.00%</td>" in html
    assert "row 7: too long: 20,000 characters" in html
    assert "Fit." in html
    assert '<a href="validations/evertune/1/rows.html">evertune</a>' in html


def test_what_comes_from_rows_is_text_and_never_markup(project: MakeProject) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    summary = {**SUMMARY, "fit": False, "faults": [evil], "reasons": {evil: 1}, "classes": {evil: 1}}
    html = page(project(), summary, [evil], PAGES)
    assert "<script" not in html
    assert "<img" not in html
    assert html.count("&lt;script&gt;") == 4


def test_nothing_is_loaded_from_elsewhere_and_no_script_may_run(project: MakeProject) -> None:
    html = page(project(), SUMMARY, [], PAGES)
    assert "default-src 'none'" in html
    assert "http://" not in html
    assert "https://" not in html


def test_the_faults_stand_on_top(project: MakeProject) -> None:
    html = page(project(), {**SUMMARY, "fit": False, "faults": ["too few rows"]}, [], PAGES)
    assert "Unfit: the run was stopped." in html
    assert html.index("too few rows") < html.index("<h2>Rows")


def test_whoever_sees_it_where_links_lead_nowhere_is_told_where_the_pages_are(project: MakeProject) -> None:
    """MLflow puts a page into a sandboxed frame with an address of its own, to which no other is relative."""
    assert "pick them there in the list of files, under\n<code>data_docs</code>" in page(project(), SUMMARY, [], PAGES)


def test_what_should_be_looked_at_is_on_the_page(project: MakeProject) -> None:
    html = page(project(), {**SUMMARY, "notes": ["no row meets <this>"]}, [], PAGES)
    assert "<h2>To look at</h2>\n<ul><li>no row meets &lt;this&gt;</li></ul>" in html
    assert "To look at" not in page(project(), SUMMARY, [], PAGES)
