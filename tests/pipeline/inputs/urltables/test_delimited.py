"""CSV and TSV: what a quote means, and every line a row or lost by a name."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.inputs.urltables import delimited
from pipeline.inputs.urltables.delimited import Layout, lines, records
from pipeline.inputs.urltables.urltable import REASONS, Options, check, rows
from tests.conftest import SITES
from tests.pipeline.inputs.urltables.tables import put, read

# ── quotes ──


def quoted(folder: Path, name: str, *texts: str, **options: Any) -> list[str]:
    """The captions of a table in which each of the texts stands, as it is, behind a URL; "!" for what is lost."""
    sign = "\t" if name.endswith(".tsv") else ","
    lines = [f"url{sign}caption", *(f"http://a.test/{n}{sign}{text}" for n, text in enumerate(texts))]
    path = put(folder, name, "\n".join(lines).encode())
    check(path, Options(**options))
    found = list(rows(path, Options(**options)))
    assert all(row.reason or row.url.startswith("http://a.test/") for row in found)
    return ["!" if row.reason else (row.texts or ("",))[0] for row in found]


STRAY = [
    '"The Tower" brown dog on the lawn',
    "A brown dog",
    '"A black dog says hello',
    "A white cat",
    'A red dog with 5" ball',
    '"',
    'ends with a quote"',
    '"" two',
]


@pytest.mark.parametrize("name", ["a.tsv", "a.csv"])
def test_a_quote_that_means_nothing_is_text_and_costs_no_other_row(tmp_path: Path, name: str) -> None:
    assert quoted(tmp_path, name, *STRAY) == STRAY
    assert quoted(tmp_path, name, *STRAY, quoting="none") == STRAY
    for text in STRAY:
        texts = ["A dog", text, "A cat", "A cow"]
        assert quoted(tmp_path, name, *texts) == texts
        assert quoted(tmp_path, name, text) == [text]


@pytest.mark.parametrize("crlf", [False, True])
@pytest.mark.parametrize("name", ["a.tsv", "a.csv"])
def test_a_quote_that_opens_in_one_row_and_closes_in_another_merges_none(tmp_path: Path, name: str, crlf: bool) -> None:
    sign = "\t" if name == "a.tsv" else ","
    for one, two in [('"A black dog', 'A cat"'), ("A dog", "A cat"), ('"A dog says ""hello', 'A "" cat"')]:
        lines = [
            f"caption{sign}url",
            f"{one}{sign}http://a.test/1",
            f"between{sign}http://a.test/2",
            f"{two}{sign}http://a.test/3",
        ]
        path = put(tmp_path, name, ("\r\n" if crlf else "\n").join(lines).encode())
        assert read(path) == [(f"http://a.test/{n}", (text,)) for n, text in enumerate([one, "between", two], 1)]
        del lines[2]
        path = put(tmp_path, name, ("\r\n" if crlf else "\n").join(lines).encode())
        assert [texts for _, texts in read(path)] == [(one,), (two,)]


def test_of_eight_rows_none_is_lost(tmp_path: Path) -> None:
    """As they stood in a report: six rows came of them, with the caption of one beside the URL of another."""
    texts = [
        "A dog",
        '"A black dog says hello',
        "A cat",
        "A cow",
        '"The Tower" brown dog on the lawn',
        "A hen",
        'A red dog with 5" ball',
        "A fox",
    ]
    path = put(
        tmp_path,
        "a.tsv",
        "".join(f"{text}\thttp://a.test/{n}.jpg\n" for n, text in enumerate(["caption", *texts]))
        .replace("http://a.test/0.jpg", "url")
        .encode(),
    )
    assert read(path) == [(f"http://a.test/{n}.jpg", (text,)) for n, text in enumerate(texts, 1)]


@pytest.mark.parametrize("name", ["a.tsv", "a.csv"])
def test_many_rows_with_a_quote_at_times(tmp_path: Path, name: str) -> None:
    sign = "\t" if name == "a.tsv" else ","
    texts = ['"' * (n % 500 == 0) + f"A brown dog number {n}" for n in range(150_000)]
    lines = (f"{text}{sign}http://a.test/{n}.jpg\n" for n, text in enumerate(texts))
    path = put(tmp_path, name, (f"caption{sign}url\n" + "".join(lines)).encode())
    found = list(rows(path, Options()))
    assert [row.texts for row in found] == [(text,) for text in texts]
    assert all(row.url == f"http://a.test/{row.number}.jpg" and row.place == row.number + 2 for row in found)


def test_one_quote_in_a_large_table(tmp_path: Path) -> None:
    """It went on to the end of a block, and the table was called damaged."""
    lines = [f"http://a.test/{n},{'words ' * 30}{n}\n" for n in range(60_000)]
    lines[100] = 'http://a.test/100,"words\n'
    path = put(tmp_path, "a.csv", ("url,caption\n" + "".join(lines)).encode())
    assert len("".join(lines)) > 8 << 20
    found = list(rows(path, Options()))
    assert len(found) == 60_000 and found[100].texts == ('"words',) and not any(row.reason for row in found)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (['"A dog, running"', "A cat"], ["A dog, running", "A cat"]),
        (['"Two\nlines"', "A cat"], ["Two\nlines", "A cat"]),
        (['"Two\r\nlines, with a comma"', "A cat"], ["Two\r\nlines, with a comma", "A cat"]),
        (['"Lines\n\n\nwith blank ones"', "A cat"], ["Lines\n\n\nwith blank ones", "A cat"]),
        (['"The ""Tower"", a dog"'], ['The "Tower", a dog']),
        (['""""', '""', "A cat"], ['"', "", "A cat"]),
        (['"He said ""hi\nthere"" twice"'], ['He said "hi\nthere" twice']),
        ([r'"He said \"hi, there\" to me"', "A cat"], ['He said "hi, there" to me', "A cat"]),  # Spark, MySQL
        ([r'"He said \"hi\", ok"', "A cat"], ['He said "hi", ok', "A cat"]),
        ([r'"a \\ b, \"c\""'], [r'a \ b, "c"']),
        ([r'"C:\"'], ["C:\\"]),
        (['"He said \\"hi\nthere\\" twice"'], ['He said "hi\nthere" twice']),
        ([' "A dog, running" '], ["A dog, running"]),  # a space behind the comma
        (["A dog,"], ["A dog"]),  # a comma behind each row
        (["A dog, running", "A cat", "A cow"], ["!", "A cat", "A cow"]),
        (['"A dog, running', "A cat", "A cow"], ["!", "A cat", "A cow"]),
        (['"The "Tower", a dog', "A cat", "A cow"], ["!", "A cat", "A cow"]),
    ],
)
def test_quotes_that_are_quotes_in_csv(tmp_path: Path, texts: list[str], expected: list[str]) -> None:
    assert quoted(tmp_path, "a.csv", *texts) == expected
    assert quoted(tmp_path, "a.csv", *texts, quoting="csv") == expected


def test_a_table_with_tabs_is_quoted_only_if_all_of_it_is(tmp_path: Path) -> None:
    good = ['"A dog, running"', '"The ""Tower"""', '"Two\nlines"', "none"]
    assert quoted(tmp_path, "a.tsv", *good) == ["A dog, running", 'The "Tower"', "Two\nlines", "none"]
    texts = ['"A dog, running"', '"The ""Tower"""', 'A red dog with 5" ball']
    assert quoted(tmp_path, "a.tsv", *texts) == texts
    assert quoted(tmp_path, "a.tsv", *texts, quoting="csv") == [
        "A dog, running",
        'The "Tower"',
        'A red dog with 5" ball',
    ]
    assert quoted(tmp_path, "a.tsv", *good[:2], quoting="none") == good[:2]


def test_quotes_of_the_recipe_may_hold_rows(tmp_path: Path) -> None:
    texts = ['"A table:\nhttp://b.test/1,one\nhttp://b.test/2,two"', "A cat"]
    assert quoted(tmp_path, "a.csv", *texts, quoting="csv") == [texts[0].strip('"'), "A cat"]
    lost = put(tmp_path, "a.csv", ("url,caption\nhttp://a.test/0," + texts[0]).encode())
    assert [row.url for row in rows(lost, Options())] == ["http://a.test/0", "http://b.test/1", "http://b.test/2"]


INNER = "Two rows:\nhttp://b.test/1,one\nhttp://b.test/2,two"
PLAIN = ["A dog, running", 'The "Tower", a dog', "A cat, sitting"]


def written(folder: Path, name: str, texts: list[str], **how: Any) -> str:
    """A table as the csv module writes it."""
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, **how)
        writer.writerows([("url", "caption"), *((f"http://a.test/{n}", text) for n, text in enumerate(texts))])
    return str(folder / name)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("texts", "how"),
    [
        ([*PLAIN, INNER, "A hen"], {}),
        ([INNER, "A hen", *PLAIN, INNER, INNER], {}),
        (["Two\nlines", "A\nhen", "A hen, and\na cow", INNER], {}),
        ([INNER, "A hen", "A dog", "A cat"], {"quoting": csv.QUOTE_ALL}),
        ([*PLAIN, INNER.replace(",", "\t")], {"delimiter": "\t", "quoting": csv.QUOTE_ALL}),
        ([*PLAIN, INNER.replace(",", ";")], {"delimiter": ";", "quoting": csv.QUOTE_ALL}),
    ],
)
def test_rows_within_a_quoted_cell_of_strict_csv_are_text(
    tmp_path: Path, texts: list[str], how: dict[str, Any], end: str
) -> None:
    path = written(tmp_path, "a.csv", texts, lineterminator=end, **how)
    notes = Counter[str]()
    found = list(rows(path, Options(), notes))
    assert [row.texts for row in found] == [(text,) for text in texts] and notes["quotes_taken_for_text"] == 0
    assert [row.url for row in found] == [f"http://a.test/{n}" for n in range(len(texts))]
    check(path, Options())


@pytest.mark.parametrize(
    "others",
    [
        PLAIN[:2],  # too few to tell
        ["A dog", "A cat", "A hen", "A cow"],
        ['5" nails', *PLAIN],  # not as the csv module writes it: see below
    ],
)
def test_rows_within_a_quote_of_a_table_that_is_not_strict_are_rows_and_noted(
    tmp_path: Path, others: list[str]
) -> None:
    path = Path(written(tmp_path, "a.csv", [*others, INNER, "A fox"]))
    path.write_bytes(path.read_bytes().replace(b'"5"" nails"', b'5" nails'))
    notes = Counter[str]()
    found = [row.url for row in rows(str(path), Options(), notes) if not row.reason]
    n = len(others)
    own = [f"http://a.test/{i}" for i in range(n + 2)]
    assert found == [*own[:-1], "http://b.test/1", "http://b.test/2", own[-1]]
    assert notes["quotes_taken_for_text"] == 1
    assert [row.texts for row in rows(str(path), Options(quoting="csv"))][n] == (INNER,)


def test_stray_quotes_that_happen_to_close_merge_no_rows_of_a_table_that_quotes_titles(tmp_path: Path) -> None:
    texts = ['"The Tower"', '"A Dog"', '"A Cat"', '"Home', "A hen", 'Away"', '"The Bridge"']
    lines = [f"{text},http://a.test/{n}" for n, text in enumerate(texts)]
    path = put(tmp_path, "a.csv", "\n".join(["caption,url", *lines]).encode())
    assert [url for url, _ in read(path)] == [f"http://a.test/{n}" for n in range(len(texts))]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("sign", [",", "\t", ";"])
def test_a_row_may_lack_its_last_cells(tmp_path: Path, sign: str, end: str) -> None:
    """Spreadsheets leave empty cells at the end of a row away."""
    table = [
        ["width", "url", "caption", "alt", "n"],
        ["1", "http://a.test/0", "A dog", "a", "0"],
        ["1", "http://a.test/1", "A cat", "b"],
        ["1", "http://a.test/2", "A hen"],
        ["1", "http://a.test/3", '"A fox, "' if sign == "," else "A fox, "],
        ["1", "http://a.test/4"],
        ["1"],
        ["1", "", "A cow"],
        ["", "http://a.test/8", "A pig"],
    ]
    path = put(tmp_path, "a.csv", end.join(map(sign.join, table)).encode())
    found = [(row.reason or row.url, row.texts, row.columns.get("n")) for row in rows(path, Options())]
    assert found == [
        ("http://a.test/0", ("A dog",), "0"),
        ("http://a.test/1", ("A cat",), None),
        ("http://a.test/2", ("A hen",), None),
        ("http://a.test/3", ("A fox, ",), None),
        ("too_few_cells", (), None),
        ("too_few_cells", (), None),
        ("too_few_cells", (), None),
        ("http://a.test/8", ("A pig",), None),
    ]


def test_a_quoted_cell_over_lines_may_be_the_last_of_its_row(tmp_path: Path) -> None:
    data = b'url,caption,n\nhttp://a.test/1,"Two\nlines, here"\nhttp://a.test/2,A dog,1\n'
    assert read(put(tmp_path, "a.csv", data)) == [
        ("http://a.test/1", ("Two\nlines, here",)),
        ("http://a.test/2", ("A dog",)),
    ]


def test_a_row_that_is_broken_by_a_line_end_is_lost_and_costs_no_other(tmp_path: Path) -> None:
    data = b"url,caption,n\nhttp://a.test/1,A dog\nthat runs,1\nhttp://a.test/2,A cat,1\n"
    assert [url for url, _ in read(put(tmp_path, "a.csv", data))] == ["too_few_cells"] * 2 + ["http://a.test/2"]


def test_quotes_of_short_rows_merge_none(tmp_path: Path) -> None:
    data = b'caption,url,n\n"A dog,http://a.test/1\nA hen,http://a.test/2\nA cat",http://a.test/3\n'
    assert [url for url, _ in read(put(tmp_path, "a.csv", data))] == [f"http://a.test/{n}" for n in (1, 2, 3)]


# ── lines ──


def lines_of(path: str, **options: Any) -> Counter[str]:
    """Where the lines of a table went, by what is said of them."""
    found = Counter[str]({"header_lines": 0 if options.get("columns") else 1})
    for row in rows(path, Options(**options), found):
        found[row.reason or "rows"] += 1
    found.pop("windows_1252_tables", None)
    found.pop("quotes_taken_for_text", None)
    return +found


def test_every_line_is_a_row_or_has_a_reason(tmp_path: Path) -> None:
    data = b'url,caption\nu,t\n\nv\nw,"a\nb"\n  \nx,y,z\n' + b"," * (5 << 20) + b"\nlast,one"
    path = put(tmp_path, "a.csv", data)
    assert lines_of(path) == {
        "header_lines": 1,
        "rows": 3,
        "blank_lines": 2,
        "continuation_lines": 1,
        "too_few_cells": 1,
        "too_many_cells": 1,
        "line_too_long": 1,
    }
    assert [(row.place, row.reason, row.detail) for row in rows(path, Options()) if row.reason] == [
        (4, "too_few_cells", "v"),
        (8, "too_many_cells", "x,y,z"),
        (9, "line_too_long", "a line of more than 4,194,304 bytes"),
    ]
    assert {row.reason for row in rows(path, Options())} - {""} <= REASONS.keys()


@given(
    st.lists(
        st.sampled_from(['"', '""', ",", "\n", "\r\n", "\\", "a", "http://a.test/", "\t", "\x00", " "]), max_size=60
    ),
    st.sampled_from(["a.csv", "a.tsv"]),
    st.sampled_from(["auto", "csv", "none"]),
)
def test_no_line_is_lost_whatever_it_holds(
    tmp_path_factory: pytest.TempPathFactory, signs: list[str], name: str, quoting: str
) -> None:
    sign = "," if name == "a.csv" else "\t"
    data = (f"url{sign}caption\n" + "".join(signs)).encode()
    path = put(tmp_path_factory.getbasetemp(), name, data)
    assert lines_of(path, quoting=quoting).total() == data.count(b"\n") + (not data.endswith(b"\n"))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("quoting", ["auto", "csv"])
@pytest.mark.parametrize("line", ['"', '"a', 'x","y', '"a""', r'"\"', '"http://a.test/', 'http://a.test/,"a'])
@pytest.mark.parametrize("columns", [2, 500])
def test_quotes_made_to_cost_time(tmp_path: Path, line: str, columns: int, quoting: str) -> None:
    names = ",".join(["url", "caption", *map(str, range(columns - 2))])
    path = put(tmp_path, "a.csv", (f"{names}\n" + f"{line}\n" * 5_000).encode())
    assert lines_of(path, quoting=quoting).total() == 5_001


TABLES: list[tuple[str, dict[str, Any]]] = [
    *((f"web/{site}.test.pairs.tsv", {"url_column": "img"}) for site in SITES),
    ("web/photos.test.attributions.csv", {"text_column": "Title"}),
    ("cls/caltech101_72px.labels.tsv", {"columns": ["url", "caption"]}),
    ("cls/clothing_72px.labels.tsv", {"columns": ["url", "caption"]}),
    ("neardup/pairs.tsv", {"url_column": "a", "text_column": "kind"}),
    ("evalmeta/imagenet_testbed.robustness_top1s.csv", {"url_column": "model", "text_column": "greyscale"}),
]


def test_no_line_of_a_real_table_is_lost(data: Path, tmp_path: Path) -> None:
    tables = {path.relative_to(data).as_posix() for form in ("csv", "tsv") for path in data.rglob(f"*.{form}")}
    tables -= {name for name in tables if name.startswith("hostile/")}
    assert tables <= {name for name, _ in TABLES}, "a table that this test does not know"
    for name, options in TABLES:
        raw = (data / name).read_bytes()
        physical = raw.count(b"\n") + (not raw.endswith(b"\n"))
        found = lines_of(str(data / name), **options)
        assert found.total() == physical, name
        assert set(found) <= {"header_lines", "rows", "blank_lines", "continuation_lines"}, name
        with (data / name).open(newline="", encoding="utf-8") as file:  # another opinion
            sign = "," if name.endswith(".csv") else "\t"
            reader = csv.reader(file) if sign == "," else csv.reader(file, delimiter=sign, quoting=csv.QUOTE_NONE)
            theirs = [row for row in reader if row]
        assert found["rows"] == len(theirs) - found["header_lines"], name


def test_blank_lines_behind_a_quote_that_never_closes_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "MAX_RECORD", 1000)  # bytes, of which a blank line is one
    taken = 0

    def counted(data: bytes) -> list[bytes]:
        return [data[i : i + 100] for i in range(0, len(data), 100)]

    def source(data: bytes) -> Iterator[delimited.Line]:
        nonlocal taken
        for line in lines(counted(data)):
            taken += 1
            yield line

    layout, notes = Layout(b",", ["url", "caption"], 0), Counter[str]()
    read = records(source(b'url,caption\nhttp://a.test/1.jpg,"A dog' + b"\n" * 5000), layout, notes)
    assert next(read).cells == [b"http://a.test/1.jpg", b'"A dog']
    assert taken <= 1100, "lines that were looked at before the quote was taken for text"
    assert list(read) == [] and notes["blank_lines"] == 4999
