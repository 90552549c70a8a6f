"""Web archives out: WARC/1.1 (ISO 28500:2017), each record a gzip member of its own.

A record's id is a function of what the record holds, its date included: the same exchange has the same id wherever it
is written, and no two share one.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import BinaryIO

Headers = Iterable[tuple[str, str]]

_IDS = uuid.UUID("6f70656e-7769-5477-8172-632d69647321")  # the name space of record ids
_UNDONE = frozenset({"gzip", "deflate", "br", "zstd"})  # codings that the client undoes; of others a reader is told


def stored_headers(headers: Headers, length: int) -> list[tuple[str, str]]:
    """Response headers as they are true of a body whose codings are undone; the others are kept as X-Crawler-…."""
    kept = [(f"X-Crawler-{name}" if _no_longer_true(name.lower(), value) else name, value) for name, value in headers]
    return [*kept, ("Content-Length", str(length))]


def _no_longer_true(name: str, value: str) -> bool:
    if name == "content-encoding":
        return value.strip().lower() in _UNDONE
    return name in ("content-length", "transfer-encoding")


class WarcWriter:
    """Writes an archive: first what is to be known of it (the fields of its warcinfo), then exchanges.

    OSError where the file cannot be written.
    """

    def __init__(self, file: BinaryIO, about: Mapping[str, str], date: datetime) -> None:
        self._file = file
        self._info: dict[str, str] = {}
        id_ = self._write("warcinfo", date, "application/warc-fields", _lines(about.items()), {})
        self._info = {"WARC-Warcinfo-ID": id_}

    def exchange(self, url: str, date: datetime, asked: Headers, answered: Headers, body: bytes) -> None:
        """A request for a normalised URL, begun at `date`, and its response of status 200.

        `answered` are its `stored_headers`, `body` has its content and transfer codings undone.
        """
        known = {**self._info, "WARC-Target-URI": url}
        path = "/" + url.split("/", 3)[3]
        block = b"GET %s HTTP/1.1\r\n%s\r\n" % (path.encode(), _lines(asked))
        request = self._write("request", date, "application/http; msgtype=request", block, known)
        known |= {"WARC-Concurrent-To": request, "WARC-Payload-Digest": _sha1(body)}
        block = b"HTTP/1.1 200 OK\r\n%s\r\n%s" % (_lines(answered), body)
        self._write("response", date, "application/http; msgtype=response", block, known)

    def _write(self, kind: str, date: datetime, media: str, block: bytes, more: Mapping[str, str]) -> str:
        """Append a record; its id."""
        fields = {
            "WARC-Type": kind,
            "WARC-Date": date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            **more,
            "WARC-Block-Digest": _sha1(block),
            "Content-Type": media,
            "Content-Length": str(len(block)),
        }
        id_ = f"<urn:uuid:{uuid.uuid5(_IDS, _lines(fields.items()).decode())}>"
        head = _lines([("WARC-Record-ID", id_), *fields.items()])
        self._file.write(gzip.compress(b"WARC/1.1\r\n%s\r\n%s\r\n\r\n" % (head, block), compresslevel=6, mtime=0))
        return id_


def _lines(headers: Headers) -> bytes:
    return "".join(f"{name}: {_LINE_END.sub(' ', value)}\r\n" for name, value in headers).encode()


_LINE_END = re.compile(r"[\r\n\0]+")


def _sha1(data: bytes) -> str:
    """As WARC has digests: base 32."""
    return f"sha1:{base64.b32encode(hashlib.sha1(data).digest()).decode()}"
