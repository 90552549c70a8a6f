"""Finding many ids in a large sorted array, at a cost an id that does not grow with the array.

Ids are hashes, so their first bits say where in the array to look: with as many bits as leave about four ids to each of
their values, five halvings find an id among any number of them. A hash set would cost the same an id once it is made,
but pyarrow's `is_in` and `index_in` make it again for each call.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shards.format import Ids

_IDS_A_BUCKET = 4


class Lookup:
    """The places of ids in `known`, which is ascending and holds none twice: S16 [n]. Takes 18 to 20 bytes an id."""

    def __init__(self, known: Ids) -> None:
        high, low = _halves(known)
        bits = max(1, (len(known) // _IDS_A_BUCKET).bit_length())
        self._shift = np.uint64(64 - bits)
        firsts = np.arange(1 << bits, dtype=np.uint64) << self._shift
        self._starts = np.append(np.searchsorted(high, firsts), len(known))  # of each bucket; the end of the last
        self._steps = int(np.diff(self._starts).max()).bit_length()
        self._high, self._low = np.append(high, np.uint64(0)), np.append(low, np.uint64(0))  # the end has a place too

    def find(self, ids: Ids) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Where each of `ids` [m] is in the array: int64 [m], and whether it is there at all: bool [m].

        An id that is not there has the place where it would be, which may be the array's end.
        """
        high, low = _halves(ids)
        bucket = (high >> self._shift).astype(np.int64)
        first, end = self._starts[bucket], self._starts[bucket + 1]
        for _ in range(self._steps):
            middle = (first + end) >> 1
            h = self._high[middle]
            after = (h < high) | ((h == high) & (self._low[middle] < low))
            left = first < end
            first = np.where(left & after, middle + 1, first)
            end = np.where(left & ~after, middle, end)
        found = (self._high[first] == high) & (self._low[first] == low) & (first < len(self._high) - 1)
        return first, found


def _halves(ids: Ids) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """The first and the last eight bytes of ids as numbers: uint64 [n] each."""
    halves = np.ascontiguousarray(ids).view(">u8").reshape(-1, 2)
    return halves[:, 0].astype(np.uint64), halves[:, 1].astype(np.uint64)
