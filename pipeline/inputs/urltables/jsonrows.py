"""Rows of a JSON text: which of its forms it is in, and what its columns are."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

from core.errors import UsageError
from pipeline.inputs.urltables import jsontable, urlcolumn
from pipeline.inputs.urltables.columnroles import Roles, has_url, roles
from pipeline.inputs.urltables.tablecolumns import Found, Options, as_text, listed, trimmed
from pipeline.inputs.urltables.tablefile import Damaged, TableFile, whole_ones

_SAMPLE = 1000  # rows that are looked at for the names of columns


def rows_of_json(table: TableFile, options: Options, notes: Counter[str]) -> tuple[Roles, Iterator[Found]]:
    """JSON in any of its forms. Its columns are those of its first rows."""

    beginning = jsontable.beginning(table.chunks())
    if not beginning:
        raise Damaged(EOFError("it is empty"))
    first = beginning[0]
    _refuse_other_writing(beginning, table.shown)
    if first == "{" and _is_lines(table, options):
        sample, items = jsontable.in_lines(table.chunks(), Counter()), jsontable.in_lines(table.chunks(), notes)
    elif first == "{" and not (keys := _lists_of(table, options)):
        sample, items = jsontable.in_sequence(table.chunks()), jsontable.in_sequence(table.chunks())
    elif _PHPMYADMIN.match(beginning):
        sample, items = (
            jsontable.items_within(
                table.chunks(), "data", lambda row: isinstance(row, dict) and has_url(list(row), options)
            )
            for _ in range(2)
        )
    else:
        of = keys if first == "{" else []
        sample, items = jsontable.items(table.chunks(), of), jsontable.items(table.chunks(), of)
    seen: dict[str, None] = {}
    first_rows: list[Mapping[str, Any]] = []
    others = ""  # what its items are that are no objects
    for item in islice(whole_ones(sample), _SAMPLE):
        if isinstance(item.value, dict):
            seen.update(dict.fromkeys(trimmed(list(item.value))))
            if len(first_rows) < urlcolumn.SAMPLE:
                first_rows.append(_named(item.value))
        else:
            others = others or type(item.value).__name__
    if others and not seen:
        raise UsageError(f"{table.shown} is a list of {others}, not of objects: {_AS_ROWS}")
    for row in first_rows[:1]:
        _refuse_wrapped(row, beginning, table.shown, options)
    return roles(list(seen), options, table.shown, first_rows) if seen else _NO_ROLES, _of_items(items)


_NO_ROLES = Roles("", ("",), "", "")  # of an empty list


_PHPMYADMIN = re.compile(r'\[\s*\{\s*"type"\s*:\s*"header"')  # whose export has the rows in an entry for each table
_PYTHON = re.compile(r"\[?\s*(?:\{\s*'|\{\s*\}\s*$|\(|OrderedDict|array\()")
_JAVASCRIPT = re.compile(r"\[?\s*\{\s*[A-Za-z_$][\w$]*\s*:|(?:var|let|const|module\.exports|export)\b|\w+\s*=\s*[\[{]")


def _refuse_other_writing(beginning: str, shown: str) -> None:
    """UsageError where a text is not JSON but what resembles it."""
    if _PYTHON.match(beginning):
        raise UsageError(f"{shown} is no JSON but what Python prints: write it by json.dumps, a row a line")
    if _JAVASCRIPT.match(beginning):
        raise UsageError(
            f"{shown} is no JSON but JavaScript, as the shell of MongoDB prints it: write it by mongoexport, or by "
            "JSON.stringify, a row a line"
        )
    if beginning[0] not in "[{":
        raise UsageError(
            f"{shown} is no JSON (it begins with {beginning[0]!r}): get it again, or name it as what it is"
        )


def _refuse_wrapped(row: Mapping[str, Any], beginning: str, shown: str, options: Options) -> None:
    """UsageError where a row stands within an object, or its values do: Elasticsearch's, Airbyte's, DynamoDB's."""
    each = ".[] | " if beginning.startswith("[") else ""
    if _is_typed(row) and has_url(list(row), options):
        raise UsageError(
            f"{shown} has its values nested under their types, as DynamoDB exports them: "
            f"flatten them, for example jq -c '{each}map_values(.[])' FILE > FLAT.jsonl"
        )
    if has_url(list(row), options):
        return
    for name, value in row.items():
        if isinstance(value, dict) and has_url(list(value), options):
            way = f".{name}" if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) else f".[{json.dumps(name)}]"
            way += " | map_values(.[])" if _is_typed(value) else ""
            raise UsageError(
                f"{shown} has its rows nested under {listed([name])}: "
                f"flatten them, for example jq -c '{each}{way}' FILE > FLAT.jsonl"
            )


def _is_typed(row: Mapping[str, Any]) -> bool:
    """Whether each value is an object of its type and itself: {"S": "a text"}."""
    return bool(row) and all(
        isinstance(cell, dict) and len(cell) == 1 and cell.keys() <= _TYPES for cell in row.values()
    )


_TYPES = {"S", "N", "B", "BOOL", "NULL", "L", "M", "SS", "NS", "BS"}

_AS_ROWS = "write it as a list of objects, or as an object a line (pandas: to_json(orient='records'))"


def _of_items(items: Iterator[jsontable.Item]) -> Iterator[Found]:
    for value, place, reason, text in items:
        if reason:
            yield Found(None, place, reason, text)
        elif not isinstance(value, dict):
            yield Found(None, place, "not_an_object", str(value)[:1000])
        else:
            yield Found(_named(value), place)


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    return {as_text(name.strip(" \t\ufeff")) or "column": part for name, part in row.items()}


def _is_lines(table: TableFile, options: Options) -> bool:
    """Whether a text that begins with an object has more of them, or is a row by itself."""
    if jsontable.goes_on(whole_ones(table.chunks())):
        return False
    first = list(islice(whole_ones(jsontable.in_lines(table.chunks(), Counter())), 3))
    objects = [item.value for item in first if isinstance(item.value, dict)]
    if not any(has_url(list(names), options) for names in objects):
        lists = [value for row in objects for value in row.values() if isinstance(value, list) and value]
        if any(isinstance(some[0], dict) and has_url(list(some[0]), options) for some in lists):
            return False
    if not objects or len(first) > 1 or has_url(list(objects[0]), options):
        return bool(objects)
    return not any(isinstance(value, (list, dict)) for value in objects[0].values())


def _lists_of(table: TableFile, options: Options) -> list[str]:
    """The keys of the lists of rows that an object has, none where it is a row itself; else UsageError."""
    names, more = jsontable.first_object(table.chunks())
    is_row = has_url(names, options)
    if is_row and more:
        return []
    found: dict[str, Roles] = {}
    seen = []
    try:
        for key, first in jsontable.lists(table.chunks()):
            if isinstance(first, dict) and has_url(list(first), options):
                with suppress(UsageError):
                    found.setdefault(key, roles(list(first), options, table.shown))
                    continue
            seen.append(f"{key} of {', '.join(first) if isinstance(first, dict) else type(first).__name__}")
    except Damaged:  # it is met again where the rows are read
        if not found:
            raise
    if len({(chosen.url, chosen.texts) for chosen in found.values()}) > 1:
        raise UsageError(
            f"{table.shown} has several lists of rows, {listed(list(found))}, whose names of columns differ: "
            "give each as a table of its own"
        )
    if found or is_row:
        return list(found)
    with suppress(Damaged):
        for item in islice(jsontable.in_sequence(table.chunks()), 1):
            _refuse_wrapped(item.value, "{", table.shown, options)
    raise UsageError(
        f"{table.shown} is an object without a list of rows that have both a URL and a caption "
        f"(it has {listed(seen) or 'no lists'}): {_AS_ROWS}, each with its own"
    )
