"""Files that are no table, damaged or not there: what they are and what to do is said."""

import bz2
import gzip
from pathlib import Path

import pytest

from core.errors import Failure
from pipeline.inputs.urltables.urltable import Options, check, rows
from tests.pipeline.inputs.urltables.tables import put, read, refused, write

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
