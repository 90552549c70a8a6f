"""The header of a table of cells: which line it is, its delimiter and the names in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from core.errors import UsageError
from pipeline.inputs.urltables.columnroles import has_url
from pipeline.inputs.urltables.delimited import Layout, Line, cells_of, records
from pipeline.inputs.urltables.tablecolumns import Options, distinct, plain, trimmed
from pipeline.inputs.urltables.tablefile import Damaged, TableFile

_CTRL_A = b"\x01"  # Hive's
_DELIMITERS: dict[str, tuple[bytes, ...]] = {
    "csv": (b",", b";", b"\t", b"|", _CTRL_A),
    "tsv": (b"\t", b",", b";", b"|", _CTRL_A),
    "txt": (b"\t", b",", b";", b"|", _CTRL_A),
}
_MAX_HEADER = 20  # lines that a header goes on over
FIRST_LINES = 100  # among which the header has to be
_LOOKS_LIKE_URL = re.compile(rb"\s*\"?https?://", re.IGNORECASE)


def header_of(
    first: Sequence[Line], table: TableFile, options: Options, encoding: str, notes: Counter[str]
) -> tuple[Layout, list[str]]:
    """The layout as far as the header says, and the names as they stand in it."""

    at = _beginning(first, table, options, encoding)
    before = [line for line in first[:at] if line is not None]
    notes["blank_lines"] += sum(not line.strip(b" \r") for line in before)
    notes["comment_lines"] += sum(line.startswith(b"#") for line in before)
    line, delimiters = first[at], _DELIMITERS[table.kind]
    if line and (sign := re.fullmatch(rb"\"?sep=(.)\"?\r?", line)) and at + 1 < len(first):  # Excel's
        at, line, delimiters = at + 1, first[at + 1], (sign[1],)
    if line is None:
        raise UsageError(f"{table.shown} has no header: its first line is endless; get it again, or give another table")
    line, more = _whole(line.lstrip(b"# ") if line.startswith(b"#") and not options.columns else line, first[at + 1 :])
    notes["continuation_lines"] += more
    at += more
    found = _cut(line, delimiters, encoding)
    if options.columns:
        delimiter, names, has_header = _named(found, options.columns, table.shown)
    else:
        delimiter = next((sign for sign, names in found.items() if has_url(names, options)), delimiters[0])
        names, has_header = found[delimiter], True
        if not has_url(names, options):
            _refuse_headerless(found, line, table.shown)
    known = next((i for i, name in enumerate(names) if has_url([name], options)), 0)
    layout = Layout(delimiter, distinct(names), known, at + has_header)
    if has_header and _has_row_names(layout, first):
        names = ["", *names]
        layout = layout._replace(names=distinct(names))
    return layout, trimmed(names)


def _cut(line: bytes, delimiters: Sequence[bytes], encoding: str) -> dict[bytes, list[str]]:
    return {sign: [cell.decode(encoding, "replace") for cell in cells_of(line, sign)] for sign in delimiters}


def _beginning(first: Sequence[Line], table: TableFile, options: Options, encoding: str) -> int:
    """Where the header is: behind blank lines and comments, or the last of these, "#url,caption"."""
    filled = [i for i, line in enumerate(first) if line is None or line.strip(b" \r")]
    if not filled:
        raise Damaged(EOFError("it is empty"))
    n = next((n for n, i in enumerate(filled) if not (first[i] or b"").startswith(b"#")), len(filled))
    comments, behind = filled[:n], filled[n:]

    def is_header(i: int, strip: bytes) -> bool:
        cells = _cut((first[i] or b"").lstrip(strip), _DELIMITERS[table.kind], encoding).values()
        if options.columns:
            rows = (some for some in cells if len(some) == len(options.columns))
            return any(_LOOKS_LIKE_URL.match(cell.encode()) for some in rows for cell in some)
        return any(has_url(some, options) for some in cells)

    if options.columns:
        return next((i for i in comments if is_header(i, b"")), (behind or comments)[0])
    if comments and not (behind and is_header(behind[0], b"")) and is_header(comments[-1], b"# "):
        return comments[-1]
    return (behind or comments)[0]


def _whole(line: bytes, following: Sequence[Line]) -> tuple[bytes, int]:
    """A header with a quoted name that goes on over lines, as forms have them, and how many more lines it takes."""
    parts = [line]
    for more in following[:_MAX_HEADER]:
        if b"".join(parts).count(b'"') % 2 == 0 or more is None or b"://" in more:
            break
        parts.append(more)
    whole = b"\n".join(parts)
    return (whole, len(parts) - 1) if whole.count(b'"') % 2 == 0 else (line, 0)


def _has_row_names(layout: Layout, first: Sequence[Line]) -> bool:
    """Whether all rows have one cell more than the header, before the others: write.table of R names the rows so."""
    named = layout._replace(names=["", *layout.names], url_at=layout.url_at + 1)
    rows = list(records(iter(first), named, Counter()))
    if rows and len(first) == FIRST_LINES:
        rows.pop()  # it may be cut
    is_url = [[_LOOKS_LIKE_URL.match(cell) is not None for cell in row.cells] for row in rows if not row.reason]
    good = [cells for cells in is_url if cells[named.url_at] and not cells[layout.url_at]]
    return bool(rows) and len(good) == len(rows)


def _named(found: dict[bytes, list[str]], columns: Sequence[str], shown: str) -> tuple[bytes, list[str], bool]:
    """The delimiter with which the first line has as many cells as the recipe names, and whether it names them, too."""
    for delimiter, cells in found.items():
        if len(cells) == len(columns):
            return delimiter, list(columns), list(map(plain, cells)) == list(map(plain, columns))
    n = len(next(iter(found.values())))
    raise UsageError(f"{shown} has {n} cells in its first line, and crawl.columns names {len(columns)}: name them all")


def _refuse_headerless(found: dict[bytes, list[str]], line: bytes, shown: str) -> None:
    """UsageError where a URL stands in the place of the header."""
    for cells in sorted(found.values(), key=len, reverse=True):
        urls = [i for i, cell in enumerate(cells) if _LOOKS_LIKE_URL.match(cell.encode())]
        if urls and len(cells) > 1:
            texts = [i for i in range(len(cells)) if i not in urls]
            caption = max(texts, key=lambda i: len(cells[i]), default=-1)
            names = ["url" if i == urls[0] else "caption" if i == caption else f"column_{i}" for i in range(len(cells))]
            said = ", ".join(f'"{name}"' for name in names)
            raise UsageError(
                f"{shown} has no header, but a row as its first line: name its columns, crawl.columns = [{said}]"
            )
    if _LOOKS_LIKE_URL.match(line):
        raise UsageError(f"{shown} has URLs but no captions: a candidate needs both, so give a table that has them")
