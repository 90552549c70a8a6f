"""Archives made by hand, and what is read of them."""

from __future__ import annotations

from pathlib import Path

from pipeline.inputs.archives.warc import Page, Problem, pages

HTML = b"<!doctype html><title>t</title><p>text" + b" and more" * 20
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
MAX = 10_000


def record(block: bytes, kind: str = "response", url: str = "http://a.test/", extra: str = "") -> bytes:
    """One WARC record, uncompressed."""
    media = {"response": "application/http; msgtype=response", "request": "application/http; msgtype=request"}
    header = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
        f"Content-Type: {media.get(kind, 'text/plain')}\r\n{extra}Content-Length: {len(block)}\r\n\r\n"
    )
    return header.encode() + block + b"\r\n\r\n"


RECORDS = [
    record(b"software: test\r\n\r\n", "warcinfo"),
    record(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "request"),
    record(OK + b"\r\n" + HTML),
    record(b"", "metadata"),
    record(OK + b"\r\n" + HTML, url="http://a.test/2"),
]


def read(tmp_path: Path, data: bytes, max_bytes: int = MAX, name: str = "a.warc") -> list[Page | Problem]:
    path = tmp_path / name
    path.write_bytes(data)
    return list(pages(str(path), max_bytes))


def reasons(found: list[Page | Problem]) -> list[str]:
    return ["page" if isinstance(one, Page) else one.reason for one in found]
