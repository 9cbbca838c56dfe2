from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser

from evertune.monitoring import page

PAYLOADS = (
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "\"></iframe><script>document.title='owned'</script>",
    "<!--<script>",
    "' onload='document.title=1",
    "&lt;/script&gt;",
)


class Tags(HTMLParser):
    """The tags that a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def names(self) -> list[str]:
        return [name for name, _ in self.found]


def test_the_page_has_no_script_whatever_the_texts_are() -> None:
    body = [what(text) for text in PAYLOADS for what in (page.paragraph, page.heading, page.quotation)]
    body.append(page.table(PAYLOADS, [PAYLOADS], [True]))
    tags = Tags(page.page(PAYLOADS[0], body, PAYLOADS[2]))

    assert not {"script", "img"} & set(tags.names())
    assert tags.names().count("iframe") == 1
    assert not any(name.startswith("on") for _, attributes in tags.found for name in attributes)


def test_the_frame_has_no_rights_of_the_page_around_and_reaches_nothing() -> None:
    tags = Tags(page.page("t", [], "<p>inner</p>"))
    (frame,) = [attributes for name, attributes in tags.found if name == "iframe"]
    assert frame["sandbox"] == "allow-scripts"
    assert frame["srcdoc"] == "<p>inner</p>"
    for policy in (page.PAGE_POLICY, page.FRAME_POLICY):
        assert policy.startswith("default-src 'none'")
        assert "http" not in policy
        assert "unsafe-eval" not in policy
        assert "connect-src" not in policy, "the default forbids connections"


def test_data_in_the_frame_end_no_script() -> None:
    data = {"label": list(PAYLOADS)}
    framed = page.evidently_page(data, data, library="var library = 1;", font="AAAA")

    assert Tags(framed).names().count("script") == 3
    assert "</script><script>document" not in framed
    (shown,) = re.findall(r"var report = (.*?); var graphs", framed)
    assert json.loads(shown) == data


def test_marked_rows_stand_out() -> None:
    shown = page.table(("signal", "p"), [("f1", "0.1"), ("errors", "0.2")], [False, True])
    assert shown.count("class=raised") == 1
    assert "<tr class=raised><td>errors</td><td class=n>0.2</td></tr>" in shown
    assert html.unescape(page.paragraph("a < b")) == "<p>a < b</p>"
