"""Adaptation to ImageNet and to class shift (section 3.3; Figures 14 and 15).

To ImageNet: a logistic regression on frozen features of ImageNet's training set replaces the zero-shot classifier. To
class shift: a classifier for each data set's own class names replaces the one for ImageNet's 1,000, whose super-classes
are pooled. Accuracies are shares from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import UsageError
from evaluation.robustness import Fit, effective


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


def mean_change(rows: Sequence[Change]) -> float:
    """The average over data sets: "average effective robustness" in Figure 14."""
    if not rows:
        raise UsageError("there is no data set to average over: evaluate at least one")
    return float(np.mean([row.change for row in rows]))


@dataclass(frozen=True)
class Step:
    """One classifier of the continuum from zero-shot to all examples: means over data sets."""

    shots: str
    inside: float
    outside: float
    effective: float


def continuum(
    inside: Mapping[str, Mapping[str, float]], outside: Mapping[str, Mapping[str, float]], line: Fit
) -> list[Step]:
    """Figure 15: a step for each number of shots, in the order given ("0", "1", … "all").

    Both are accuracies by shots and data set: ImageNet's pictures of each shift's classes, and the shift. `line`: of
    other models. UsageError where a step has other data sets than the rest: their means could not be compared.
    """
    names = {frozenset(some) for side in (inside, outside) for some in side.values()}
    if list(inside) != list(outside) or len(names) != 1 or not next(iter(names)):
        raise UsageError("each number of shots needs the same shifts, and ImageNet's pictures of the classes of each")
    steps = []
    for shots in inside:
        x, y = (float(np.mean([side[shots][name] for name in sorted(side[shots])])) for side in (inside, outside))
        steps.append(Step(shots, x, y, effective(line, x, y)))
    return steps
