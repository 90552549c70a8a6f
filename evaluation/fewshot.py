"""Few-shot linear probes and how many shots zero-shot is worth (section 3.1.4, Figures 6 and 7).

The paper does not say how its shots were drawn, how often, and how λ was chosen. Here a draw is a function of (seed,
id), the sets of one seed are nested, and λ is chosen as in the full probe, on a validation split that is never trained
on: the same one for all shots and seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t

from core.errors import Failure
from evaluation import logistic, metrics
from evaluation.features import Features, in_order
from evaluation.probe import Metric, check, chosen, sweep
from evaluation.wording import listed

SHOTS = (1, 2, 4, 8, 16)  # examples a class, Figure 6
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Point:
    """A number of shots on a curve."""

    shots: int
    values: tuple[float, ...]  # of each seed
    mean: float
    low: float | None  # interval of the mean by Student's t over seeds; None with one seed
    high: float | None


@dataclass(frozen=True)
class Equivalent:
    """How many shots a zero-shot score is worth: exactly `shots`, or fewer or more than that."""

    shots: float
    relation: str  # "equal" | "below": already the fewest shots are better | "beyond": even all examples are worse


def draw(train: Features, shots: int, classes: Sequence[str], seed: int) -> npt.NDArray[np.int64]:
    """The rows of `shots` examples of each class, ascending: int64 [shots · classes].

    Which ones is a function of (seed, id), and those of fewer shots are among those of more. Failure names the classes
    that have fewer examples.
    """
    rows = [in_order(train, seed, "few_shot", label) for label in range(len(classes))]
    few = [name for name, some in zip(classes, rows, strict=True) if len(some) < shots]
    if shots < 1:
        raise Failure(f"{shots} shots are none: draw one example of each class, or more")
    if few:
        raise Failure(f"{listed(few)} has fewer than {shots} examples: take fewer shots, or leave these classes out")
    return np.sort(np.concatenate([some[:shots] for some in rows]))


def curve(
    train: Features,
    validation: Features,
    test: Features,
    classes: Sequence[str],
    shots: Sequence[int] = SHOTS,
    seeds: Sequence[int] = SEEDS,
    metric: Metric = metrics.accuracy,
) -> list[Point]:
    """The probe's metric on the test split by number of shots, each drawn once a seed: Figure 6."""
    check(train, classes, {"validation": validation, "test": test})
    found: dict[int, list[float]] = {}
    for k, _, fit in fits(train, validation, classes, shots, seeds, metric):
        found.setdefault(k, []).append(metric(logistic.logits(test.vectors, fit), test.labels))
    return [point(k, values) for k, values in found.items()]


def fits(
    train: Features,
    validation: Features,
    classes: Sequence[str],
    shots: Sequence[int] = SHOTS,
    seeds: Sequence[int] = SEEDS,
    metric: Metric = metrics.accuracy,
) -> Iterator[tuple[int, int, logistic.Solution]]:
    """The probes behind a curve, one after the other: shots, ascending, and seed, in the order given."""
    if not seeds or len(set(seeds)) != len(seeds):
        raise Failure(f"seeds {', '.join(map(str, seeds))}: give one or more, each once")
    drawn = {(k, seed): train.take(draw(train, k, classes, seed)) for k in sorted(set(shots)) for seed in seeds}
    for (k, seed), some in drawn.items():
        penalty = chosen(sweep(some, validation, len(classes), metric)).penalty
        yield k, seed, logistic.fit(logistic.prepare(some.vectors, some.labels, len(classes)), penalty)


def point(shots: int, values: Sequence[float], confidence: float = 0.95) -> Point:
    """The mean over seeds, and its interval by Student's t: mean ± t · s / √seeds."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Point(shots, tuple(values), mean, None, None)
    half = float(t.ppf((1 + confidence) / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return Point(shots, tuple(values), mean, mean - half, mean + half)


def equivalent(scores: Mapping[float, float], zero_shot: float) -> Equivalent:
    """How many shots reach the zero-shot score, between two of them log-linearly: Figure 7.

    scores: number of shots → score. All training examples are one of them, as their mean number a class. Where scores
    fall between shots, the first of them that reaches zero-shot counts.
    """
    points = sorted(scores.items())
    if len(points) < 2 or points[0][0] <= 0 or not np.isfinite([*scores, *scores.values(), zero_shot]).all():
        raise Failure("an equivalent takes the finite scores of two or more numbers of shots above zero")
    reached = next((i for i, (_, score) in enumerate(points) if score >= zero_shot), None)
    if reached is None:
        return Equivalent(points[-1][0], "beyond")
    shots, score = points[reached]
    if score == zero_shot:
        return Equivalent(shots, "equal")
    if reached == 0:
        return Equivalent(shots, "below")
    fewer, lower = points[reached - 1]
    share = (zero_shot - lower) / (score - lower)
    return Equivalent(float(fewer * (shots / fewer) ** share), "equal")
