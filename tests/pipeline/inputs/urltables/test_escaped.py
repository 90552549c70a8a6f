r"""Tables as databases write them, with backslashes before what would end a cell; and backslashes that are text."""

from collections import Counter
from pathlib import Path

import pytest

from pipeline.inputs.urltables.escaped import cut, is_escaped
from pipeline.inputs.urltables.urltable import Options, rows
from tests.pipeline.inputs.urltables.tables import put, read

HEADER = b"url\tcaption\tn"


def table(folder: Path, *cells: bytes, name: str = "a.tsv", end: bytes = b"\n") -> str:
    """A table with these captions, and behind each its number."""
    lines = [b"http://a.test/%d\t%s\t%d" % (n, cell, n) for n, cell in enumerate(cells)]
    return put(folder, name, end.join([HEADER, *lines]) + end)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("name", ["a.tsv", "a.txt", "a.csv"])
@pytest.mark.parametrize(
    ("cells", "texts"),
    [
        ([rb"A dog\nand a cat", b"A hen"], ["A dog\nand a cat", "A hen"]),  # mysql -B
        ([rb"A dog\tand a cat", rb"C:\\new\\table"], ["A dog\tand a cat", r"C:\new\table"]),  # PostgreSQL
        ([rb"\N", rb"two\\three", rb"a\\\nb"], ["", r"two\three", "a\\\nb"]),
        ([rb"It\'s a dog\r\nA cat", b"A hen"], ["It's a dog\r\nA cat", "A hen"]),  # ClickHouse
        ([rb"\\\\server\\new", b'5" nails'], [r"\\server\new", '5" nails']),
        ([b"A dog\\\nand a cat", b"A\\\then"], ["A dog\nand a cat", "A\then"]),  # INTO OUTFILE
        ([b"A dog\\\n\\\nand a cat", b"A hen\\\\"], ["A dog\n\nand a cat", "A hen\\"]),
        ([b"A \\\\theta", b"A hen"], [r"A \theta", "A hen"]),
    ],
)
def test_escapes_of_databases(tmp_path: Path, name: str, cells: list[bytes], texts: list[str], end: bytes) -> None:
    path = table(tmp_path, *cells, name=name, end=end)
    expected = [(f"http://a.test/{n}", (text,) if text else ()) for n, text in enumerate(texts)]
    if end == b"\n" or b"\\\n" not in b"".join(cells):
        assert read(path) == expected
    assert [row.columns["n"] for row in rows(path, Options())] == [str(n) for n in range(len(texts))]


@pytest.mark.parametrize(
    "cells",
    [
        [rb"C:\new", b"A dog"],
        [rb"The folder D:\temp\new", b"A dog"],
        [rb"\\server\new", b"A dog"],
        [rb"The angle \theta", b"A dog"],
        [rb"$\nu$ and \textbf{this}", b"A dog"],
        [rb"A dog\nand a cat", rb"A \sign of another kind"],  # not all are escapes
        [rb"\N and more", rb"a\nb"],
        [b"A dog \\", b"A cat"],  # would be one record with too many cells
        [rb"\o/ \n \o/", b"A dog"],
        [rb"A \0 in it", b"A dog"],  # nothing that a database needs
    ],
)
def test_other_backslashes_are_text(tmp_path: Path, cells: list[bytes]) -> None:
    assert [texts for _, texts in read(table(tmp_path, *cells))] == [(cell.decode(),) for cell in cells]


def test_backslashes_between_commas_and_in_quotes_are_not_databases(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", b"url,caption\nhttp://a.test/1,A dog\\nand a cat\n")
    assert read(path) == [("http://a.test/1", (r"A dog\nand a cat",))]
    assert read(table(tmp_path, rb'"A dog\nand a cat"')) == [("http://a.test/0", (r"A dog\nand a cat",))]
    assert read(table(tmp_path, rb"A dog\nand"), quoting="csv") == [("http://a.test/0", (r"A dog\nand",))]


def test_every_line_of_an_escaped_table_is_counted(tmp_path: Path) -> None:
    path = table(tmp_path, b"A dog\\\nand a cat", rb"A\\B", b"A hen")
    notes = Counter[str]()
    found = list(rows(path, Options(), notes))
    assert [row.place for row in found] == [2, 4, 5] and notes["continuation_lines"] == 1
    assert notes.total() + len(found) + 1 == Path(path).read_bytes().count(b"\n")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("line", [b"\\", b"a\\\\\\", b"\\\t", b"\\" * 1001])
def test_backslashes_made_to_cost_time(line: bytes) -> None:
    assert not is_escaped(iter([line] * 200_000), 2)
    assert cut(line * 10_000)
