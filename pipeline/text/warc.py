"""Web archives in, HTML pages out: WARC/1.0 and 1.1 (ISO 28500), gzip by record or plain, read as one stream.

FastWARC cuts the records. It ends without a word where a file was cut off (measured on 2.0: in a gzip member, a header
or a body), so the bytes pass through `_Plain` or `_Gzip` below, which know whether the file ended where a record may
end. A file cut exactly between two records cannot be told from a shorter one: compare its size with the list it
came from.
"""

from __future__ import annotations

import io
import re
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from fastwarc.stream_io import BrotliReader, ZstdReader
from fastwarc.warc import ArchiveIterator, HeaderMap, WarcRecord, WarcRecordType

from shards.files import open_input

LOSSES = frozenset({"truncated_file", "damaged_file"})
"""Reasons that say that a part of the file could not be read at all; the others speak of one record."""

OPT_OUT_HEADERS = ("x-robots-tag", "tdm-reservation")
MAX_CODINGS = 2  # Content-Encoding: gzip, br … is taken apart this often
_HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
_MAX_HTTP_HEADER = 32 << 10  # bytes, FastWARC's limit
_RECORD_END = b"\r\n\r\n"
_TAIL_BYTES = 32
_READ_BYTES = 16 << 10  # more costs time: zlib copies what is left behind each gzip member


class Page(NamedTuple):
    """An HTML document as the web served it."""

    url: str
    body: bytes  # transfer and content codings undone
    charset: str | None  # as the Content-Type header has it
    headers: tuple[tuple[str, str], ...]  # those of OPT_OUT_HEADERS that were sent, in order
    offset: int  # bytes from the file's start to the record (to its gzip member), as a CDX has it
    cut: str | None  # why the crawler kept a part of the body only (WARC-Truncated: length, time …)


class Problem(NamedTuple):
    """A record that gives no page, or the place where the file could not be read further (reason in LOSSES)."""

    reason: str
    offset: int  # as in Page
    detail: str  # for a person to read


def pages(path: str, max_bytes: int) -> Iterator[Page | Problem]:
    """Every record of the archive at `path` (local or fsspec URL), in order: a Page, or a Problem with its reason.

    `max_bytes` bounds a page's body both as stored and decoded; memory does not grow with the file.
    Reasons: not_a_response, http_status, not_html, too_large, bad_http, bad_encoding, no_url; and, once and last,
    truncated_file or damaged_file with the offset behind which nothing was read. Failure where there is no such file.
    """
    with open_input(path) as file:
        source = _opened(file)
        if source is None:
            yield Problem("damaged_file", 0, "starts neither like a WARC nor like a gzip file")
            return
        offset, tail = 0, None
        try:
            for record in ArchiveIterator(source, parse_http=False, stream_detect=False):
                offset = source.offset_of(record.stream_pos)
                found, tail = _judge(record, offset, max_bytes)
                if tail is None:
                    break
                yield found
        except OSError as error:
            if type(error) is not OSError:  # the file system's; FastWARC's own are plain
                raise
            damage = Problem("damaged_file", offset, f"{error}, after the record that starts here")
            yield damage if source.read(1) else source.loss(offset, tail) or damage
        else:
            loss = source.loss(offset, tail)
            if loss:
                yield loss


def _judge(record: WarcRecord, offset: int, max_bytes: int) -> tuple[Page | Problem, bytes | None]:
    """What a record is, and its last bytes; None for these if it is not whole."""
    length = record.content_length
    found: Page | Problem | None = None
    if not (record.record_type == WarcRecordType.response and record.is_http):
        found = Problem("not_a_response", offset, record.headers.get("WARC-Type") or "no type")
    elif length > max_bytes + _MAX_HTTP_HEADER:
        found = Problem("too_large", offset, f"{length} bytes")
    skipped = record.reader.consume(max(0, length - _TAIL_BYTES)) if found else 0
    block = record.reader.read()
    whole = skipped + len(block) == length and (record.headers.get("Content-Length") or "").isdigit()
    return found or _page(record, block, offset, max_bytes), (_RECORD_END + block)[-_TAIL_BYTES:] if whole else None


def _page(record: WarcRecord, block: bytes, offset: int, max_bytes: int) -> Page | Problem:
    """The page in an HTTP response, or why there is none."""
    header, body = _http(block)
    if header is None or header.status_code is None:
        return Problem("bad_http", offset, repr(block[:60]))
    warc = {name.lower(): value for name, value in record.headers.to_tuples()}
    url = warc.get("warc-target-uri", "").strip().strip("<>")  # Wget writes <…>, as the grammar of WARC/1.0 has it
    if not url:
        return Problem("no_url", offset, "no WARC-Target-URI")
    if header.status_code != 200:
        return Problem("http_status", offset, str(header.status_code))
    return page(url, header.to_tuples(), body, max_bytes, offset, warc.get("warc-truncated"))


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
    opt_out = tuple(line for line in lines if line[0] in OPT_OUT_HEADERS)
    media, _, parameters = fields.get("content-type", "").partition(";")
    media = media.strip().lower()
    if media and media not in _HTML_TYPES:
        return Problem("not_html", offset, media[:100])
    plain = _decoded(body, fields, max_bytes)
    if isinstance(plain, str):
        return Problem(plain, offset, f"{fields.get('content-encoding', '')[:100]} {len(body)} bytes".lstrip())
    if not media and not _looks_like_html(plain):
        return Problem("not_html", offset, "no Content-Type")
    charset = _CHARSET.search(parameters)
    return Page(url, plain, charset and charset[1], opt_out, offset, cut)


_CHARSET = re.compile(r"charset\s*=\s*[\"']?([^\s\"';,]+)", re.IGNORECASE)


def _http(block: bytes) -> tuple[HeaderMap | None, bytes]:
    """Header and body of an HTTP message; lines of the header may end in LF alone (RFC 9112, 2.2)."""
    head, _, body = block.partition(b"\r\n\r\n")
    if b"\n\n" in head:
        head, _, body = block.partition(b"\n\n")
        head = head.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    header = HeaderMap()
    try:
        header.parse(io.BytesIO(head + b"\r\n\r\n"))
    except OSError:  # FastWARC: longer than 32 KiB
        return None, b""
    return header, body


def _decoded(body: bytes, fields: dict[str, str], max_bytes: int) -> bytes | str:
    """The body with its codings undone, or the reason why not: too_large, bad_encoding.

    Crawlers often store the decoded body under the original header: what cannot be decoded but looks like HTML is
    taken as it is.
    """
    codings = [c.strip().lower() for c in fields.get("content-encoding", "").split(",")]
    codings = [c for c in codings if c not in ("", "identity")]
    if len(codings) > MAX_CODINGS:
        return "bad_encoding"
    if "chunked" in fields.get("transfer-encoding", "").lower():
        codings.append("chunked")
    failed = False
    for coding in reversed(codings):
        plain = _undo(coding, body, max_bytes + 1)
        failed |= plain is None
        body = body if plain is None else plain
    if failed and not _looks_like_html(body):
        return "bad_encoding"
    return "too_large" if len(body) > max_bytes else body


def _undo(coding: str, data: bytes, limit: int) -> bytes | None:
    """One coding undone, `limit` bytes at most; None if the data is not so coded. A stream cut off gives its start."""
    try:
        if coding == "chunked":
            return _unchunked(data)
        if coding in ("gzip", "x-gzip"):
            return zlib.decompressobj(31).decompress(data, limit)
        if coding == "deflate":  # zlib (RFC 9110, 8.4.1.2), or, as some servers send it, without its header
            wrapped = len(data) > 1 and data[0] & 15 == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            return zlib.decompressobj(15 if wrapped else -15).decompress(data, limit)
        if coding == "br":
            return BrotliReader(io.BytesIO(data)).read(limit)
        if coding == "zstd":
            return ZstdReader(io.BytesIO(data)).read(limit)
    except (zlib.error, OSError):  # OSError: FastWARC's, for brotli and zstd
        return None
    return None


_CHUNK = re.compile(rb"[ \t]*([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]{0,4096})?\r?\n")


def _unchunked(data: bytes) -> bytes | None:
    """The chunked coding undone (RFC 9112, 7.1) as far as it goes; None if the data does not start with a chunk."""
    parts, at = [], 0
    while size := _CHUNK.match(data, at):
        length = int(size[1], 16)
        parts.append(data[size.end() : size.end() + length])
        at = size.end() + length
        at += 2 if data.startswith(b"\r\n", at) else data.startswith(b"\n", at)
        if length == 0:
            break
    return b"".join(parts) if at else None


_HTML_START = re.compile(
    rb"(?:\xef\xbb\xbf)?[\t\n\f\r ]*(?:<(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style"
    rb"|title|b|body|br|p)[\t\n\f\r />]|<!--|<\?xml)",
    re.IGNORECASE,
)


def _looks_like_html(body: bytes) -> bool:
    """Whether the first bytes are those of an HTML page (https://mimesniff.spec.whatwg.org, 7.1; XML for XHTML)."""
    return _HTML_START.match(body[:1024]) is not None


def _opened(file: BinaryIO) -> _Plain | None:
    """The file's bytes as one stream of records; None if it starts like no archive."""
    start = file.read(_READ_BYTES)
    if start.startswith(b"\x1f\x8b"):
        return _Gzip(file, start)
    return _Plain(file, start) if b"WARC/".startswith(start[:5]) else None


class _Plain(io.RawIOBase):
    """An archive as uncompressed bytes, read forwards once, that knows how the file ended."""

    def __init__(self, file: BinaryIO, start: bytes) -> None:
        self._file = file
        self._input = start  # read from the file, not yet passed on
        self._position = 0  # uncompressed bytes passed on
        self._last = b""  # the last of them

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, none only at the end."""
        data = self._next(size if size > 0 else _READ_BYTES)
        self._position += len(data)
        self._last = (self._last + data[-2 * _TAIL_BYTES :])[-2 * _TAIL_BYTES :]
        return data

    def _next(self, size: int) -> bytes:
        data, self._input = self._input[:size], self._input[size:]
        return data or self._file.read(size)

    def offset_of(self, position: int) -> int:
        """Bytes from the file's start to the record at `position` of the uncompressed archive. Ask in rising order."""
        return position

    def loss(self, offset: int, tail: bytes | None) -> Problem | None:
        """What is wrong with the file's end, once all is read. `offset` and `tail` are of the last record seen."""
        if tail is not None and _line_ends(self._last) - _line_ends(tail) >= len(_RECORD_END):
            return None
        return Problem("truncated_file", offset, "the file ends within the record that starts here or within the next")


def _line_ends(data: bytes) -> int:
    """How many bytes of line ends the data ends with: a body may end like a record does."""
    return len(data) - len(data.rstrip(b"\r\n"))


class _Gzip(_Plain):
    """An archive of gzip members, one a record as a rule."""

    def __init__(self, file: BinaryIO, start: bytes) -> None:
        super().__init__(file, start)
        self._taken = len(start)  # bytes read from the file
        self._inflate: zlib._Decompress | None = None  # of the member at hand
        self._members: deque[tuple[int, int]] = deque()  # where members start: uncompressed, in the file
        self._fault: Problem | None = None

    def _next(self, size: int) -> bytes:
        data = b""
        while not data and self._fault is None:
            if not self._input:
                self._input = self._file.read(_READ_BYTES)
                self._taken += len(self._input)
                if not self._input and self._inflate is None:
                    break
            data = self._inflated(size)
        return data

    def _inflated(self, size: int) -> bytes:
        """The next bytes of the member at hand; a fault is noted where the file ends within it or it is damaged."""
        if self._inflate is None:
            self._inflate = zlib.decompressobj(31)
            if self._members and self._members[-1][0] == self._position:
                self._members.pop()  # an empty member: a file may hold millions
            self._members.append((self._position, self._taken - len(self._input)))
        at_end = not self._input
        try:
            data = self._inflate.decompress(self._input, size)
        except zlib.error as error:
            self._fault = Problem("damaged_file", self._members[-1][1], f"gzip member that starts here: {error}")
            return b""
        if self._inflate.eof:
            self._input, self._inflate = self._inflate.unused_data, None
        else:
            self._input = self._inflate.unconsumed_tail
            if at_end and not data:
                where = self._members[-1][1]
                self._fault = Problem("truncated_file", where, "the file ends within the gzip member that starts here")
        return data

    def offset_of(self, position: int) -> int:
        while len(self._members) > 1 and self._members[1][0] <= position:
            self._members.popleft()
        return self._members[0][1]

    def loss(self, offset: int, tail: bytes | None) -> Problem | None:
        return self._fault or super().loss(offset, tail)
