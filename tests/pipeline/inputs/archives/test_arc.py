"""ARC archives give the pages that the same answers give in a WARC."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest

from pipeline.inputs.archives.warc import Page, Problem, pages
from tests.pipeline.inputs.archives.warcs import HTML, OK, read, reasons, record

BLOCKS = {
    "http://a.test/1": OK + b"\r\n" + HTML,
    "http://a.test/two words?q=a b": b"HTTP/1.0 200\nContent-type: text/html; charset=latin1\n\n" + HTML,
    "http://a.test/3": b"HTTP/1.1 404 Not Found\r\n\r\n" + HTML,
    "http://a.test/4": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\n\r\n"
    + gzip.compress(HTML),
}
WHAT = ["not_a_response", "not_a_response", "page", "page", "http_status", "page"]


def arc(version: int) -> list[bytes]:
    """The records of an archive: https://archive.org/web/researcher/ArcFileFormat.php."""

    def line(url: str, ip: str, media: str, block: bytes) -> bytes:
        more = f" 200 {'A' * 32} - 1234 a.arc.gz" if version == 2 else ""
        return f"{url} {ip} 20010101120000 {media}{more} {len(block)}\n".encode() + block

    fields = {1: "URL IP-address Archive-date Content-type Archive-length"}
    fields[2] = "URL IP-address Archive-date Content-type Result-code Checksum Location Offset Filename Archive-length"
    info = f"{version} 0 InternetArchive\n{fields[version]}\n\n".encode()
    return [
        line("filedesc://a.arc", "0.0.0.0", "text/plain", info),
        line("dns:a.test", "1.2.3.4", "text/dns", b"20010101120000\na.test. 1 IN A 1.2.3.4\n"),
        *(line(url, "1.2.3.4", "text/html", block) for url, block in BLOCKS.items()),
    ]


def same(found: list[Page | Problem]) -> list[Page | Problem]:
    return [one._replace(offset=0) for one in found if not isinstance(one, Problem) or one.reason != "not_a_response"]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("form", ["plain", "by record", "as a whole"])
def test_the_pages_are_those_of_a_warc(tmp_path: Path, version: int, form: str) -> None:
    records = [one + b"\n" for one in arc(version)]
    pieces = [gzip.compress(one) for one in records] if form == "by record" else records
    whole = gzip.compress(b"".join(records)) if form == "as a whole" else b"".join(pieces)
    found = read(tmp_path, whole)
    assert reasons(found) == WHAT
    warc = b"".join(record(block, url=url) for url, block in BLOCKS.items())
    assert same(found) == same(read(tmp_path, warc))
    starts = [0 if form == "as a whole" else sum(map(len, pieces[:n])) for n in range(len(pieces))]
    assert [one.offset for one in found] == starts


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("hit", range(6))
def test_damage_costs_one_record(tmp_path: Path, version: int, hit: int) -> None:
    records = [one + b"\n" for one in arc(version)]
    left = WHAT[:hit] + WHAT[hit + 1 :]
    members = [gzip.compress(one, mtime=0) for one in records]
    members[hit] = members[hit][:-6] + b"\0" + members[hit][-5:]
    said = "damaged_record" if hit < 5 else "damaged_file"
    assert reasons(read(tmp_path, b"".join(members), name="a.arc.gz")) == [*WHAT[:hit], said, *WHAT[hit + 1 :]]
    head, _, block = records[hit].partition(b"\n")
    start, _, length = head.rpartition(b" ")
    for wrong in (int(length) + 30, int(length) - 20, -1, 10**12, "abc"):
        plain = [*records[:hit], start + f" {wrong}\n".encode() + block, *records[hit + 1 :]]
        found = reasons(read(tmp_path, b"".join(plain), name="a.arc"))
        assert len(found) == 6 and found[hit] in ("damaged_record", "damaged_file", "truncated_file")
        assert found[:hit] + found[hit + 1 :] == left


def test_real_archives(data: Path) -> None:
    tally = {path.name: Counter(reasons(list(pages(str(path), 5_000_000)))) for path in (data / "warc").rglob("*.arc*")}
    assert tally == {
        "example.arc": {"not_a_response": 1, "page": 1},
        "example.arc.gz": {"not_a_response": 1, "page": 1},
        "IAH-20080430204825-00000-blackbook-truncated.arc": {"not_a_response": 2, "page": 2, "not_html": 5},
        "bad.arc": {"damaged_record": 1, "bad_http": 1, "damaged_file": 1},  # lengths of -1 and abc
        "example-space-in-url.arc": {"not_a_response": 1, "truncated_file": 1},  # its length is 20 bytes over its end
    }
    folder = data / "warc" / "webrecorder+warcio"
    pair = [list(pages(str(folder / f"example.{form}"), 5_000_000)) for form in ("arc", "warc.gz")]
    ours, theirs = [next(one for one in found if isinstance(one, Page)) for found in pair]
    assert (ours.url, ours.body[:15]) == (theirs.url, theirs.body[:15])
