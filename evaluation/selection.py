"""Forward selection of templates: one after the other, the one whose addition to the ensemble raises the score most.

The prompts "selected" are what such a search found on ImageNet; "forward" does it anew, for a model and a set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.errors import Failure
from evaluation.probe import Metric


@dataclass(frozen=True)
class Step:
    """A template that was added, and what the ensemble with it scores."""

    template: int  # its number among the candidates
    score: float


def forward(score: Callable[[Sequence[int]], float], candidates: int) -> list[Step]:
    """Greedy selection until nothing raises the score. `score` is of an ensemble, by numbers of candidates.

    Of equal ones the first candidate is taken, so the result does not depend on chance. Failure without a candidate.
    """
    if candidates < 1:
        raise Failure("there are no templates to select from: give one or more")
    steps: list[Step] = []
    left = list(range(candidates))
    while left:
        chosen = [step.template for step in steps]
        scores = {template: score([*chosen, template]) for template in left}
        best = max(left, key=lambda template: (scores[template], -template))
        if steps and scores[best] <= steps[-1].score:
            break
        steps.append(Step(best, scores[best]))
        left.remove(best)
    return steps


def of_ensembles(
    images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], texts: npt.NDArray[np.float32], metric: Metric
) -> Callable[[Sequence[int]], float]:
    """What ensembles of templates score on examples.

    images: unit features [n, e]; labels: int64 [n], numbers of classes; texts: by template and class the sum of the
    unit features of its sentences, [templates, classes, e]. A class's vector is the mean direction over the templates,
    as in `trainer.evals.zeroshot.ensemble`.
    """

    def score(chosen: Sequence[int]) -> float:
        sums = texts[list(chosen)].sum(axis=0)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        return metric(images @ (sums / np.where(lengths == 0, 1, lengths)).T, labels)

    return score
