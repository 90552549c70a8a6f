"""Answers as servers and crawlers write them."""

from __future__ import annotations

import gzip
import random
import zlib
from pathlib import Path

import pytest

from pipeline.inputs.archives.httpmessage import is_binary, media_type
from pipeline.inputs.archives.warc import Page, page
from tests.pipeline.inputs.archives.warcs import HTML, OK, read, reasons, record


@pytest.mark.parametrize(
    ("values", "media", "charset"),
    [
        ([], "", None),
        (["text/html"], "text/html", None),
        (["text/html, text/html"], "text/html", None),
        (["text/html; charset=utf-8, text/html"], "text/html", "utf-8"),
        (["text/html;charset=gbk", "text/html;x=y"], "text/html", "gbk"),
        (["text/html; charset=utf-8, image/png"], "image/png", None),
        (["text/plain, text/html; charset=x"], "text/html", "x"),
        (["text/html charset=utf-8"], "text/html", "utf-8"),
        (["text/html, charset=utf-8"], "text/html", "utf-8"),
        (["text/html:charset=utf-8"], "text/html", "utf-8"),
        (["TEXT/HTML; Charset='X'"], "text/html", "X"),
        (['"text/html"'], "text/html", None),
        (["'text/html'; charset=\"utf-8\""], "text/html", "utf-8"),
        (["text/html;"], "text/html", None),
        (["  text/html ;;; "], "text/html", None),
        (["text/html, */*"], "text/html", None),
        (["*/*"], "", None),
        (["html", "text"], "", None),
        (["text/html/x"], "", None),
    ],
)
def test_media_types(values: list[str], media: str, charset: str | None) -> None:
    assert media_type(values) == (media, charset)


XHTML = (
    b'<?xml version="1.0" encoding="utf-8"?>\n<!-- x -->\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML">\n<html xmlns="x">'
)
RSS = b'<?xml version="1.0"?><rss version="2.0"></rss>'


@pytest.mark.parametrize(
    ("media", "body", "reason"),
    [
        ("text/html, text/html", HTML, None),
        ("text/html charset=utf-8", HTML, None),
        ("", HTML, None),
        ("unknown/unknown", HTML, None),
        ("application/unknown", HTML, None),
        ("application/unknown", b"{}", "not_html"),
        ("garbage", HTML, None),
        ("text/plain", HTML, "not_html"),
        ("application/octet-stream", HTML, "not_html"),
        ("application/xhtml+xml", XHTML, None),
        ("application/vnd.wap.xhtml+xml", XHTML, None),
        ("application/xml", XHTML, None),
        ("text/xml; charset=utf-8", b"<html>", None),
        ("text/xml", RSS, "not_html"),
        ("", RSS, "not_html"),
        ("", XHTML, None),
        ("text/html", b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(900), "not_html"),
        ("text/html", b"%PDF-1.4\n" + random.Random(2).randbytes(900), "not_html"),
        ("text/html", b"\0" * 500, "not_html"),
        ("text/html", b"", None),
    ],
)
def test_what_is_a_page(media: str, body: bytes, reason: str | None) -> None:
    found = page("http://a.test/", [("Content-Type", media)] if media else [], body, 10_000)
    assert (None if isinstance(found, Page) else found.reason) == reason


@pytest.mark.parametrize(
    ("body", "charset", "binary"),
    [
        (HTML, None, False),
        (HTML.decode().encode("utf-16"), None, False),
        (HTML.decode().encode("utf-16-le"), None, False),
        (HTML.decode().encode("utf-16-be"), "UTF-16BE", False),
        ("漢字かな交じり文" * 40, "iso-2022-jp", False),
        ("漢字かな交じり文" * 40, "shift_jis", False),
        ("안녕하세요 한국어" * 40, "iso2022_kr", False),
        ("漢字簡體" * 40, "gb18030", False),
        ("漢字" * 200, "utf-16-le", False),
        (b"<html>" + b"\0" * 3 + HTML, None, False),
        (gzip.compress(random.Random(3).randbytes(2000)), None, True),
        (random.Random(4).randbytes(2000), "utf-8", True),
        (HTML[:20] + b"\0" * 600, None, True),
    ],
)
def test_what_is_no_text(body: bytes | str, charset: str | None, binary: bool) -> None:
    data = body.encode(charset or "") if isinstance(body, str) else body
    assert is_binary(data, charset) == binary


CHUNKS = b"a\r\n" + HTML[:10] + b"\r\n14;x=1\r\n" + HTML[10:30] + b"\r\n0\r\n\r\n"
TWICE = gzip.compress(gzip.compress(HTML))


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ("", gzip.compress(HTML), HTML),  # that no header declares
        ("", gzip.compress(HTML[:50]) + gzip.compress(HTML[50:]), HTML),
        ("Content-Encoding: gzip", gzip.compress(HTML[:50]) + gzip.compress(HTML[50:]), HTML),
        ("Content-Encoding: gzip", gzip.compress(HTML) + b"trailing", HTML),
        ("Content-Encoding: gzip", gzip.compress(HTML)[:-9], HTML[: len(HTML)]),
        ("Content-Encoding: gzip", TWICE, HTML),
        ("", TWICE, HTML),
        ("", gzip.compress(TWICE), "bad_encoding"),
        ("Content-Encoding: br", gzip.compress(HTML), HTML),  # another than declared
        ("Content-Encoding: gzip", b"<section><p>" + HTML, b"<section><p>" + HTML),
        ("Content-Encoding: UTF-8", HTML, HTML),
        ("Content-Encoding: gzip", HTML[:5] + random.Random(5).randbytes(500), "bad_encoding"),
        ("", gzip.compress(HTML)[:-8] + b"\0" * 8, "bad_encoding"),
        ("", zlib.compress(random.Random(6).randbytes(5000).hex().encode()), "not_html"),
        ("", CHUNKS, HTML[:30]),  # chunks that no header declares
        ("Content-Encoding: gzip", b"%x\r\n%b\r\n0\r\n\r\n" % (len(gzip.compress(HTML)), gzip.compress(HTML)), HTML),
        ("Transfer-Encoding: chunked", b"<img src=a.jpg>", b"<img src=a.jpg>"),
        ("", b"12\n<p>", b"12\n<p>"),
        ("", gzip.compress(b"\0" * 50_000_000), "too_large"),
        ("", gzip.compress(b"", mtime=0) * 2000 + gzip.compress(HTML), HTML),
    ],
)
def test_codings_that_the_header_does_not_tell(
    tmp_path: Path, headers: str, body: bytes, expected: bytes | str
) -> None:
    (found,) = read(tmp_path, record(OK + headers.encode() + b"\r\n" * (1 + bool(headers)) + body), 60_000)
    assert (found.body if isinstance(found, Page) else found.reason) == expected


@pytest.mark.parametrize(
    "status",
    [b"HTTP/1.1 200", b"http/1.1 200 ok", b"HTTP/2 200 ", b"HTTP/3 200", b"HTTP/1.1  200 OK", b"\r\nHTTP/1.0 200 OK"],
)
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_status_lines(tmp_path: Path, status: bytes, end: bytes) -> None:
    head = end.join(
        [status, b"CONTENT-TYPE : text/html;", b"\tcharset=x", b"Content-Language: de", b"no field", b"", b""]
    )
    (found,) = read(tmp_path, record(head + HTML))
    assert isinstance(found, Page)
    assert (found.charset, found.headers, found.body) == ("x", (("content-language", "de"),), HTML)


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\nContent-Type: text/css\r\n\r\n"


@pytest.mark.parametrize(
    "interim",
    [
        CONTINUE,
        HINTS,
        b"HTTP/1.1 102 Processing\n\n",
        b"HTTP/2 103\r\nlink: </s.css>\r\n\r\n",
        CONTINUE + HINTS * 3,
        b"\r\n" + CONTINUE + b"\r\n",
        CONTINUE * 1_000,
    ],
)
def test_answers_before_the_final_one(tmp_path: Path, interim: bytes) -> None:
    final = OK + b"Content-Language: de\r\n\r\n" + HTML
    (found,) = read(tmp_path, record(interim + final), 100_000)
    assert isinstance(found, Page)
    assert (found.headers, found.body) == ((("content-language", "de"),), HTML)
    missing = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n\r\n"
    assert reasons(read(tmp_path, record(interim + missing), 100_000)) == ["http_status"]


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (CONTINUE, "http_status"),
        (CONTINUE + HTML, "http_status"),
        (HINTS[:-4], "http_status"),
        (CONTINUE * 10_000, "bad_http"),
        (CONTINUE + b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000, "bad_http"),
        (OK + b"\r\n" + HINTS, "page"),  # what the body starts with is its own
    ],
)
def test_answers_without_a_final_one(tmp_path: Path, block: bytes, reason: str) -> None:
    assert reasons(read(tmp_path, record(block), 300_000)) == [reason]


@pytest.mark.parametrize("case", [str.lower, str.upper, str.title, lambda name: f"{name} "])
def test_names_of_warc_fields_are_the_same_in_any_case(tmp_path: Path, case: object) -> None:
    assert callable(case)
    data = record(OK + b"\r\n" + HTML, extra="WARC-Truncated: length\r\n")
    head, end, rest = data.partition(b"\r\n\r\n")
    version, *fields = head.decode().split("\r\n")
    named = [f"{case(name)}:{value}" for name, _, value in (field.partition(":") for field in fields)]
    other = "\r\n".join([version, *named]).encode() + end + rest
    first, second = read(tmp_path, data * 2)
    assert read(tmp_path, other * 2) == [first, second._replace(offset=len(other))]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Content-Type: application/http; msgtype=response\r\n", b""),
        (b"application/http; msgtype=response", b"Application/HTTP;msgtype=Response"),
        (b"WARC-Type: response", b"WARC-Type: Response"),
        (b"WARC-Type: response", b"WARC-Type:response"),
        (b"WARC-Target-URI: http", b"WARC-Target-URI:\r\n http"),
        (b"WARC-Date: 2026-01-01T00:00:00Z\r\n", b"WARC-Date: 2026\r\n\t-01-01\r\nno field\r\n"),
    ],
)
def test_ways_to_write_a_record(tmp_path: Path, old: bytes, new: bytes) -> None:
    data = record(OK + b"\r\n" + HTML)
    assert old in data
    assert read(tmp_path, data.replace(old, new)) == read(tmp_path, data)


def test_lines_of_a_record_may_end_in_lf(tmp_path: Path) -> None:
    head, _, rest = record(OK + b"\r\n" + HTML).partition(b"\r\n\r\n")
    assert reasons(read(tmp_path, (head.replace(b"\r\n", b"\n") + b"\n\n" + rest[:-4] + b"\n\n") * 3)) == ["page"] * 3


def test_parts_of_a_record_are_named(tmp_path: Path) -> None:
    one = record(OK + b"\r\n" + HTML, extra="WARC-Segment-Number: 1\r\n")
    two = record(HTML, "continuation", extra="WARC-Segment-Number: 2\r\nWARC-Segment-Origin-ID: <urn:uuid:x>\r\n")
    assert reasons(read(tmp_path, one + two)) == ["segmented", "segmented"]
