"""Tables of image URLs with captions, as others publish them: Parquet, CSV, TSV, JSON, JSON lines; packed or not.

The first bytes and the name of a file say how it is read, the names of its columns what they are: see docs/data.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from core.errors import Failure, UsageError
from pipeline.inputs.urltables import parquettable, urlcolumn
from pipeline.inputs.urltables.captions import captions
from pipeline.inputs.urltables.columnroles import Roles, roles
from pipeline.inputs.urltables.delimited import Layout, lines, records
from pipeline.inputs.urltables.jsonrows import rows_of_json
from pipeline.inputs.urltables.tablecolumns import (
    MAX_NAMES,
    Found,
    Options,
    as_text,
    distinct,
    json_value,
    trimmed,
)
from pipeline.inputs.urltables.tablefile import Damaged, TableFile, recognise, whole_ones
from pipeline.inputs.urltables.tablelayout import layout_of, with_encoding
from pipeline.web.detail import one_line, without_user

__all__ = ["Options", "Row", "check", "rows"]

_SAMPLE = 1000  # rows that are looked at before anything runs

# Why a record is no row, and what to do where that is so of most of a table.
REASONS = {
    "too_many_cells": "its rows have more cells than its header: quote the cells that hold a delimiter, or use tabs",
    "too_few_cells": "its rows have fewer cells than its header: write every cell, or correct the header",
    "line_too_long": "its lines are endless: get it again",
    "not_json": "its lines are not JSON: get it again",
    "not_an_object": "its rows are not objects: write each as an object with names",
    "url_not_text": "its URLs are not texts: name another column by crawl.url_column",
    "caption_not_text": "its captions are neither texts nor lists of texts: name another column by crawl.text_column",
}


class Row(NamedTuple):
    """One record of the table: a row, or why it is none."""

    number: int  # of the record, from 0
    place: int  # of its line, where it has lines, else of the row; from 1
    url: str = ""  # as written, "" where the table has none
    texts: tuple[str, ...] = ()  # as written; several of a column of lists, none that is empty
    page_url: str = ""
    uid: str | None = None
    columns: Mapping[str, Any] = {}  # the others, as JSON has them; None where a row has no value
    reason: str = ""  # of a record that is lost: one of REASONS, truncated_file or damaged_file
    detail: str = ""  # what exactly was wrong


def rows(path: str, options: Options, notes: Counter[str] | None = None) -> Iterator[Row]:
    """The records of a table, in order; `notes` counts what is worth knowing besides.

    UsageError where it has no URLs or captions, Failure where it is damaged and options.truncated is not "skip".
    Bytes that are no UTF-8 become U+FFFD, as in web pages.
    """
    notes = Counter() if notes is None else notes
    table, number = recognise(path), 0
    try:
        for row in _rows(table, options, notes, whole=True):
            yield row
            number = row.number + 1
    except Damaged as error:
        if options.truncated == "fail":
            raise _failure(table, number, error) from error
        yield Row(number, number + 1, reason=error.reason, detail=str(error))


def check(path: str, options: Options) -> None:
    """Raise what `rows` would raise of the beginning of a table; UsageError also where most rows of that are none."""
    table, bad, good = recognise(path), Counter[str](), 0
    try:
        for row in islice(_rows(table, options, Counter(), whole=False), _SAMPLE):
            good += not row.reason
            bad[row.reason] += bool(row.reason)
    except Damaged as error:
        if options.truncated == "fail":
            raise _failure(table, good, error) from error
    lost = sum(bad.values())
    if lost and (not good or (lost > good and lost >= 10)):
        reason = max(sorted(bad), key=lambda name: bad[name])
        raise UsageError(f"{table.shown}: of its first {lost + good:,} rows {lost:,} cannot be used: {REASONS[reason]}")


def _failure(table: TableFile, number: int, error: Damaged) -> Failure:
    return Failure(
        f"{table.shown} cannot be read after row {number} ({error}): get it again, take it out of crawl.urls, "
        'or set crawl.truncated = "skip" to take what is whole'
    )


def _rows(table: TableFile, options: Options, notes: Counter[str], whole: bool) -> Iterator[Row]:
    chosen, records = _open(table, options, notes, whole)
    others: dict[str, bool] = dict.fromkeys(chosen.own, False)  # by name, whether a column is one of the others
    for number, (values, place, reason, text) in enumerate(records):
        if values is None:
            yield Row(number, place, reason=reason, detail=one_line(without_user(text)))
            continue
        url = as_text(values.get(chosen.url))
        texts = captions(values, chosen.texts)
        if url is None or texts is None:
            yield Row(number, place, reason="url_not_text" if url is None else "caption_not_text")
            continue
        uid = as_text(values.get(chosen.uid)) if chosen.uid else None
        page = as_text(values.get(chosen.page)) if chosen.page else None
        yield Row(number, place, url, texts, page or "", uid or None, _others(values, others, notes))


def _others(values: Mapping[str, Any], others: dict[str, bool], notes: Counter[str]) -> dict[str, Any]:
    """The other columns of a row, as JSON has them."""
    columns = {}
    for name, value in values.items():
        if name not in others:
            others[name] = len(others) < MAX_NAMES
            if not others[name]:
                del others[name]
                notes["column_values_left_out"] += 1
                continue
        if others[name]:
            try:
                columns[name] = json_value(value)
            except (ValueError, TypeError):  # a picture, for example
                columns[name] = None
                notes["column_values_left_out"] += 1
    return columns


# ── forms ─────────────────────────────────────────────────────────────────────────────────────────


def _open(table: TableFile, options: Options, notes: Counter[str], whole: bool) -> tuple[Roles, Iterator[Found]]:
    if table.kind == "parquet":
        names = parquettable.names(table)
        first = list(islice(whole_ones(_of_parquet(table, distinct(names))), urlcolumn.SAMPLE))
        chosen = roles(trimmed(names), options, table.shown, [row.values for row in first if row.values])
        return chosen, _of_parquet(table, distinct(names))
    if table.kind == "json":
        return rows_of_json(with_encoding(table, notes, whole), options, notes)
    layout, encoding, chosen = layout_of(table, options, notes, whole)
    return chosen, _of_lines(table, layout, encoding, notes)


def _of_parquet(table: TableFile, names: list[str]) -> Iterator[Found]:
    place = 1
    for columns in parquettable.batches(table):
        for values in zip(*columns, strict=True):
            yield Found(dict(zip(names, values, strict=True)), place)
            place += 1


def _of_lines(table: TableFile, layout: Layout, encoding: str, notes: Counter[str]) -> Iterator[Found]:
    for cells, place, reason, text, _ in records(lines(table.chunks()), layout, notes):
        if reason:
            yield Found(None, place, reason, text.decode(encoding, "replace"))
        else:
            values = [None if cell in _NULLS else cell.decode(encoding, "replace") for cell in cells]
            yield Found(dict(zip(layout.names, values, strict=True)), place)


_NULLS = {b"", rb"\N"}  # \N of databases
