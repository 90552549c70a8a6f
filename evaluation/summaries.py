"""The numbers behind the paper's figures: differences and wins, means over a suite, correlation, power law, ties.

Plain functions on results by set; scores are percentages unless a docstring says otherwise. Where the paper prints the
summary (sections 3.1.5 to 3.2), tests feed its tables and compare.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import linregress, t

from core.errors import Failure
from evaluation.intervals import clopper_pearson


@dataclass(frozen=True)
class Tally:
    """On how many sets the first of two models is better, equal, worse."""

    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class Spread:
    """Of n values: mean, median, least and largest."""

    n: int
    mean: float
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Relation:
    """y = intercept + slope · x by least squares; `low` and `high`: the slope's interval by Student's t."""

    n: int
    r: float
    p: float  # two-sided, of no correlation
    slope: float
    intercept: float
    low: float
    high: float


@dataclass(frozen=True)
class PowerLaw:
    """y = factor · x^exponent; r2: how well log y is explained by log x."""

    exponent: float
    factor: float
    r2: float


def differences(scores: Mapping[str, float], baseline: Mapping[str, float]) -> dict[str, float]:
    """By set, how much better the scores are than the baseline's, the largest first, equals by name (Figures 5, 11).

    Rounded to 1e-9, so that equal scores are equal. Failure where the two do not have the same sets.
    """
    _same_sets(scores, baseline, "the scores and the baseline")
    found = {name: round(scores[name] - baseline[name], 9) for name in scores}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def tally(differences: Mapping[str, float]) -> Tally:
    """Wins, ties and losses of differences; Figure 5 has 16 wins of 27, Table 10 has 20 and a tie."""
    values = list(differences.values())
    return Tally(sum(v > 0 for v in values), sum(v == 0 for v in values), sum(v < 0 for v in values))


def spread(values: Iterable[float]) -> Spread:
    """Mean, median and range, as the text of Figure 7 gives them. Failure without a value, or where one is NaN."""
    numbers = np.array(list(values), np.float64)
    if not len(numbers) or not np.isfinite(numbers).all():
        raise Failure("mean and median need at least one value, and all of them finite: leave out what is not measured")
    return Spread(
        len(numbers), float(numbers.mean()), float(np.median(numbers)), float(numbers.min()), float(numbers.max())
    )


def suite_mean(scores: Mapping[str, float], sets: Sequence[str]) -> float:
    """Mean score over a suite, each set counting once (Table 10). Failure, with their names, where sets are missing."""
    missing = [name for name in sets if name not in scores]
    if missing:
        raise Failure(
            f"no mean over {len(sets)} sets: there is no score for {', '.join(missing)}; evaluate them, or take the "
            "mean over other sets"
        )
    return math.fsum(scores[name] for name in sets) / len(sets)


def relation(x: Mapping[str, float], y: Mapping[str, float], confidence: float = 0.95) -> Relation:
    """How y goes with x over the sets (Figure 8: zero-shot with the linear probe).

    Failure where the two do not have the same sets, with fewer than 3 of them, or with an x that is the same in all.
    """
    _same_sets(x, y, "the two models")
    if len(x) < 3 or len(set(x.values())) == 1 or len(set(y.values())) == 1:
        raise Failure(f"no correlation of {len(x)} sets: it takes 3 or more, with scores that are not all the same")
    fit = linregress(list(x.values()), [y[name] for name in x])
    half = float(t.ppf((1 + confidence) / 2, len(x) - 2) * fit.stderr)
    slope, intercept = float(fit.slope), float(fit.intercept)
    return Relation(len(x), float(fit.rvalue), float(fit.pvalue), slope, intercept, slope - half, slope + half)


def power_law(x: Sequence[float], y: Sequence[float]) -> PowerLaw:
    """Least squares of log y on log x (Figure 9: mean error on GFLOPs). Failure below 2 points, or not above zero."""
    if len(x) != len(y) or len(set(x)) < 2 or not all(0 < value < math.inf for value in (*x, *y)):
        raise Failure("a power law takes two or more different x with a y each, all of them above zero and finite")
    fit = linregress(np.log(x), np.log(y))
    return PowerLaw(float(fit.slope), math.exp(float(fit.intercept)), float(fit.rvalue) ** 2)


def among_the_best(
    scores: Mapping[str, Mapping[str, float]], tested: Mapping[str, int], confidence: float = 0.995
) -> dict[str, list[str]]:
    """By set, the models whose score lies within the Clopper-Pearson interval of the best one (Table 10).

    scores: model → set → score in per cent; a model without a set does not take part in it. tested: examples by set.
    Like the paper this treats every metric as a share of examples that are right, which mean-per-class accuracy, mAP
    and AUC are not.
    """
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for row in scores.values() for name in row):
        if tested.get(name, 0) < 1:
            raise Failure(f"no interval for {name}: it is not known how many examples were tested")
        of_set = {model: row[name] for model, row in scores.items() if name in row}
        wrong = [model for model, score in of_set.items() if not 0 <= score <= 100]
        if wrong:
            raise Failure(f"the score of {wrong[0]} on {name} is {of_set[wrong[0]]}, not between 0 and 100 per cent")
        n = tested[name]
        low, _ = clopper_pearson(round(max(of_set.values()) / 100 * n), n, confidence)
        best = max(of_set.values())
        found[name] = [model for model, score in of_set.items() if score == best or score / 100 >= low]
    return found


def _same_sets(one: Mapping[str, float], other: Mapping[str, float], who: str) -> None:
    """Failure where two results are not about the same sets, or hold what is no number."""
    apart = sorted(set(one) ^ set(other))
    if apart:
        raise Failure(f"{who} do not have the same sets: only one of them has {', '.join(apart)}")
    empty = [name for name in one if not (math.isfinite(one[name]) and math.isfinite(other[name]))]
    if empty:
        raise Failure(f"{who} have no number for {', '.join(empty)}: leave out what is not measured")
