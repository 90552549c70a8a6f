"""The order of training as a pure function: which sample stands at which position, without reading anything.

A stream visits all n samples once an epoch, each epoch in another order. The batch of step s covers the positions
s·B to (s+1)·B of it, across the ends of epochs: nothing is dropped, nothing doubled, and the three integers
(seed, step, B) are all that a resumed run needs, on any number of ranks that divides B.

What it costs: a whole permutation has no locality, so every sample is one random read of its own (some 30 KB). From
page cache or local flash that is cheaper than decoding the image; from an object store it is a request a sample, so
copy the pack to local disks first.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import numpy as np
import numpy.typing as npt

from core.choice import rank
from core.errors import Failure, UsageError

Integers = npt.NDArray[np.int64]

_ROUNDS = 4  # of a Feistel network look random to any observer (Luby and Rackoff, 1988)


def position_to_sample(positions: Integers, n: int, seed: int, epoch: int) -> Integers:
    """The samples at some positions of an epoch: int64 [m], for positions int64 [m], both in [0, n); n below 2^63.

    A bijection: a Feistel network over pairs (left, right) of numbers below ceil(√n), whose square is hardly more
    than n; a number that lands in the little that is too much is sent through again until it does not (cycle walking;
    Black and Rogaway, 2002).
    """
    if positions.size and (positions.min() < 0 or positions.max() >= n):
        raise ValueError(f"positions {positions.min()} to {positions.max()} are not all in [0, {n})")
    keys = rank(seed, "order", str(epoch), [bytes([number]) for number in range(_ROUNDS)])
    samples = _feistel(positions.astype(np.uint64), isqrt(n - 1) + 1, keys)
    while len(outside := np.flatnonzero(samples >= n)):
        samples[outside] = _feistel(samples[outside], isqrt(n - 1) + 1, keys)
    return samples.astype(np.int64)


def _feistel(numbers: npt.NDArray[np.uint64], side: int, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A keyed permutation of the numbers below side²; side is at most 2^32."""
    left, right = np.divmod(numbers, np.uint64(side))
    for key in keys:
        # The upper half of a hash, scaled to [0, side): as good as the remainder, and cheaper.
        shift = ((_mix(right + key) >> np.uint64(32)) * np.uint64(side)) >> np.uint64(32)
        turned = left + shift
        left, right = right, np.where(turned < side, turned, turned - np.uint64(side))
    return left * np.uint64(side) + right


def _mix(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): every bit of z changes half of the bits."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@dataclass(frozen=True)
class Stream:
    """The endless stream of samples that a run trains on: n samples, reordered each epoch by the seed."""

    n: int
    seed: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise Failure("there is no sample to train on: pack a folder that holds some")

    def samples(self, positions: Integers) -> Integers:
        """The samples at some positions of the stream: int64 [m] in [0, n), for positions int64 [m] from 0 on."""
        epochs, within = np.divmod(positions, self.n)
        samples = np.empty_like(positions)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            samples[here] = position_to_sample(within[here], self.n, self.seed, epoch)
        return samples

    def batch(self, step: int, size: int, rank: int = 0, world: int = 1) -> Integers:
        """The share of one rank in the global batch of `size` samples of a step: int64 [size / world].

        The shares of all ranks, one after the other, are the batch: the same for any world size.
        """
        share, rest = divmod(size, world)
        if rest:
            raise UsageError(f"a batch of {size} cannot be shared by {world} ranks: give a batch size they divide")
        first = step * size + rank * share
        return self.samples(np.arange(first, first + share, dtype=np.int64))
