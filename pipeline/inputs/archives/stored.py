"""The bytes of an archive as one stream, plain or out of gzip members, each with its place in the file.

A source is read forwards, piece by piece, until `read` gives nothing: then `fault` says whether the file ended where
it may. Behind a gzip member that is damaged, `resume` goes on with the next one that holds records. Going back costs
time, so it is granted only as long as it stays in proportion to the file: reading takes linear time whatever is in it.
"""

from __future__ import annotations

import re
import zlib
from collections import deque
from typing import BinaryIO, NamedTuple

READ_BYTES = 16 << 10  # at once; more costs time: zlib copies what is left behind each gzip member
PADDING = b"\r\n\0"  # what tar, dd and text editors add behind a file, and writers between records

_PIECE_BYTES = 64 << 10  # of a member, at most
_FIRST_BYTES = 16  # of a member, at least in its first piece: enough to see whether a record starts
_BLOCK = 1 << 20
_AGAIN = 2  # times all may be read again …
_AGAIN_BYTES = 64 << 20  # … and so many bytes

_MEMBER = re.compile(rb"\x1f\x8b\x08(?=[\x00-\x1f].{4}[\x00-\x08][\x00-\x0d\xff])", re.DOTALL)  # RFC 1952, 2.3
_RECORD = re.compile(rb"WARC/\d{1,3}\.\d{1,3}[ \t]*\r?\n|\A[A-Za-z]{3,9}:[^\r\n]{1,8192} \d{12,18} ")
_LOOK = 16 << 10  # bytes of a member, stored and inflated, in which its first record must start


class Position(NamedTuple):
    """Where a byte of the stream is in the file."""

    offset: int  # bytes from the file's start to the gzip member, or, in a plain file, to the byte: as a CDX has it
    skip: int  # uncompressed bytes from there
    stored: int  # as offset, but within a member of several records about where the byte is


class Fault(NamedTuple):
    """Why nothing more can be read of a gzip member."""

    offset: int  # of the member
    detail: str  # for a person to read
    at_end: bool  # the file ends within the member


class Plain:
    """An uncompressed archive. Positions count from where it was opened or gone to."""

    fault: Fault | None = None
    fresh = False  # whether the last piece began a gzip member

    def __init__(self, file: BinaryIO, start: bytes) -> None:
        """`start`: what was read from the file already."""
        self._file = file
        self._input = start
        self._taken = len(start)  # bytes of the file up to where it was read
        self._passed = 0  # bytes of the stream that were read, those included that were
        self._again = 0  # read again
        self._size: int | None = None  # of the file
        self._origin = 0  # bytes from the file's start to position 0

    def read(self) -> bytes:
        """The next piece; none at the end."""
        if not self._input:
            self._more()
        data, self._input = self._input, b""
        self._passed += len(data)
        return data

    def place(self, position: int) -> Position:
        """Where a byte is. Ask in rising order: what is before is forgotten."""
        offset = self._origin + position
        return Position(offset, 0, offset)

    def ended_within(self, first: int, last: int) -> bool:
        """Whether a gzip member ended, whole, at one of these positions."""
        return False

    def ends_before(self, position: int) -> bool:
        """Whether it is known without reading on that the stream ends before a position."""
        return self._origin + position > self.end()

    def goto(self, place: Position, again: int) -> bool:
        """Read on from a place that was passed, less its skip (position 0); False: all stays as it is.

        `again`: how many bytes of the stream are read again for it.
        """
        if not self._back_to(place.offset, again):
            return False
        self._origin = place.offset
        return True

    def resume(self) -> bool:
        """Read on behind a fault; False where there is nothing."""
        return False

    def end(self) -> int:
        """The file's size in bytes; what was read of it, where that is not known."""
        if self._size is None:
            try:
                self._size = self._file.seek(0, 2)
                self._file.seek(self._taken)
            except ValueError:  # a stream of a server that gives no parts of files
                return self._taken
        return self._size

    def _more(self) -> bool:
        self._input = self._file.read(READ_BYTES)
        self._taken += len(self._input)
        return bool(self._input)

    def _back_to(self, offset: int, again: int) -> bool:
        again += self._again
        if again > _AGAIN * (self._passed - self._again) + _AGAIN_BYTES:
            return False
        try:
            self._file.seek(offset)
        except ValueError:
            return False
        self._again, self._taken, self._input = again, offset, b""
        return True


class _Piece(NamedTuple):
    position: int
    size: int
    stored: int  # bytes from the file's start to what it was inflated from
    stored_size: int
    offset: int  # of its member
    member: int  # position at which the member starts


class Gzip(Plain):
    """An archive of gzip members, one a record as a rule; padding between them is passed over."""

    def __init__(self, file: BinaryIO, start: bytes) -> None:
        super().__init__(file, start)
        self._begin()

    def _begin(self) -> None:
        """Count positions from the member that is next."""
        self.fault = None
        self._inflate: zlib._Decompress | None = None  # of the member at hand
        self._offset = self._taken - len(self._input)
        self._position = self._member = 0
        self._pieces: deque[_Piece] = deque()
        self._ends: deque[int] = deque()  # positions at which members ended, whole
        self._ended = -1  # the last that was forgotten

    def read(self) -> bytes:
        data = b""
        while not data and self.fault is None and (self._inflate or self._next_member()):
            data = self._inflated()
        return data

    def _next_member(self) -> bool:
        """Pass over padding to the next member; False at the file's end."""
        while not (rest := self._input.lstrip(PADDING)):
            if not self._more():
                return False
        self._input = rest
        self._offset, self._member = self._taken - len(rest), self._position
        self._inflate = zlib.decompressobj(31)
        return True

    def _inflated(self) -> bytes:
        """The next bytes of the member at hand; a fault is noted where the file ends within it or it is damaged."""
        assert self._inflate is not None
        data, stored = b"", self._taken - len(self._input)
        while self._inflate and self.fault is None and len(data) < _FIRST_BYTES:
            at_end = not self._input and not self._more()
            try:
                more = self._inflate.decompress(self._input, _PIECE_BYTES)
            except zlib.error as error:
                self.fault = Fault(self._offset, f"gzip member that starts here: {error}", at_end=False)
                break
            data += more
            if self._inflate.eof:
                self._input, self._inflate = self._inflate.unused_data, None
                end = self._position + len(data)
                if not self._ends or self._ends[-1] != end:  # a file may hold millions of empty members
                    self._ends.append(end)
            else:
                self._input = self._inflate.unconsumed_tail
                if at_end and not more:
                    self.fault = Fault(self._offset, "the file ends within the gzip member that starts here", True)
        if data:
            self._pieces.append(
                _Piece(
                    self._position,
                    len(data),
                    stored,
                    self._taken - len(self._input) - stored,
                    self._offset,
                    self._member,
                )
            )
            self.fresh = self._position == self._member
            self._position += len(data)
            self._passed += len(data)
        return data

    def place(self, position: int) -> Position:
        while len(self._pieces) > 1 and self._pieces[1].position <= position:
            self._pieces.popleft()
        while self._ends and self._ends[0] < position:
            self._ended = self._ends.popleft()
        if not self._pieces:
            return Position(self._offset, 0, self._offset)
        piece = self._pieces[0]
        skip = position - piece.member
        within = (position - piece.position) * piece.stored_size // piece.size
        return Position(piece.offset, skip, piece.stored + within if skip else piece.offset)

    def ended_within(self, first: int, last: int) -> bool:
        return first <= self._ended or any(first <= end <= last for end in self._ends)

    def ends_before(self, position: int) -> bool:
        return False  # who knows

    def goto(self, place: Position, again: int) -> bool:
        if not self._back_to(place.offset, again):
            return False
        self._begin()
        return True

    def resume(self) -> bool:
        assert self.fault is not None
        behind = self.fault.offset + 1
        found = find_member(
            self._file, behind if self._back_to(behind, self._taken - behind) else self._taken - len(self._input)
        )
        if found is None:
            return False
        self._file.seek(found)
        self._taken, self._input = found, b""
        self._begin()
        return True


def find_member(file: BinaryIO, offset: int) -> int | None:
    """Where, from an offset on, the next gzip member starts in which a record starts."""
    try:
        file.seek(offset)
    except ValueError:
        return None
    data, size, last = b"", 2 * _LOOK, False
    while not last:
        more = file.read(size)
        data, size, last = data + more, min(2 * size, _BLOCK), not more
        edge = len(data) if last else max(0, len(data) - _LOOK)
        for member in _MEMBER.finditer(data):
            at = member.start()
            if at >= edge:
                break
            if _holds_records(data[at : at + _LOOK]):
                return offset + at
        data, offset = data[edge:], offset + edge
    return None


def _holds_records(member: bytes) -> bool:
    try:
        return _RECORD.search(zlib.decompressobj(31).decompress(member, _LOOK)) is not None
    except zlib.error:
        return False
