"""How the lines of a table of cells are cut: its encoding and what its quotes mean, found by looking at all of it."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from core.errors import UsageError
from pipeline.inputs.urltables import urlcolumn
from pipeline.inputs.urltables.columnroles import Roles, roles
from pipeline.inputs.urltables.delimited import Layout, Line, lines, records
from pipeline.inputs.urltables.escaped import is_escaped
from pipeline.inputs.urltables.tablecolumns import Options
from pipeline.inputs.urltables.tablefile import Damaged, TableFile, whole_ones
from pipeline.inputs.urltables.tableheader import FIRST_LINES, header_of

_GOOD = 3  # records that have CSV's quotes, from which all are believed
_HEAD = 1 << 20  # bytes of a table that are looked at before anything runs


def layout_of(table: TableFile, options: Options, notes: Counter[str], whole: bool) -> tuple[Layout, str, Roles]:
    """The layout, the encoding and the columns that are looked at; UsageError where these are not known.

    `whole`: look at all of it, not only at its beginning, before deciding what its quotes and its bytes mean.
    """

    def chunks() -> Iterator[bytes]:
        return table.chunks() if whole else _head(table.chunks())

    found = _survey(chunks(), table.shown, notes)
    encoding = found.encoding
    layout, names = header_of(list(islice(whole_ones(lines(chunks())), FIRST_LINES)), table, options, encoding, notes)
    chosen = roles(names, options, table.shown, _first_rows(table, layout, encoding))
    texts_at = [layout.names.index(name) for name in chosen.texts]
    layout = layout._replace(url_at=layout.names.index(chosen.url), texts_at=texts_at)
    if options.quoting == "auto":
        layout = _quoting(layout, lambda: whole_ones(lines(chunks())), found.quotes)
    else:
        layout = layout._replace(quoted=options.quoting == "csv", careful=False)
    if layout.delimiter == b"\t" and not layout.quoted and found.backslashes:
        layout = layout._replace(escaped=is_escaped(whole_ones(lines(chunks())), len(layout.names)))
    return layout, encoding, chosen


def _quoting(layout: Layout, source: Callable[[], Iterator[Line]], has_quotes: bool) -> Layout:
    """What the quotes of a table mean, as far as all of its lines say so together."""
    if not has_quotes:
        return layout._replace(quoted=layout.delimiter != b"\t")
    if _is_strict_csv(layout, source):
        return layout._replace(careful=False)
    # Few tools quote what stands between tabs, so that it takes a whole table of good quotes to believe them.
    quoted = layout.delimiter != b"\t" or all(record.strict for record in records(source(), layout, Counter()))
    return layout._replace(quoted=quoted)


def _is_strict_csv(layout: Layout, source: Callable[[], Iterator[Line]]) -> bool:
    """Whether a table is RFC 4180's throughout, so that rows within a quoted cell are text beyond doubt.

    All of its records have the header's cells and no quotes but CSV's; and some, beside those with rows in them, have
    quotes as nobody but a writer of CSV has them: around a delimiter, a line end, another quote or a URL.
    """
    if not any(line.count(b'"') % 2 for line in source() if line):
        return False  # no cell goes on over lines
    believing = layout._replace(careful=False)
    if not all(record.strict and not record.reason for record in records(source(), believing, Counter())):
        return False
    signs = (layout.delimiter, b'"', b"\n")
    strict = (record for record in records(source(), layout, Counter()) if record.strict)
    good = (record for record in strict if any(sign in cell for cell in record.cells for sign in signs))
    around_url = re.compile(rb'(?:^|%s)"(?:https?:)?//' % re.escape(layout.delimiter), re.IGNORECASE)
    return (
        len(list(islice(good, _GOOD))) == _GOOD
        or sum(around_url.search(line) is not None for line in source() if line) > _GOOD
    )


def _first_rows(table: TableFile, layout: Layout, encoding: str) -> list[dict[str, str]]:
    """What the first rows look like, before it is known what their quotes mean."""
    found = islice(records(whole_ones(lines(table.chunks())), layout, Counter()), urlcolumn.SAMPLE)
    cells = [[cell.decode(encoding, "replace") for cell in record.cells] for record in found if not record.reason]
    return [dict(zip(layout.names, row, strict=True)) for row in cells]


def with_encoding(table: TableFile, notes: Counter[str], whole: bool) -> TableFile:
    """A table of JSON as its chunks have to be decoded; `whole` as for `layout_of`."""
    encoding = _survey(table.chunks() if whole else _head(table.chunks()), table.shown, notes).encoding
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


# ── bytes ─────────────────────────────────────────────────────────────────────────────────────────

_RUNS = re.compile(rb"[\x80-\xff]{2,}")
_UNDEFINED = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")  # in windows-1252


class _Survey(NamedTuple):
    encoding: str = "utf-8"  # or cp1252, mac_roman
    quotes: bool = False  # whether it has any
    backslashes: bool = False


class _Bytes:
    """What the bytes of a table are, counted."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.size = self.bad = self.good = self.high = self.in_runs = 0
        self.undefined = self.feeds = self.returns = False

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self.feeds = self.feeds or b"\n" in chunk
        self.returns = self.returns or b"\r" in chunk
        text = self._decoder.decode(chunk)
        if text.isascii():
            return
        wrong = max(0, text.count("\ufffd") - chunk.count(b"\xef\xbf\xbd"))
        self.bad += wrong
        self.good += len(text) - len(text.encode("ascii", "ignore")) - wrong
        if wrong:
            self.in_runs += sum(map(len, _RUNS.findall(chunk)))
            self.high += len(chunk) - len(chunk.translate(None, bytes(range(128, 256))))
            self.undefined = self.undefined or _UNDEFINED.search(chunk) is not None


def _survey(chunks: Iterable[bytes], shown: str, notes: Counter[str]) -> _Survey:
    """The encoding of a table, and whether it has quotes and backslashes.

    Where more is no UTF-8 than is, letters that stand alone among Latin ones are windows-1252's, or Mac Roman's where
    lines end as on old Macs; a text of nothing else is in another encoding, which nobody can tell: UsageError. Single
    bad bytes harm nothing but themselves.
    """
    seen, quotes, backslashes = _Bytes(), False, False
    with suppress(Damaged):  # it is met again where the rows are read
        for chunk in chunks:
            quotes = quotes or b'"' in chunk
            backslashes = backslashes or b"\\" in chunk
            seen.add(chunk)
    encoding, alone = "cp1252", 3 * seen.in_runs < seen.high and not seen.undefined
    if seen.returns and not seen.feeds:  # which says much of where it comes from, so that letters say less
        encoding, alone = "mac_roman", 4 * seen.in_runs < 3 * seen.high
    if seen.bad <= seen.good:
        encoding = "utf-8"
    elif alone:
        notes["mac_roman_tables" if encoding == "mac_roman" else "windows_1252_tables"] += 1
    elif 100 * seen.bad >= seen.size:
        raise UsageError(f"{shown} is neither UTF-8 nor windows-1252: write it as UTF-8 (iconv -f … -t UTF-8)")
    else:
        encoding = "utf-8"
    return _Survey(encoding, quotes, backslashes)
