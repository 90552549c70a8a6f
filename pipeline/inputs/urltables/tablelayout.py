"""How the lines of a table of cells are cut: its encoding, delimiter, header and quotes, found by looking at it."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice

from core.errors import UsageError
from pipeline.inputs.urltables import urlcolumn
from pipeline.inputs.urltables.columnroles import Roles, has_url, roles
from pipeline.inputs.urltables.delimited import Layout, Line, cells_of, lines, records
from pipeline.inputs.urltables.tablecolumns import Options, distinct, plain, trimmed
from pipeline.inputs.urltables.tablefile import Damaged, TableFile, whole_ones

_HEAD = 1 << 20  # bytes of a table that are looked at before anything runs
_DELIMITERS: dict[str, tuple[bytes, ...]] = {
    "csv": (b",", b";", b"\t", b"|"),
    "tsv": (b"\t", b",", b";", b"|"),
    "txt": (b"\t", b",", b";", b"|"),
}
_FIRST_LINES = 100  # among which the header has to be
_LOOKS_LIKE_URL = re.compile(rb"\s*\"?https?://", re.IGNORECASE)


def layout_of(table: TableFile, options: Options, notes: Counter[str], whole: bool) -> tuple[Layout, str, Roles]:
    """The layout, the encoding and the columns that are looked at; UsageError where these are not known.

    `whole`: look at all of it, not only at its beginning, before deciding what its quotes and its bytes mean.
    """

    def chunks() -> Iterator[bytes]:
        return table.chunks() if whole else _head(table.chunks())

    encoding, has_quotes = _survey(chunks(), table.shown, notes)
    layout, names = _header(list(islice(whole_ones(lines(chunks())), _FIRST_LINES)), table, options, encoding, notes)
    chosen = roles(names, options, table.shown, _first_rows(table, layout, encoding))
    layout = layout._replace(url_at=layout.names.index(chosen.url))
    if options.quoting == "auto" and layout.delimiter == b"\t":
        # Few tools quote what stands between tabs, so that it takes a whole table of good quotes to believe them.
        quoted = has_quotes and all(record.strict for record in records(whole_ones(lines(chunks())), layout, Counter()))
    else:
        quoted = options.quoting != "none"
    return layout._replace(quoted=quoted, careful=options.quoting == "auto"), encoding, chosen


def _first_rows(table: TableFile, layout: Layout, encoding: str) -> list[dict[str, str]]:
    """What the first rows look like, before it is known what their quotes mean."""
    found = islice(records(whole_ones(lines(table.chunks())), layout, Counter()), urlcolumn.SAMPLE)
    cells = [[cell.decode(encoding, "replace") for cell in record.cells] for record in found if not record.reason]
    return [dict(zip(layout.names, row, strict=True)) for row in cells]


def decoded(table: TableFile, notes: Counter[str], whole: bool) -> TableFile:
    """A table of JSON as its chunks have to be decoded; `whole` as for `layout_of`."""
    encoding, _ = _survey(table.chunks() if whole else _head(table.chunks()), table.shown, notes)
    return table if encoding == "utf-8" else table._replace(encoding=encoding)


def _head(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The whole lines of the beginning."""
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size >= _HEAD:
            yield chunk[: chunk.rfind(b"\n") + 1] or chunk
            return
        yield chunk


# ── the header ────────────────────────────────────────────────────────────────────────────────────


def _header(
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


# ── bytes ─────────────────────────────────────────────────────────────────────────────────────────

_RUNS = re.compile(rb"[\x80-\xff]{2,}")
_UNDEFINED = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")  # in windows-1252


def _survey(chunks: Iterable[bytes], shown: str, notes: Counter[str]) -> tuple[str, bool]:
    """The encoding of a table, utf-8 or cp1252, and whether it has quotes.

    Where more is no UTF-8 than is, letters that stand alone among Latin ones are windows-1252's; a text of nothing
    else is in another encoding, which nobody can tell: UsageError. Single bad bytes harm nothing but themselves.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    quotes, size, bad, good, high, in_runs, undefined = False, 0, 0, 0, 0, 0, False
    with suppress(Damaged):  # it is met again where the rows are read
        for chunk in chunks:
            size += len(chunk)
            quotes = quotes or b'"' in chunk
            text = decoder.decode(chunk)
            if text.isascii():
                continue
            wrong = max(0, text.count("\ufffd") - chunk.count(b"\xef\xbf\xbd"))
            bad += wrong
            good += len(text) - len(text.encode("ascii", "ignore")) - wrong
            if wrong:
                runs = _RUNS.findall(chunk)
                in_runs += sum(map(len, runs))
                high += len(chunk) - len(chunk.translate(None, bytes(range(128, 256))))
                undefined = undefined or _UNDEFINED.search(chunk) is not None
    if bad <= good:
        return "utf-8", quotes
    if 3 * in_runs < high and not undefined:
        notes["windows_1252_tables"] += 1
        return "cp1252", quotes
    if 100 * bad >= size:
        raise UsageError(f"{shown} is neither UTF-8 nor windows-1252: write it as UTF-8 (iconv -f … -t UTF-8)")
    return "utf-8", quotes
