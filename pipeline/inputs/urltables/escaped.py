r"""Cells between tabs as databases write them: what would end a cell or a line stands behind a backslash.

PostgreSQL's COPY, mysql -B and ClickHouse write \t, \n and \\; MySQL's INTO OUTFILE a backslash before the tab or the
line end itself. In other tables a backslash is a backslash (C:\new, \theta), so all of a table has to agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_SIGNS = {
    **{bytes([sign]): bytes([sign]) for sign in b"\\\t\n'"},
    b"n": b"\n",
    b"t": b"\t",
    b"r": b"\r",
    b"b": b"\b",
    b"f": b"\f",
    b"v": b"\v",
    b"0": b"\0",
}
_TELLING = frozenset({b"\\", b"\t", b"\n", b"n", b"t"})  # of which one is needed: quotes and zeros come by chance
_NULL = rb"\N"
_ESCAPE = re.compile(rb"\\(.?)", re.DOTALL)
_CELL = re.compile(rb"(?:[^\t\\]++|\\.|\\\Z)*+", re.DOTALL)
_OPEN = re.compile(rb"(?<!\\)(?:\\\\)*+\\\Z")  # the end of a line that goes on
_MAX_RECORD = 1 << 20  # bytes

# Backslashes of other things: of Windows' paths, where a single one stands, and of TeX.
_DRIVE = re.compile(rb"(?<![A-Za-z])[A-Za-z]:\Z")
_SHARE = re.compile(rb"\s*\\\\\w[^\\]*\\[^\\]")
_TEX = re.compile(
    rb"\\(?:nu|neq?|nabla|not|newline|newpage|noindent|times|theta|tau|text[a-z]+|to|tan|tilde|triangle|rho|right|rangle"
    rb"|beta|begin|bar|bf|frac|forall|footnote|var[a-z]+|vec)(?![a-z])|\\[a-z]+\{"
)


def goes_on(line: bytes) -> bool:
    """Whether the end of a line is escaped, so that the next one continues it."""
    return line.endswith(b"\\") and _OPEN.search(line[-1000:]) is not None


def cut(record: bytes) -> list[bytes]:
    """The cells of a record of one or several lines, as they were before they were escaped."""
    return [cell if cell == _NULL else _ESCAPE.sub(_sign, cell) for cell in _written(record)]


def is_escaped(lines: Iterable[bytes | None], width: int) -> bool:
    """Whether every backslash of a table is one of a database's, and some are those that databases need."""
    told = False
    for record in _records(lines):
        if b"\\" not in record:
            continue
        cells = _written(record)
        if len(cells) != width and (b"\\\t" in record or b"\n" in record):
            return False
        for cell in cells:
            if cell == _NULL or b"\\" not in cell:
                continue
            if _SHARE.match(cell):
                return False
            for escape in _ESCAPE.finditer(cell):
                at, sign = escape.start(), escape[1]
                if sign not in _SIGNS or _TEX.match(cell, at):
                    return False
                if sign != b"\\" and _DRIVE.search(cell[max(0, at - 3) : at]):
                    return False
                told = told or sign in _TELLING
    return told


def _written(record: bytes) -> list[bytes]:
    """The cells as they are written."""
    cells, at = [], 0
    while True:
        match = _CELL.match(record, at)
        assert match is not None  # the empty cell always matches
        cells.append(match[0])
        if match.end() >= len(record):
            return cells
        at = match.end() + 1


def _sign(escape: re.Match[bytes]) -> bytes:
    return _SIGNS.get(escape[1], escape[0])


def _records(lines: Iterable[bytes | None]) -> Iterator[bytes]:
    """The lines, those that go on with the next one."""
    parts, size = list[bytes](), 0
    for line in lines:
        if line is None:
            continue
        parts.append(line.removesuffix(b"\r"))
        size += len(line)
        if size > _MAX_RECORD or not goes_on(parts[-1]):
            yield b"\n".join(parts)
            parts, size = [], 0
    if parts:
        yield b"\n".join(parts)
