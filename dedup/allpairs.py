"""All pairs of near-equal hashes, exactly, without comparing all pairs.

Cut 63 bits into m bands: two hashes that differ in at most k bits agree in at least m - k whole bands (pigeonhole). So
for each of the C(m, k) choices of m - k bands the hashes are sorted by those bits, and only neighbours that share them
are compared; a pair counts in the first choice that finds it, so it is found exactly once. A million hashes take a
second on one core. Bit t belongs to band t mod m: neighbouring bits are correlated, interleaved bands collide less.

In a shuffle engine the same theorem with m = k + 1 needs one band: `bands` gives the keys, `edges_in_bucket` the edges
among rows that met under one of them.

What is compared are views (see `views`): an image has up to three, and those of all images are searched together, so
the theorem holds for mirrored and bordered copies as it does for the others.

Images that cannot be told apart (the same bytes, or all hashes the same) have the same neighbours. They are
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

from core.errors import UsageError
from dedup.hashes import INFORMATIVE, Hashes, cut, hamming, hamming256, permuted, restored, words
from dedup.views import HASHES, Prints, Views, distances, views

K64 = 4  # differing bits of ph64 that make a candidate; distances are even, so 5 would be the same
K256 = 40  # differing bits of ph256 that a candidate may have: none wrong in 1.5e9 pairs of unrelated photo crops
MAX_K = 8  # beyond it, 400 million images have more chance pairs than near-duplicates

ROW_PAIR = np.dtype([("i", np.int64), ("j", np.int64), ("d64", np.uint8)])
EDGE = np.dtype([*ROW_PAIR.descr, ("d256", np.uint16), ("same_bytes", np.bool_), ("mirrored", np.bool_)])
LINK = np.dtype([("i", np.int64), ("j", np.int64), ("mirrored", np.bool_)])

Rows = NDArray[np.int64]

_BLOCK = 1 << 20  # rows or pairs looked at together: bounds the memory beyond the hashes and the result
_CACHED = 1 << 16  # values looked at together where the speed of the memory counts


def edges(image: Prints, k: int = K64, k256: int = K256) -> NDArray[Any]:
    """The duplicate edges of n images (columns of FINGERPRINT): EDGE [e], rows i < j, sorted, each once.

    Equal bytes are always an edge. Images of different bytes have one if both flags are 0 and two of their views, of
    which at most one is mirrored, differ in d64 ≤ k and d256 ≤ k256 bits; it is `mirrored` if this takes a mirrored
    view. d64 and d256 of an edge are the smallest between any two such views. Images that cannot be told apart are
    represented by one of them (see above). image_ids are unique, 16 bytes each (S16, V16 or uint8 [n, 16]).
    """
    same, alone = same_bytes_links(image)
    alike, alone = same_hashes_links(image, alone)
    seen = views(image, alone)
    near = links_in_band(image["image_id"][seen.row], seen, k, k256)
    near["i"], near["j"] = seen.row[near["i"]], seen.row[near["j"]]
    links = once(np.concatenate([same, alike, near]))
    found = np.zeros(len(links), EDGE)
    for name in LINK.names or ():
        found[name] = links[name]
    i, j = links["i"], links["j"]
    for start in range(0, len(links), _BLOCK):
        block = slice(start, start + _BLOCK)
        found["d64"][block], found["d256"][block] = distances(image, i[block], j[block], links["mirrored"][block])
        found["same_bytes"][block] = (words(image["sha256"][i[block]]) == words(image["sha256"][j[block]])).all(axis=1)
    return found


def same_bytes_links(image: Prints) -> tuple[NDArray[Any], Rows]:
    """LINK [e] from each image to the one of the same bytes with the smallest id; the unflagged among those, rows."""
    first = representatives(image["image_id"], image["sha256"])
    alone = first == np.arange(len(first))
    return _to_first(first), np.flatnonzero(alone & (image["flags"] == 0))


def same_hashes_links(image: Prints, rows: Rows) -> tuple[NDArray[Any], Rows]:
    """The same among some unflagged images whose hashes are all the same; and those that represent the others."""
    first = representatives(image["image_id"][rows], *(image[name][rows] for name in HASHES))
    found = _to_first(first)
    found["i"], found["j"] = rows[found["i"]], rows[found["j"]]
    return found, rows[first == np.arange(len(first))]


def links_in_band(
    ids: NDArray[Any], seen: Views, k: int = K64, k256: int = K256, band: int | None = None
) -> NDArray[Any]:
    """Links between views of two images, not both mirrored, within k and k256 of each other: LINK [e], i < j < v.

    ids [v] are the images' own. With `band`, for a shuffle: the views are all those that have one value of column
    `band` of `bands(ph64, k)`, or all of several values, and two views are linked only in the lowest band in which both
    agree. So the links of all buckets of all bands are those of all views together.
    """
    if band is not None and not 0 <= band <= k:
        raise UsageError(f"there is no band {band} at distance {k}: bands are numbered 0 to {k}")
    order = np.argsort(seen.ph64)
    values, start, count = np.unique(seen.ph64[order], return_index=True, return_counts=True)
    candidates = _near_values(values, k, band)
    if not band:  # equal hashes agree in every band: they belong to the first
        crowded = np.flatnonzero(count > 1)
        candidates = chain([(crowded, crowded)], candidates)
    whose = words(ids)
    found = [(order[:0], order[:0])]
    for a, b in candidates:
        for which, at in spans(count[a] * count[b]):
            left = start[a[which]] + at // count[b[which]]
            right = start[b[which]] + at % count[b[which]]
            ordered = left < right  # always so where a < b; where a is b, in one of the two orders
            i, j = order[left[ordered]], order[right[ordered]]
            apart = ~(seen.mirrored[i] & seen.mirrored[j]) & (whose[i] != whose[j]).any(axis=1)
            i, j = i[apart], j[apart]
            close = hamming256(seen.ph256[i], seen.ph256[j]) <= k256
            found.append((i[close], j[close]))
    i, j = _joined(found)
    return _links(i, j, seen.mirrored[i] | seen.mirrored[j])


def once(links: NDArray[Any]) -> NDArray[Any]:
    """Each pair of links once, i < j, sorted; mirrored only where no link of it is without a mirror."""
    links = _links(links["i"], links["j"], links["mirrored"])
    links = links[np.lexsort((links["mirrored"], links["j"], links["i"]))]
    new = np.ones(len(links), bool)
    new[1:] = (links["i"][1:] != links["i"][:-1]) | (links["j"][1:] != links["j"][:-1])
    return links[new]


def bands(ph64: Hashes, k: int = K64) -> NDArray[Any]:
    """The keys to shuffle by: the values of k + 1 bands, unsigned [n, k + 1]; hashes within k share at least one."""
    layout = cut(INFORMATIVE, k + 1)
    values = [permuted(ph64, bits) >> np.uint64(64 - len(bits)) for bits in layout]
    return np.stack(values, axis=1).astype(np.min_scalar_type((1 << len(layout[0])) - 1))


def all_pairs(hashes: Hashes, k: int = K64) -> NDArray[Any]:
    """The pairs of rows whose 64-bit hashes differ in at most k bits: ROW_PAIR [p], rows i < j, sorted, each once.

    Rows of equal hashes are represented by the first of them: it has a pair of distance 0 with each of the others, and
    it alone has pairs with rows of another hash.
    """
    values, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    others = np.flatnonzero(first[inverse] != np.arange(len(hashes)))
    near = ((first[a], first[b]) for a, b in _near_values(values, k))
    i, j = _joined([(first[inverse[others]], others), *near])
    found = np.empty(len(i), ROW_PAIR)
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


def _to_first(first: Rows) -> NDArray[Any]:
    others = np.flatnonzero(first != np.arange(len(first)))
    return _links(first[others], others, np.zeros(len(others), bool))


def _links(i: Rows, j: Rows, mirrored: NDArray[np.bool_]) -> NDArray[Any]:
    found = np.empty(len(i), LINK)
    found["i"], found["j"], found["mirrored"] = np.minimum(i, j), np.maximum(i, j), mirrored
    return found


def _joined(pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> tuple[NDArray[Any], NDArray[Any]]:
    return np.concatenate([left for left, _ in pairs]), np.concatenate([right for _, right in pairs])


def _sorted(pairs: NDArray[Any]) -> NDArray[Any]:
    return pairs[np.lexsort((pairs["j"], pairs["i"]))]
