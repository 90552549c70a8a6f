"""Tables of image URLs under every name and in every form that others publish them in; what is lost is said."""

import bz2
import csv
import gzip
import io
import json
import lzma
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text.urltable import REASONS, Options, check, rows
from shards.errors import Failure, UsageError

FORMS = (
    ".parquet",
    ".csv",
    ".tsv",
    ".csv.gz",
    ".tsv.gz",
    ".CSV",
    ".csv.bz2",
    ".tsv.xz",
    ".csv.zst",
    ".json",
    ".jsonl.gz",
)
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: bytes(pa.compress(data, "zstd", asbytes=True)),
}
Columns = Mapping[str, Sequence[object]]


def write(folder: Path, form: str, columns: Columns) -> str:
    """A table as pandas and others would write it in that form."""
    path = folder / f"table{form}"
    if form == ".parquet":
        pq.write_table(pa.table(dict(columns)), path)
        return str(path)
    text = io.StringIO()
    values = [
        list(pa.array(column).to_pylist() if not isinstance(column, pa.Array) else column.to_pylist())
        for column in columns.values()
    ]
    if ".json" in form:
        objects = [json.dumps(dict(zip(columns, row, strict=True))) for row in zip(*values, strict=True)]
        text.write("\n".join(objects) if ".jsonl" in form else f"[{', '.join(objects)}]")
    else:
        writer = csv.writer(text, delimiter="\t" if ".tsv" in form else ",")
        writer.writerow(columns)
        writer.writerows(zip(*values, strict=True))
    data = text.getvalue().encode()
    path.write_bytes(PACKERS.get(form.rpartition(".")[2], bytes)(data))
    return str(path)


def put(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


def read(path: str, **options: Any) -> list[tuple[str, tuple[str, ...]]]:
    """The URL and the captions of each row, or why it is none; the table has passed the check before."""
    check(path, Options(**options))
    return [(row.reason or row.url, row.texts) for row in rows(path, Options(**options))]


def refused(path: str, **options: Any) -> str:
    """What is said of a table before anything runs; whoever reads it all the same is told the same of its columns."""
    with pytest.raises(UsageError) as error:
        check(path, Options(**options))
    return str(error.value)


URLS = ["http://a.test/1.jpg", "http://a.test/2.jpg"]
TEXTS = ["A dog, running", 'Two\n"lines"']

# ── columns ──


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("columns", "pages", "uids", "others"),
    [
        ({"url": URLS, "caption": TEXTS}, False, False, set()),  # img2dataset
        ({"uid": ["a", "b"], "url": URLS, "text": TEXTS, "width": [1, 2]}, False, True, {"width"}),  # DataComp
        ({"SAMPLE_ID": [1.0, 2.0], "URL": URLS, "TEXT": TEXTS}, False, False, {"SAMPLE_ID"}),  # LAION
        ({"uid": ["a", "b"], "url": URLS, "alt": TEXTS, "page_url": URLS}, True, True, set()),  # cc2dataset
        ({"page_url": URLS, "image_url": URLS, "caption": TEXTS}, True, False, set()),
        ({"url": URLS, "image_url": URLS, "caption": TEXTS}, True, False, {"url"}),
        ({"alt": ["not", "these"], "url": URLS, "caption": TEXTS}, False, False, {"alt"}),
        ({"url": URLS, "alt_text": TEXTS}, False, False, set()),
        ({"Image URL": URLS, " Caption ": TEXTS}, False, False, set()),
        ({"imageUrl": URLS, "alt-text": TEXTS, "source": ["cc12m", "cc12m"]}, False, False, {"source"}),
        ({"ImageID": ["x", "y"], "OriginalURL": URLS, "altText": TEXTS}, False, False, {"ImageID"}),
    ],
)
def test_columns_as_others_call_them(
    tmp_path: Path, form: str, columns: Columns, pages: bool, uids: bool, others: set[str]
) -> None:
    path = write(tmp_path, form, columns)
    check(path, Options())
    found = list(rows(path, Options()))
    assert [(row.number, row.url, row.texts) for row in found] == [(n, URLS[n], (TEXTS[n],)) for n in range(2)]
    if pages:
        assert [row.page_url for row in found] == URLS
    assert [row.uid for row in found] == (["a", "b"] if uids else [None, None])
    assert all(set(row.columns) == others for row in found)


@pytest.mark.parametrize("form", FORMS)
def test_of_several_columns_of_captions_a_row_takes_the_first_that_is_not_empty(tmp_path: Path, form: str) -> None:
    columns = {"url": URLS, "text": ["A full text", "Another"], "caption": pa.array([None, "A caption"])}
    assert read(write(tmp_path, form, columns)) == [(URLS[0], ("A full text",)), (URLS[1], ("A caption",))]


@pytest.mark.parametrize("form", FORMS)
def test_columns_that_the_recipe_names(tmp_path: Path, form: str) -> None:
    path = write(tmp_path, form, {"Link": URLS, "Title": TEXTS, "url": ["p", "q"], "caption": ["r", "s"]})
    assert read(path, url_column="Link", text_column="title") == [(URLS[n], (TEXTS[n],)) for n in range(2)]
    said = refused(path, url_column="href")
    assert said == f"{path} has no column href (it has Link, Title, url, caption): correct crawl.url_column"
    assert refused(path, text_column="words").endswith("correct crawl.text_column")


@pytest.mark.parametrize("form", [".parquet", ".json", ".jsonl.gz"])
def test_a_column_of_lists_has_several_captions(tmp_path: Path, form: str) -> None:
    path = write(tmp_path, form, {"url": ["u", "v", "w"], "captions": pa.array([["a", "", "b"], [], None])})
    assert read(path) == [("u", ("a", "b")), ("v", ()), ("w", ())]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"link": ["u"], "caption": ["t"]},
            "has no column of image URLs that is known by its name (it has link, caption): "
            "say which it is by crawl.url_column",
        ),
        (
            {"url": ["u"], "description": ["t"]},
            "has no column of captions that is known by its name (it has url, description): "
            "say which it is by crawl.text_column",
        ),
        (
            {"image_url": ["u"], "img_url": ["u"], "text": ["t"]},
            "has several columns that may be meant, image_url, img_url: say which it is by crawl.url_column",
        ),
        (
            {"url": ["u"], "text": ["t"], "TEXT": ["t"]},
            "has several columns that may be meant, text, TEXT: say which it is by crawl.text_column",
        ),
    ],
)
def test_columns_that_are_not_clear_are_refused(tmp_path: Path, form: str, columns: Columns, said: str) -> None:
    path = write(tmp_path, form, columns)
    assert refused(path) == f"{path} {said}"
    with pytest.raises(UsageError):
        list(rows(path, Options()))


@pytest.mark.parametrize("form", [".parquet", ".csv"])
def test_of_two_columns_of_one_name_none_is_taken(tmp_path: Path, form: str) -> None:
    path = put(tmp_path, "table.csv", b"url,caption,url\nu,t,v\n")
    if form == ".parquet":
        path = str(tmp_path / "table.parquet")
        pq.write_table(pa.table([["u"], ["t"], ["v"]], names=["url", "caption", "url"]), path)
    assert "has 2 columns called url: rename all but one" in refused(path)


@pytest.mark.parametrize(
    ("name", "data", "columns", "expected"),
    [
        ("a.tsv", b"a bus station\thttp://a.test/1\nb\thttp://a.test/2\n", ["caption", "url"], ["1", "2"]),  # CC3M
        ("a.tsv", b"http://a.test/1\ta bus station\n", ["url", "caption"], ["1"]),  # CC12M
        ("a.txt", b"http://a.test/1\ta bus station\n", ["url", "caption"], ["1"]),
        ("a.csv", b"http://a.test/1,a bus station,7\n", ["url", "caption", "id"], ["1"]),
        ("a.tsv", b"URL\tCaption\nhttp://a.test/1\ta bus station\n", ["url", "caption"], ["1"]),  # it has one after all
    ],
)
def test_tables_without_a_header(
    tmp_path: Path, name: str, data: bytes, columns: list[str], expected: list[str]
) -> None:
    path = put(tmp_path, name, data)
    assert [url for url, _ in read(path, columns=columns)] == [f"http://a.test/{n}" for n in expected]
    assert read(path, columns=columns)[0][1] == ("a bus station",)
    if not data.startswith(b"URL"):
        said = refused(path)
        assert "has no header, but a row as its first line: name its columns, crawl.columns = [" in said
        assert said.count('"url"') == said.count('"caption"') == 1
    said = refused(path, columns=[*columns, "more", "and more"])
    assert f"has {len(columns)} cells in its first line, and crawl.columns names {len(columns) + 2}: name them" in said


# ── cells ──


@pytest.mark.parametrize("form", FORMS)
def test_what_is_missing_is_empty(tmp_path: Path, form: str) -> None:
    holes = write(
        tmp_path, form, {"url": pa.array([None, "u"]), "caption": pa.array(["t", None]), "n": pa.array(["x", None])}
    )
    assert read(holes) == [("", ("t",)), ("u", ())]
    assert [dict(row.columns) for row in rows(holes, Options())] == [{"n": "x"}, {"n": None}]
    if "jsonl" not in form:  # of which nothing is left
        empty = {"url": pa.array([], pa.string()), "caption": pa.array([], pa.string())}
        assert read(write(tmp_path, form, empty)) == []


def test_words_that_mean_nothing_to_programs_are_texts(tmp_path: Path) -> None:
    path = write(tmp_path, ".csv", {"url": ["NA", "null", "u"], "caption": ["007", "NaN", r"\N"]})
    assert read(path) == [("NA", ("007",)), ("null", ("NaN",)), ("u", ())]  # \N is how databases write null


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["A dog"], pa.large_string()),
        pa.array(["A dog"]).dictionary_encode(),
        pa.array([b"A dog"], pa.binary()),  # of writers that do not mark their texts
        pa.array(["A dog"], pa.string_view()),
        pa.array([["A dog"]], pa.list_(pa.string())),
        pa.array([["A dog"]], pa.large_list(pa.string())),
    ],
    ids=lambda column: str(column.type),
)
def test_texts_of_every_type(tmp_path: Path, column: pa.Array) -> None:
    pq.write_table(pa.table({"url": ["u"], "caption": column}), tmp_path / "a.parquet")
    assert read(str(tmp_path / "a.parquet")) == [("u", ("A dog",))]


@pytest.mark.parametrize("form", [".parquet", ".json"])
def test_numbers_are_texts_and_none_is_none(tmp_path: Path, form: str) -> None:
    path = write(tmp_path, form, {"url": ["u", "v"], "caption": [7.5, float("nan")]})
    assert read(path) == [("u", ("7.5",)), ("v", ())]


@pytest.mark.parametrize(
    "caption", [{"raw": "A dog"}, [{"raw": "A dog"}], [["A dog"]]], ids=["object", "objects", "lists"]
)
@pytest.mark.parametrize("form", [".parquet", ".json", ".jsonl.gz"])
def test_captions_that_are_no_texts_are_refused(tmp_path: Path, form: str, caption: object) -> None:
    path = write(tmp_path, form, {"url": ["u"], "caption": pa.array([caption])})
    assert "its captions are neither texts nor lists of texts: name another column by crawl.text_column" in refused(
        path
    )


COLUMNS: list[tuple[pa.Array, object]] = [
    (pa.array([0.25], pa.float32()), 0.25),
    (pa.array([7], pa.uint8()), 7),
    (pa.array([True]), True),
    (pa.array([None]), None),
    (pa.array([float("inf")]), None),
    (pa.array([[1, 2]]), [1, 2]),
    (pa.array([{"x": 1, "y": ["a", None]}]), {"x": 1, "y": ["a", None]}),
    (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), [["k", 1]]),
    (pa.array([datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)]), "2020-01-02T03:04:05.000000Z"),
    (pa.array([1_600_000_000_000_000_001], pa.timestamp("ns")), "2020-09-13T12:26:40.000000001"),
    (pa.array([1], pa.date32()), "1970-01-02"),
    (pa.array([b"text"]), "text"),
    (pa.array([b"\xff\xd8\xff"]), None),  # a picture
    (pa.array([{"bytes": b"\xff\xd8", "path": "a.jpg"}]), None),
    (pa.array([1 << 63], pa.uint64()), str(1 << 63)),
    (pa.array(["http://user:secret@b.test/t.jpg"]), "http://…@b.test/t.jpg"),
]


@pytest.mark.parametrize(("column", "expected"), COLUMNS, ids=lambda value: str(getattr(value, "type", "")))
def test_other_columns_as_json_has_them(tmp_path: Path, column: pa.Array, expected: object) -> None:
    path = write(tmp_path, ".parquet", {"url": ["u"], "caption": ["t"], "more": column})
    assert [row.columns for row in rows(path, Options())] == [{"more": expected}]


def test_other_columns_may_change_their_kind_on_the_way(tmp_path: Path) -> None:
    columns = {
        "width": [*map(str, range(20_000)), "unknown"],
        "url": [f"u{n}" for n in range(20_001)],
        "caption": [f"text\n{n}, {'more' * 40}\n" for n in range(20_001)],  # pieces that are read end within one, too
    }
    found = list(rows(write(tmp_path, ".csv", columns), Options()))
    assert [row.texts for row in found] == [(text,) for text in columns["caption"]]
    assert [row.columns["width"] for row in found] == columns["width"]


def test_bytes_that_are_no_text_harm_nothing_but_themselves(tmp_path: Path) -> None:
    greek = "καφές" * 3
    data = f"url,caption\nu,{greek}\n".encode() + b"v,caf\xe9\n"
    assert read(put(tmp_path, "a.csv", data)) == [("u", (greek,)), ("v", ("caf\ufffd",))]
    offsets, values = pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, 4, 5))), pa.py_buffer(b"caf\xe9x")
    latin = pa.Array.from_buffers(pa.string(), 2, [None, offsets, values])
    pq.write_table(pa.table({"url": ["u", "v"], "caption": latin}), tmp_path / "a.parquet")
    assert read(str(tmp_path / "a.parquet")) == [("u", ("caf\ufffd",)), ("v", ("x",))]
    lone = put(tmp_path, "a.json", b'[{"url": "u", "caption": "a \\ud83d b", "n\\ud83d": "\\ud83d"}]')
    assert [(row.texts, row.columns) for row in rows(lone, Options())] == [(("a \ufffd b",), {"n\ufffd": "\ufffd"})]


TABLE = "url,caption\r\nu,Café – 5 €\r\nv,x\r\n"


@pytest.mark.parametrize(
    ("data", "notes"),
    [
        (TABLE.encode(), {}),
        (b"\xef\xbb\xbf" + TABLE.encode(), {}),
        (TABLE.encode("utf-16"), {}),
        (TABLE.encode("utf-16-le"), {}),
        (b"\xfe\xff" + TABLE.encode("utf-16-be"), {}),
        (TABLE.encode("utf-16-be"), {}),
        (TABLE.encode("cp1252"), {"windows_1252_tables": 1}),  # Excel's "CSV" in the west
        (TABLE.replace("\r\n", "\n").encode(), {}),
        (TABLE.replace("\r\n", "\r").encode(), {}),
        (TABLE.replace(",", ";").encode(), {}),  # Excel's where the comma is the decimal sign
        (TABLE.replace(",", "\t").encode("utf-16"), {}),  # Excel's "Unicode text"
        (TABLE.replace(",", "|").encode(), {}),
        (("sep=;\r\n" + TABLE.replace(",", ";")).encode(), {}),
        (("\r\n\r\n" + TABLE).encode(), {"blank_lines": 2}),
        (TABLE.strip().encode(), {}),
        (gzip.compress(TABLE.encode()), {}),
        (bz2.compress(TABLE.encode()), {}),
        (gzip.compress(TABLE[:20].encode()) + gzip.compress(TABLE[20:].encode()), {}),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "a.csv.gz"])
def test_bytes_as_programs_write_them(tmp_path: Path, name: str, data: bytes, notes: dict[str, int]) -> None:
    path, found = put(tmp_path, name, data), Counter[str]()
    assert read(path) == [("u", ("Café – 5 €",)), ("v", ("x",))]
    list(rows(path, Options(), found))
    assert +found == notes


def test_zeros_are_no_utf_16(tmp_path: Path) -> None:
    assert read(put(tmp_path, "a.csv", b"url,caption\nu," + b"x\x00" * 90)) == [("u", ("x\x00" * 90,))]


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r"])
def test_other_encodings_are_refused(tmp_path: Path, encoding: str) -> None:
    path = put(tmp_path, "a.csv", "url,caption\nu,Рыжая собака бежит по траве\n".encode(encoding))
    assert refused(path) == f"{path} is neither UTF-8 nor windows-1252: write it as UTF-8 (iconv -f … -t UTF-8)"


@given(
    st.lists(st.tuples(*[st.text(st.characters(exclude_categories=["Cs"]))] * 2), min_size=1),
    st.sampled_from(FORMS),
)
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]], form: str) -> None:
    urls, texts = [f"http://a.test/{url}" for url, _ in cells], [text for _, text in cells]
    path = write(tmp_path_factory.getbasetemp(), form, {"url": urls, "caption": texts})
    expected = [(url, (text,) if text and text != r"\N" else ()) for url, text in zip(urls, texts, strict=True)]
    assert [(row.url, row.texts) for row in rows(path, Options())] == expected


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


# ── lines ──


def lines_of(path: str, **options: Any) -> Counter[str]:
    """Where the lines of a table went, by what is said of them."""
    found = Counter[str]({"header_lines": 0 if options.get("columns") else 1})
    for row in rows(path, Options(**options), found):
        found[row.reason or "rows"] += 1
    found.pop("windows_1252_tables", None)
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
    *(
        (f"web/{site}.test.pairs.tsv", {"url_column": "img"})
        for site in (
            "18f.gsa",
            "based.cooking",
            "fisica.openstax",
            "gutenberg-18304",
            "gutenberg-30621",
            "photos",
            "sociology.openstax",
            "stamps",
        )
    ),
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


# ── JSON ──

ROWS = [
    {"url": "http://a.test/1", "caption": "A dog", "box": [1, 2]},
    {"url": "http://a.test/2", "caption": ["a", "b"]},
]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson", "a.json.gz"])
@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=1),
        "\n".join(map(json.dumps, ROWS)),
        "\r\n\r\n".join(map(json.dumps, ROWS)) + "\r\n",
        json.dumps({"info": {"year": 2021}, "tags": ["a"], "annotations": ROWS, "more": []}),  # RedCaps
        json.dumps({"info": {"year": 2021}, "empty": [], "data": ROWS}, indent=4),
        "\ufeff" + json.dumps(ROWS),
    ],
    ids=["list", "indented list", "lines", "lines with blank ones", "object", "indented object", "mark"],
)
def test_json_in_any_form(tmp_path: Path, name: str, text: str) -> None:
    data = text.encode()
    path = put(tmp_path, name, gzip.compress(data) if name.endswith("gz") else data)
    assert read(path) == [("http://a.test/1", ("A dog",)), ("http://a.test/2", ("a", "b"))]
    assert [row.columns for row in rows(path, Options())] == [{"box": [1, 2]}, {}]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("of", [None, "annotations"])
def test_json_is_read_in_pieces(tmp_path: Path, of: str | None, indent: int | None) -> None:
    some = [
        {"url": f"http://a.test/{n}", "caption": f"number {n} " * (n % 90), "n": n, "f": n / 7} for n in range(9000)
    ]
    whole = some if of is None else {"skipped": [some[:3000]], "info": {"a": [some[:99]]}, of: some}
    path = put(tmp_path, "a.json", json.dumps(whole, indent=indent).encode())
    assert Path(path).stat().st_size > 4 << 20
    found = list(rows(path, Options()))
    assert [(row.url, dict(row.columns)) for row in found] == [
        (row["url"], {"n": row["n"], "f": row["f"]}) for row in some
    ]


def test_lines_that_are_no_json_are_lost_by_name(tmp_path: Path) -> None:
    data = "\n".join(
        [json.dumps(ROWS[0]), '{"url": "cut', "7", "[" * 100_000, '{"url": ["u"], "caption": "t"}', json.dumps(ROWS[1])]
    )
    path = put(tmp_path, "a.jsonl", data.encode())
    assert [(row.place, row.reason) for row in rows(path, Options())] == [
        (1, ""),
        (2, "not_json"),
        (3, "not_an_object"),
        (4, "not_json"),
        (5, "url_not_text"),
        (6, ""),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            json.dumps({"images": [{"coco_url": "u", "id": 1}], "annotations": [{"caption": "t"}]}),  # COCO
            "that have both a URL and a caption (it has images of coco_url, id, annotations of caption)",
        ),
        (
            json.dumps({"url": {"0": "u"}, "caption": {"0": "t"}}, indent=1),
            "is an object without a list of rows",
        ),  # pandas
        (json.dumps({"image_urls": ["u"], "captions": ["t"]}, indent=1), "is an object without a list of rows"),  # SBU
        (json.dumps(["u", "v"]), "is a list of str, not of objects"),
        (json.dumps([["url", "caption"], ["u", "t"]]), "is a list of list, not of objects"),
        ("url,caption\nu,t\n", "is no JSON (it begins with 'u')"),
    ],
)
def test_json_that_is_no_table_of_rows(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(put(tmp_path, "a.json", text.encode()))


# ── what cannot be read ──


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.dat", b"url,caption\nu,t\n", "is no table that crawl.urls can read: give Parquet, CSV, TSV"),
        ("a.gz", b"url,caption\nu,t\n", "is no table that crawl.urls can read"),
        ("parquet", b"url,caption\nu,t\n", "is no table that crawl.urls can read"),
        ("a.parquet", b"url,caption\nu,t\n", "is no Parquet file (it begins with 'url,caption u,t ')"),
        ("a.parquet", b"", "is no Parquet file (it is empty)"),
        ("a.parquet.gz", gzip.compress(b"PAR1 and more"), "is a Parquet file inside gzip: unpack it"),
        (
            "a.csv",
            b"PK\x03\x04rest",
            "is no table but a ZIP archive or an Excel sheet: unpack it, or save the sheet as CSV",
        ),
        (
            "a.parquet",
            b"version https://git-lfs.github.com/spec/v1\n",
            "a pointer that Git LFS left in its place: fetch it",
        ),
        ("a.csv", b"<!DOCTYPE html><title>404</title>", "is no table but a page, perhaps an error of the server"),
        ("a.arrow", b"ARROW1\0\0", "is no table but an Arrow or Feather file: write it as Parquet"),
        ("a.tsv.gz", gzip.compress(b"\0" * 257 + b"ustar\0"), "is no table but a tar archive: unpack it"),
        ("a.txt", b"http://a.test/1\nhttp://a.test/2\n", "has URLs but no captions: a candidate needs both"),
        ("a.txt", b"url\nhttp://a.test/2\n", "has no column of captions"),
        (
            "a.csv",
            b"url,caption\nu,A dog, running\nv,A cat, sitting\n",
            "of its first 2 rows 2 cannot be used: its rows have more cells than its header: quote the cells that hold",
        ),
        ("a.csv", b"url,caption,n\nu,A dog\n", "of its first 1 rows 1 cannot be used: its rows have fewer cells"),
        ("a.csv", b"\x7fELF" + b"x" * (5 << 20), "has no column of image URLs"),
        ("a.csv", "url,caption\n".encode("utf-32"), "is no table but text in UTF-32: write it as UTF-8"),
        ("a.csv", b"http://me:secret@a.test/1,words\n", "has no header, but a row as its first line"),
        ("a.csv", b"a b http://me:secret@a.test/1\n", "has no column of image URLs that is known by its name"),
    ],
)
def test_what_is_no_table_is_named_with_its_remedy(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    path = put(tmp_path, name, data)
    found = refused(path)
    assert found.startswith(f"{path}") and said in found and "secret" not in found


def test_the_bytes_count_where_the_name_lies(tmp_path: Path) -> None:
    path = write(tmp_path, ".parquet", {"url": ["u"], "caption": ["t"]})
    assert read(str(Path(path).rename(tmp_path / "a.csv"))) == [("u", ("t",))]


WHOLE = b"url,caption\n" + b"".join(b"http://a.test/%d.jpg,number %d\n" % (n, n * n) for n in range(1000))


@pytest.mark.parametrize(
    ("name", "data", "kept", "reason"),
    [
        ("a.csv", b"", 0, "truncated_file"),
        ("a.csv", b"\n \n", 0, "truncated_file"),
        ("a.json", b"", 0, "truncated_file"),
        ("a.csv.gz", gzip.compress(WHOLE)[:-20], 990, "truncated_file"),
        ("a.csv.gz", gzip.compress(WHOLE)[:-4], 1000, "truncated_file"),
        ("a.csv.gz", gzip.compress(WHOLE)[:500], 50, "truncated_file"),
        ("a.csv.bz2", bz2.compress(WHOLE)[:-20], 0, "truncated_file"),
        ("a.csv.gz", gzip.compress(WHOLE) + b"more", 1000, "damaged_file"),
        ("a.json", b'[{"url": "u", "caption": "t"}, {"url": "v"', 1, "damaged_file"),
        ("a.json", b'[{"url": "u", "caption": "t"} {"url": "v"}]', 1, "damaged_file"),
    ],
)
def test_damage_is_said_and_what_is_whole_may_be_taken(
    tmp_path: Path, name: str, data: bytes, kept: int, reason: str
) -> None:
    path = put(tmp_path, name, data)
    with pytest.raises(
        Failure, match=rf"{name} cannot be read after row \d+ \(.*\): get it again, take it out of .*truncated"
    ):
        list(rows(path, Options()))
    check(path, Options(truncated="skip"))
    *found, lost = rows(path, Options(truncated="skip"))
    assert len(found) >= kept and not any(row.reason for row in found) and lost.reason == reason and lost.detail


def test_a_harmed_parquet_is_noticed(tmp_path: Path) -> None:
    texts = [f"number {n * n}" for n in range(5000)]
    path = Path(write(tmp_path, ".parquet", {"url": [f"http://a.test/{n}.jpg" for n in range(5000)], "caption": texts}))
    data = path.read_bytes()
    for harmed in (data[: len(data) // 2], data[:1000] + b"\xff" * 200 + data[1200:]):
        path.write_bytes(harmed)
        with pytest.raises(Failure, match=r"cannot be read"):
            list(rows(str(path), Options()))


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"none\.csv is not there"):
        list(rows(str(tmp_path / "none.csv"), Options()))
