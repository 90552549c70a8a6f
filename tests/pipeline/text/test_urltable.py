"""Tables of image URLs under every name and in every form that others publish them in; what is broken is said."""

import csv
import gzip
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text import urltable
from pipeline.text.urltable import Row, rows
from shards.errors import Failure, UsageError

FORMS = (".parquet", ".csv", ".tsv", ".csv.gz", ".tsv.gz", ".CSV")
Columns = Mapping[str, Sequence[object]]


def write(folder: Path, form: str, columns: Columns) -> str:
    """A table as pandas and others would write it in that form."""
    path = folder / f"table{form}"
    if form == ".parquet":
        pq.write_table(pa.table(dict(columns)), path)
        return str(path)
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t" if ".tsv" in form else ",")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if form.endswith(".gz") else data)
    return str(path)


def put(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


URLS = ["http://a.test/1.jpg", "http://a.test/2.jpg"]
TEXTS = ["A dog, running", 'Two\n"lines"']


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("columns", "pages"),
    [
        ({"url": URLS, "caption": TEXTS}, False),  # img2dataset
        ({"uid": ["a", "b"], "url": URLS, "text": TEXTS, "original_width": [1, 2]}, False),  # DataComp
        ({"SAMPLE_ID": [1.0, 2.0], "URL": URLS, "TEXT": TEXTS, "NSFW": ["UNLIKELY", None]}, False),  # LAION
        ({"uid": ["a", "b"], "url": URLS, "alt": TEXTS, "cc_filename": ["x", "y"], "page_url": URLS}, True),  # cc2…
        ({"page_url": URLS, "image_url": URLS, "caption": TEXTS}, True),
        ({"alt": ["not", "these"], "url": URLS, "caption": TEXTS}, False),
    ],
)
def test_columns_as_others_call_them(tmp_path: Path, form: str, columns: Columns, pages: bool) -> None:
    assert list(rows(write(tmp_path, form, columns))) == [
        Row(n, URLS[n], TEXTS[n], URLS[n] if pages else "") for n in range(2)
    ]


@pytest.mark.parametrize("form", FORMS)
def test_what_is_missing_is_empty(tmp_path: Path, form: str) -> None:
    assert list(rows(write(tmp_path, form, {"url": URLS}))) == [Row(0, URLS[0], "", ""), Row(1, URLS[1], "", "")]
    holes = write(tmp_path, form, {"url": [None, "u"], "caption": ["t", None]})
    assert list(rows(holes)) == [Row(0, "", "t", ""), Row(1, "u", "", "")]
    assert list(rows(write(tmp_path, form, {"url": pa.array([], pa.string())}))) == []


def test_words_that_mean_nothing_to_programs_are_texts(tmp_path: Path) -> None:
    path = write(tmp_path, ".csv", {"url": ["NA", "null"], "caption": ["007", "NaN"]})
    assert list(rows(path)) == [Row(0, "NA", "007", ""), Row(1, "null", "NaN", "")]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["A dog"], pa.large_string()),
        pa.array(["A dog"]).dictionary_encode(),
        pa.array([b"A dog"], pa.binary()),  # of writers that do not mark their texts
    ],
    ids=lambda column: str(column.type),
)
def test_texts_of_every_type(tmp_path: Path, column: pa.Array) -> None:
    pq.write_table(pa.table({"url": ["u"], "caption": column}), tmp_path / "a.parquet")
    assert list(rows(str(tmp_path / "a.parquet"))) == [Row(0, "u", "A dog", "")]


def test_numbers_are_texts(tmp_path: Path) -> None:
    assert list(rows(write(tmp_path, ".parquet", {"url": ["u"], "caption": [7]}))) == [Row(0, "u", "7", "")]


def test_bytes_that_are_no_text_harm_nothing_but_themselves(tmp_path: Path) -> None:
    expected = [Row(0, "u", "caf\ufffd", ""), Row(1, "v", "x", "")]
    assert list(rows(put(tmp_path, "a.csv", b"url,caption\nu,caf\xe9\nv,x\n"))) == expected
    offsets, values = pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, 4, 5))), pa.py_buffer(b"caf\xe9x")
    latin = pa.Array.from_buffers(pa.string(), 2, [None, offsets, values])
    assert list(rows(write(tmp_path, ".parquet", {"url": ["u", "v"], "caption": latin}))) == expected


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert list(rows(put(tmp_path, "a.csv", b"\xef\xbb\xbfurl,text\nu,t\n"))) == [Row(0, "u", "t", "")]


def test_a_gzip_of_several_members_is_read_to_its_end(tmp_path: Path) -> None:
    data = gzip.compress(b"url,text\nu,t\n") + gzip.compress(b"v,s\n")
    assert list(rows(put(tmp_path, "a.csv.gz", data))) == [Row(0, "u", "t", ""), Row(1, "v", "s", "")]


def test_other_columns_may_change_their_kind_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that guesses types from the first block fails here in the second."""
    monkeypatch.setattr(urltable, "_BLOCK", 1024)
    path = write(
        tmp_path,
        ".csv",
        {
            "width": [*range(1000), "unknown"],
            "similarity": [*[""] * 1000, 0.3],
            "url": [f"u{n}" for n in range(1001)],
            "caption": [f"text\n{n}\n" for n in range(1001)],  # blocks end within one, too
        },
    )
    found = list(rows(path))
    assert [row.text for row in found] == [f"text\n{n}\n" for n in range(1001)] and found[-1] == Row(
        1000, "u1000", "text\n1000\n", ""
    )


@given(
    st.lists(st.tuples(*[st.text(st.characters(exclude_categories=["Cs"]))] * 2), min_size=1),
    st.sampled_from(FORMS),
)
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]], form: str) -> None:
    urls, texts = [url for url, _ in cells], [text for _, text in cells]
    path = write(tmp_path_factory.getbasetemp(), form, {"url": urls, "caption": texts})
    assert [(row.url, row.text) for row in rows(path)] == cells


# ── what cannot be read ──


@pytest.mark.parametrize("form", [".parquet", ".csv", ".tsv.gz"])
@pytest.mark.parametrize("empty", [False, True])
def test_a_table_without_urls_is_refused(tmp_path: Path, form: str, empty: bool) -> None:
    path = write(
        tmp_path, form, {"link": pa.array([] if empty else ["u"], pa.string()), "caption": [] if empty else ["t"]}
    )
    with pytest.raises(UsageError) as error:
        list(rows(path))
    assert str(error.value) == (
        f"{path} has no column of image URLs (it has link, caption): call one url or URL or image_url"
    )


@pytest.mark.parametrize("form", [".parquet", ".csv"])
def test_of_two_columns_of_one_name_none_is_taken(tmp_path: Path, form: str) -> None:
    path = put(tmp_path, "table.csv", b"url,caption,url\nu,t,v\n")
    if form == ".parquet":
        path = str(tmp_path / "table.parquet")
        pq.write_table(pa.table([["u"], ["t"], ["v"]], names=["url", "caption", "url"]), path)
    with pytest.raises(UsageError, match=r"table\.\w+ has 2 columns called url: rename all but one"):
        list(rows(path))


@pytest.mark.parametrize("name", ["a.txt", "a.json", "a.csv.bz2", "a.gz", "parquet"])
def test_another_form_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"is no table that crawl\.urls can read: give \.parquet, \.csv or \.tsv"):
        list(rows(put(tmp_path, name, b"url,caption\nu,t\n")))


WHOLE = b"url,caption\n" + b"".join(b"http://a.test/%d.jpg,number %d\n" % (n, n * n) for n in range(1000))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", b""),
        ("a.csv", b"url,caption\nu,t\nv,s,r\n"),
        ("a.csv", b"url,caption\nu,t\nv\n"),
        ("a.csv.gz", gzip.compress(WHOLE)[:-20]),
        ("a.csv.gz", gzip.compress(WHOLE)[:500]),
        ("a.csv.gz", WHOLE),
        ("a.csv.gz", b""),
        ("a.parquet", b""),
        ("a.parquet", WHOLE),
    ],
)
def test_damage_is_said_in_one_sentence(tmp_path: Path, name: str, data: bytes) -> None:
    path = put(tmp_path, name, data)
    with pytest.raises(Failure, match=rf"{name} cannot be read after row 0 \(.*\): get it again, or take it out of"):
        list(rows(path))


def test_a_broken_row_is_placed_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urltable, "_BLOCK", 1024)
    with pytest.raises(Failure) as error:
        list(rows(put(tmp_path, "a.csv", WHOLE + b"http://a.test/x.jpg,one,two\n")))
    assert "Expected 2 columns, got 3: http://a.test/x.jpg,one,two" in str(error.value)
    assert 900 < int(str(error.value).partition("after row ")[2].split()[0]) <= 1000


def test_a_harmed_parquet_is_noticed(tmp_path: Path) -> None:
    texts = [f"number {n * n}" for n in range(5000)]
    path = Path(write(tmp_path, ".parquet", {"url": [f"http://a.test/{n}.jpg" for n in range(5000)], "caption": texts}))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(Failure, match=r"cannot be read after row 0"):
        list(rows(str(path)))
    path.write_bytes(data[:1000] + b"\xff" * 200 + data[1200:])
    with pytest.raises(Failure, match=r"cannot be read after row 0"):
        list(rows(str(path)))


def test_a_column_of_lists_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, ".parquet", {"url": ["u"], "caption": [["a", "b"]]})
    with pytest.raises(Failure, match=r"cannot be read after row 0 \(Unsupported cast from list"):
        list(rows(path))


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"none\.csv is not there"):
        list(rows(str(tmp_path / "none.csv")))
