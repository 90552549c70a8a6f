"""Did leaked test pictures help? The statistics of the CLIP paper's section 5 and appendix C, on per-example results.

A set is split by what is known of leaks: OVERLAP (the examples that are in the training set) and CLEAN (the others).
The paper's measure is All − Clean, what the leak adds to the reported accuracy. With r = |Overlap| / |All| it is
r · (Overlap − Clean), exactly. Whether Overlap is better than Clean by more than chance is asked by a one-sided
binomial test with Clean's accuracy as p0; the interval of Overlap's accuracy is Clopper and Pearson's at 99.5 %; over
sets the test is corrected by Bonferroni.

Beyond the paper: Holm and Benjamini–Hochberg beside Bonferroni; the smallest effect that the test would have seen, so
that "not significant" is not read as "clean"; and the difference within classes (Mantel–Haenszel), for a leak seldom
takes all classes alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom, chi2

from core.errors import Failure
from evaluation.intervals import clopper_pearson

CONFIDENCE = 0.995  # of the interval of Overlap's accuracy, as in the paper
ALPHA = 0.05  # over all sets together
POWER = 0.8  # of the minimum detectable effect


@dataclass(frozen=True)
class Split:
    """One evaluation set, split into examples that are in the training set (overlap) and the others (clean).

    Accuracies are shares in 0 to 1. What needs examples of the overlap is None where there are none: "n/a", never 0.
    """

    name: str
    n: int  # examples of All
    overlap: int  # of them, in the training set
    correct: int  # of All
    correct_overlap: int

    @property
    def clean(self) -> int:
        """Examples that are not in the training set; at least one."""
        return self.n - self.overlap

    @property
    def contamination(self) -> float:
        """r = |Overlap| / |All|."""
        return self.overlap / self.n

    @property
    def accuracy_all(self) -> float:
        """Of all examples."""
        return self.correct / self.n

    @property
    def accuracy_clean(self) -> float:
        """Of those that are not in the training set."""
        return (self.correct - self.correct_overlap) / self.clean

    @property
    def accuracy_overlap(self) -> float | None:
        """Of those that are."""
        return self.correct_overlap / self.overlap if self.overlap else None

    @property
    def all_minus_clean(self) -> float | None:
        """What the overlap adds to the accuracy: r · (Overlap − Clean)."""
        overlap = self.accuracy_overlap
        return None if overlap is None else self.contamination * (overlap - self.accuracy_clean)

    @property
    def overlap_minus_clean(self) -> float | None:
        """How much better the leaked examples are."""
        overlap = self.accuracy_overlap
        return None if overlap is None else overlap - self.accuracy_clean

    @property
    def interval(self) -> tuple[float, float] | None:
        """99.5 % Clopper–Pearson interval of Overlap − Clean; Clean's accuracy is taken as known, as in the paper."""
        if not self.overlap:
            return None
        low, high = clopper_pearson(self.correct_overlap, self.overlap, CONFIDENCE)
        return low - self.accuracy_clean, high - self.accuracy_clean

    @property
    def p(self) -> float | None:
        """One-sided binomial test: the chance of as many right in Overlap, or more, at Clean's accuracy."""
        return binomial_greater(self.correct_overlap, self.overlap, self.accuracy_clean) if self.overlap else None


def split(name: str, correct: Mapping[str, bool], leaked: set[str]) -> Split:
    """Split per-example results, {example id: whether it was right}, by the ids that are in the training set.

    Failure where a leaked id has no result (another set's, or another version of it), or where no example is clean.
    """
    if not correct:
        raise Failure(f"{name} has no per-example results: run its evaluation, and give what it wrote")
    unknown = sorted(leaked - correct.keys())
    if unknown:
        raise Failure(
            f"{name}: {len(unknown)} of the leaked examples have no result, {unknown[0]} for one: "
            "ask openwit overlap about the pictures that were evaluated"
        )
    found = Split(name, len(correct), len(leaked), sum(correct.values()), sum(correct[id_] for id_ in leaked))
    if not found.clean:
        raise Failure(
            f"{name}: all {found.n} examples are in the training set, so there is no accuracy to compare with: "
            "decontaminate and train again, or take another set"
        )
    return found


def clean_ids(correct: Mapping[str, Any], leaked: set[str]) -> list[str]:
    """The ids that are not in the training set, sorted: what can be evaluated instead of the whole set."""
    return sorted(correct.keys() - leaked)


def binomial_greater(hits: int, n: int, p0: float) -> float:
    """P(X >= hits) for X ~ Binomial(n, p0). p0 of 0 or 1 is exact: more than nothing has no chance, all is certain."""
    if not 0 <= hits <= n or not 0 <= p0 <= 1:
        raise ValueError(f"{hits} of {n} at {p0} is no binomial count: hits lie in 0 to n, p0 in 0 to 1")
    return float(binom.sf(hits - 1, n, p0)) if hits else 1.0


# ── over sets ─────────────────────────────────────────────────────────────────────────────────────


def bonferroni(p: Sequence[float]) -> list[float]:
    """Adjusted p values: each times their number, at most 1 (family-wise)."""
    return [min(1.0, len(p) * value) for value in p]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values: family-wise as Bonferroni, and never larger than its."""
    order = np.argsort(p, kind="stable")
    scaled = np.asarray(p, np.float64)[order] * np.arange(len(p), 0, -1)
    return _unsorted(order, np.minimum(1.0, np.maximum.accumulate(scaled)))


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's step-up adjusted p values: the share of false discoveries, not the chance of one."""
    order = np.argsort(p, kind="stable")
    scaled = np.asarray(p, np.float64)[order] * len(p) / np.arange(1, len(p) + 1)
    return _unsorted(order, np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1]))


def _unsorted(order: NDArray[np.int64], values: NDArray[np.float64]) -> list[float]:
    back = np.empty(len(values))
    back[order] = values
    return [float(value) for value in back]


def summary(splits: Sequence[Split], studied: int | None = None) -> list[dict[str, Any]]:
    """A row for each set: its accuracies, All − Clean, interval, p and the adjusted p values; None is "n/a".

    The corrections are over the sets with an overlap, the only ones that are tested. Bonferroni's is over `studied`
    sets where that is given, as the paper's 35; a set without any overlap cannot be significant.
    """
    tested = [one for one in splits if one.p is not None]
    p = [one.p for one in tested if one.p is not None]
    number = max(len(p), studied or 0)
    adjusted = {
        one.name: {"bonferroni": min(1.0, number * value), "holm": h, "benjamini_hochberg": bh}
        for one, value, h, bh in zip(tested, p, holm(p), benjamini_hochberg(p), strict=True)
    }
    none = {"bonferroni": None, "holm": None, "benjamini_hochberg": None}
    return [
        {
            "name": one.name,
            "n": one.n,
            "overlap": one.overlap,
            "contamination": one.contamination,
            "all": one.accuracy_all,
            "clean": one.accuracy_clean,
            "accuracy_overlap": one.accuracy_overlap,
            "all_minus_clean": one.all_minus_clean,
            "overlap_minus_clean": one.overlap_minus_clean,
            "low": one.interval[0] if one.interval else None,
            "high": one.interval[1] if one.interval else None,
            "p": one.p,
            **adjusted.get(one.name, none),
            "tests": number,
            "detectable": minimum_detectable(one, ALPHA / number) if number else None,
        }
        for one in splits
    ]


# ── beyond the paper ──────────────────────────────────────────────────────────────────────────────


def minimum_detectable(one: Split, alpha: float = ALPHA, power: float = POWER) -> float | None:
    """The smallest Overlap − Clean that the test would have found significant with that power.

    None where no difference would do: no overlap, or so few examples (or so good a Clean accuracy) that even all of
    them right is not significant.
    """
    p0, n = one.accuracy_clean, one.overlap
    needed = critical(n, p0, alpha)
    if needed is None:
        return None
    low, high = p0, 1.0
    for _ in range(60):  # bisection to the last bit
        middle = (low + high) / 2
        low, high = (low, middle) if binomial_greater(needed, n, middle) >= power else (middle, high)
    return high - p0


def critical(n: int, p0: float, alpha: float) -> int | None:
    """The smallest number of hits among n that is significant against p0; None where not even n hits are."""
    if not n or binomial_greater(n, n, p0) > alpha:
        return None
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if binomial_greater(middle, n, p0) <= alpha else (middle + 1, high)
    return low


@dataclass(frozen=True)
class Stratified:
    """Overlap − Clean within classes."""

    difference: float  # Mantel–Haenszel's risk difference: of classes, weighted by n_overlap · n_clean / n
    p: float | None  # Cochran–Mantel–Haenszel's χ² with one degree of freedom, two-sided, without continuity correction
    classes: int  # in which there are both; the others say nothing
    examples: int  # in those classes


def stratified(correct: ArrayLike, leaked: ArrayLike, labels: ArrayLike) -> Stratified | None:
    """The difference between leaked and clean examples of the same class: bool [n], bool [n], class [n].

    None where no class has both. p is None where all examples of every class are right, or all wrong.
    """
    right, inside = np.asarray(correct, bool), np.asarray(leaked, bool)
    _, number = np.unique(np.asarray(labels), return_inverse=True)
    counts = {}
    for name, which in (("o", inside), ("c", ~inside), ("oh", inside & right), ("ch", ~inside & right)):
        counts[name] = np.bincount(number[which], minlength=int(number.max(initial=-1)) + 1).astype(np.float64)
    both = (counts["o"] > 0) & (counts["c"] > 0)
    if not both.any():
        return None
    o, c, oh, ch = (counts[name][both] for name in ("o", "c", "oh", "ch"))
    n = o + c
    weight = o * c / n
    difference = float((weight * (oh / o - ch / c)).sum() / weight.sum())
    hits = oh + ch
    variance = float((o * c * hits * (n - hits) / (n**2 * (n - 1))).sum())
    surplus = float((oh - o * hits / n).sum())
    p = float(chi2.sf(surplus**2 / variance, 1)) if variance else None
    return Stratified(difference, p, int(both.sum()), int(n.sum()))
