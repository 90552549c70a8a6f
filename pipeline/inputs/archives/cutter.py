"""Cuts an archive into records, and goes on behind what is damaged.

WARC/1.x (ISO 28500), its drafts from WARC/0.16 on, and ARC, versions 1 and 2 (Internet Archive, 1996 to 2009). A
record is whole if its header can be read and what follows its length is the next record, the end of its gzip member or
the end of the file. Where one is not, all up to the next that starts is a gap: named, and its bytes counted.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from pipeline.inputs.archives.httpmessage import field_pattern, fields_of, header_end
from pipeline.inputs.archives.stored import PADDING, Gzip, Plain, Position

MAX_HEAD = 64 << 10  # bytes of a record's header
_LENGTH = re.compile("[0-9]{1,18}")
_WANTED = field_pattern(
    "warc-type",
    "content-length",
    "content-type",
    "warc-target-uri",
    "warc-block-digest",
    "warc-segment-number",
    "warc-truncated",
)
_DATE = re.compile("[0-9]{12,18}")
_PADDING = re.compile(rb"[%s]*" % re.escape(PADDING))


class Head(NamedTuple):
    """A record's header."""

    size: int  # bytes
    kind: str  # WARC-Type: response, request …
    url: str
    media: str  # of the block
    fields: dict[str, str]  # those of _WANTED, names in small letters; the first of each
    length: int  # bytes of the block


class Record(NamedTuple):
    head: Head
    offset: int  # bytes from the file's start to the record (to its gzip member)
    block: bytes | None  # None: longer than asked for


class Gap(NamedTuple):
    """A part of the file that gives no records."""

    reason: str  # damaged_record: others follow; damaged_file, truncated_file: none do
    offset: int  # as in Record
    detail: str  # for a person to read
    lost: int  # bytes of the file


class ArchiveFormat(Protocol):
    """How records start."""

    start: re.Pattern[bytes]
    near: int  # bytes that `follows` may want to see
    cut: re.Pattern[bytes]  # what a file ends with that ends soon after a header starts

    def head(self, data: bytes, at: int) -> Head | str | None:
        """The header that starts there; what is wrong with it; None if more bytes are needed."""

    def starts(self, data: bytes, at: int) -> bool:
        """Whether a header can be read there; in linear time wherever many seem to start."""

    def follows(self, data: bytes, at: int, padding: int) -> bool:
        """Whether a record starts there, behind bytes of padding, though its header may be damaged."""


# ── the two forms ──


class Warc:
    near = 512
    cut = re.compile(rb"WA?R?C?")
    start = re.compile(rb"WARC/\d{1,3}\.\d{1,3}[ \t]*\r?\n(?=[A-Za-z-]{4,40}[ \t]*:)")
    _version = re.compile(rb"WARC/\d{1,3}\.\d{1,3}[ \t]*\r?\n")
    _field = re.compile(rb"\n(?:WARC/\d|WARC-[A-Za-z-]{4,30}[ \t]*:)", re.IGNORECASE)

    def head(self, data: bytes, at: int) -> Head | str | None:
        version = self._version.match(data, at)
        if version is None:
            partial = len(data) - at < 32 and b"WARC/".startswith(data[at : at + 5])
            return None if partial else "no WARC record starts here"
        end = header_end(data, version.end() - 1, at + MAX_HEAD)
        if end is None:
            return None
        head = data[version.end() - 1 : end[0]]
        if b"\nWARC/" in head:
            return "another record starts within the header of the one that starts here"
        fields: dict[str, str] = {}
        for name, value in fields_of(head, _WANTED):
            if fields.setdefault(name, value) != value and name == "content-length":
                return f"the record that starts here has two values of Content-Length, {fields[name]} and {value}"[:200]
        length = fields.get("content-length", "")
        if not _LENGTH.fullmatch(length):
            return f"the Content-Length of the record that starts here is {length[:40] or 'missing'}"
        kind = fields.get("warc-type", "").lower()
        if not kind:
            return "the record that starts here has no WARC-Type"
        url = fields.get("warc-target-uri", "").strip("<>")  # Wget writes <…>, as WARC/1.0 has it
        return Head(end[1] - at, kind, url, fields.get("content-type", "").lower(), fields, int(length))

    def starts(self, data: bytes, at: int) -> bool:
        other = data.find(b"\nWARC/", at + 5, at + MAX_HEAD)
        end = at + MAX_HEAD if other < 0 else other + 1
        return isinstance(self.head(data[at:end], 0), Head)

    def follows(self, data: bytes, at: int, padding: int) -> bool:
        if data.startswith(b"WARC/", at):
            return True
        if padding < 4:  # else a length that ends within a header would do
            return False
        field = self._field.search(data, at, at + self.near)
        return field is not None and field[0][5:6] != b"/"


class Arc:
    """`URL IP date type … length`, a line; `filedesc://` is the first URL."""

    near = 16 << 10
    cut = re.compile(rb"[^\r\n]{1,8192}")
    start = re.compile(
        rb"^[A-Za-z][A-Za-z0-9+.-]{1,20}:[^\r\n]{1,8192} \d{12,18} [^\r\n]{0,500}\d[ \t]*\r?$", re.MULTILINE
    )
    _scheme = re.compile(rb"(?:https?|ftp)://|dns:|filedesc:", re.IGNORECASE)
    _damaged = re.compile(
        rb"[^\r\n]{10,8192} \d{1,15}\r?\nHTTP/\d"
        rb"|[a-z][a-z0-9+.-]{1,20}:[^\r\n]{1,8192} \d{12,18} [^\r\n]{1,500}\n",
        re.IGNORECASE,
    )

    def head(self, data: bytes, at: int) -> Head | str | None:
        end = data.find(b"\n", at, at + MAX_HEAD)
        if end < 0:
            return None
        words = data[at:end].decode("utf-8", "replace").split(" ")
        date = next((n for n in range(2, len(words)) if _DATE.fullmatch(words[n])), None)
        if date is None or ":" not in words[0]:
            return "no ARC record starts here"
        if not _LENGTH.fullmatch(length := words[-1].strip()) or len(words) - date < 2:
            return f"the length of the ARC record that starts here is {length[:40]!r}"
        url = " ".join(words[: date - 1])
        is_web = url.lower().startswith(("http://", "https://"))
        kind, media = ("response", "application/http") if is_web else (url.partition(":")[0], words[date + 1])
        return Head(end + 1 - at, kind, url, media, {}, int(length))

    def starts(self, data: bytes, at: int) -> bool:
        return isinstance(self.head(data, at), Head)

    def follows(self, data: bytes, at: int, padding: int) -> bool:
        if padding:
            return self.starts(data, at) or self._damaged.match(data, at) is not None
        # Some writers leave out the line end. A length that ends within a URL leads to no scheme.
        return self._scheme.match(data, at) is not None and self.starts(data, at)


# ── cutting ──


def _has_its_digest(head: Head, block: bytes | None) -> bool | None:
    """Whether a block is what its digest says, whatever stands in it or follows it; None where that cannot be said."""
    algorithm, _, digest = head.fields.get("warc-block-digest", "").lower().partition(":")
    if algorithm != "sha1" or block is None:
        return None
    made = hashlib.sha1(block)
    return digest in (made.hexdigest(), base64.b32encode(made.digest()).decode().lower())


class _Broken(NamedTuple):
    place: Position
    detail: str
    at_end: bool  # the file ended before what was looked for


class Cutter:
    """The records and gaps of an archive, in order, each once."""

    def __init__(self, source: Plain | Gzip, form: ArchiveFormat, most: int, first: bytes = b"") -> None:
        """`most`: bytes of a block that are kept; `first`: what was read from the source already."""
        self._source, self._form, self._most = source, form, most
        self._begin()
        self._buffer = first

    def _begin(self) -> None:
        self._buffer = b""
        self._base = 0  # position of the buffer in the stream
        self._at = 0  # bytes of the buffer that are done
        self._over = False  # nothing follows the buffer in the stream

    def __iter__(self) -> Iterator[Record | Gap]:
        some = False
        while True:
            self._pass_padding()
            if self._at < len(self._buffer):
                found = self._record()
            elif fault := self._source.fault:
                found = _Broken(Position(fault.offset, 0, fault.offset), fault.detail, fault.at_end)
            elif not some:
                found = _Broken(Position(0, 0, 0), "there is nothing in it", at_end=True)
            else:
                return
            some = True
            if isinstance(found, Record):
                yield found
                continue
            gap = self._gap(found)
            yield gap
            if gap.reason != "damaged_record":
                return

    def _record(self) -> Record | _Broken:
        place = self._source.place(self._here())
        head = self._head()
        if not isinstance(head, Head):
            self._at += 1
            return self._broken(place, head or "the file ends within the record that starts here", at_end=head is None)
        start = self._here() + head.size
        self._at += head.size
        if self._source.ends_before(start + head.length):
            return _Broken(place, f"the record that starts here is longer than the file: {head.length} bytes", True)
        parts, missing = self._body(head.length)
        block = b"".join(parts) if head.length <= self._most else None
        if not missing and self._is_whole(head, block):
            return Record(head, place.offset, block)
        wrong = f"the record that starts here does not end after the {head.length} bytes of its Content-Length"
        broken = self._broken(place, wrong, at_end=missing > 0 and self._over)
        if start >= self._base and head.length <= self._most:
            self._at = start - self._base
        else:
            self._goto(place._replace(skip=place.skip + head.size), self._base + len(self._buffer) - start)
        return broken

    def _head(self) -> Head | str | None:
        """The header that starts here, or what is wrong with it; None if the stream ends before it does."""
        while (head := self._form.head(self._buffer, self._at)) is None:
            if len(self._buffer) - self._at >= MAX_HEAD:
                return "the header of the record that starts here does not end"
            if not self._more():
                return None
        return head

    def _broken(self, place: Position, detail: str, at_end: bool) -> _Broken:
        fault = self._source.fault if self._over else None
        return _Broken(place, fault.detail, fault.at_end) if fault else _Broken(place, detail, at_end)

    def _body(self, length: int) -> tuple[list[bytes], int]:
        """Pass over the block: its bytes, if they are to be kept, and how many are missing."""
        parts: list[bytes] = []
        left = length
        while left:
            if self._at == len(self._buffer) and (not self._more() or (self._source.fresh and self._starts())):
                return parts, left
            part = self._buffer[self._at : self._at + left]
            self._at += len(part)
            left -= len(part)
            if length <= self._most:
                parts.append(part)
            else:
                self._source.place(self._here())
        return parts, 0

    def _starts(self) -> bool:
        return isinstance(self._head(), Head)

    def _is_whole(self, head: Head, block: bytes | None) -> bool:
        """Whether what follows a block is what may follow it."""
        end = self._here()
        self._pass_padding()
        if self._source.ended_within(end, self._here()):
            return True
        padding = self._here() - end + (block or b"\n").endswith(b"\n")
        while not (follows := self._form.follows(self._buffer, self._at, padding)):
            if len(self._buffer) - self._at >= self._form.near or not self._more():
                break
        if self._over and self._source.fault:
            return follows
        follows = follows or (self._over and padding > 0 and bool(self._form.cut.fullmatch(self._buffer, self._at)))
        if follows or self._at == len(self._buffer):  # a wrong length may lead from record to record, too
            return b"\nWARC/" not in (block or b"") or _has_its_digest(head, block) is not False
        return _has_its_digest(head, block) is True

    def _gap(self, broken: _Broken) -> Gap:
        """Go on at the next record that starts, if there is one."""
        at_end = broken.at_end
        while not self._search():
            fault = self._source.fault
            at_end = fault.at_end if fault else at_end
            if fault is None or not self._source.resume():
                reason = "truncated_file" if at_end else "damaged_file"
                lost = max(0, self._source.end() - broken.place.stored)
                return Gap(reason, broken.place.offset, broken.detail, lost)
            self._begin()
        lost = self._source.place(self._here()).stored - broken.place.stored
        return Gap("damaged_record", broken.place.offset, broken.detail, max(0, lost))

    def _search(self) -> bool:
        """Forward to the next header that can be read; False if the stream ends before."""
        while True:
            for start in self._form.start.finditer(self._buffer, self._at):
                self._at = start.start()
                if len(self._buffer) - self._at < MAX_HEAD and not self._over:
                    break  # read on: it may be cut off here
                if self._form.starts(self._buffer, self._at):
                    return True
                self._at += 1
            else:
                self._at = max(self._at, len(self._buffer) - MAX_HEAD)
            if not self._more() and self._form.start.search(self._buffer, self._at) is None:
                self._at = len(self._buffer)
                return False
            self._source.place(self._here())

    # ── the stream ──

    def _here(self) -> int:
        return self._base + self._at

    def _more(self) -> bool:
        """Another piece of the stream to the buffer, what is done out of it; False at the end."""
        data = b"" if self._over else self._source.read()
        if not data:
            self._over = True
            return False
        self._base += self._at
        self._buffer = self._buffer[self._at :] + data
        self._at = 0
        return True

    def _pass_padding(self) -> None:
        while True:
            padding = _PADDING.match(self._buffer, self._at)
            assert padding is not None  # it may be empty
            self._at = padding.end()
            if self._at < len(self._buffer) or not self._more():
                return
            self._source.place(self._here())  # which need not remember what is before

    def _goto(self, place: Position, back: int) -> None:
        """Back to a place, by so many bytes, if that does not cost too much."""
        if self._source.goto(place, back + place.skip):
            self._begin()
            while self._here() < place.skip:
                self._at = len(self._buffer)
                if not self._more():
                    return
                self._at = min(place.skip - self._base, len(self._buffer))
