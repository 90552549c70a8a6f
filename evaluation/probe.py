"""The linear probe (section 3.2, appendix A.3): logistic regression on features, its penalty chosen by validation.

The penalty λ is one of 97 values from 1e-6 to 1e6, 96 logarithmic steps of an eighth of a decade. The parametric
binary search evaluates every second decade, then both sides of the best at half the distance, until neighbours have
been looked at: 15 fits, or 11 at an end of the range. The best is fitted again on training and validation examples, and
that is measured on the test split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import Failure
from evaluation import logistic, metrics
from evaluation.features import Features, joined, split
from evaluation.wording import listed

STEPS_A_DECADE = 8
LAST = 6 * STEPS_A_DECADE  # λ = 10 ** (step / 8) for steps from -48 to 48
COARSE = 2 * STEPS_A_DECADE

Metric = Callable[[npt.NDArray[Any], npt.NDArray[np.int64]], float]  # scores [n, classes], labels [n] → a share


def _roc_auc(scores: npt.NDArray[Any], labels: npt.NDArray[np.int64]) -> float:
    return metrics.roc_auc(scores[:, 1] - scores[:, 0], labels == 1)


METRICS: Mapping[str, Metric] = {  # of table 9; the last one is for two classes
    "accuracy": metrics.accuracy,
    "mean_per_class": metrics.mean_per_class,
    "top_1_and_5": metrics.top_1_and_5,
    "roc_auc": _roc_auc,
}


@dataclass(frozen=True)
class Tried:
    """One λ of a sweep: what it scored on the validation split, and how its fit ended."""

    penalty: float
    score: float
    objective: float  # sum of losses and penalty, on the training split
    iterations: int
    converged: bool


@dataclass(frozen=True)
class Probe:
    """A probe: the λ that was chosen, its classifier, its metric on the test split, and all λ in the order tried."""

    penalty: float
    value: float
    scores: npt.NDArray[np.float32]  # [test examples, classes]
    fit: logistic.Solution  # on training and validation examples together
    tried: tuple[Tried, ...]


def probe(
    train: Features,
    test: Features,
    classes: Sequence[str],
    validation: Features | None = None,
    metric: Metric = metrics.accuracy,
    seed: int = 0,
) -> Probe:
    """Choose λ on the validation split, or on a fifth of the training examples; refit on both; measure on the test.

    Failure names what is wrong: classes without a training example, examples that are in two splits, other dimensions.
    """
    check(train, classes, {"test": test} | ({} if validation is None else {"validation": validation}))
    everything = train if validation is None else joined(train, validation)
    if validation is None:
        train, validation = split(train, seed)
    tried = sweep(train, validation, len(classes), metric)
    penalty = chosen(tried).penalty
    fit = logistic.fit(logistic.prepare(everything.vectors, everything.labels, len(classes)), penalty)
    scores = logistic.logits(test.vectors, fit)
    return Probe(penalty, metric(scores, test.labels), scores, fit, tuple(tried))


def sweep(train: Features, validation: Features, classes: int, metric: Metric = metrics.accuracy) -> list[Tried]:
    """The fits of the binary search, in its order. Each starts from the nearest ones below and above it."""
    problem = logistic.prepare(train.vectors, train.labels, classes)
    fits: dict[int, logistic.Solution] = {}
    tried: list[Tried] = []

    def score(step: int) -> float:
        below = max((other for other in fits if other < step), default=None)
        above = min((other for other in fits if other > step), default=None)
        near = sorted((other for other in (below, above) if other is not None), key=lambda other: abs(other - step))
        penalty = 10 ** (step / STEPS_A_DECADE)
        fit = fits[step] = logistic.fit(problem, penalty, tuple(fits[other] for other in near))
        found = metric(logistic.logits(validation.vectors, fit), validation.labels)
        tried.append(Tried(penalty, found, fit.objective, fit.iterations, fit.converged))
        return found

    search(score)
    return tried


def chosen(tried: Sequence[Tried]) -> Tried:
    """The best score; of equal ones, the largest λ."""
    return max(tried, key=lambda one: (one.score, one.penalty))


def search(score: Callable[[int], float]) -> dict[int, float]:
    """The binary search over steps of λ = 10 ** (step / 8): step → score, in the order of evaluation.

    Finds the best of all 97 where scores rise to one peak and fall. Of equal scores the largest λ counts as better.
    From the largest λ down, since a solution is the best start for one that is penalised less.
    """
    found = {step: score(step) for step in range(LAST, -LAST - 1, -COARSE)}
    distance = COARSE
    while distance > 1:
        distance //= 2
        peak = max(found, key=lambda step: (found[step], step))
        for step in (peak + distance, peak - distance):
            if abs(step) <= LAST and step not in found:
                found[step] = score(step)
    return found


def check(train: Features, classes: Sequence[str], others: Mapping[str, Features]) -> None:
    """Failure unless training examples and other splits, by name, are of one model, of these classes, and disjoint."""
    if len(classes) < 2:
        raise Failure(f"a probe takes two or more classes, and there is {len(classes)} ({listed(classes)})")
    missing = np.setdiff1d(np.arange(len(classes)), train.labels)
    if len(missing):
        names = [classes[label] for label in missing]
        raise Failure(f"the training split has no example of {listed(names)}: add some, or take the classes out")
    seen = dict.fromkeys(train.ids, "training")
    for split_name, features in {"training": train, **others}.items():
        if features.vectors.shape[1] != train.vectors.shape[1]:
            raise Failure(
                f"the {split_name} split has vectors of {features.vectors.shape[1]} numbers, the training split of "
                f"{train.vectors.shape[1]}: take both from one model"
            )
        wrong = np.flatnonzero(features.labels >= len(classes))
        if len(wrong):
            raise Failure(
                f"{features.ids[wrong[0]]} of the {split_name} split is of class {features.labels[wrong[0]]}, and "
                f"there are {len(classes)}, from 0: mend its label"
            )
        if split_name == "training":
            continue
        if twice := [name for name in features.ids if name in seen]:
            raise Failure(
                f"the {seen[twice[0]]} and the {split_name} split share {listed(twice)}: keep each in one of them"
            )
        seen |= dict.fromkeys(features.ids, split_name)
