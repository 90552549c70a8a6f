"""Web archives in, HTML pages out: WARC and ARC, gzip by record or plain, read as one stream.

`cutter` cuts the records and goes on behind damage, `stored` knows what is where in the file, `httpmessage` reads the
responses. An archive made of files, as warcit makes them, has no responses: there a page is a `resource` of its URL.
A file cut exactly between two records cannot be told from a shorter one: compare its size with the list it came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from core.files import open_input
from pipeline.inputs.archives.cutter import Arc, ArchiveFormat, Cutter, Gap, Head, Record, Warc
from pipeline.inputs.archives.filekinds import kind_of
from pipeline.inputs.archives.httpmessage import (
    HTML_TYPES,
    KEPT_HEADERS,
    MAX_HEADER,
    body_of,
    is_binary,
    is_page,
    may_be_page,
    media_type,
    parsed,
)
from pipeline.inputs.archives.stored import PADDING, Gzip, Plain, Position, find_member

NOT_AN_ARCHIVE = "not_an_archive"
LOSSES = frozenset({"truncated_file", "damaged_file", "damaged_record", NOT_AN_ARCHIVE})
"""Reasons that say that a part of the file could not be read at all; the others speak of one record."""

_START_BYTES = 16 << 10


class Page(NamedTuple):
    """An HTML document as the web served it."""

    url: str
    body: bytes  # transfer and content codings undone
    charset: str | None  # as the Content-Type header has it
    headers: tuple[tuple[str, str], ...]  # those of KEPT_HEADERS that were sent, in order
    offset: int  # bytes from the file's start to the record (to its gzip member), as a CDX has it
    cut: str | None  # why the crawler kept a part of the body only (WARC-Truncated: length, time …)


class Problem(NamedTuple):
    """A record that gives no page, or a part of the file that could not be read (reason in LOSSES)."""

    reason: str
    offset: int  # as in Page
    detail: str  # for a person to read
    lost: int = 0  # bytes of the file that were not read


def pages(path: str, max_bytes: int) -> Iterator[Page | Problem]:
    """Every record of the archive at `path` (local or fsspec URL), in order: a Page, or a Problem with its reason.

    `max_bytes` bounds a page's body both as stored and decoded; memory does not grow with the file.
    Reasons: not_a_response, http_status, not_html, too_large, bad_http, bad_encoding, no_url, segmented; of what could
    not be read damaged_record, and, once and last, truncated_file, damaged_file or not_an_archive. Failure where there
    is no such file.
    """
    with open_input(path) as file:
        archive = _opened(file, path)
        if archive.kind:
            yield Problem(NOT_AN_ARCHIVE, 0, archive.kind, archive.source.end())
            return
        is_known, is_first = archive.known, True
        for found in Cutter(archive.source, archive.form, max_bytes + MAX_HEADER, archive.first):
            if isinstance(found, Gap):
                nothing = not is_known and found.reason == "damaged_file"
                yield Problem(NOT_AN_ARCHIVE, 0, _UNKNOWN, archive.source.end()) if nothing else Problem(*found)
                continue
            is_known = True
            if is_first and found.head.kind != "warcinfo":
                is_first = False
                if kind := _derived(found):
                    yield Problem(NOT_AN_ARCHIVE, found.offset, kind, archive.source.end() - found.offset)
                    return
            yield _judged(found, max_bytes)


class _Opened(NamedTuple):
    source: Plain | Gzip
    form: ArchiveFormat
    first: bytes  # read from the source
    known: bool  # whether it starts like an archive
    kind: str | None = None  # what it is, if it is none


_UNKNOWN = "neither a WARC nor an ARC file: name such files in crawl.warc"


def _opened(file: BinaryIO, path: str) -> _Opened:
    start = file.read(_START_BYTES)
    source = Gzip(file, start) if start.startswith(b"\x1f\x8b") else Plain(file, start)
    first = source.read()
    head, arc = first.lstrip(PADDING), Arc()
    if kind := kind_of(head):
        return _Opened(source, Warc(), first, True, kind)
    if head and b"WARC/".startswith(head[:5]):
        return _Opened(source, Warc(), first, True)
    if head.startswith(b"filedesc:") or isinstance(arc.head(head, 0), Head):
        return _Opened(source, arc, first, True)
    # It is damaged at its start, or it is no archive.
    form: ArchiveFormat = arc if ".arc" in path.rpartition("/")[2].lower() else Warc()
    if isinstance(source, Gzip) or not head:
        return _Opened(source, form, first, not head)
    if find_member(file, 0) is not None:
        file.seek(0)
        return _Opened(Gzip(file, b""), form, b"", False)
    return _Opened(source, form, b"" if source.goto(Position(0, 0, 0), 0) else first, False)


def _derived(record: Record) -> str | None:
    """What a file is whose records were made from those of another, by the first that tells; None if it is none."""
    kind, media, block = record.head.kind, record.head.media, record.block or b""
    if kind == "conversion" and media.startswith("text/plain"):
        return f"a WET file, which has the texts of pages and no images: {_ORIGINAL}"
    if kind == "metadata" and block.startswith((b'{"Container"', b'{"Envelope"')):
        return f"a WAT file, which has extracts of pages: {_ORIGINAL}"
    return None


_ORIGINAL = "name the WARC file that it was made from (Common Crawl has it under /warc/, with the same name)"


def _judged(record: Record, max_bytes: int) -> Page | Problem:
    """The page in a record, or why there is none."""
    head, offset, block = record.head, record.offset, record.block
    is_http = head.media.startswith("application/http")
    if "warc-segment-number" in head.fields:
        return Problem("segmented", offset, f"{head.kind} {head.fields['warc-segment-number'][:20]} of {head.url[:60]}")
    if _is_file_of_a_page(head):
        if block is None:
            return Problem("too_large", offset, f"{head.length} bytes")
        media = head.fields["content-type"]
        return page(head.url, [("content-type", media)], block, max_bytes, offset, head.fields.get("warc-truncated"))
    if head.kind != "response" or not (is_http or block is None or block[:5].upper() == b"HTTP/"):
        return Problem("not_a_response", offset, head.kind[:100])
    if block is None:
        return Problem("too_large", offset, f"{head.length} bytes")
    response = parsed(block)
    if response is None:
        return Problem("bad_http", offset, repr(block[:60]))
    status, headers, body = response
    if not head.url:
        return Problem("no_url", offset, "no WARC-Target-URI")
    if status != 200:
        return Problem("http_status", offset, str(status))
    return page(head.url, headers, body, max_bytes, offset, head.fields.get("warc-truncated"))


def _is_file_of_a_page(head: Head) -> bool:
    """Whether a record holds an HTML file as it is, under its address on the web.

    Not what crawlers add under names of their own (urn:text:…, metadata://…), whatever type that has.
    """
    is_web = head.kind == "resource" and head.url.lower().startswith(("http://", "https://"))
    return is_web and media_type([head.media])[0] in HTML_TYPES


def page(
    url: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    max_bytes: int,
    offset: int = 0,
    cut: str | None = None,
) -> Page | Problem:
    """The page in a response of status 200, or why it is none: not_html, too_large, bad_encoding."""
    lines = [(name.lower(), value) for name, value in headers]
    fields = dict(reversed(lines))  # the first of each name
    kept = tuple(line for line in lines if line[0] in KEPT_HEADERS)
    media, charset = media_type(value for name, value in lines if name == "content-type")
    if not may_be_page(media):
        return Problem("not_html", offset, media[:100])
    plain = body_of(body, fields, max_bytes)
    if isinstance(plain, str):
        return Problem(plain, offset, f"{fields.get('content-encoding', '')[:100]} {len(body)} bytes".lstrip())
    if not is_page(media, plain):
        return Problem("not_html", offset, media or "no Content-Type")
    if is_binary(plain, charset):
        return Problem("not_html", offset, f"{media}, but no text: {plain[:20]!r}")
    return Page(url, plain, charset, kept, offset, cut)
