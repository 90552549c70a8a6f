"""The header of a table of cells: which line it is, its delimiter and the names in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from core.errors import UsageError
from pipeline.inputs.urltables.columnroles import has_url
from pipeline.inputs.urltables.delimited import Layout, Line, cells_of
from pipeline.inputs.urltables.tablecolumns import Options, distinct, plain, trimmed
from pipeline.inputs.urltables.tablefile import Damaged, TableFile

_DELIMITERS: dict[str, tuple[bytes, ...]] = {
    "csv": (b",", b";", b"\t", b"|"),
    "tsv": (b"\t", b",", b";", b"|"),
    "txt": (b"\t", b",", b";", b"|"),
}
FIRST_LINES = 100  # among which the header has to be
_LOOKS_LIKE_URL = re.compile(rb"\s*\"?https?://", re.IGNORECASE)


def header_of(
    first: Sequence[Line], table: TableFile, options: Options, encoding: str, notes: Counter[str]
) -> tuple[Layout, list[str]]:
    """The layout as far as the header says, and the names as they stand in it."""
    at = next((i for i, line in enumerate(first) if line is None or line.strip(b" \r")), None)
    if at is None:
        raise Damaged(EOFError("it is empty"))
    notes["blank_lines"] += at
    line, delimiters = first[at], _DELIMITERS[table.kind]
    if line and (sign := re.fullmatch(rb"\"?sep=(.)\"?\r?", line)) and at + 1 < len(first):  # Excel's
        at, line, delimiters = at + 1, first[at + 1], (sign[1],)
    if line is None:
        raise UsageError(f"{table.shown} has no header: its first line is endless; get it again, or give another table")
    found = {
        delimiter: [cell.decode(encoding, "replace") for cell in cells_of(line, delimiter)] for delimiter in delimiters
    }
    if options.columns:
        delimiter, names, has_header = _named(found, options.columns, table.shown)
    else:
        delimiter = next((sign for sign, names in found.items() if has_url(names, options)), delimiters[0])
        names, has_header = found[delimiter], True
        if not has_url(names, options):
            _refuse_headerless(found, line, table.shown)
    known = [i for i, name in enumerate(names) if has_url([name], options)]
    return Layout(delimiter, distinct(names), known[0] if known else 0, at + has_header), trimmed(names)


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
