"""What the ledger hears of a server: all of it, in the end, and daily that it is still there."""

from __future__ import annotations

from evertune.serving.reports import AGAIN_S, Reports

SLUG = "spam"


def test_what_is_said_while_something_is_told_is_told_too() -> None:
    told: list[int] = []

    def tell(slug: str, generation: int, *_: object) -> None:
        if not told:
            reports.refused(slug, 2, "meanwhile")
        told.append(generation)

    reports = Reports(tell)
    reports.refused(SLUG, 1, "first")
    reports.send(SLUG)
    reports.send(SLUG)
    reports.send(SLUG)
    assert told == [1, 2]


def test_what_was_said_is_said_again_after_a_day() -> None:
    now, told = [0.0], list[int]()
    reports = Reports(lambda _slug, generation, *_: told.append(generation), lambda: now[0])
    reports.send(SLUG)
    reports.refused(SLUG, 1, "why")
    for moment in (0.0, AGAIN_S - 1, AGAIN_S, AGAIN_S + 1, 2 * AGAIN_S):
        now[0] = moment
        reports.send(SLUG)
    assert told == [1, 1, 1]
