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

from pipeline.records import COLUMN
from shards.files import read_table
from shards.manifest import Manifest

TEXT = "text"


def kinds(crawl: Manifest) -> dict[str, str]:
    """The kind (as in the table column) in which each column of the crawl's URL tables comes out, sorted by name."""
    tasks = {part.task for part in crawl.of("candidate") if part.rows}
    whole: defaultdict[str, dict[str, str]] = defaultdict(dict)  # of each column: the tables without a gap, its kind
    for part, path in zip(crawl.of("column"), crawl.paths("column"), strict=True):
        for row in read_table(path, COLUMN).to_pylist():
            if part.task in tasks:
                whole[row["name"]].update({part.task: row["kind"]} if row["gaps"] == 0 else {})
    return {name: _common(whole[name].values()) if whole[name].keys() == tasks else TEXT for name in sorted(whole)}


def _common(found: Any) -> str:
    one = set(found)
    if one == {"integer", "number"}:
        return "number"
    return one.pop() if len(one) == 1 else TEXT


def values(columns: str | None, kinds: Mapping[str, str]) -> dict[str, Any]:
    """A value for each of the columns, out of a row's own (JSON)."""
    own = json.loads(columns) if columns else {}
    return {name: _as(kind, own.get(name)) for name, kind in kinds.items()}


def _as(kind: str, value: Any) -> Any:
    if kind == TEXT:
        return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return float(value) if kind == "number" else value
