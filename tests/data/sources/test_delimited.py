import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.sources.conftest import Reader, cells

from evertune.data.sources import Row, delimited, rows
from evertune.project.options import Source


def test_csv_with_quotes_and_cells_over_several_lines(read: Reader) -> None:
    data = b'label,text\r\na,"x, ""y""\r\nz"\r\nb,plain\r\n'
    assert cells(read("x.csv", data)) == [['x, "y"\r\nz', "a"], ["plain", "b"]]


def test_tsv_whose_quotation_marks_are_characters(read: Reader) -> None:
    data = b'id\tlabel\ttext\r\n1\t0.5\t"  this problem\r\n2\t-1\t9" black and "white"\r\n'
    assert cells(read("x.tsv", data, quoting="none")) == [['"  this problem', "0.5"], ['9" black and "white"', "-1"]]


def test_rows_that_a_stray_quotation_mark_would_hold_together_come_apart(read: Reader) -> None:
    # As in the review snippets: one row opens a mark that the next closes. Read without `quoting: none`.
    data = b'id\tlabel\ttext\n1\t0\t" no disc.\n2\t1\t"  this is the second\n3\t1\tfine\n'
    found = read("x.tsv", data)
    assert [row.fault for row in found] == [rows.OPEN_QUOTE, rows.OPEN_QUOTE, None]
    assert found[2].cells == ["fine", "1"]


def test_a_mark_that_never_closes_costs_its_row_and_no_other(read: Reader) -> None:
    data = b"text,label\ngood,a\n" + b'"never closed,b\n' + b"fine,c\n" * 3
    found = read("x.csv", data)
    assert [row.fault for row in found] == [None, rows.OPEN_QUOTE, None, None, None]
    assert found[1].cells == ['"never closed,b', None]


def test_two_stray_marks_cost_two_rows_and_none_between_them(read: Reader) -> None:
    lines = [f"film number {number},a\n" for number in range(30_000)]
    lines[1_000] = '"great film number one,a\n'
    lines[21_000] = '"another one here,b\n'
    found = read("x.csv", ("text,label\n" + "".join(lines)).encode())
    assert [place for place, row in enumerate(found) if row.fault] == [1_000, 21_000]
    assert [row.fault for row in found if row.fault] == [rows.OPEN_QUOTE] * 2
    assert found[20_000].cells == ["film number 20000", "a"]
    found = read("y.csv", b'text,label\n"great film,a\n"bad film,b\n')
    assert [row.fault for row in found] == [rows.OPEN_QUOTE] * 2


@pytest.mark.parametrize("columns", [2, 6])
def test_lines_that_are_rows_are_no_cell_however_well_the_marks_stand(columns: int) -> None:
    names = [f"column {number}" for number in range(columns)]
    rest = ",x" * (columns - 1)
    between = [f"row {number}{rest}\n" for number in range(30)]
    found = parsed(f'{",".join(names)}\n"great film{rest}\n{"".join(between)}it was 5"{rest}\n', names)
    assert [row.fault for row in found] == [rows.OPEN_QUOTE, *[None] * 31]
    assert [row.cells[0] for row in found[1:3]] == ["row 0", "row 1"]


def test_commas_in_the_lines_of_a_cell_do_not_make_rows_of_them() -> None:
    verse = "Roses are red, they say\nviolets, too\nsugar is sweet, and so are you\n\nfor ever, yours"
    assert cells(parsed(written([("text", "label"), (verse, "a"), ("b", verse)]), ("text", "label"))) == [
        [verse, "a"],
        ["b", verse],
    ]
    for listed in ("one, two\nthree\n" * 40, "one, two\n" * 15):
        assert cells(parsed(written([("text", "label"), ("b", listed)]), ("text", "label"))) == [["b", listed]]


def test_a_stray_mark_does_not_end_where_a_cell_begins_with_a_line_break_or_a_comma() -> None:
    for text in ("\nfine", ",fine", "\n", ","):
        found = parsed(f'label,text\na,"great\nb,plain\nc,"{text}"\nd,"and\nmore"\n', ("text", "label"))
        assert [row.fault for row in found] == [rows.OPEN_QUOTE, None, None, None]
        assert [row.cells for row in found[1:]] == [["plain", "b"], [text, "c"], ["and\nmore", "d"]]
    found = parsed('text,label\n"great,a\nfine,",b"\n', ("text", "label"))
    assert [row.cells for row in found] == [['"great,a', None], ["fine", ",b"]]
    both = [["one\nb,", "a"], ["\ntwo", "c"]]  # its lines can be read as those above, but what follows cannot
    assert cells(parsed(written([("text", "label"), *both]), ("text", "label"))) == both
    both = [["a", "one\nb,"], ["c", "\ntwo"]]
    assert cells(parsed(written([("text", "label"), *both]), ("text", "label"))) == both


def test_a_cell_over_several_lines_may_stand_anywhere_in_a_tsv_row() -> None:
    data = 'text\tlabel\n"one\ntwo"\ta\nthree\t"b\nc"\n'
    assert cells(parsed(data, ("text", "label"), "\t")) == [["one\ntwo", "a"], ["three", "b\nc"]]
    found = parsed('label\ttext\na\t"no disc\nb\tfine\nc\tit was 5"\n', ("text", "label"), "\t")
    assert [row.fault for row in found] == [rows.OPEN_QUOTE, None, None]


def test_for_the_end_of_a_cell_no_more_is_read_than_a_cell_may_have() -> None:
    read: list[int] = []

    def lines() -> Iterator[str]:
        yield "text,label\n"
        yield '"never closed,a\n'
        for number in range(50):
            read.append(number)
            yield "x" * (1 << 20) + ",b\n"

    found = delimited.rows(lines(), Source(uri="x.csv"), ("text", "label"), ",", "x.csv")
    assert next(found).fault == rows.OPEN_QUOTE
    assert len(read) <= 5
    assert sum(row.fault is None for row in found) == 50


def test_marks_within_one_line_hold_no_other_line(read: Reader) -> None:
    data = b'text,label\n"great" film,a\n"a "very" good one",b\n"5" disk" or so,c\n"one" more,"open\nlast,d\n'
    found = read("x.csv", data)
    assert [row.fault for row in found] == [None, None, None, rows.OPEN_QUOTE, None]
    assert [row.cells[0] for row in found[:2]] == ["great film", 'a very" good one"']
    assert [row.cells[0] for row in found[2:]] == ['5 disk" or so', '"one" more,"open', "last"]


def test_a_file_read_as_it_is_in_the_wild(read: Reader) -> None:
    data = b'\xef\xbb\xbf text ,label\n\n5" disk,a\nlone\rreturn,b\n"lone\rquoted",c\n\n'
    assert cells(read("x.csv", data)) == [['5" disk', "a"], ["lone\rreturn", "b"], ["lone quoted", "c"]]
    assert cells(read("mac.csv", b"text,label\ra,b\rc,d\r")) == [["a", "b"], ["c", "d"]]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"caf\xe9,a", rows.INVALID_BYTES),
        (b'"caf\xe9 \xff",a', rows.INVALID_BYTES),
        (b"text,\xff", rows.INVALID_BYTES),
        (b"nul\0,a", rows.NUL),
        (b"only", rows.TOO_FEW),
        (b"a,b,c", rows.TOO_MANY),
        (b'"a",b,c', rows.TOO_MANY),
    ],
)
def test_one_bad_row_costs_one_row(read: Reader, line: bytes, fault: str) -> None:
    found = read("x.csv", b"text,label\nbefore,a\n" + line + b"\nafter,b\n")
    assert [row.fault for row in found] == [None, fault, None]
    assert [list(found[0].cells), list(found[2].cells)] == [["before", "a"], ["after", "b"]]


def test_a_cell_of_a_megabyte_and_more(read: Reader) -> None:
    big = b"x" * 3_000_000
    assert [len(row.cells[0] or "") for row in read("x.csv", b"text,label\n" + big + b",a\n")] == [3_000_000]
    assert [len(row.cells[0] or "") for row in read("q.csv", b'text,label\n"' + big + b'",a\n')] == [3_000_000]


def test_a_header_of_the_projects_own(read: Reader) -> None:
    data = b"Go.\tVe.\tCC-BY\nHi.\tHola.\tCC-BY\n"
    assert cells(read("x.tsv", data, ("es", "en"), header=("en", "es", "from"))) == [["Ve.", "Go."], ["Hola.", "Hi."]]


def test_an_unnamed_column_is_no_hindrance(read: Reader) -> None:
    assert cells(read("trec.csv", b",label,text\n0,1,How ?\n")) == [["How ?", "1"]]


def written(table: Sequence[Sequence[str]], delimiter: str = ",", **dialect: Any) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, **dialect).writerows(table)
    return out.getvalue()


def parsed(text: str, names: Sequence[str], delimiter: str = ",") -> list[Row]:
    return list(delimited.rows(io.StringIO(text, newline="\n"), Source(uri="x.csv"), names, delimiter, "x.csv"))


CHARACTERS = st.sampled_from('ab,;"\n 5é') | st.characters(exclude_characters="\0\r\t", exclude_categories=["Cs"])
"""Tabs make one of the two laws untrue: in a cell over several lines they tell of rows."""
CELLS = st.text(CHARACTERS, max_size=12)
DIALECTS = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from(",\t"),
        "quoting": st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
        "lineterminator": st.sampled_from(["\n", "\r\n"]),
    }
)
Table = list[tuple[str, ...]]


def tables(cell: st.SearchStrategy[str]) -> st.SearchStrategy[Table]:
    return st.integers(2, 4).flatmap(lambda width: st.lists(st.tuples(*[cell] * width), min_size=1, max_size=8))


@given(table=tables(CELLS), dialect=DIALECTS)
def test_what_the_csv_module_writes_is_read_back(table: Table, dialect: dict[str, Any]) -> None:
    names = [f"column {number}" for number in range(len(table[0]))]
    found = parsed(written([names, *table], **dialect), names, dialect["delimiter"])
    assert cells(found) == [list(row) for row in table]


@given(table=tables(CELLS.map(str.strip)), dialect=DIALECTS, data=st.data())
def test_one_stray_quotation_mark_costs_at_most_its_own_row(
    table: Table, dialect: dict[str, Any], data: st.DataObject
) -> None:
    names = [f"column {number}" for number in range(len(table[0]))]
    head, *lines = (written([row], **dialect) for row in [names, *table])
    struck = data.draw(st.integers(0, len(lines) - 1), label="row")
    at = data.draw(st.integers(0, len(lines[struck].rstrip())), label="place")
    lines[struck] = lines[struck][:at] + '"' + lines[struck][at:]
    found = parsed("".join([head, *lines]), names, dialect["delimiter"])
    good = [tuple(row.cells) for row in found if row.fault is None]
    assert good[:struck] == table[:struck]
    assert good[len(good) - len(table) + struck + 1 :] == table[struck + 1 :]
