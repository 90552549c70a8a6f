"""Results by evaluation set, as eval writes them, and the names that the paper's tables have for the sets.

A row of results.json about a set has its `set` and `method` (zero-shot, probe, few-shot …); of one set and method the
first row is the one that counts: the set's own metric, by the first choice of prompts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from evaluation.paper import SUITE_27

Row = Mapping[str, Any]  # set, method, prompts, shots, metric, value, low, high, n, chance

_OTHERWISE = {"rendered_sst2": "SST2"}  # where the names differ in more than case and underscores


def of_method(rows: Iterable[Row], method: str) -> dict[str, Row]:
    """By set, the row that counts of a method."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.get("set") and row.get("method") == method:
            found.setdefault(row["set"], row)
    return found


def in_paper(name: str) -> str:
    """What the paper's tables call a set of the registry; a set that they lack keeps its name."""
    return _OTHERWISE.get(name) or _PAPER.get(_folded(name), name)


def _folded(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


_PAPER = {_folded(name): name for name in SUITE_27}
