"""The columns of a URL table: their names as they are compared and shown, their values as texts and as JSON."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec
import pyarrow as pa

from pipeline.tables import COLUMN
from pipeline.web.detail import one_line, without_user

MAX_ROW_BYTES = 16_384  # of a row's other columns as JSON; beyond it the largest are left out
MAX_NAMES = 1_000  # of other columns in a table
_MAX_DEPTH = 32  # of lists and objects in each other
_SHOWN = 30  # columns that a message names

Value = Any  # a text, a number, true or false, None, a list or an object of them: what JSON knows


class Options(NamedTuple):
    """What the recipe says of tables."""

    quoting: Literal["auto", "csv", "none"] = "auto"
    url_column: str = ""
    text_column: str = ""
    columns: Sequence[str] = ()
    truncated: Literal["fail", "skip"] = "fail"


class Found(NamedTuple):
    """A record as its form has it."""

    values: Mapping[str, Any] | None
    place: int
    reason: str = ""
    text: str = ""


def plain(name: str) -> str:
    """A column's name as it is compared."""
    return re.sub(r"[\s_.\ufeff-]+", "", name).casefold()


def listed(names: Sequence[str]) -> str:
    """Names of columns for a message."""
    some = ", ".join(one_line(without_user(name))[:60] for name in names[:_SHOWN])
    return some + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def trimmed(names: Sequence[str]) -> list[str]:
    """Names without what stands around them by mistake."""
    return [name.strip(" \t\ufeff") for name in names]


def distinct(names: Sequence[str]) -> list[str]:
    """Names under which cells can be told apart: those that come again get a number, those without a name theirs."""
    seen: Counter[str] = Counter()
    made = []
    for i, name in enumerate(trimmed(names)):
        name = name or f"column_{i}"
        made.append(f"{name}.{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return made


# ── values ────────────────────────────────────────────────────────────────────────────────────────


# Whose str() is what a reader of the table would write.
_PRINTED = (int, float, Decimal, date, time, timedelta, UUID)


def as_text(value: Value) -> str | None:
    """A cell as text: empty where there is none, None where it is no text at all (a list, an object, anything else)."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value) if isinstance(value, _PRINTED) else None


def json_value(value: Value, depth: int = 0) -> Value:
    """A value as JSON has it; ValueError where it has no such thing.

    Times become ISO 8601, bytes that are UTF-8 become text, numbers that are none become null.
    """
    if isinstance(value, str):
        text = as_text(value) or ""
        return without_user(text) if "@" in text and ":/" in text else text
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(1 << 63) <= value < 1 << 63 else str(value)
    if isinstance(value, (float, Decimal)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, bytes):
        return json_value(value.decode("utf-8"))
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if depth >= _MAX_DEPTH:
        raise ValueError("too deep")
    if isinstance(value, dict):
        return {json_value(as_text(key) or ""): json_value(part, depth + 1) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(part, depth + 1) for part in value]
    if isinstance(value, (timedelta, UUID)):
        return str(value)
    raise ValueError(f"a {type(value).__name__}")


_ENCODER = msgspec.json.Encoder(order="sorted")


def packed(columns: Mapping[str, Value]) -> tuple[str | None, list[str]]:
    """A row's columns as a JSON object with sorted keys, None where it has none; and which were too large for it."""
    if not columns:
        return None, []
    data, left_out = _ENCODER.encode(columns), []
    if len(data) > MAX_ROW_BYTES:
        sizes = sorted(
            (len(_ENCODER.encode(value)) + len(_ENCODER.encode(name)), name) for name, value in columns.items()
        )
        size = len(data)
        while size > MAX_ROW_BYTES:
            largest, name = sizes.pop()
            left_out.append(name)
            size -= largest + 2  # its colon and its comma
        data = _ENCODER.encode({name: value for name, value in columns.items() if name not in left_out})
    return data.decode(), left_out


# ── what a later stage has to know of them ────────────────────────────────────────────────────────

_KIND_OF: dict[type, str] = {
    str: "text",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "list",
    dict: "object",
}


def _is_whole(value: Value) -> bool:
    """Whether there is a value, and within it neither a null nor an empty list, which have no type."""
    if isinstance(value, list):
        return bool(value) and all(map(_is_whole, value))
    return all(map(_is_whole, value.values())) if isinstance(value, dict) else value is not None


class ColumnKinds:
    """Which kinds of values the other columns of a table have, and in how many of its rows they have none."""

    def __init__(self) -> None:
        self.rows = 0
        self.columns: dict[str, dict[type, int]] = {}  # rows that have a whole value, by the column and its kind

    def add(self, columns: Mapping[str, Value], left_out: Sequence[str]) -> None:
        """One more row, and which of its values it does without."""
        self.rows += 1
        for name, value in columns.items():
            kinds = self.columns.setdefault(name, {})
            if value is not None and name not in left_out:
                kind = type(value)
                kinds[kind] = kinds.get(kind, 0) + _is_whole(value)

    def table(self) -> pa.Table:
        """A row for each column and each kind in it, sorted; a column without any value is text."""
        found = [
            {"name": name, "kind": kind, "gaps": self.rows - sum(kinds.values())}
            for name, kinds in sorted(self.columns.items())
            for kind in sorted(_KIND_OF[of] for of in kinds or [str])
        ]
        return pa.Table.from_pylist(found, schema=COLUMN)
