"""1,797 handwritten digits of 8 by 8 pixels, and the logistic regression that comes with them: both scikit-learn's.

The digits are the test set of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, 1998), UCI
Machine Learning Repository, https://archive.ics.uci.edu/dataset/80, CC BY 4.0.
"""

import warnings
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from evaluation.features import Features

CLASSES = [str(digit) for digit in range(10)]
Integers = npt.NDArray[np.int64]


@cache
def read_digits() -> Features:
    found = load_digits()
    ids = tuple(f"{number:04}" for number in range(len(found.data)))
    return Features(ids, found.data.astype(np.float32), found.target.astype(np.int64))


def peer(vectors: npt.NDArray[Any], labels: Integers, penalty: float, **options: Any) -> Any:
    """scikit-learn's classifier for λ, fitted in float64, converged or not; by default its own tolerance."""
    model = LogisticRegression(**{"C": 1 / penalty, "max_iter": 1_000, **options})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(vectors.astype(np.float64), labels)


def peer_objective(model: Any, vectors: npt.NDArray[Any], labels: Integers, penalty: float) -> float:
    """What it minimises, by definition: the sum of losses, and λ / 2 times the squares of its weights."""
    scores = vectors.astype(np.float64) @ model.coef_.T + model.intercept_
    if scores.shape[1] == 1:  # two classes have one vector of weights
        scores = np.hstack([np.zeros_like(scores), scores])
    losses = -log_softmax(scores, axis=1)[np.arange(len(labels)), labels]
    return float(losses.sum() + penalty / 2 * (model.coef_**2).sum())
