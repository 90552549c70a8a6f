"""Archives and URL tables as they come, the rows of candidates that come of them, and what is lost by name."""

from __future__ import annotations

import gzip
import io
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from core.inputs import names_of
from pipeline.ids import image_id
from pipeline.tables import CANDIDATE, MARK, REJECT
from tests.pipeline.upstream import Project

HTML = {"Content-Type": "text/html; charset=utf-8"}


class Writer(WARCWriter):
    """warcio's, without the temporary files that it never closes."""

    _create_temp_file = staticmethod(io.BytesIO)


def archive(path: Path, *responses: tuple[str, str, Mapping[str, str], str]) -> str:
    """A .warc.gz as warcio writes it: (URL, status line, headers, body) as a response each, its request before it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        writer = Writer(file, gzip=True)
        writer.write_record(writer.create_warcinfo_record(path.name, {"software": "test"}))
        for url, status, headers, body in responses:
            asked = StatusAndHeaders("GET / HTTP/1.1", [("Host", "a.test")], is_http_request=True)
            writer.write_record(writer.create_warc_record(url, "request", http_headers=asked))
            answered = StatusAndHeaders(status, list(headers.items()), protocol="HTTP/1.1")
            payload = io.BytesIO(body.encode())
            writer.write_record(writer.create_warc_record(url, "response", payload=payload, http_headers=answered))
    return str(path)


def page(url: str, body: str) -> tuple[str, str, Mapping[str, str], str]:
    return url, "200 OK", HTML, f"<!doctype html><title>t</title>{body}"


def crawled(folder: Path, **values: object) -> Project:
    folder.mkdir(exist_ok=True)
    project = Project(folder, {f"crawl.{key}": value for key, value in values.items()})
    project.run("crawl")
    return project


def refused(folder: Path, capsys: pytest.CaptureFixture[str], status: int, **values: object) -> str:
    """The one sentence with which crawl ends; nothing of it exists."""
    folder.mkdir(exist_ok=True)
    project = Project(folder, {f"crawl.{key}": value for key, value in values.items()})
    project.run("crawl", status=status)
    sentence = capsys.readouterr().err
    assert sentence.count("\n") == 1
    assert not (project.of("crawl") / "_manifest.json").exists()
    return sentence


def short(project: Project) -> list[tuple[str, str, str, str]]:
    return [
        (row["image_url"], row["text"], row["text_source"], row["image_source"])
        for row in project.rows("crawl", CANDIDATE)
    ]


# ── archives ──

IMAGES = """<base href="/pics/"><link rel=license href="https://creativecommons.org/licenses/by/4.0/">
<meta name=robots content=noai>
<img src=a.jpg alt="A  dog&#10;runs" title="It runs">
<img srcset="small.jpg 100w, large.jpg 900w" alt="A large cat">
<img src=/spacer.gif data-src="//img.b.test/lazy.jpg#top" alt="A lazy cat">
<figure><img src=fig.jpg><figcaption>Two <b>sofas</b></figcaption></figure>
<img src=none.jpg> <img src=a.jpg alt="A dog runs"> <img src="data:image/gif;base64,R0lGOD" alt="Inline">"""


def test_images_with_their_texts(tmp_path: Path) -> None:
    path = archive(tmp_path / "in" / "a.warc.gz", page("http://a.test/d/page.html?q#part", IMAGES))
    project = crawled(tmp_path, warc=[path], crawl_id="CC-TEST")
    assert short(project) == [
        ("http://a.test/pics/a.jpg", "A dog runs", "alt", "src"),
        ("http://a.test/pics/a.jpg", "It runs", "title", "src"),
        ("http://a.test/pics/large.jpg", "A large cat", "alt", "srcset"),
        ("http://img.b.test/lazy.jpg", "A lazy cat", "alt", "data-src"),
        ("http://a.test/pics/fig.jpg", "Two sofas", "figcaption", "src"),
    ]
    rows = project.rows("crawl", CANDIDATE)
    offset = rows[0]["warc_offset"]
    with Path(path).open("rb") as file:
        file.seek(offset)
        assert b"WARC-Type: response" in gzip.GzipFile(fileobj=file).read(300), "where the record can be read again"
    same = {
        "page_url": "http://a.test/d/page.html?q",
        "licence": "https://creativecommons.org/licenses/by/4.0/",
        "opt_out": "noai",
        "lang": None,
        "lang_score": None,
        "crawl_id": "CC-TEST",
        "warc_file": "a.warc.gz",
        "warc_offset": offset,
    }
    assert all(row.items() >= same.items() for row in rows)
    counts = project.manifest("crawl").counts
    assert counts["pairs"] == {"in": 8, "kept": 5, "dropped": {"no_text": 1, "repeated_on_page": 1, "data_uri": 1}}
    assert counts["records"] == {"in": 3, "kept": 1, "dropped": {"not_a_response": 2}}
    rejects = project.rows("crawl", REJECT)
    assert {row["reason"]: row["image_url"] for row in rejects} == {
        "no_text": "http://a.test/pics/none.jpg",
        "repeated_on_page": "http://a.test/pics/a.jpg",
        "data_uri": "data:image/gif;base64,R0lGOD",
    }


def test_marks_of_a_page_are_kept_for_every_image_that_it_shows(tmp_path: Path) -> None:
    """Also for those of which no row is kept: another page may show them, too."""
    shown = "<img src=a.jpg alt='A dog'><img src=a.jpg title=Dog><img src=none.jpg><img src='data:image/gif;base64,R0'>"
    marked = '<meta name=robots content="noai, noimageai">' + shown
    path = archive(tmp_path / "in.warc.gz", page("http://a.test/", marked), page("http://b.test/", shown))
    project = crawled(tmp_path, warc=[path])
    urls = ["http://a.test/a.jpg", "http://a.test/none.jpg"]
    assert project.rows("crawl", MARK) == [
        {"image_id": id_, "image_url": url, "opt_out": "noai,noimageai"}
        for id_, url in sorted((image_id(url), url) for url in urls)
    ]
    assert project.manifest("crawl").counts["pairs"]["kept"] == 4


def test_ids_are_those_of_every_version(tmp_path: Path) -> None:
    """As sha256sum has them: these never change, whatever else does."""
    path = archive(tmp_path / "in.warc.gz", page("http://a.test/d/", '<img src=a.jpg alt=" A  dog&#10;runs ">'))
    (row,) = crawled(tmp_path, warc=[path]).rows("crawl", CANDIDATE)
    assert row["image_url"] == "http://a.test/d/a.jpg"
    assert row["image_id"].hex() == "80a37345f003c0dac43d71295f785bb8"
    assert row["pair_id"].hex() == "6a1ba382ea79eb7f56d088658b5a2c37"


def test_what_is_no_page_is_counted_by_name(tmp_path: Path) -> None:
    image = '<img src=a.jpg alt="A dog">'
    path = archive(
        tmp_path / "in.warc.gz",
        page("http://a.test/1", image),
        ("http://a.test/2", "404 Not Found", HTML, image),
        ("http://a.test/3", "301 Moved Permanently", {**HTML, "Location": "/1"}, image),
        ("http://a.test/4", "200 OK", {"Content-Type": "image/png"}, "PNG"),
        ("http://a.test/5", "200 OK", {**HTML, "Content-Encoding": "pack200"}, "\x01\x02"),
        page("http://a.test/6", image + "x" * 3000),
        page("http://a.test/7", image),
    )
    project = crawled(tmp_path, warc=[path], max_page_bytes=2000)
    assert [row["page_url"] for row in project.rows("crawl", CANDIDATE)] == ["http://a.test/1", "http://a.test/7"]
    reasons = {"not_a_response": 8, "http_status": 2, "not_html": 1, "bad_encoding": 1, "too_large": 1}
    assert project.manifest("crawl").counts["records"] == {"in": 15, "kept": 2, "dropped": reasons}


def test_one_archive_is_read_once_and_two_of_one_name_both(tmp_path: Path) -> None:
    one = archive(tmp_path / "x" / "a.warc.gz", page("http://a.test/1", "<img src=1.jpg alt='A dog'>"))
    other = archive(tmp_path / "y" / "a.warc.gz", page("http://a.test/2", "<img src=2.jpg alt='A cat'>"))
    (tmp_path / "z").mkdir()
    copy = shutil.copy(one, tmp_path / "z" / "a.warc.gz")
    project = crawled(tmp_path, warc=[one, other, str(copy), one, str(tmp_path / "*" / "*.warc.gz")])
    assert sorted(text for _, text, _, _ in short(project)) == ["A cat", "A dog"]
    assert [part.rows for part in project.manifest("crawl").of("candidate")] == [1, 1]
    assert {row["warc_file"] for row in project.rows("crawl", CANDIDATE)} == {"x/a.warc.gz", "y/a.warc.gz"}


def test_an_archive_without_pages(tmp_path: Path) -> None:
    project = crawled(tmp_path, warc=[archive(tmp_path / "a.warc.gz")])
    assert short(project) == []
    assert project.manifest("crawl").counts == {"records": {"in": 1, "kept": 0, "dropped": {"not_a_response": 1}}}
    project.run("filter")
    assert project.manifest("filter").counts == {}


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_an_archive_without_a_byte_is_a_lost_one(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """No archive starts with nothing: a download that failed must not pass for a crawl that found nothing."""
    (tmp_path / name).write_bytes(b"")
    path = str(tmp_path / name)
    said = refused(tmp_path / "strict", capsys, 1, warc=[path])
    assert f"{path}: truncated_file at byte 0" in said and 'crawl.truncated = "skip"' in said
    project = crawled(tmp_path / "skip", warc=[path], truncated="skip")
    assert project.manifest("crawl").counts == {"records": {"in": 1, "kept": 0, "dropped": {"truncated_file": 1}}}


def test_a_damaged_record_is_in_the_exit_line_and_costs_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where three other reasons are more frequent."""
    many = [page(f"http://a.test/{n}", f"<img src={n}.jpg alt='A dog'>") for n in range(9)]
    other = [("http://a.test/x", "404 Not Found", HTML, "")] * 2 + [
        ("http://a.test/y", "200 OK", {"Content-Type": "image/png"}, "")
    ] * 2
    raw = bytearray(Path(archive(tmp_path / "whole.warc.gz", *many, *other)).read_bytes())
    members = [member.start() for member in re.finditer(rb"\x1f\x8b\x08\0", raw)]
    middle = members[len(members) // 3] + 60  # in what it holds, not in its header
    raw[middle] ^= 0xFF
    raw[middle + 1] ^= 0xFF
    path = tmp_path / "a.warc.gz"
    path.write_bytes(raw)
    said = refused(tmp_path / "strict", capsys, 1, warc=[str(path)])
    assert f"{path}: damaged_record at byte " in said and 'crawl.truncated = "skip"' in said
    project = crawled(tmp_path / "skip", warc=[str(path)], truncated="skip")
    manifest = project.manifest("crawl")
    assert manifest.counts["records"]["in"] == 1 + 2 * 13
    assert manifest.counts["records"]["dropped"]["damaged_record"] == 1
    lost = manifest.facts["notes"]["bytes_not_read"]
    assert manifest.facts["notes"] == {"damaged_record": 1, "bytes_not_read": lost} and 100 < lost < 1000
    assert f"; bytes not read {lost}; damaged record 1 → " in capsys.readouterr().out


@pytest.mark.parametrize("truncated", ["fail", "skip"])
def test_what_is_no_archive_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], truncated: str) -> None:
    path = tmp_path / "a.wacz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.warc.gz", b"")
    if truncated == "fail":
        said = refused(tmp_path / "out", capsys, 1, warc=[str(path)])
        assert f"{path} is a zip file, as WACZ files are: unzip it" in said and "again" not in said
    else:
        project = crawled(tmp_path / "out", warc=[str(path)], truncated="skip")
        assert project.manifest("crawl").counts == {"records": {"in": 1, "kept": 0, "dropped": {"not_an_archive": 1}}}
        assert f"bytes not read {path.stat().st_size}; not an archive 1" in capsys.readouterr().out


def test_an_arc_gives_the_rows_of_a_warc(tmp_path: Path, data: Path) -> None:
    folder = data / "warc" / "webrecorder+warcio"
    html = b"<!doctype html><img src=a.jpg alt='A brown dog'>"
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + html
    line = f"http://a.test/d/ 1.2.3.4 20010101000000 text/html {len(block)}\n".encode()
    old = tmp_path / "a.arc"
    old.write_bytes((folder / "example.arc").read_bytes() + line + block + b"\n")
    new = archive(tmp_path / "a.warc.gz", page("http://a.test/d/", "<img src=a.jpg alt='A brown dog'>"))
    one, other = (
        crawled(tmp_path / n, warc=[str(path)]).rows("crawl", CANDIDATE) for n, path in [("1", old), ("2", new)]
    )
    assert one[0]["pair_id"] == other[0]["pair_id"] and len(one) == len(other) == 1
    assert old.read_bytes()[one[0]["warc_offset"] :].startswith(line)


# ── the names of files ──


def test_files_of_one_name_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for where, dog in (("1/a", "a brown dog"), ("1/b", "a black dog"), ("1/c", "a black dog")):
        (tmp_path / where).mkdir(parents=True)
        pq.write_table(
            pa.table({"url": [f"http://x.test/{dog[2:7]}.jpg"], "caption": [dog]}), tmp_path / where / "part-0.parquet"
        )
    (tmp_path / "1" / "alone.csv").write_text("url,caption\nhttp://x.test/red.jpg,a red dog\n")
    project = crawled(tmp_path / "made", urls=[str(tmp_path / "1" / "**")])
    found = {(row["warc_file"], row["text"]) for row in project.rows("crawl", CANDIDATE)}
    assert found == {
        ("a/part-0.parquet", "a brown dog"),
        ("b/part-0.parquet", "a black dog"),
        ("alone.csv", "a red dog"),
    }
    assert "crawl: c/part-0.parquet is a copy of b/part-0.parquet: it is read once\n" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in project.of("crawl").rglob("*.parquet")}
    (tmp_path / "1").rename(tmp_path / "2")  # moved, the folders of the names called as before
    project.run("crawl", {"crawl.urls": [str(tmp_path / "2" / "**")]})
    assert "nothing to do" in capsys.readouterr().out
    (tmp_path / "2" / "a").rename(tmp_path / "2" / "z")
    project.run("crawl", {"crawl.urls": [str(tmp_path / "2" / "**")]})
    assert "crawl: runs again: urls:a_part-0.parquet is gone; urls:z_part-0.parquet is new\n" in capsys.readouterr().out
    assert {row["warc_file"] for row in project.rows("crawl", CANDIDATE)} == {
        "z/part-0.parquet",
        "b/part-0.parquet",
        "alone.csv",
    }
    parts = [path for path in before if path.exists() and path.parent.name == "candidate"]
    assert len(parts) == 2 and all(path.stat().st_mtime_ns == before[path] for path in parts)  # the others stay


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/d/a.csv"], ["a.csv"]),
        (["/d/a.csv", "/d/b.csv"], ["a.csv", "b.csv"]),
        (["/d/a/p", "/d/b/p", "/d/b/q"], ["a/p", "b/p", "q"]),
        (["/d/x/1/p", "/d/y/1/p", "/d/y/2/p"], ["x/1/p", "y/1/p", "2/p"]),
        (["/p", "/a/p"], ["/p", "a/p"]),
        (["s3://one/p", "s3://two/p"], ["one/p", "two/p"]),
        (["https://me:pw@h.test/a/p?sig=1", "https://h.test/b/p?sig=2"], ["a/p", "b/p"]),
        (["https://me:pw@h.test/p?sig=1"], ["p"]),
    ],
)
def test_a_name_is_as_long_as_it_must_be(paths: list[str], names: list[str]) -> None:
    assert [names_of(paths)[path] for path in paths] == names
