"""HTTP messages as archives hold them: header fields, media types, content and transfer codings.

Read leniently, as browsers do: https://fetch.spec.whatwg.org ("extract a MIME type"), https://mimesniff.spec.whatwg.org.
What a server or a crawler wrote wrong, and what is undone already though the header says otherwise, is no reason to
lose a page. What is no text after all has a name.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterable

from fastwarc.stream_io import BrotliReader, ZstdReader

MAX_CODINGS = 2  # Content-Encoding: gzip, br … is taken apart this often
MAX_HEADER = 32 << 10  # bytes

Fields = list[tuple[str, str]]  # names in small letters

HTML_TYPES = frozenset({"text/html", "application/xhtml+xml", "application/vnd.wap.xhtml+xml"})
XML_TYPES = frozenset({"application/xml", "text/xml"})  # XHTML, if the root says so
_NO_TYPES = frozenset({"", "*/*", "unknown/unknown", "application/unknown"})  # the body says what it is

_FOLD = re.compile(rb"\r?\n[ \t]+")
KEPT_HEADERS = ("x-robots-tag", "tdm-reservation", "content-language")  # for those who read the page


_STATUS = re.compile(rb"[\r\n]*HTTP/\d(?:\.\d)?[ \t]+(\d{3})(?!\d)", re.IGNORECASE)
_MEDIA = re.compile(r"[\s\"']*([\w!#$&^.+*-]{1,64}/[\w!#$&^.+*-]{1,64})(?:[^\w!#$&^.+*/-].*)?", re.ASCII | re.DOTALL)
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([^\s\"';,]+)", re.IGNORECASE)


# ── header ──


def field_pattern(*names: str) -> re.Pattern[bytes]:
    """For `fields_of`: the fields of these names."""
    return re.compile(rb"(?i)\n(%s)[ \t]*:([^\n]*)" % "|".join(names).encode())


def fields_of(head: bytes, wanted: re.Pattern[bytes]) -> Fields:
    """Fields of a header behind its first line, in order: `Name: value`, or continued on indented lines."""
    if b"\n " in head or b"\n\t" in head:
        head = _FOLD.sub(b" ", head)
    return [(name.decode().lower(), _text(value)) for name, value in wanted.findall(head)]


def _text(value: bytes) -> str:
    try:
        return value.decode().strip()
    except UnicodeDecodeError:
        return value.decode("latin-1").strip()


_WANTED = field_pattern("content-type", "content-encoding", "transfer-encoding", *KEPT_HEADERS)


def header_end(data: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Where the empty line behind a header starts and ends; lines may end in LF alone (RFC 9112, 2.2)."""
    crlf = data.find(b"\n\r\n", start, end)
    lf = data.find(b"\n\n", start, crlf + 1 if crlf >= 0 else end)
    if lf >= 0:
        return lf + 1, lf + 2
    return (crlf + 1, crlf + 3) if crlf >= 0 else None


def parsed(block: bytes) -> tuple[int, Fields, bytes] | None:
    """Status, header (what is looked at here) and body of a response; None if it is none, or its header is too long.

    Interim answers before the final one (100 Continue, 103 Early Hints) are passed over: they are not what was asked
    for, and some crawlers write down all that came over the wire.
    """
    block = block.lstrip(b"\r\n")
    start = 0
    while (status := _STATUS.match(block, start)) is not None:
        bounds = header_end(block, status.end(), MAX_HEADER + 2)
        if bounds is None and len(block) > MAX_HEADER:
            return None
        if bounds is None or status[1][:1] != b"1" or not _STATUS.match(block, bounds[1]):
            head, body = (block[start : bounds[0]], block[bounds[1] :]) if bounds else (block[start:], b"")
            return int(status[1]), fields_of(head, _WANTED), body
        start = bounds[1]
    return None


# ── media types ──


def media_type(values: Iterable[str]) -> tuple[str, str | None]:
    """Type and charset of all Content-Type headers together; the last type that is one counts, "" if none is.

    A charset holds for later values of the same type, too, and may stand alone: `text/html, charset=utf-8`.
    """
    media, charset = "", None
    for value in ",".join(values).split(","):
        match, named = _MEDIA.fullmatch(value), _CHARSET.search(value)
        if match and match[1] != "*/*" and match[1].lower() != media:
            media, charset = match[1].lower(), None
        if named:
            charset = named[1]
    return media, charset


def is_page(media: str, body: bytes) -> bool:
    """Whether a body with that Content-Type is an HTML page to a browser."""
    if media in _NO_TYPES:
        return (_HTML_START.match(body[:1024]) or _XHTML_START.match(body[:_SAMPLE])) is not None
    return media in HTML_TYPES or (media in XML_TYPES and _XHTML_START.match(body[:_SAMPLE]) is not None)


def may_be_page(media: str) -> bool:
    """Whether a page may come with that Content-Type."""
    return media in HTML_TYPES or media in XML_TYPES or media in _NO_TYPES


_HTML_START = re.compile(  # mimesniff, 7.1
    rb"(?:\xef\xbb\xbf)?[\t\n\f\r ]*(?:<(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style"
    rb"|title|b|body|br|p)[\t\n\f\r />]|<!--)",
    re.IGNORECASE,
)
_XHTML_START = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?[^>]{0,500}>\s*){0,4}(?:<!--[^>]{0,1000}-->\s*){0,4}<(?:!doctype\s+)?html[\s>]",
    re.IGNORECASE,
)
_HTML_TAG = re.compile(rb"<(?:!doctype|html|head|title|meta|link|body|script|div|span|p|a|img|table)\b", re.IGNORECASE)
_BINARY = bytes({*range(0x20)} - set(b"\t\n\f\r\x0e\x0f\x1b"))  # mimesniff, 3; without those that ISO-2022 shifts by
_WIDE = ("utf-16", "utf-32", "ucs-2", "iso-10646-ucs", "unicode")
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
_SAMPLE = 4096  # bytes
_BINARY_SAMPLE = 1024


def is_binary(body: bytes, charset: str | None) -> bool:
    """Whether a body is no text in any encoding: pictures, archives, what is compressed or encrypted."""
    sample = body[:_BINARY_SAMPLE]
    binary = len(sample) - len(sample.translate(None, _BINARY))
    if binary <= 3 or binary * 32 <= len(sample):  # of random bytes every tenth is
        return False
    if body.startswith(_WIDE_MARKS) or (charset or "").lower().startswith(_WIDE):
        return False
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    return 10 * (even + odd) < len(sample) or min(even, odd) * 20 > even + odd  # else UTF-16 that nobody declared


# ── codings ──


def body_of(body: bytes, fields: dict[str, str], max_bytes: int) -> bytes | str:
    """The body with its codings undone, declared or not, or the reason why not: too_large, bad_encoding.

    Crawlers often store the decoded body under the original header: what cannot be decoded but looks like HTML is
    taken as it is. Others drop the header and store the coded body: gzip and chunks are seen without it.
    """
    codings = [c.strip().lower() for c in fields.get("content-encoding", "").split(",")]
    codings = [c for c in codings if c not in ("", "identity")]
    if len(codings) > MAX_CODINGS:
        return "bad_encoding"
    declared = "chunked" in fields.get("transfer-encoding", "").lower()
    body = _unchunked(body, strict=not declared) or body
    failed, undone = False, 0
    for coding in reversed(codings):
        plain = _undo(coding, body, max_bytes + 1)
        failed |= plain is None
        undone += plain is not None
        body = body if plain is None else plain
    while body.startswith(_GZIP):
        plain = _undo("gzip", body, max_bytes + 1) if undone < MAX_CODINGS else None
        if plain is None:
            return "bad_encoding"
        body, undone, failed = plain, undone + 1, False
    if failed and not (_HTML_TAG.search(body[:_SAMPLE]) and not is_binary(body, None)):
        return "bad_encoding"
    return "too_large" if len(body) > max_bytes else body


_GZIP = b"\x1f\x8b"


def _undo(coding: str, data: bytes, limit: int) -> bytes | None:
    """One coding undone, `limit` bytes at most; None if the data is not so coded. A stream cut off gives its start."""
    try:
        if coding in ("gzip", "x-gzip"):
            return _gunzipped(data, limit)
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


_WINDOW = 4096  # bytes given to zlib at once: it copies what is left behind a member


def _gunzipped(data: bytes, limit: int) -> bytes:
    """All gzip members that follow one another, as far as they go; zlib.error if one is damaged."""
    parts: list[bytes] = []
    at = size = 0
    inflate = zlib.decompressobj(31)
    while size < limit and (given := inflate.unconsumed_tail or data[at : at + _WINDOW]):
        at += 0 if inflate.unconsumed_tail else len(given)
        parts.append(inflate.decompress(given, limit - size))
        size += len(parts[-1])
        if inflate.eof:
            at -= len(inflate.unused_data)
            if not data.startswith(_GZIP, at):  # what is behind the last is left alone
                break
            inflate = zlib.decompressobj(31)
    return b"".join(parts)


_CHUNK = re.compile(rb"[ \t]*([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]{0,4096})?\r?\n")


def _unchunked(data: bytes, strict: bool) -> bytes | None:
    """The chunked coding undone (RFC 9112, 7.1) as far as it goes; None if the data does not start with a chunk.

    `strict`: also None unless every chunk ends where its length says, up to the last or the end of the data.
    """
    parts, at, length = [], 0, -1
    while size := _CHUNK.match(data, at):
        length = int(size[1], 16)
        parts.append(data[size.end() : size.end() + length])
        at = size.end() + length
        at += 2 if data.startswith(b"\r\n", at) else data.startswith(b"\n", at)
        if length == 0:
            break
    if strict and (length < 0 or len(parts) < 2 or (length > 0 and at < len(data))):
        return None
    return b"".join(parts) if at else None
