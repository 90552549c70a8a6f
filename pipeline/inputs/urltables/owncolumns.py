"""The columns that URL tables bring with them, in the json of a sample: all of them in each, each always of one type.

Readers that take a dataset's types from its first samples (Hugging Face's among them) stop at a value of another type,
and at a null or an empty list among others. So a column keeps its type where every candidate comes from a table that
has it and no value is missing; else it is text, and a missing value is "".
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from core.manifest import Manifest
from core.tables import read_table
from pipeline.tables import COLUMN

TEXT = "text"


def kinds(crawl: Manifest) -> dict[str, str]:
    """The kind (as in the table column) in which each column of the crawl's URL tables comes out, sorted by name."""
    tasks = {part.task for part in crawl.of("candidate") if part.rows}
    found: defaultdict[str, set[str]] = defaultdict(set)
    whole: defaultdict[str, set[str]] = defaultdict(set)  # of each column: the tables in which no row lacks it
    for part, path in zip(crawl.of("column"), crawl.paths("column"), strict=True):
        for row in read_table(path, COLUMN).to_pylist() if part.task in tasks else ():
            found[row["name"]].add(row["kind"])
            whole[row["name"]].update([part.task] if row["gaps"] == 0 else [])
    return {name: _common(found[name]) if whole[name] == tasks else TEXT for name in sorted(found)}


def _common(kinds: set[str]) -> str:
    """The kind of values of these kinds, as JSON has them."""
    if kinds == {"integer", "number"}:
        return "number"
    return next(iter(kinds)) if len(kinds) == 1 else TEXT


def values(columns: str | None, kinds: Mapping[str, str]) -> dict[str, Any]:
    """A value for each of the columns, out of a row's own (JSON)."""
    own = json.loads(columns) if columns else {}
    return {name: _as(kind, own.get(name)) for name, kind in kinds.items()}


def _as(kind: str, value: Any) -> Any:
    if kind == TEXT:
        return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return float(value) if kind == "number" else value
