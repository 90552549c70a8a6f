"""Lines of cells (CSV, TSV and their kin) as people and tools write them: which quotes are quotes, and which are text.

RFC 4180 says how cells are quoted, but many tables are written by joining strings, and a caption may begin with a
quote. So a quote counts only where it closes before a delimiter or the end of the line; one that goes on over lines
counts only where the record then has the header's columns and not more than one of its lines is a row by itself
(has those columns, and a URL in its place). All else is text, and costs no other row. Doubled quotes and, where those
make no row, quotes after a backslash (Spark, MySQL) stand for themselves.

Physical lines = header + blank lines + records + their continuation lines; a record has cells, or a reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from pipeline.inputs.urltables import escaped

MAX_LINE = 4 << 20  # bytes; longer lines are lost by name
MAX_RECORD = 1 << 20  # bytes of a record of several lines; beyond it, its quote is taken for text
_MAX_NOTED = 100  # lines of a record that is cut apart; beyond them it is not looked at, and no note says so
MAX_OPENED = 16  # cells of a record that go on over lines; beyond them, too: a line is looked at so often at most
_URL = re.compile(rb'[\s"]*+(?:(?:[a-z][a-z0-9+.-]*+:)?//|www\.)', re.IGNORECASE)

Line = bytes | None  # without its end; None for one that is too long


class Layout(NamedTuple):
    """How the lines of a table are cut."""

    delimiter: bytes
    names: Sequence[str]  # of its columns
    url_at: int  # which of them holds the URLs
    header_lines: int = 1
    quoted: bool = True  # whether quotes may be quotes at all
    careful: bool = True  # whether a quote that goes on over lines which are rows by themselves is text
    escaped: bool = False  # whether a backslash is a database's: see escaped.py
    texts_at: Sequence[int] = ()  # the columns of captions: with one of them and a URL, a row may lack its last cells


class TextRecord(NamedTuple):
    """One record; without cells where it is lost."""

    cells: list[bytes]
    line: int  # its first line in the file, from 1
    reason: str = ""
    text: bytes = b""  # of a lost one, its beginning
    strict: bool = True  # every quote in it is one of CSV's


# ── lines ─────────────────────────────────────────────────────────────────────────────────────────


def lines(chunks: Iterable[bytes]) -> Iterator[Line]:
    """Lines without their line feeds; carriage returns end lines where the beginning of the table has no line feed."""
    end, carry, too_long = b"", b"", False
    for chunk in chunks:
        if not end:
            carry += chunk
            if len(carry) < MAX_LINE and b"\n" not in carry and (b"\r" not in carry[:-1] or len(carry) < _SNIFFED):
                continue
            end, chunk, carry = _line_end(carry), carry, b""
        first, *others = chunk.split(end)
        carry = b"" if too_long else carry + first
        if others:
            yield None if too_long or len(carry) > MAX_LINE else carry
            yield from (None if len(line) > MAX_LINE else line for line in others[:-1])
            carry, too_long = others[-1], False
        if len(carry) > MAX_LINE:
            carry, too_long = b"", True
    if not end and carry:
        *whole, carry = carry.split(_line_end(carry))
        yield from whole
    if carry or too_long:
        yield None if too_long else carry


_SNIFFED = 65_536  # bytes; carriage returns end lines where so much of the beginning has no line feed


def _line_end(data: bytes) -> bytes:
    return b"\r" if b"\r" in data and b"\n" not in data else b"\n"


def _bare(line: bytes) -> tuple[bytes, bytes]:
    """A line without the carriage return before its end, and its end."""
    return (line[:-1], b"\r\n") if line.endswith(b"\r") else (line, b"\n")


_Quoted = tuple[bytes, Callable[[bytes], bytes]]

# ── cells ─────────────────────────────────────────────────────────────────────────────────────────


class _Form:
    """How cells are quoted and cut: one way to write a quote in a quoted cell, one delimiter."""

    def __init__(self, delimiter: bytes, body: bytes, unescape: Callable[[bytes], bytes], may_go_on: bool) -> None:
        ends = rb"(?P<end>\" *+(?=" + re.escape(delimiter) + rb"|\Z)" + (rb"|\Z)" if may_go_on else b")")
        # Possessive everywhere: a match costs the bytes that it looks at once.
        self._cell = re.compile(rb" *+\"(?P<body>" + body + rb")" + ends + rb"|[^" + re.escape(delimiter) + rb"]*+")
        self._rest = re.compile(rb"(?P<body>" + body + rb")" + ends)
        self._unescape = unescape

    def cut(self, line: bytes) -> tuple[list[bytes], bytes | None, bool]:
        """The cells of a line; the beginning of a quoted one after them that does not end in it; whether strict."""
        return self._cut(line, 0, [])

    def go_on(self, line: bytes, before: list[bytes]) -> tuple[list[bytes], bytes | None, bool] | None:
        """The same for a line within a quoted cell, of which `before` are the earlier lines; None where it is none."""
        match = self._rest.match(line)
        if match is None:
            return None
        if not match["end"]:
            return [], match["body"], True
        cell = self._unescape(b"".join([*before, match["body"]]))
        return self._cut(line, match.end() + 1, [cell]) if match.end() < len(line) else ([cell], None, True)

    def _cut(self, line: bytes, at: int, cells: list[bytes]) -> tuple[list[bytes], bytes | None, bool]:
        strict, match_at = True, self._cell.match
        while True:
            match = match_at(line, at)
            assert match is not None  # the empty cell always matches
            if match["end"] is None:
                cells.append(match[0])
                strict = strict and b'"' not in match[0]
            elif match["end"]:
                cells.append(self._unescape(match["body"]))
            else:
                return cells, match["body"], strict
            if match.end() == len(line):
                return cells, None, strict
            at = match.end() + 1


def _doubled(body: bytes) -> bytes:
    return body.replace(b'""', b'"')


_ESCAPED = re.compile(rb'[\\"]([\\"])')


def _backslashed(body: bytes) -> bytes:
    return _ESCAPED.sub(rb"\1", body)


# What a quoted cell holds before the quote that ends it, and what it says.
_DOUBLED: _Quoted = (rb"(?:[^\"]++|\"\")*+", _doubled)
_BACKSLASHED: _Quoted = (rb"(?:[^\"\\]++|\\.|\\\Z|\"\")*+", _backslashed)


class _Cutter:
    """The cells of the records of one table."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.width = layout, len(layout.names)
        self._forms = [_Form(layout.delimiter, *how, may_go_on=True) for how in (_DOUBLED, _BACKSLASHED)]
        self._closed = _Form(layout.delimiter, *_DOUBLED, may_go_on=False)
        self.cut_apart = False  # whether what began last would be one record if it were not for the rows in it

    def by_quotes(self, line: bytes, following: _Following) -> tuple[list[bytes], int, bool] | None:
        """The cells of the record that begins, the further lines it takes, whether strict; None where nothing fits."""
        loose, self.cut_apart = None, False
        for form in self._forms:
            found = self._over_lines(form, line, following)
            if found is not None and (self.fits(found[0]) or self._ends_early(found, line, following)):
                if found[2]:
                    return found
                loose = loose or found
        return loose

    def _ends_early(self, found: tuple[list[bytes], int, bool], line: bytes, following: _Following) -> bool:
        """Whether a record, of whose lines not more than one is a row, lacks but its last cells."""
        cells, more, strict = found
        inner = [line, *(following.line(i) or b"" for i in range(more))]
        return strict and sum(map(self._is_row_at_all, inner)) < 2 and self.completed(cells, following, more)

    def _over_lines(self, form: _Form, line: bytes, following: _Following) -> tuple[list[bytes], int, bool] | None:
        line, end = _bare(line)
        cells, rest, strict = form.cut(line)
        if rest is None:
            return cells, 0, strict
        size, rows, more, opened = len(line), int(self._is_row(line)), 0, 1
        before = [rest, end]  # it and the record grow; nothing is looked at twice
        while rest is not None:
            raw = following.line(more)
            if raw is None or size > MAX_RECORD or len(cells) >= self.width or opened > MAX_OPENED:
                return None
            line, end = _bare(raw)
            rows += self._is_row(line)
            if self.layout.careful and rows > 1 and more > _MAX_NOTED:
                return None
            found = form.go_on(line, before)
            if found is None:
                return None
            if found[0]:
                opened += 1
                before.clear()
            cells += found[0]
            rest, strict, size, more = found[1], strict and found[2], size + len(raw) + len(end), more + 1
            before += [rest or b"", end]
        if self.layout.careful and rows > 1:
            self.cut_apart = self.cut_apart or self.fits(cells)
            return None
        return cells, more, strict

    def by_lines(self, line: bytes) -> list[bytes]:
        """The cells of a line, where quotes that it does not close are text."""
        return self._closed.cut(line)[0] if self.layout.quoted else line.split(self.layout.delimiter)

    def fits(self, cells: list[bytes]) -> bool:
        """Whether these are as many as the header has; empty ones at the end that are too many are taken away."""
        while len(cells) > self.width and not cells[-1].strip():
            cells.pop()
        return len(cells) == self.width

    def completed(self, cells: list[bytes], following: _Following, more: int = 0) -> bool:
        """Whether a record has all but its last cells, which are then added empty: spreadsheets leave them away.

        Not where the line behind it (and behind its `more` lines) has no URL and too few cells: it has broken there.
        """
        if not self._has_enough(cells):
            return False
        rest = self.by_lines(_bare(following.line(more) or b"")[0])
        if any(map(bytes.strip, rest)) and len(rest) < self.width and not any(map(_URL.match, rest)):
            return False
        cells += [b""] * (self.width - len(cells))
        return True

    def _has_enough(self, cells: list[bytes]) -> bool:
        n, url_at = len(cells), self.layout.url_at
        return (
            url_at < n < self.width
            and _URL.match(cells[url_at]) is not None
            and min(self.layout.texts_at, default=n) < n
        )

    def _is_row_at_all(self, line: bytes) -> bool:
        cells = self.by_lines(_bare(line)[0])
        return self._is_row(line) or self._has_enough(cells)

    def _is_row(self, line: bytes) -> bool:
        cells = self.by_lines(line)
        return self.fits(cells) and _URL.match(cells[self.layout.url_at]) is not None


def cells_of(line: bytes, delimiter: bytes) -> list[bytes]:
    """The cells of a line by itself."""
    return _Form(delimiter, *_DOUBLED, may_go_on=False).cut(_bare(line)[0])[0]


# ── records ───────────────────────────────────────────────────────────────────────────────────────


class _Following:
    """Lines in order, of which those to come can be looked at before they are taken."""

    def __init__(self, source: Iterator[Line]) -> None:
        self._source = source
        self._ahead: list[Line] = []
        self._at = 0  # how many of them are taken

    def __iter__(self) -> Iterator[Line]:
        return self

    def __next__(self) -> Line:
        if not self._ahead:
            return next(self._source)
        line = self._ahead[self._at]
        self.take(1)
        return line

    def line(self, i: int) -> Line:
        """The i-th line to come, from 0; None where it is too long, or there is none."""
        while len(self._ahead) <= self._at + i:
            try:
                self._ahead.append(next(self._source))
            except StopIteration:
                return None
        return self._ahead[self._at + i]

    def take(self, n: int) -> None:
        """Go on by n lines that were looked at."""
        self._at += n
        if self._at == len(self._ahead) or self._at > 1024 + len(self._ahead) // 2:  # seldom: many may be ahead
            del self._ahead[: self._at]
            self._at = 0


def records(source: Iterator[Line], layout: Layout, notes: Counter[str]) -> Iterator[TextRecord]:
    """The records below the header; blank lines and lines that continue a record are counted in `notes`."""
    following, cutter, number = _Following(source), _Cutter(layout), layout.header_lines
    delimiter, quoted, width = layout.delimiter, layout.quoted, len(layout.names)
    for line in islice(following, layout.header_lines, None):
        number += 1
        if line is None:
            yield TextRecord([], number, "line_too_long", f"a line of more than {MAX_LINE:,} bytes".encode())
        elif layout.escaped and b"\\" in line:
            record, more = _escaped(line, following)
            yield _record(escaped.cut(record), line, number, cutter, following, more)
            notes["continuation_lines"] += more
            following.take(more)
            number += more
        elif b'"' not in line or not quoted:
            cells = line.removesuffix(b"\r").split(delimiter)
            if len(cells) == width:
                yield TextRecord(cells, number)
            elif line.strip(b" \r"):
                yield _record(cells, line, number, cutter, following)
            else:
                notes["blank_lines"] += 1
        elif found := cutter.by_quotes(line, following):
            cells, more, strict = found
            yield TextRecord(cells, number, strict=strict)
            if more:
                notes["continuation_lines"] += more
                following.take(more)
                number += more
        else:
            notes["quotes_taken_for_text"] += cutter.cut_apart
            yield _record(cutter.by_lines(_bare(line)[0]), line, number, cutter, following)


def _escaped(line: bytes, following: _Following) -> tuple[bytes, int]:
    """A record of a table in which ends of lines are escaped, and how many further lines it takes."""
    parts, size = [line.removesuffix(b"\r")], len(line)
    while escaped.goes_on(parts[-1]) and size <= MAX_RECORD:
        more = following.line(len(parts) - 1)
        if more is None:
            break
        parts.append(more.removesuffix(b"\r"))
        size += len(more)
    return b"\n".join(parts), len(parts) - 1


def _record(
    cells: list[bytes], line: bytes, number: int, cutter: _Cutter, following: _Following, more: int = 0
) -> TextRecord:
    strict = b'"' not in line
    if cutter.fits(cells) or cutter.completed(cells, following, more):
        return TextRecord(cells, number, strict=strict)
    reason = "too_few_cells" if len(cells) < cutter.width else "too_many_cells"
    return TextRecord([], number, reason, line[:1000], strict)
