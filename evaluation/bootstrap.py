"""Bootstrap intervals that are functions of (seed, ids): the same for any order of rows, machine or numpy.

The Poisson bootstrap: in each draw, each example has a weight of its own, drawn from Poisson(1), in place of a sample
of n out of n. The weight is a hash of (seed, scope, id, draw), so an example that counts in two averages, like a
picture of ImageNet's validation set in two subsets of classes, has the same weight in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, factorial

import numpy as np

from core import choice

DRAWS = 1000
# P(weight <= k) for k = 0 … 11, as thresholds of a uniform number of 53 bits; a larger weight has a chance of 1e-9.
_CUMULATED = np.cumsum([exp(-1) / factorial(k) for k in range(12)])


def ranks(seed: int, scope: str, ids: Sequence[str]) -> np.ndarray:
    """What `weights` draws from: uint64 [n], one a (seed, scope, id). `scope` names the data set of the ids."""
    return choice.rank(seed, "bootstrap", scope, (name.encode() for name in ids))


def weights(of: np.ndarray, draw: int) -> np.ndarray:
    """How often each example is in a draw: int64 [n], mean 1, variance 1, from `ranks` and the number of the draw."""
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64: the finaliser of SplitMix64
        mixed = of + np.uint64(draw + 1) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return np.searchsorted(_CUMULATED, (mixed >> np.uint64(11)) / 2.0**53, side="right")


def interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """The percentile interval of the values of all draws."""
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
