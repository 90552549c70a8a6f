"""Records that are pages, records that are not, and files that end too early."""

import gzip
import io
import re
import zlib
from collections import Counter
from pathlib import Path

import fsspec
import pytest
from fastwarc.stream_io import BrotliWriter, ZstdWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Failure
from pipeline.inputs.archives import stored
from pipeline.inputs.archives.warc import LOSSES, Page, Problem, pages
from tests.pipeline.inputs.archives.warcs import HTML, MAX, OK, RECORDS, read, reasons, record


def resource(block: bytes, url: str, media: str, kind: str = "resource") -> bytes:
    """A record that is a file, as warcit writes it."""
    return record(block, kind, url).replace(b"Content-Type: text/plain", f"Content-Type: {media}".encode())


def coded(writer: type[BrotliWriter] | type[ZstdWriter], data: bytes) -> bytes:
    out = io.BytesIO()
    stream = writer(out)
    stream.write(data)
    stream.close()  # it closes the compressed stream, not `out`
    return out.getvalue()


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (OK + b"\r\n" + HTML, "page"),
        (b"HTTP/1.0 200 OK\r\nContent-Type: application/xhtml+xml; charset=utf-8\r\n\r\n" + HTML, "page"),
        (b"HTTP/1.1 200 OK\nContent-Type: text/html\n\n" + HTML, "page"),
        (b"HTTP/2 200\r\ncontent-type: TEXT/HTML;charset=x\r\n\r\n" + HTML, "page"),
        (b"HTTP/1.1 200 OK\r\n\r\n  " + HTML, "page"),
        (OK + b"\r\n", "page"),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", "not_html"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n\x89PNG", "not_html"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n\r\n" + HTML, "http_status"),
        (b"HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n", "http_status"),
        (HTML, "bad_http"),
        (b"", "bad_http"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000 + b"\r\n\r\n" + HTML, "bad_http"),
        (OK + b"\r\n" + HTML * 50, "too_large"),
        (OK + b"\r\n" + b"x" * 200_000, "too_large"),
    ],
)
def test_what_a_response_is(tmp_path: Path, block: bytes, reason: str) -> None:
    assert reasons(read(tmp_path, record(block))) == [reason]


@pytest.mark.parametrize(
    ("codings", "body", "expected"),
    [
        ("Content-Encoding: gzip", gzip.compress(HTML), HTML),
        ("Content-Encoding: x-gzip", gzip.compress(HTML), HTML),
        ("Content-Encoding: deflate", zlib.compress(HTML), HTML),
        ("Content-Encoding: deflate", zlib.compress(HTML, wbits=-15), HTML),
        ("Content-Encoding: br", coded(BrotliWriter, HTML), HTML),
        ("Content-Encoding: zstd", coded(ZstdWriter, HTML), HTML),
        ("Content-Encoding: identity", HTML, HTML),
        ("Content-Encoding: gzip, br", coded(BrotliWriter, gzip.compress(HTML)), HTML),
        (
            "Transfer-Encoding: chunked",
            b"a\r\n" + HTML[:10] + b"\r\n5;x=1\r\n" + HTML[10:15] + b"\r\n0\r\n\r\n",
            HTML[:15],
        ),
        ("Transfer-Encoding: chunked", b"a\r\n" + HTML[:10] + b"\r\nff\r\n" + HTML[10:90], HTML[:90]),
        ("Transfer-Encoding: chunked", HTML, HTML),  # the crawler undid it and kept the header
        ("Content-Encoding: gzip", HTML, HTML),
        ("Content-Encoding: br", HTML, HTML),
        ("Content-Encoding: gzip", b"\x1f\x8b garbage", "bad_encoding"),
        ("Content-Encoding: zstd", b"garbage", "bad_encoding"),
        ("Content-Encoding: pack200", b"garbage", "bad_encoding"),
        ("Content-Encoding: gzip, gzip, gzip", gzip.compress(gzip.compress(gzip.compress(HTML))), "bad_encoding"),
        ("Content-Encoding: gzip", gzip.compress(b"\0" * 50_000_000), "too_large"),
        ("Content-Encoding: br", coded(BrotliWriter, b"\0" * 2_000_000), "too_large"),
    ],
)
def test_codings(tmp_path: Path, codings: str, body: bytes, expected: bytes | str) -> None:
    (found,) = read(tmp_path, record(OK + codings.encode() + b"\r\n\r\n" + body), 60_000)
    assert (found.body if isinstance(found, Page) else found.reason) == expected


def test_what_a_page_carries(tmp_path: Path) -> None:
    head = (
        b'HTTP/1.1 200 OK\r\nContent-Type: text/html; Charset="Shift_JIS"\r\nX-Robots-Tag: noai\r\nServer: s\r\n'
        b"x-robots-tag: otherbot: noindex\r\nTDM-Reservation: 1\r\n\r\n"
    )
    data = record(b"x", "warcinfo") + record(head + HTML, url="<http://a.test/p>", extra="WARC-Truncated: length\r\n")
    (_, page) = read(tmp_path, data)
    assert page == Page(
        "http://a.test/p",
        HTML,
        "Shift_JIS",
        (("x-robots-tag", "noai"), ("x-robots-tag", "otherbot: noindex"), ("tdm-reservation", "1")),
        len(record(b"x", "warcinfo")),
        "length",
    )


@pytest.mark.parametrize(
    ("url", "media", "found"),
    [
        ("http://a.test/", "text/html", "page"),
        ("HTTPS://a.test/p.html", "text/html; charset=Shift_JIS", "page"),
        ("<http://a.test/>", "application/xhtml+xml", "page"),
        ("http://a.test/", "Text/HTML;charset=utf-8", "page"),
        ("http://a.test/", "text/plain", "not_a_response"),
        ("http://a.test/", "application/json", "not_a_response"),
        ("http://a.test/a.jpg", "image/jpeg", "not_a_response"),
        ("http://a.test/", "", "not_a_response"),
        ("urn:text:http://a.test/", "text/html", "not_a_response"),
        ("metadata://a.test/log", "text/html", "not_a_response"),
        ("screenshot:http://a.test/", "text/html", "not_a_response"),
        ("file:///home/p.html", "text/html", "not_a_response"),
        ("", "text/html", "not_a_response"),
    ],
)
def test_a_file_that_is_a_page(tmp_path: Path, url: str, media: str, found: str) -> None:
    assert reasons(read(tmp_path, resource(HTML, url, media))) == [found]
    other = RECORDS[0] + RECORDS[1] + resource(HTML, url, media, kind="conversion")
    assert reasons(read(tmp_path, other)) == ["not_a_response"] * 3


def test_what_the_page_of_a_file_carries(tmp_path: Path) -> None:
    data = record(b"x", "warcinfo") + resource(HTML, "https://a.test/p", "text/html; charset=Shift_JIS")
    (_, page) = read(tmp_path, data)
    assert page == Page("https://a.test/p", HTML, "Shift_JIS", (), len(record(b"x", "warcinfo")), None)


@pytest.mark.parametrize("size", [2_000, 200_000])
def test_a_file_that_is_too_large(tmp_path: Path, size: int) -> None:
    assert reasons(read(tmp_path, resource(b"x" * size, "http://a.test/", "text/html"), 1_000)) == ["too_large"]


def test_every_record_is_counted(tmp_path: Path) -> None:
    found = read(tmp_path, b"".join(RECORDS) + record(HTML, "resource") + record(OK + b"\r\n", url=""))
    assert Counter(reasons(found)) == {"not_a_response": 4, "page": 2, "no_url": 1}


@pytest.mark.parametrize("form", ["plain", "gzip by record", "gzip as a whole"])
def test_a_file_cut_anywhere_but_between_records_is_noticed(tmp_path: Path, form: str) -> None:
    pieces = RECORDS if form == "plain" else [gzip.compress(one, mtime=0) for one in RECORDS]
    end = 4 if form == "plain" else 0  # an archive without its last line ends is whole
    if form == "gzip as a whole":
        pieces = [gzip.compress(b"".join(RECORDS), mtime=0)]
    data = b"".join(pieces)
    ends = [sum(map(len, pieces[:n])) for n in range(len(pieces) + 1)]
    whole = read(tmp_path, data)
    assert not LOSSES & set(reasons(whole))
    for cut in range(len(data)):
        found = read(tmp_path, data[:cut])
        intact = sum(end <= cut for end in ends[1:])
        if any(stop - end <= cut <= stop for stop in ends[1:]):
            intact = sum(stop - end <= cut for stop in ends[1:])
            assert found == whole[:intact], "the one cut that cannot be told from the file"
            continue
        assert found[:-1] == whole[: len(found) - 1], cut
        loss = found[-1]
        assert isinstance(loss, Problem), cut
        assert loss.reason in LOSSES, cut
        assert len(found) - 1 >= (0 if form == "gzip as a whole" else intact), cut
        if form == "gzip by record" and cut > 1:  # of one byte it cannot be said what it is
            assert (loss.reason, loss.offset) == ("truncated_file", max(end for end in ends if end <= cut))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=8), st.integers(0, 40)), max_size=6),
    st.booleans(),
)
def test_nothing_raises(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, bytes, int]], packed: bool
) -> None:
    data = bytearray(b"".join(RECORDS))
    for at, new, length in edits:
        data[at : at + length] = new
    found = read(tmp_path_factory.getbasetemp(), gzip.compress(data) if packed else bytes(data))
    assert found, "pages, problems, or both"
    lost = [one.reason for one in found if isinstance(one, Problem) and one.reason in LOSSES]
    assert set(lost[:-1]) <= {"damaged_record"}, "behind all others nothing is read"


@pytest.mark.parametrize("size", [2, 7, 1_000])
def test_how_the_file_is_read_in_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    data = b"".join(gzip.compress(one, mtime=0) + gzip.compress(b"", mtime=0) for one in RECORDS)
    whole = read(tmp_path, data)
    assert reasons(whole) == ["not_a_response", "not_a_response", "page", "not_a_response", "page"]
    monkeypatch.setattr(stored, "READ_BYTES", size)
    assert read(tmp_path, data) == whole
    assert reasons(read(tmp_path, data[:-1]))[-1] == "truncated_file"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"none\.warc\.gz is not there"):
        list(pages(str(tmp_path / "none.warc.gz"), MAX))


def test_an_archive_elsewhere() -> None:
    fsspec.filesystem("memory").pipe_file("/a.warc.gz", gzip.compress(RECORDS[2]))
    assert reasons(list(pages("memory://a.warc.gz", MAX))) == ["page"]


# ── real archives ──


def test_offsets_are_those_of_the_index(data: Path) -> None:
    archive = str(data / "warc" / "dev_crawl.warc.gz")
    found = {one.url: one.offset for one in pages(archive, 5_000_000) if isinstance(one, Page)}
    wget = [line.split(" ") for line in (data / "warc" / "dev_crawl.cdx").read_text().splitlines()[1:]]
    index = {
        url: int(offset)
        for url, _, _, media, status, _, _, _, offset, *_ in wget
        if (media, status) == ("text/html", "200")
    }
    assert len(index) > 2000
    assert {url: found[url] for url in index} == index


def test_archives_of_many_makers(data: Path) -> None:
    tally: dict[str, Counter[str]] = {}
    for path in sorted((data / "warc").rglob("*")):
        if re.search(r"\.warc(\.gz)?$", path.name):
            tally[path.name] = Counter(reasons(list(pages(str(path), 5_000_000))))
    lost = {name for name, count in tally.items() if set(count) & LOSSES}
    assert lost == {"clipped.warc.gz"}, "the one that was cut off"
    assert tally["example-trunc.warc"] == {"not_a_response": 3, "page": 1}
    assert tally["warcfile.warc"] == tally["warcfile.warc.gz"] == {"not_a_response": 34, "page": 16}
    assert tally["whirlwind.warc.gz"] == {"not_a_response": 3, "page": 1}
    assert tally["dev_crawl.warc.gz"] == {"not_a_response": 2208, "page": 2059, "http_status": 144, "not_html": 1}


def test_real_archive_cut_at_many_places(data: Path, tmp_path: Path) -> None:
    raw = (data / "warc" / "dev_crawl.warc.gz").read_bytes()[:100_000]
    for cut in range(30_000, 100_000, 4_999):
        assert read(tmp_path, raw[:cut], 5_000_000)[-1].reason == "truncated_file"  # type: ignore[union-attr]
    plain = (data / "warc" / "commoncrawl+whirlwind-python" / "whirlwind.warc").read_bytes()
    for cut in range(1, len(plain), 3_001):
        assert reasons(read(tmp_path, plain[:cut], 5_000_000))[-1] == "truncated_file"
