"""Results by model and evaluation set, as eval writes them, and the names that the paper's tables have for the sets.

A row of results.json about a set has its `model`, `set` and `method` (zero-shot, probe, few-shot …); of one model, set
and method the first row is the one that counts: the set's own metric, by the first choice of prompts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from evaluation.paper import SUITE_27
from evaluation.robustness import SHIFTS

Row = Mapping[str, Any]  # model, set, method, prompts, shots, metric, value, low, high, n, chance

OWN = "trained"  # what rows call the recipe's own model
MINE = "this model"  # what the page calls it

_OTHERWISE = {
    "rendered_sst2": "SST2",
    "imagenet_vid": "ImageNet-Vid",
}  # where the names differ in more than case and underscores


def model_of(row: Row) -> str:
    """The model that a row is about."""
    return str(row.get("model", OWN))


def models(rows: Iterable[Row]) -> list[str]:
    """The models with results on evaluation sets, as they come: the recipe's own first."""
    return list(dict.fromkeys(model_of(row) for row in rows if row.get("set") and row.get("method")))


def title(model: str) -> str:
    """What the page calls a model."""
    return MINE if model == OWN else model


def of_method(rows: Iterable[Row], method: str, model: str | None = None) -> dict[str, Row]:
    """By set, the row that counts of a method and a model; by default of the first one that has results."""
    found: dict[str, Row] = {}
    rows = list(rows)
    model = model or next(iter(models(rows)), OWN)
    for row in rows:
        if row.get("set") and row.get("method") == method and model_of(row) == model:
            found.setdefault(row["set"], row)
    return found


def in_paper(name: str) -> str:
    """What the paper's tables call a set of the registry; a set that they lack keeps its name."""
    return _OTHERWISE.get(name) or _PAPER.get(_folded(name), name)


def _folded(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


_PAPER = {_folded(name): name for name in (*SUITE_27, *(shift.title for shift in SHIFTS))}
