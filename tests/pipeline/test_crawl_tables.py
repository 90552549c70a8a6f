"""crawl over URL tables: their rows become candidates with their columns, and what is lost is counted by name."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.tables import CANDIDATE, COLUMN, DROP, REJECT, REJECT_RECORD
from tests.pipeline.test_crawl import archive, crawled, page, refused

URLS = [
    "http://a.test/d/a.jpg",
    "http://A.test/b c.jpg#x",
    "",
    "ftp://a.test/a",
    "http://a.test/c.jpg",
    "http://a.test/e",
]
TEXTS = ["A dog runs", " A \n cat ", "no address", "no address", "", "x" * 10_001]


@pytest.mark.parametrize("form", ["parquet", "csv", "tsv", "csv.gz", "tsv.gz"])
@pytest.mark.parametrize("names", [("url", "caption"), ("URL", "TEXT"), ("url", "alt")], ids="-".join)
def test_url_tables(tmp_path: Path, form: str, names: tuple[str, str]) -> None:
    table = pa.table({"uid": range(6), names[0]: URLS, names[1]: TEXTS})
    path = tmp_path / f"table.{form}"
    if form == "parquet":
        pq.write_table(table, path)
    else:
        lines = [[*table.column_names], *(list(row.values()) for row in table.to_pylist())]
        sign = "\t" if "tsv" in form else ","
        text = "".join(sign.join(f'"{cell}"' for cell in line) + "\n" for line in lines).encode()
        path.write_bytes(gzip.compress(text) if form.endswith("gz") else text)
    project = crawled(tmp_path / "out", urls=[str(path)])
    rows = project.rows("crawl", CANDIDATE)
    assert [(row["image_url"], row["text"], row["warc_offset"]) for row in rows] == [
        ("http://a.test/d/a.jpg", "A dog runs", 0),
        ("http://a.test/b%20c.jpg", "A cat", 1),
    ]
    assert rows[0]["pair_id"].hex() == "6a1ba382ea79eb7f56d088658b5a2c37", "the same pair as from an archive"
    same = {"text_source": "caption", "image_source": "url", "page_url": "", "warc_file": path.name, "licence": None}
    assert all(row.items() >= same.items() for row in rows)
    reasons = {"no_url": 1, "url_invalid": 1, "no_text": 1, "text_too_long": 1}
    assert project.manifest("crawl").counts["pairs"] == {"in": 6, "kept": 2, "dropped": reasons}
    rejects = {row["reason"]: (row["image_url"], len(row["text"])) for row in project.rows("crawl", REJECT)}
    assert rejects["url_invalid"] == ("ftp://a.test/a", 10) and rejects["text_too_long"] == ("http://a.test/e", 100)


def test_pages_of_a_url_table(tmp_path: Path) -> None:
    table = {"uid": ["a", "b"], "url": URLS[:2], "alt": TEXTS[:2], "page_url": ["HTTP://a.test/x y", "no page"]}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    project = crawled(tmp_path, urls=[str(tmp_path / "t.parquet")])
    assert [row["page_url"] for row in project.rows("crawl", CANDIDATE)] == ["http://a.test/x%20y", ""]


def test_long_tables_come_in_several_batches(tmp_path: Path) -> None:
    urls = [f"http://a.test/{n}.jpg" for n in range(10_000)]
    pq.write_table(
        pa.table({"url": urls, "text": ["" if n % 10 else f"A dog {n}" for n in range(10_000)]}), tmp_path / "t.parquet"
    )
    project = crawled(tmp_path, urls=[str(tmp_path / "t.parquet")])
    assert [row["image_url"] for row in project.rows("crawl", CANDIDATE)] == urls[::10]
    assert project.manifest("crawl").counts["pairs"] == {"in": 10_000, "kept": 1_000, "dropped": {"no_text": 9_000}}
    assert project.table("crawl", DROP).num_rows == 9_000


def test_a_table_that_cannot_be_read_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = tmp_path / "good.csv"
    good.write_text("url,caption\nhttp://a.test/a.jpg,A dog\n")
    links = tmp_path / "links.csv"
    links.write_text("link,words\nhttp://a.test/a.jpg,A dog\n")
    said = refused(tmp_path / "out", capsys, 2, urls=[str(good), str(links)])
    assert "links.csv has no column of image URLs that is known by its name (it has link, words)" in said
    assert not (tmp_path / "out" / "1_crawl" / "_receipts").exists(), "before any task runs"
    (tmp_path / "cut.tsv.gz").write_bytes(gzip.compress(b"url\tcaption\n" + b"http://a.test/a.jpg\tA dog\n" * 99)[:-9])
    said = refused(tmp_path / "out", capsys, 1, urls=[str(tmp_path / "cut.tsv.gz")])
    assert "cut.tsv.gz cannot be read" in said and 'set crawl.truncated = "skip"' in said
    project = crawled(tmp_path / "skip", urls=[str(tmp_path / "cut.tsv.gz")], truncated="skip")
    assert project.manifest("crawl").counts["rows"]["dropped"] == {"truncated_file": 1}


def test_records_of_a_table_that_are_no_rows_are_counted_and_shown(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(
        "url,caption,n\nhttp://a.test/a.jpg,A dog,1\n\nhttp://user:secret@a.test/b.jpg\n"
        'http://a.test/c.jpg,"A\ncow",\nhttp://a.test/d.jpg,A,red,hen\n'
    )
    project = crawled(tmp_path / "out", urls=[str(table)])
    manifest = project.manifest("crawl")
    assert manifest.counts == {
        "rows": {"in": 4, "kept": 2, "dropped": {"too_few_cells": 1, "too_many_cells": 1}},
        "pairs": {"in": 2, "kept": 2, "dropped": {}},
    }
    assert manifest.facts["notes"] == {"blank_lines": 1, "continuation_lines": 1}
    assert [(row["image_url"], row["text"], row["columns"]) for row in project.rows("crawl", CANDIDATE)] == [
        ("http://a.test/a.jpg", "A dog", '{"n":"1"}'),
        ("http://a.test/c.jpg", "A cow", '{"n":null}'),
    ]
    assert {
        (row["reason"], row["warc_file"], row["warc_offset"], row["detail"])
        for row in project.rows("crawl", REJECT_RECORD)
    } == {
        ("too_few_cells", "t.csv", 4, "http://…@a.test/b.jpg"),
        ("too_many_cells", "t.csv", 7, "http://a.test/d.jpg,A,red,hen"),
    }


def test_a_tables_own_columns_are_carried(tmp_path: Path) -> None:
    table = {
        "url": URLS[:2],
        "captions": [["A dog", "It  runs"], ["A cat"]],
        "uid": ["b", None],
        "score": [0.5, None],
        "boxes": [[], [[1, 2], [3, 4]]],
        "more": [{"b": "ü", "a": 1}, {"b": None, "a": 2}],
        "none": pa.nulls(2),
    }
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    project = crawled(tmp_path / "out", urls=[str(tmp_path / "t.parquet")])
    one = '{"boxes":[],"more":{"a":1,"b":"ü"},"none":null,"score":0.5}'
    assert [
        (row["text"], row["text_source"], row["uid"], row["columns"]) for row in project.rows("crawl", CANDIDATE)
    ] == [
        ("A dog", "caption", "b", one),
        ("It runs", "caption", "b", one),
        ("A cat", "caption", None, '{"boxes":[[1,2],[3,4]],"more":{"a":2,"b":null},"none":null,"score":null}'),
    ]
    assert [tuple(row.values()) for row in project.rows("crawl", COLUMN)] == [
        ("boxes", "list", 1),
        ("more", "object", 1),
        ("none", "text", 2),
        ("score", "number", 1),
    ]
    assert project.manifest("crawl").counts["rows"] == {"in": 2, "kept": 2, "dropped": {}}


def test_a_column_of_several_kinds_is_named_with_each(tmp_path: Path) -> None:
    found: list[dict[str, Any]] = [{"n": 1}, {"n": "x"}, {}]
    lines = [{"url": f"http://a.test/{n}", "caption": "A dog", **more} for n, more in enumerate(found)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    project = crawled(tmp_path / "out", urls=[str(tmp_path / "t.jsonl")])
    assert [tuple(row.values()) for row in project.rows("crawl", COLUMN)] == [("n", "integer", 1), ("n", "text", 1)]
    assert [row["columns"] for row in project.rows("crawl", CANDIDATE)] == ['{"n":1}', '{"n":"x"}', None]


def test_columns_beyond_the_bound_of_a_row_are_left_out_by_name(tmp_path: Path) -> None:
    table = {"url": URLS[:2], "caption": ["A dog", "A cat"], "n": [1, 2], "vector": [[0.1] * 5000, [0.1]]}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    project = crawled(tmp_path / "out", urls=[str(tmp_path / "t.parquet")])
    assert [row["columns"] for row in project.rows("crawl", CANDIDATE)] == ['{"n":1}', '{"n":2,"vector":[0.1]}']
    assert project.manifest("crawl").facts["notes"] == {"column_values_left_out": 1}
    assert [tuple(row.values()) for row in project.rows("crawl", COLUMN)] == [
        ("n", "integer", 0),
        ("vector", "list", 1),
    ]


def test_users_and_passwords_of_urls_are_nowhere_in_what_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = [
        "http://user:secret@a.test/a.jpg",
        "https:user:secret@a.test",
        "//user:secret@a.test/b",
        f"http://{'u' * 99}:secret@a.test/",
    ]
    table = {
        "url": [*URLS[:1], *secret],
        "caption": ["A dog"] * 5,
        "page_url": secret[:1] * 5,
        "thumbnail": secret[:1] * 5,
    }
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    project = crawled(tmp_path / "out", urls=[str(tmp_path / "t.parquet")])
    assert project.manifest("crawl").counts["pairs"]["dropped"] == {"url_invalid": 4}
    written = [project.rows("crawl", schema) for schema in (CANDIDATE, REJECT, REJECT_RECORD, COLUMN)]
    assert "…@a.test" in str(written) and "secret" not in str(written)
    assert "secret" not in str(capsys.readouterr())


def test_what_the_recipe_says_of_tables(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text('"A dog"\thttp://a.test/a.jpg\n"A cat"\thttp://a.test/b.jpg\n')
    said: dict[str, Any] = {
        "urls": [str(tmp_path / "t.tsv")],
        "columns": ["words", "link"],
        "url_column": "link",
        "text_column": "words",
    }
    for quoting, mark in (("auto", ""), ("csv", ""), ("none", '"')):
        project = crawled(tmp_path / quoting, quoting=quoting, **said)
        assert [row["text"] for row in project.rows("crawl", CANDIDATE)] == [f"{mark}A dog{mark}", f"{mark}A cat{mark}"]


def test_a_folder_given_for_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tables").mkdir()
    said = refused(tmp_path / "out", capsys, 2, urls=[str(tmp_path / "tables")])
    assert (
        f"crawl.urls names {tmp_path}/tables, which is a folder without files: name files, or a pattern of them" in said
    )


MEMORY = """
import resource, sys
from tests.pipeline.test_crawl import archive, crawled, page, refused, short
from tests.pipeline.upstream import Project
from pathlib import Path
folder, table = map(Path, sys.argv[1:])
Project(folder, {"crawl.urls": [str(table)]}).run("crawl")
print(*(resource.getrusage(who).ru_maxrss // 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["parquet", "json", "csv", "jsonl"])
def test_memory_is_bounded_by_bytes(tmp_path: Path, form: str) -> None:
    """64,000 captions of 20,000 characters in one row group, or in one list, took 5.4 GB."""
    path, batches = tmp_path / f"t.{form}", 64
    write_captions(path, batches)
    folder = tmp_path / "out"
    folder.mkdir()
    command = [sys.executable, "-c", MEMORY, str(folder), str(path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "of 64,000 pairs" in output
    assert max(map(int, output.splitlines()[-1].split())) < 600, "MiB"


def write_captions(path: Path, thousands: int) -> None:
    """A table of so many times 1,000 rows of 20 to 30,000 characters; half of its captions are not too long."""
    schema = pa.schema({"url": pa.string(), "caption": pa.string(), "more": pa.string()})
    n = thousands * 1000
    words = (f"A dog {i} " * (9_990 // len(f"A dog {i} ")) for i in range(n))
    rows = ([f"http://a.test/{i}", text * (1 + i % 2), "x" * 10_000] for i, text in enumerate(words))
    if path.suffix == ".parquet":
        some = pa.table([pa.array(column) for column in zip(*islice(rows, 1000), strict=True)], schema=schema)
        pq.write_table(pa.concat_tables([some] * thousands), path, use_dictionary=False, row_group_size=n)
        assert pq.read_metadata(path).num_row_groups == 1
        return
    with path.open("w") as file:
        file.write({".csv": "url,caption,more", ".json": "["}.get(path.suffix, ""))
        for i, row in enumerate(rows):
            said = ",".join(row) if path.suffix == ".csv" else json.dumps(dict(zip(schema.names, row, strict=True)))
            file.write(("," if i and path.suffix == ".json" else "\n") + said)
        file.write("]" if path.suffix == ".json" else "\n")


def test_archives_and_tables_together(tmp_path: Path) -> None:
    warc = archive(tmp_path / "a.warc.gz", page("http://a.test/d/", "<img src=a.jpg alt='A dog runs'>"))
    pq.write_table(pa.table({"url": URLS[:1], "caption": TEXTS[:1]}), tmp_path / "t.parquet")
    project = crawled(tmp_path, warc=[warc], urls=[str(tmp_path / "t.parquet")])
    one, other = project.rows("crawl", CANDIDATE)
    assert (one["pair_id"], one["image_id"]) == (other["pair_id"], other["image_id"])
    assert {one["warc_file"], other["warc_file"]} == {"a.warc.gz", "t.parquet"}
