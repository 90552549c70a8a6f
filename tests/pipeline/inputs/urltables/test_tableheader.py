"""The header of a table: behind comments, over lines, with one name too few, with any delimiter."""

from collections import Counter
from pathlib import Path

import pytest

from pipeline.inputs.urltables.urltable import Options, rows
from tests.pipeline.inputs.urltables.tables import put, read, refused

READ = [("http://a.test/1", ("A dog",)), ("http://a.test/2", ("A cat",))]
ROWS = b"http://a.test/1,A dog\nhttp://a.test/2,A cat\n"


@pytest.mark.parametrize("sign", [b",", b"\t", b";"])
def test_a_header_with_one_name_too_few_does_not_name_the_rows(tmp_path: Path, sign: bytes) -> None:
    """As R's write.table has it."""
    data = b'"url","caption"\n"1","http://a.test/1","A dog"\n"2","http://a.test/2","A cat"\n'.replace(b",", sign)
    path = put(tmp_path, "a.csv", data)
    assert read(path) == READ
    assert [row.columns for row in rows(path, Options())] == [{"column_0": "1"}, {"column_0": "2"}]
    many = [b'"%d","http://a.test/%d","A dog, ""here""\nand there"' % (n, n) for n in range(300)]
    path = put(tmp_path, "a.csv", b"\n".join([b'"url","caption"', *many]).replace(b'","', b'"%s"' % sign))
    assert [url for url, _ in read(path)] == [f"http://a.test/{n}" for n in range(300)]


@pytest.mark.parametrize(
    "data",
    [
        b"url,caption\nhttp://a.test/1,A dog\n1,http://a.test/2,A cat\n",  # not all
        b"url,caption\nhttp://a.test/1,http://b.test/,A dog\n",  # its URL is where the header says
        b"url,caption\n",
    ],
)
def test_rows_with_a_cell_too_many_are_not_taken_for_named(tmp_path: Path, data: bytes) -> None:
    found = list(rows(put(tmp_path, "a.csv", data), Options()))
    assert all("column_0" not in row.columns for row in found)
    assert [row.reason for row in found if row.reason] == ["too_many_cells"] * (b"A cat" in data or b"b.test" in data)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_name_may_go_on_over_lines(tmp_path: Path, end: bytes) -> None:
    """As forms have it."""
    data = b'Time,"Image\nURL","What is on it?\n(one, ""short"" sentence)",caption\n1,http://a.test/1,,A dog\n'
    path = put(tmp_path, "a.csv", data.replace(b"\n", end))
    notes = Counter[str]()
    assert [(row.url, row.texts) for row in rows(path, Options(), notes)] == READ[:1]
    assert +notes == {"continuation_lines": 2}
    said = {"url_column": "image url", "text_column": "caption"}
    assert read(path, **said) == READ[:1]


def test_a_stray_quote_in_a_header_takes_no_rows(tmp_path: Path) -> None:
    assert read(put(tmp_path, "a.csv", b'url,caption,5" n\n' + ROWS.replace(b"\n", b',"\n'))) == READ


@pytest.mark.parametrize(
    ("before", "notes"),
    [
        (b"# made by a program\n", {"comment_lines": 1}),
        (b"# url is where it is from, caption what it says\n#\n\n# 2024\n", {"comment_lines": 3, "blank_lines": 1}),
        (b"\n#x\n", {"comment_lines": 1, "blank_lines": 1}),
    ],
)
def test_comments_before_the_header_are_skipped_and_counted(
    tmp_path: Path, before: bytes, notes: dict[str, int]
) -> None:
    path, found = put(tmp_path, "a.csv", before + b"url,caption\n" + ROWS), Counter[str]()
    assert read(path) == READ
    assert min(row.place for row in rows(path, Options(), found)) == before.count(b"\n") + 2 and +found == notes
    headerless = put(tmp_path, "b.csv", before + ROWS)
    assert read(headerless, columns=["url", "caption"]) == READ
    assert "has no header, but a row as its first line" in refused(headerless)


@pytest.mark.parametrize("header", [b"#url,caption\n", b"# url,caption\n", b"# from a program\n# url,caption\n"])
def test_a_header_may_be_a_comment(tmp_path: Path, header: bytes) -> None:
    assert read(put(tmp_path, "a.csv", header + ROWS)) == READ


def test_a_caption_may_begin_like_a_comment(tmp_path: Path) -> None:
    data = b"#dogs running\thttp://a.test/1\nA cat\thttp://a.test/2\n"
    found = read(put(tmp_path, "a.tsv", data), columns=["caption", "url"])
    assert found == [("http://a.test/1", ("#dogs running",)), ("http://a.test/2", ("A cat",))]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt"])
def test_the_sign_between_cells_of_hive(tmp_path: Path, name: str) -> None:
    data = ROWS.replace(b",", b"\x01").replace(b"A cat", b"\\N")
    expected = [READ[0], (READ[1][0], ())]
    assert read(put(tmp_path, name, b"url\x01caption\n" + data)) == expected
    assert read(put(tmp_path, name, data), columns=["url", "caption"]) == expected
