"""Adaptation to ImageNet and to class shift (section 3.3; Figures 14 right and 15).

To ImageNet: a logistic regression on frozen features of ImageNet's training set replaces the zero-shot classifier. To
class shift: a classifier for each data set's own class names replaces the one for ImageNet's 1,000, whose super-classes
are pooled. Any fit and any classifier will do: they come as functions. Accuracies are shares from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import UsageError
from evaluation.robustness import Fit, effective
from evaluation.shifts import N_CLASSES, Clips, Pictures

Classifier = Callable[[np.ndarray], np.ndarray]  # features float32 [n, d] → scores [n, classes]
Train = Callable[[np.ndarray, np.ndarray], Classifier]  # features float32 [n, d], labels int64 [n]: ImageNet's indices


@dataclass(frozen=True)
class TestSet:
    """A data set under shift: features in the order of its judge's ids (of a video's frames), and the classifier for
    its own class names where there is one, with a score a group."""

    name: str
    features: np.ndarray
    judge: Pictures | Clips
    own: Classifier | None = None

    __test__ = False  # for pytest: no class of tests

    def accuracy(self, classifier: Classifier) -> float:
        """Of a classifier over ImageNet's 1,000 classes."""
        return float(self.judge.values(_scores(classifier, self, N_CLASSES)).mean())

    def accuracy_own(self) -> float | None:
        """Of the classifier for its own class names; None where there is none."""
        if self.own is None:
            return None
        return float(self.judge.values(_scores(self.own, self, len(self.judge.of.names))).mean())


def _scores(classifier: Classifier, of: TestSet, classes: int) -> np.ndarray:
    scores = classifier(of.features)
    if scores.shape != (len(of.features), classes):
        wanted = (len(of.features), classes)
        raise UsageError(
            f"the classifier gives scores of the shape {scores.shape} for {of.name}, not {wanted}: "
            "a class that it was not fitted on needs a column too"
        )
    return scores


@dataclass(frozen=True)
class Change:
    """What an adaptation does to the accuracy on one data set. Examples are pictures, or anchors of videos."""

    name: str
    examples: int
    before: float
    after: float

    @property
    def change(self) -> float:
        """A difference of shares: 0.092 is 9.2 points."""
        return self.after - self.before


def to_imagenet(zero_shot: Classifier, fitted: Classifier, sets: Sequence[TestSet]) -> list[Change]:
    """Adaptation to ImageNet, a row a data set: both classifiers are over 1,000 classes, pooled where it needs them."""
    return [Change(one.name, len(one.judge.ids), one.accuracy(zero_shot), one.accuracy(fitted)) for one in sets]


def to_class_shift(zero_shot: Classifier, sets: Sequence[TestSet]) -> list[Change]:
    """Adaptation to class shift: a data set without class names of its own does not change."""
    rows = []
    for one in sets:
        before, own = one.accuracy(zero_shot), one.accuracy_own()
        rows.append(Change(one.name, len(one.judge.ids), before, before if own is None else own))
    return rows


def mean_change(rows: Sequence[Change]) -> float:
    """The average over data sets: "average effective robustness" in Figure 14."""
    if not rows:
        raise UsageError("there is no data set to average over: evaluate at least one")
    return float(np.mean([row.change for row in rows]))


@dataclass(frozen=True)
class Step:
    """One classifier of the continuum from zero-shot to all examples: means over data sets. `effective` is None without
    a line of other models."""

    shots: str
    examples: int
    inside: float
    outside: float
    effective: float | None


def continuum(
    zero_shot: Classifier,
    train: Train,
    features: np.ndarray,
    labels: np.ndarray,
    draws: Mapping[str, np.ndarray],
    inside: Sequence[TestSet],
    outside: Sequence[TestSet],
    line: Fit | None = None,
) -> list[Step]:
    """Figure 15: zero-shot first, then a classifier for each draw, in the order given.

    `draws`: "1", "2", … or "all" → rows of the training set, int64. `inside` and `outside` belong together: ImageNet's
    subset of classes for each shift, and the shift. UsageError where they do not, or a draw is empty or out of range.
    """
    if not inside or [one.name for one in inside] != [one.name for one in outside]:
        raise UsageError(
            "each shift needs ImageNet's pictures of its classes, under the same name and in the same order"
        )
    steps = [_step("0", 0, zero_shot, inside, outside, line)]
    for shots, rows in draws.items():
        if len(rows) == 0 or rows.min() < 0 or rows.max() >= len(labels) or len(np.unique(rows)) != len(rows):
            raise UsageError(f"the draw of {shots} shots has no rows, rows twice, or rows that the training set lacks")
        steps.append(_step(shots, len(rows), train(features[rows], labels[rows]), inside, outside, line))
    return steps


def _step(
    shots: str,
    examples: int,
    classifier: Classifier,
    inside: Sequence[TestSet],
    outside: Sequence[TestSet],
    line: Fit | None,
) -> Step:
    x, y = (float(np.mean([one.accuracy(classifier) for one in sets])) for sets in (inside, outside))
    return Step(shots, examples, x, y, None if line is None else effective(line, x, y))
