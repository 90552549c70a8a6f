"""All pairs of near-equal hashes, exactly, without comparing all pairs.

Cut 63 bits into m bands: two hashes that differ in at most k bits agree in at least m - k whole bands (pigeonhole). So
for each of the C(m, k) choices of m - k bands the hashes are sorted by those bits, and only neighbours that share them
are compared; a pair counts in the first choice that finds it, so it is found exactly once. A million hashes take a
second on one core. Bit t belongs to band t mod m: neighbouring bits are correlated, interleaved bands collide less.

In a shuffle engine the same theorem with m = k + 1 needs one band: `bands` gives the keys, `edges_in_bucket` the edges
among rows that met under one of them.

Images that cannot be told apart (the same bytes, or the same ph64 and ph256) have the same neighbours. They are
represented by the one with the smallest id: it has an edge to each of the others, and it alone has edges to the rest of
the world. A million copies of one placeholder cost a million edges, not 5e11, and the star policy of `groups` decides
as if all edges were there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, combinations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dedup.hashes import INFORMATIVE, Hashes, cut, hamming, hamming256, permuted, restored, words
from shards.errors import UsageError

K64 = 4  # differing bits of ph64 that make a candidate; distances are even, so 5 would be the same
K256 = 40  # differing bits of ph256 that a candidate may have: none wrong in 1.5e9 pairs of unrelated photo crops
MAX_K = 8  # beyond it, 400 million images have more chance pairs than near-duplicates

PAIR = np.dtype([("i", np.int64), ("j", np.int64), ("d64", np.uint8)])
EDGE = np.dtype([*PAIR.descr, ("d256", np.uint16), ("same_bytes", np.bool_)])

Rows = NDArray[np.int64]

_BLOCK = 1 << 20  # rows or pairs looked at together: bounds the memory beyond the hashes and the result
_CACHED = 1 << 16  # values looked at together where the speed of the memory counts


def edges(
    ids: NDArray[Any],
    sha256: NDArray[Any],
    ph64: Hashes,
    ph256: NDArray[np.uint8],
    flags: NDArray[np.uint8],
    k: int = K64,
    k256: int = K256,
) -> NDArray[Any]:
    """The duplicate edges of n images: EDGE [e], rows i < j, sorted, each once.

    Equal bytes are always an edge. Images of different bytes have one if both flags are 0, d64 ≤ k and d256 ≤ k256.
    Images that cannot be told apart are represented by one of them (see above). ids are unique, 16 bytes each (S16, V16
    or uint8 [n, 16]), sha256 32 bytes, ph256 uint8 [n, 32].
    """
    same = same_bytes_edges(ids, sha256, ph64, ph256)
    alone = np.flatnonzero((representatives(ids, sha256) == np.arange(len(ids))) & (flags == 0))
    i, j = _near(ids[alone], ph64[alone], ph256[alone], k, k256)
    return _sorted(np.concatenate([same, _measured(alone[i], alone[j], ph64, ph256)]))


def same_bytes_edges(ids: NDArray[Any], sha256: NDArray[Any], ph64: Hashes, ph256: NDArray[np.uint8]) -> NDArray[Any]:
    """The first half of `edges`: from each image to the one of the same bytes that has the smallest id."""
    first = representatives(ids, sha256)
    others = np.flatnonzero(first != np.arange(len(first)))
    found = _measured(first[others], others, ph64, ph256)
    found["same_bytes"] = True
    return _sorted(found)


def edges_in_bucket(
    band: int,
    ids: NDArray[Any],
    ph64: Hashes,
    ph256: NDArray[np.uint8],
    k: int = K64,
    k256: int = K256,
) -> NDArray[Any]:
    """The second half of `edges`, for a shuffle: the edges among rows that met under their value of one band.

    The rows are unflagged images of distinct bytes (`representatives` of equal sha256): all that have one value of
    column `band` of `bands(ph64, k)`, or all of several values. An edge is found only in the lowest band in which both
    agree, so the edges of all buckets of all bands are those of `edges`, each once.
    """
    if not 0 <= band <= k:
        raise UsageError(f"there is no band {band} at distance {k}: bands are numbered 0 to {k}")
    i, j = _near(ids, ph64, ph256, k, k256, band)
    return _sorted(_measured(i, j, ph64, ph256))


def bands(ph64: Hashes, k: int = K64) -> NDArray[Any]:
    """The keys to shuffle by: the values of k + 1 bands, unsigned [n, k + 1]; hashes within k share at least one."""
    layout = cut(INFORMATIVE, k + 1)
    values = [permuted(ph64, bits) >> np.uint64(64 - len(bits)) for bits in layout]
    return np.stack(values, axis=1).astype(np.min_scalar_type((1 << len(layout[0])) - 1))


def all_pairs(hashes: Hashes, k: int = K64) -> NDArray[Any]:
    """The pairs of rows whose 64-bit hashes differ in at most k bits: PAIR [p], rows i < j, sorted, each once.

    Rows of equal hashes are represented by the first of them: it has a pair of distance 0 with each of the others, and
    it alone has pairs with rows of another hash.
    """
    values, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    others = np.flatnonzero(first[inverse] != np.arange(len(hashes)))
    near = ((first[a], first[b]) for a, b in _near_values(values, k))
    i, j = _joined([(first[inverse[others]], others), *near])
    found = np.empty(len(i), PAIR)
    found["i"], found["j"], found["d64"] = np.minimum(i, j), np.maximum(i, j), hamming(hashes[i], hashes[j])
    return _sorted(found)


def representatives(ids: NDArray[Any], *keys: NDArray[Any]) -> Rows:
    """For each row the row of the smallest id among those of equal keys: int64 [n].

    ids and keys hold a multiple of 8 bytes a row: uint64 [n], S16 [n], uint8 [n, 32] …
    """
    word = [column for key in keys for column in words(key).T]
    order = np.argsort(word[0])
    again = np.flatnonzero(word[0][order[1:]] == word[0][order[:-1]])
    rows = order[np.union1d(again, again + 1)]  # few: only they need their whole keys compared
    key = np.stack([column[rows] for column in word])
    by = np.lexsort((*words(ids)[rows].byteswap().T[::-1], *key[::-1]))
    rows, key = rows[by], key[:, by]
    new = np.ones(len(rows), bool)
    new[1:] = (key[:, 1:] != key[:, :-1]).any(axis=0)
    first = np.arange(len(ids))
    first[rows] = rows[new][np.cumsum(new) - 1]
    return first


def spans(counts: Rows) -> Iterator[tuple[Rows, Rows]]:
    """(p, 0), (p, 1) … (p, counts[p] - 1) for each p in order: two arrays at a time, of bounded size."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    for start in range(0, total, _BLOCK):
        flat = np.arange(start, min(start + _BLOCK, total))
        which = np.searchsorted(ends, flat, side="right")
        yield which, flat - (ends[which] - counts[which])


def _near(
    ids: NDArray[Any],
    ph64: Hashes,
    ph256: NDArray[np.uint8],
    k: int,
    k256: int,
    band: int | None = None,
) -> tuple[Rows, Rows]:
    """The edges among unflagged images, in one band (as `edges_in_bucket` says) or in all: rows, in no order."""
    first = representatives(ids, ph64, ph256)
    twin = first != np.arange(len(first))
    rows = np.flatnonzero(~twin)
    rows = rows[np.argsort(ph64[rows])]
    values, start, count = np.unique(ph64[rows], return_index=True, return_counts=True)
    candidates = _near_values(values, k, band)
    found = [(rows[:0], rows[:0])]
    if not band:  # equal ph64 agree in every band: they belong to the first
        crowded = np.flatnonzero(count > 1)
        candidates = chain([(crowded, crowded)], candidates)
        found.append((first[twin], np.flatnonzero(twin)))
    for a, b in candidates:
        for which, at in spans(count[a] * count[b]):
            left = start[a[which]] + at // count[b[which]]
            right = start[b[which]] + at % count[b[which]]
            once = left < right  # always so where a < b; where a is b, in one of the two orders
            i, j = rows[left[once]], rows[right[once]]
            close = hamming256(ph256[i], ph256[j]) <= k256
            found.append((i[close], j[close]))
    return _joined(found)


def _near_values(values: Hashes, k: int, band: int | None = None) -> Iterator[tuple[Rows, Rows]]:
    """Positions a < b in distinct ascending values that differ in at most k bits, each pair once, in blocks.

    With `band`, only pairs for which it is the lowest of k + 1 bands in which both agree.
    """
    if not 0 <= k <= MAX_K:
        raise UsageError(f"a distance of {k} bits cannot be searched: choose 0 to {MAX_K}")
    outer = [] if band is None else cut(INFORMATIVE, k + 1)[: band + 1]
    shared = outer.pop() if outer else ()
    free = [bit for bit in INFORMATIVE if bit not in shared]
    inner = cut(free, _band_count(len(values), k, len(free)))
    for chosen in combinations(range(len(inner)), len(inner) - k):
        skipped = [inner[b] for b in range(chosen[-1]) if b not in chosen]
        prefix = [*shared, *chain.from_iterable(inner[b] for b in chosen)]
        for low, high in _merged(_neighbours(np.sort(permuted(values, prefix)), len(prefix), k)):
            low, high = restored(low, prefix), restored(high, prefix)
            first = np.ones(len(low), bool)
            for bits in (*outer, *skipped):  # had they agreed there too, an earlier choice would have found them
                first &= (low ^ high) & np.uint64(sum(1 << bit for bit in bits)) != 0
            a, b = np.searchsorted(values, low[first]), np.searchsorted(values, high[first])
            yield np.minimum(a, b), np.maximum(a, b)


def _neighbours(values: Hashes, prefix: int, k: int) -> Iterator[tuple[Hashes, Hashes]]:
    """Pairs of sorted values that share their highest `prefix` bits and differ in at most k of the others."""
    limit = np.uint64(1 << (64 - prefix))
    for start in range(0, len(values) - 1, _CACHED):
        block = values[start : start + _CACHED + 1]
        at = start + np.flatnonzero((block[1:] ^ block[:-1]) < limit)
        step = 1
        while len(at):
            near = at[hamming(values[at], values[at + step]) <= k]
            yield values[near], values[near + step]
            step += 1
            at = at[at + step < len(values)]
            at = at[(values[at] ^ values[at + step]) < limit]


def _merged(pairs: Iterable[tuple[Hashes, Hashes]]) -> Iterator[tuple[Hashes, Hashes]]:
    """The same pairs in fewer blocks: most of those that come are small or empty."""
    held: list[tuple[Hashes, Hashes]] = []
    count = 0
    for low, high in pairs:
        if len(low):
            held.append((low, high))
            count += len(low)
        if count >= _BLOCK:
            yield _joined(held)
            held, count = [], 0
    if held:
        yield _joined(held)


def _band_count(n: int, k: int, bits: int) -> int:
    """The m for which sorting C(m, k) times and comparing what then falls together costs least.

    A row of one sort costs about as much as three comparisons (measured); chance puts n² / 2 / 2^key pairs together.
    """

    def cost(m: int) -> float:
        return comb(m, k) * (3 * n + n * n / 2 ** (bits * (m - k) / m + 1))

    return min(range(k + 1, k + 6), key=cost)


def _measured(i: Rows, j: Rows, ph64: Hashes, ph256: NDArray[np.uint8]) -> NDArray[Any]:
    found = np.zeros(len(i), EDGE)
    found["i"], found["j"], found["d64"] = np.minimum(i, j), np.maximum(i, j), hamming(ph64[i], ph64[j])
    for start in range(0, len(i), _BLOCK):
        block = slice(start, start + _BLOCK)
        found["d256"][block] = hamming256(ph256[i[block]], ph256[j[block]])
    return found


def _joined(pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> tuple[NDArray[Any], NDArray[Any]]:
    return np.concatenate([left for left, _ in pairs]), np.concatenate([right for _, right in pairs])


def _sorted(pairs: NDArray[Any]) -> NDArray[Any]:
    return pairs[np.lexsort((pairs["j"], pairs["i"]))]
