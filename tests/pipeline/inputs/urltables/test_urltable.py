"""Tables of image URLs under every name and in every form that others publish them in: columns and cells."""

import bz2
import gzip
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from pipeline.inputs.urltables.urltable import Options, check, rows
from tests.pipeline.inputs.urltables.tables import FORMS, TEXTS, URLS, Columns, put, read, refused, write

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
    "caption", [{"raw": "A dog"}, [{"said": "A dog"}], [["A dog"]]], ids=["object", "objects", "lists"]
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
        (TABLE.replace("\r\n", "\r").encode("mac_roman"), {"mac_roman_tables": 1}),  # Excel's "CSV" on old Macs
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


@pytest.mark.parametrize("text", ["“Très cher” – ça va", "Ein Mädchen, größer", "naïve", "€ 5", "L’été à Nîmes"])
def test_lines_that_end_as_on_old_macs_are_in_their_letters(tmp_path: Path, text: str) -> None:
    path = put(tmp_path, "a.csv", f'url,caption\ru,"{text}"\rv,A dog\r'.encode("mac_roman"))
    assert read(path) == [("u", (text,)), ("v", ("A dog",))]
    path = put(tmp_path, "a.csv", f'url,caption\ru,"{text}"\rv,A dog\r'.encode())
    assert read(path) == [("u", (text,)), ("v", ("A dog",))]


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
