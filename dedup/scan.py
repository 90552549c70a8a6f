"""An exact scan of millions of stored 256-bit hashes: which are within a bound of some hashes that are asked about?

No index and no approximation. 256 bits are 16 bands of 16. Let the limits of the bands, each plus one, add up to
bound + 1. If two hashes differ in at most `bound` bits, there is a band from which on (cyclically) the differences of
one band, of two, of three … all stay within the limits of those bands: were there none, the differences would add up
to more (the cycle lemma; Qin and Xiao, Pigeonring, PVLDB 12, 2018; for one band Norouzi et al., PAMI 2014). So for
each band the stored hashes are sorted by its 16 bits. For each value that occurs, the asked hashes within the band's
limit of it are taken from a table, and those pairs alone are compared, first by the 32 bits of the next two bands, and
where these are within their limits too, by all.

A band is a row of the 16 × 16 bits, which lie together. With bound = 60 the limits are 3 and 2: of pairs of unrelated
real pictures 18 % are compared by 32 bits and 0.7 % by 256 (of random hashes 14 % and 0.1 %; 4,496 pictures). Bands of
diagonals come to 16 %, and reordering the bits costs more than that saves. Comparing all pairs takes numpy 7.3 ns each
on the same core, this 0.25 ns (benchmarks/results/scan.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.errors import UsageError
from dedup.hashes import columns, hamming, words
from dedup.views import AS_IS, HASHES, INNER, MIRROR, Prints, Views, views

MATCH = np.dtype(
    [
        ("picture", np.int64),  # row of the picture that was asked about
        ("image_id", np.uint8, 16),
        ("d64", np.uint8),  # of the nearest two views by 256 bits …
        ("d256", np.uint16),
        ("mirrored", np.bool_),  # … whether one of them is mirrored …
        ("bordered", np.bool_),  # … or what lies within a plain border
    ]
)
NEAR = np.dtype([("asked", np.int64), ("stored", np.int64), ("d256", np.uint16)])
COLUMNS = ["image_id", *HASHES, "flags"]
MAX_BOUND = 64  # beyond it unrelated pictures are closer than copies

Bits256 = NDArray[np.uint8]  # [n, 32]

_BANDS, _WIDTH = 16, 16
_CELLS = 1 << 16  # pairs compared together, so that they stay in the processor's cache
_VALUES = 64  # of a band, whose neighbours are looked up together
_FEW = 1 << 28  # pairs up to which it is quicker to compare all of them
_IMAGES = 5_000_000  # of a block: 2 GiB with all that is made of them
_HELD = 1 << 22  # matches held before the best of them are chosen
_MASKS = np.arange(1 << _WIDTH, dtype=np.uint16)
_MASKS = _MASKS[
    np.argsort(np.bitwise_count(_MASKS), kind="stable")
]  # what two values of a band may differ in, by weight
_WEIGHTS = np.bitwise_count(_MASKS)


def scan(asked: Prints, tables: Iterable[pa.Table], bound: int, most: int) -> NDArray[Any]:
    """The `most` nearest images of each picture, within `bound` (0 to 64) of 256 bits: MATCH, by picture and distance.

    `asked` are the columns of `fingerprints` of an evaluation set, up to some 50,000 pictures; `tables` have those of
    FINGERPRINT that `COLUMNS` names, and are read once, in blocks: the memory does not grow with their number. Views as
    they are and within borders are compared with each other and with mirrored ones. Flat pictures and images (`flags`)
    are left out: too much looks like them. Of equally near images the smallest ids stay.
    """
    pictures = np.flatnonzero(asked["flags"] == 0)
    found = np.empty(0, MATCH)
    for images in _blocks(tables):
        rows = np.flatnonzero(images["flags"] == 0)
        for mine, theirs in (((AS_IS, INNER, MIRROR), (AS_IS, INNER)), ((INNER,), (MIRROR,))):
            a, s = views(asked, pictures, mine), views(images, rows, theirs)
            held = [found]
            for pairs in near(a.ph256, s.ph256, bound):
                held.append(_matches(a, s, pairs, images, asked))
                if sum(map(len, held)) > _HELD:
                    held = [_best(np.concatenate(held), most)]
            found = _best(np.concatenate(held), most)
    return found


def _blocks(tables: Iterable[pa.Table]) -> Iterator[Prints]:
    """The columns of the tables, some million images at a time."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table.select(COLUMNS))
        if sum(map(len, held)) >= _IMAGES:
            yield columns(pa.concat_tables(held))
            held = []
    if held:
        yield columns(pa.concat_tables(held))


def _matches(a: Views, s: Views, pairs: NDArray[Any], images: Prints, asked: Prints) -> NDArray[Any]:
    i, j = pairs["asked"], pairs["stored"]
    found = np.empty(len(pairs), MATCH)
    found["picture"], found["image_id"] = a.row[i], images["image_id"][s.row[j]]
    found["d64"], found["d256"] = hamming(a.ph64[i], s.ph64[j]), pairs["d256"]
    found["mirrored"] = a.mirrored[i] | s.mirrored[j]
    whole = [(a.ph256[i] == asked[name][a.row[i]]).all(axis=1) for name in (AS_IS[1], MIRROR[1])]
    of_whole = [(s.ph256[j] == images[name][s.row[j]]).all(axis=1) for name in (AS_IS[1], MIRROR[1])]
    found["bordered"] = ~(whole[0] | whole[1]) | ~(of_whole[0] | of_whole[1])
    return found


def _best(found: NDArray[Any], most: int) -> NDArray[Any]:
    """Of each picture and image the nearest two views, then of each picture the nearest images."""
    high, low = words(found["image_id"]).byteswap().T
    order = np.lexsort((found["d64"], found["bordered"], found["mirrored"], found["d256"], low, high, found["picture"]))
    found, high, low = found[order], high[order], low[order]
    first = np.ones(len(found), bool)
    first[1:] = (np.diff(found["picture"]) != 0) | (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    found, high, low = found[first], high[first], low[first]
    found = found[np.lexsort((low, high, found["d256"], found["picture"]))]
    place = np.arange(len(found)) - np.searchsorted(found["picture"], found["picture"])
    return found[place < most]


# ── hashes within a bound of each other ───────────────────────────────────────────────────────────


def limits(bound: int) -> list[int]:
    """In how many bits each band may differ; each limit plus one add up to bound + 1. -1: never the first band.

    The smaller limits go to the first rows: low frequencies agree by chance more often.
    """
    whole, more = divmod(bound, _BANDS)
    return [whole if band >= _BANDS - 1 - more else whole - 1 for band in range(_BANDS)]


def near(asked: Bits256, stored: Bits256, bound: int) -> Iterator[NDArray[Any]]:
    """All pairs within `bound` bits (0 to 64) of each other: NEAR [m], some at a time, in no order, some several times.

    `asked` is uint8 [q, 32], up to some 100,000 of them; `stored` uint8 [v, 32], up to some 10 million: 30 bytes are
    held for each beside it.
    """
    if not 0 <= bound <= MAX_BOUND:
        raise UsageError(f"a distance of {bound} of 256 bits cannot be searched: choose 0 to {MAX_BOUND}")
    if len(asked) * len(stored) <= _FEW:
        yield from _among_all(asked, stored, bound)
    else:
        yield from _by_bands(asked, stored, bound)


def _among_all(asked: Bits256, stored: Bits256, bound: int) -> Iterator[NDArray[Any]]:
    """The same by comparing all pairs."""
    a, s = words(asked), words(stored)
    step = max(1, _CELLS // max(1, len(a)))
    for start in range(0, len(s) if len(a) else 0, step):
        some = s[start : start + step]
        distance = np.zeros((len(some), len(a)), np.uint16)
        for word in range(a.shape[1]):
            distance += np.bitwise_count(some[:, None, word] ^ a[None, :, word])
        row, column = np.nonzero(distance <= bound)
        if len(row):
            yield _found(column, start + row, distance[row, column])


def _by_bands(asked: Bits256, stored: Bits256, bound: int) -> Iterator[NDArray[Any]]:
    limit = limits(bound)
    asked_bands, stored_bands = (np.ascontiguousarray(hashes).view(np.uint16) for hashes in (asked, stored))
    asked_words, stored_words = words(asked), words(stored)
    for band in range(_BANDS):
        if limit[band] < 0:
            continue
        four = [(band + more) % _BANDS for more in range(4)]
        of_three = sum(limit[one] for one in four[:3]) + 2
        of_four = sum(limit[one] for one in four) + 3
        a, s = (_Sorted(bands, four) for bands in (asked_bands, stored_bands))
        for places, rows in _in_band(a, s, limit[band], of_three):
            close = np.bitwise_count(a.four[places] ^ s.four[rows]) <= of_four
            i, j = a.order[places[close]], s.order[rows[close]]
            distance = np.bitwise_count(asked_words[i] ^ stored_words[j]).sum(axis=1, dtype=np.uint16)
            close = distance <= bound
            if close.any():
                yield _found(i[close], j[close], distance[close])


class _Sorted:
    """Some hashes in the order of the bits of one band."""

    def __init__(self, bands: NDArray[np.uint16], four: list[int]) -> None:
        """`bands` is uint16 [n, 16]; `four` are the band to sort by and the three that are compared next."""
        self.order = np.argsort(bands[:, four[0]], kind="stable")  # by radix, in linear time
        self.two = np.ascontiguousarray(bands[:, four[1:3]]).view(np.uint32)[self.order, 0]
        self.four = np.ascontiguousarray(bands[:, four]).view(np.uint64)[self.order, 0]
        counts = np.bincount(bands[:, four[0]], minlength=1 << _WIDTH)
        self.start = np.concatenate([[0], np.cumsum(counts)])  # of each value among them


def _in_band(a: _Sorted, s: _Sorted, limit: int, of_three: int) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Places in `a` and `s` of pairs that differ in at most `limit` bits of the band they are sorted by, and in at most
    `of_three` of it and the next two: [m] each."""
    xor, bits, small = np.empty(_CELLS, np.uint32), np.empty(_CELLS, np.uint8), np.empty(_CELLS, np.bool_)
    held: list[tuple[NDArray[Any], NDArray[Any]]] = []
    for value, places, weights in _neighbours(a, s, limit):
        wanted, left = a.two[places], (of_three - weights).astype(np.uint8)
        for column in range(0, len(places), _CELLS):
            some, allowed = wanted[column : column + _CELLS], left[column : column + _CELLS]
            step = _CELLS // len(some)
            for row in range(s.start[value], s.start[value + 1], step):
                theirs = s.two[row : min(row + step, s.start[value + 1])]
                shape, cells = (len(theirs), len(some)), len(theirs) * len(some)
                np.bitwise_xor(theirs[:, None], some, out=xor[:cells].reshape(shape))
                np.bitwise_count(xor[:cells], out=bits[:cells])
                np.less_equal(bits[:cells].reshape(shape), allowed, out=small[:cells].reshape(shape))
                hit = np.flatnonzero(small[:cells])
                if len(hit):
                    held.append((places[column + hit % len(some)], row + hit // len(some)))
        if sum(len(some) for some, _ in held) > _CELLS:
            yield _joined(held)
            held = []
    if held:
        yield _joined(held)


def _neighbours(a: _Sorted, s: _Sorted, limit: int) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.uint8]]]:
    """Of each value of the band that occurs in `s`: the places in `a` of values within `limit` bits, and how many."""
    count = int(np.searchsorted(_WEIGHTS, limit, side="right"))
    masks, weights = _MASKS[:count], _WEIGHTS[:count]
    occurring = np.flatnonzero(np.diff(s.start)).astype(np.uint16)
    for at in range(0, len(occurring), _VALUES):
        values = occurring[at : at + _VALUES]
        near = (values[:, None] ^ masks).ravel()
        first = a.start[near]
        found = a.start[near + np.int64(1)] - first
        ends = np.cumsum(found)
        places = np.repeat(first - ends + found, found) + np.arange(ends[-1])
        differing = np.repeat(np.tile(weights, len(values)), found)
        borders = [0, *ends[count - 1 :: count].tolist()]
        for value, begin, end in zip(values.tolist(), borders, borders[1:], strict=False):
            if begin < end:
                yield value, places[begin:end], differing[begin:end]


def _joined(held: list[tuple[NDArray[Any], NDArray[Any]]]) -> tuple[NDArray[Any], NDArray[Any]]:
    places, rows = (np.concatenate(column) for column in zip(*held, strict=True))
    return places, rows


def _found(asked: NDArray[Any], stored: NDArray[Any], distance: NDArray[Any]) -> NDArray[Any]:
    pairs = np.empty(len(asked), NEAR)
    pairs["asked"], pairs["stored"], pairs["d256"] = asked, stored, distance
    return pairs
