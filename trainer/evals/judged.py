"""From scores to results and examples: the metric of each set, its interval, and what every example was taken for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.errors import Failure
from evaluation import bootstrap, metrics
from evaluation.fewshot import Point
from evaluation.intervals import clopper_pearson
from trainer.evals.encoder import Floats
from trainer.evals.tables import EXAMPLE, OWN, Rows

TOP = 5

_ROWS = 4096  # of a matrix of scores, at once


@dataclass(frozen=True)
class Asked:
    """What the rows of a result and of its examples begin with."""

    set: str
    method: str
    prompts: str
    model: str  # its name
    seed: int  # of bootstrap intervals

    def row(self, metric: str, value: float, n: int, **more: Any) -> dict[str, Any]:
        """A row of RESULT; `more`: low, high, chance, shots where there are such."""
        shots = more.get("shots")
        method = self.method if shots is None else f"{shots}-shot"
        choice = f" ({self.prompts})" if self.prompts not in ("", "paper") else ""
        unknown = {"low": None, "high": None, "chance": None, "shots": None}
        whose = "" if self.model == OWN else f", {self.model}"
        name = f"{self.set} {method}{choice}{whose}"
        about = {"name": name, "model": self.model, "set": self.set, "method": self.method}
        return about | {"prompts": self.prompts, "metric": metric, "value": value, "n": n} | unknown | more

    def share(self, metric: str, right: npt.NDArray[np.bool_], chance: float | None) -> dict[str, Any]:
        """The row of a share of independent examples, with its Clopper-Pearson interval."""
        hits, n = int(right.sum()), len(right)
        low, high = clopper_pearson(hits, n)
        return self.row(metric, hits / n, n, low=low, high=high, chance=chance)

    def over_draws(self, metric: str, point: Point, n: int, **more: Any) -> dict[str, Any]:
        """The row of a mean over few-shot draws; Student's interval is cut to what a share can be."""
        low, high = (None if end is None else min(1.0, max(0.0, end)) for end in (point.low, point.high))
        return self.row(metric, point.mean, n, **{"low": low, "high": high, "shots": point.shots} | more)


# ── classes ───────────────────────────────────────────────────────────────────────────────────────


def by_class(
    asked: Asked, metric: str, ids: Sequence[str], labels: npt.NDArray[np.int64], scores: Floats, classes: Sequence[str]
) -> Rows:
    """Rows of results for examples of one class each: the set's own metric first, then top-1 and top-5.

    labels: int64 [n], columns of scores [n, classes]. Failure where a class has no example and the metric needs one.
    """
    ranks, n = metrics.ranks(scores, labels), len(classes)
    chance_of_5 = min(1.0, TOP / n)
    rows: Rows = []
    if metric == "mean_per_class":
        value = metrics.mean_per_class(scores, labels, classes)
        interval = _bootstrap(asked, ids, lambda weights: _mean_per_class(weights, ranks == 1, labels, n))
        rows.append(asked.row(metric, value, len(ids), **interval, chance=1 / n))
    elif metric == "mean_top1_top5":
        halves = ((ranks == 1).astype(float) + (ranks <= TOP)) / 2
        interval = _bootstrap(asked, ids, lambda weights: float(np.average(halves, weights=weights)))
        rows.append(
            asked.row(
                metric, metrics.top_1_and_5(scores, labels), len(ids), **interval, chance=(1 / n + chance_of_5) / 2
            )
        )
    elif metric == "roc_auc":
        if n != 2:
            raise Failure(f"{asked.set} has {n} classes, and its metric roc_auc takes 2: give it a metric of many")
        rows.append(asked.row(metric, metrics.roc_auc(scores[:, 1] - scores[:, 0], labels == 1), len(ids), chance=0.5))
    elif metric != "accuracy":
        raise Failure(f"{asked.set} has one class an example, and the metric {metric} takes several: see its labels")
    rows.append(asked.share("accuracy", ranks == 1, 1 / n))
    if n > TOP:
        rows.append(asked.share("top-5", ranks <= TOP, chance_of_5))
    return rows


def by_classes(asked: Asked, labels: npt.NDArray[np.bool_], scores: Floats, classes: Sequence[str]) -> Rows:
    """Rows of results for examples of several classes or none: 11-point mean average precision.

    labels: bool [n, classes], of scores [n, classes]. Failure where a class has no example.
    """
    return [asked.row("map11", metrics.mean_average_precision_11(scores, labels, classes), len(scores))]


def _mean_per_class(
    weights: npt.NDArray[np.int64], right: npt.NDArray[np.bool_], labels: npt.NDArray[np.int64], classes: int
) -> float:
    """Of a draw; a class that is not in it is left out."""
    examples = np.bincount(labels, weights=weights, minlength=classes)
    hits = np.bincount(labels, weights=weights * right, minlength=classes)
    return float(np.mean(hits[examples > 0] / examples[examples > 0]))


def _bootstrap(asked: Asked, ids: Sequence[str], measure: Callable[[npt.NDArray[np.int64]], float]) -> dict[str, float]:
    ranks = bootstrap.ranks(asked.seed, asked.set, ids)
    drawn = [measure(some) for draw in range(bootstrap.DRAWS) if (some := bootstrap.weights(ranks, draw)).any()]
    low, high = bootstrap.interval(np.array(drawn))
    return {"low": low, "high": high}


# ── examples ──────────────────────────────────────────────────────────────────────────────────────


def examples(
    asked: Asked,
    ids: Sequence[str],
    labels: Sequence[Sequence[str]],
    scores: Callable[[slice], Floats],
    answers: Sequence[str],
    ranks: npt.NDArray[np.int64] | None,
    probabilities: bool,
) -> pa.Table:
    """Rows of EXAMPLE: of each the five answers with the highest scores; of equal ones, the first.

    `scores` gives some rows of [n, answers]: the whole matrix need not fit into memory. `probabilities`: whether the
    scores are logits, of which the softmax is shown.
    """
    top = min(TOP, len(answers))
    chosen, values = np.empty((len(ids), top), np.int64), np.empty((len(ids), top), np.float32)
    for at in range(0, len(ids), _ROWS):
        some = scores(slice(at, at + _ROWS))
        best = chosen[at : at + _ROWS] = _highest(some, top)
        found = np.take_along_axis(some, best, axis=1)
        values[at : at + _ROWS] = softmax(some, found) if probabilities else found
    columns = {
        "set": pa.repeat(asked.set, len(ids)),
        "method": pa.repeat(asked.method, len(ids)),
        "prompts": pa.repeat(asked.prompts, len(ids)),
        "model": pa.repeat(asked.model, len(ids)),
        "id": pa.array(ids, pa.string()),
        "label": pa.array(labels, pa.list_(pa.string())),
        "predicted": _lists(pa.array(answers, pa.string()).take(pa.array(chosen.ravel())), top, len(ids)),
        "scores": _lists(pa.array(values.ravel()), top, len(ids)),
        "rank": pa.nulls(len(ids), pa.int32()) if ranks is None else pa.array(ranks.astype(np.int32)),
    }
    return pa.table(columns, schema=EXAMPLE)


def _highest(some: Floats, k: int) -> npt.NDArray[np.int64]:
    """Of each row of [n, answers] the k highest, the highest first, of equal ones the first: int64 [n, k]."""
    best = np.argpartition(-some, k - 1, axis=1)[:, :k]
    found = np.take_along_axis(some, best, axis=1)
    best = np.take_along_axis(best, np.lexsort((best, -found)), axis=1)
    is_tied = (some >= found.min(axis=1, keepdims=True)).sum(axis=1) > k  # the last of the k with some that are not
    best[is_tied] = np.argsort(-some[is_tied], axis=1, kind="stable")[:, :k]
    return best


def softmax(logits: npt.NDArray[Any], of: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Probabilities of some logits of each row: of `logits` [n, answers] those in `of` [n, k]; [n, k], in its dtype."""
    highest = logits.max(axis=1, keepdims=True)
    found: npt.NDArray[Any] = np.exp(of - highest) / np.exp(logits - highest).sum(axis=1, keepdims=True)
    return found


def _lists(values: pa.Array, each: int, n: int) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(np.arange(n + 1, dtype=np.int32) * each), values)
