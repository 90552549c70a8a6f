"""All pairs: exactly those of brute force, each once, whatever the order, the bands or the blocks."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.errors import UsageError
from dedup import allpairs
from dedup.allpairs import all_pairs, bands, edges, links_in_band, once, same_bytes_links, same_hashes_links, spans
from dedup.hashes import hamming, hamming256
from dedup.views import AS_IS, HASHES, MIRROR, views
from tests.dedup.made import KINDS, Column, crawl, flips, hashes

Edge = tuple[int, ...]


def brute_pairs(values: NDArray[np.uint64], k: int) -> list[tuple[int, int, int]]:
    """All pairs, less those that a row of an equal, earlier hash stands for."""
    first: dict[int, int] = {}
    stands_for = [first.setdefault(int(value), row) for row, value in enumerate(values)]
    found = [(first_row, row, 0) for row, first_row in enumerate(stands_for) if row != first_row]
    distinct = sorted(first.values())
    distance = hamming(values[distinct][:, None], values[distinct])
    near = zip(*np.nonzero(np.triu(distance <= k, 1)), strict=True)
    return sorted(found + [(distinct[a], distinct[b], int(distance[a, b])) for a, b in near])


def ways(column: Column, a: int, b: int, mirrored: bool) -> list[tuple[int, int]]:
    """d64 and d256 between any two views of two images: both upright, or one of them mirrored."""

    def upright(row: int) -> list[tuple[Any, Any]]:
        inner = [(column["inner64"][row], column["inner256"][row])] if column["inner64"][row] else []
        return [(column["ph64"][row], column["ph256"][row]), *inner]

    def turned(row: int) -> list[tuple[Any, Any]]:
        return [(column["mirror"][row], column["mirror256"][row])]

    pairs = [*product(upright(a), turned(b)), *product(turned(a), upright(b))]
    pairs = pairs if mirrored else [*product(upright(a), upright(b))]
    return [(int(hamming(x[0], y[0])), int(hamming256(x[1], y[1]))) for x, y in pairs]


def brute_edges(column: Column, k: int, k256: int) -> list[Edge]:
    """The definition, a pair at a time: representatives, then every pair of them."""
    ids = [row.tobytes() for row in column["image_id"]]
    rows = sorted(range(len(ids)), key=ids.__getitem__)
    found: list[Edge] = []

    def edge(a: int, b: int, mirrored: bool = False) -> Edge:
        d64, d256 = (min(distance) for distance in zip(*ways(column, a, b, mirrored), strict=True))
        same_bytes = bool((column["sha256"][a] == column["sha256"][b]).all())
        return min(a, b), max(a, b), d64, d256, int(same_bytes), int(mirrored)

    def collapse(rows: list[int], key: Any) -> list[int]:
        first: dict[Any, int] = {}
        for row in rows:
            if first.setdefault(key(row), row) != row:
                found.append(edge(first[key(row)], row))
        return list(first.values())

    rows = collapse(rows, lambda row: column["sha256"][row].tobytes())
    rows = [row for row in rows if column["flags"][row] == 0]
    rows = collapse(rows, lambda row: tuple(column[name][row].tobytes() for name in HASHES))
    for a, b in combinations(rows, 2):
        for mirrored in (False, True):
            if any(d64 <= k and d256 <= k256 for d64, d256 in ways(column, a, b, mirrored)):
                found.append(edge(a, b, mirrored))
                break
    return sorted(found)


def as_tuples(found: NDArray[Any]) -> list[Edge]:
    return [tuple(int(value) for value in row) for row in found.tolist()]


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(KINDS), n=st.integers(0, 300), k=st.integers(0, allpairs.MAX_K), seed=st.integers(0, 2**32))
def test_all_pairs_are_those_of_brute_force(kind: str, n: int, k: int, seed: int) -> None:
    values = hashes(kind, n, seed)
    assert as_tuples(all_pairs(values, k)) == brute_pairs(values, k)


@pytest.mark.parametrize("kind", KINDS)
def test_all_pairs_of_thousands(kind: str) -> None:
    values = hashes(kind, 2000, seed=5)
    values[1500:1600] = values[:100] ^ flips(np.random.default_rng(6), 100, 1, 4)
    assert as_tuples(all_pairs(values, 4)) == brute_pairs(values, 4)


@pytest.mark.parametrize("k", [0, 1, 2, 4, 6])
@pytest.mark.parametrize("more", range(1, 6))
@pytest.mark.parametrize("kind", ["uniform", "clustered"])
def test_any_number_of_bands_finds_the_same(kind: str, more: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allpairs, "_band_count", lambda n, k, bits: k + more)
    values = hashes(kind, 150, seed=more)
    values[-10:] = values[:10] ^ flips(np.random.default_rng(k), 10, k, k)
    assert as_tuples(all_pairs(values, k)) == brute_pairs(values, k)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("block", [1, 7, 64])
def test_small_blocks_find_the_same(kind: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values, column = hashes(kind, 60, seed=block), crawl(60, seed=block)
    expected, expected_edges = all_pairs(values), edges(column)
    monkeypatch.setattr(allpairs, "_BLOCK", block)
    monkeypatch.setattr(allpairs, "_CACHED", block)
    monkeypatch.setattr("dedup.hashes._CACHED", block)
    np.testing.assert_array_equal(all_pairs(values), expected)
    np.testing.assert_array_equal(edges(column), expected_edges)


@pytest.mark.parametrize(("n", "bands_"), [(2, 5), (10_000, 5), (1_000_000, 6), (100_000_000, 7)])
def test_more_hashes_are_cut_into_more_bands(n: int, bands_: int) -> None:
    assert allpairs._band_count(n, 4, 63) == bands_


@settings(max_examples=100, deadline=None)
@given(n=st.integers(0, 120), k=st.integers(0, 6), k256=st.sampled_from([0, 20, 40, 256]), seed=st.integers(0, 2**32))
def test_edges_are_those_of_the_definition(n: int, k: int, k256: int, seed: int) -> None:
    column = crawl(n, seed)
    assert as_tuples(edges(column, k, k256)) == brute_edges(column, k, k256)


def test_made_crawls_hold_every_kind_of_edge() -> None:
    """Or else the tests above prove little."""
    column = crawl(120, seed=3)
    found = edges(column)
    assert found["same_bytes"].sum() > 10
    assert ((found["d256"] == 0) & ~found["same_bytes"]).sum() > 3
    assert (found["d256"] > 0).sum() > 10
    assert found["mirrored"].sum() > 10
    assert len(edges(column, k256=256)) > len(found)  # ph256 decides
    assert len(edges({**column, "flags": column["flags"] * 0})) > len(found)  # the gate decides
    assert len(edges({**column, "inner64": column["inner64"] * np.uint64(0)})) < len(found)  # borders do
    assert (column["mirror"] == column["ph64"]).sum() > 10


@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 80), k=st.integers(0, 6), seed=st.integers(0, 2**32), parts=st.sampled_from([0, 1, 3]))
def test_buckets_find_each_link_exactly_once(n: int, k: int, seed: int, parts: int) -> None:
    """A bucket is a value of a band (parts = 0), or all values that fall to one of a few partitions."""
    column = crawl(n, seed)
    same, alone = same_bytes_links(column)
    alike, alone = same_hashes_links(column, alone)
    seen = views(column, alone)
    everything = links_in_band(column["image_id"][seen.row], seen, k)
    found = []
    for band, keys in enumerate(bands(seen.ph64, k).T):
        keys = keys.astype(np.uint64) % np.uint64(parts) if parts else keys
        for key in np.unique(keys):
            here = np.flatnonzero(keys == key)
            bucket = seen.take(here)
            for i, j, mirrored in as_tuples(links_in_band(column["image_id"][bucket.row], bucket, k, band=band)):
                found.append((int(here[i]), int(here[j]), mirrored))
    assert sorted(found) == sorted(as_tuples(everything))
    assert max(Counter(found).values(), default=1) == 1
    everything["i"], everything["j"] = seen.row[everything["i"]], seen.row[everything["j"]]
    links = once(np.concatenate([same, alike, everything]))
    expected = edges(column, k)
    assert as_tuples(links) == [(i, j, mirrored) for i, j, _, _, _, mirrored in as_tuples(expected)]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_mirroring_every_image_leaves_the_mirrored_edges(seed: int) -> None:
    """An edge does not ask which of two images is the mirrored one. (What is near both ways is not called mirrored.)"""
    column = crawl(60, seed) | {"inner64": np.zeros(60, np.uint64)}
    swapped = {"ph64": "mirror", "mirror": "ph64", "ph256": "mirror256", "mirror256": "ph256"}
    found = edges(column), edges({**column, **{name: column[other] for name, other in swapped.items()}})
    plain, mirrored = ([{row[:2] for row in as_tuples(f[f["mirrored"] == which])} for f in found] for which in (0, 1))
    assert mirrored[0] - plain[1] == mirrored[1] - plain[0]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_edges_do_not_depend_on_the_order_of_rows(seed: int) -> None:
    column = crawl(100, seed)
    shuffled_rows = np.random.default_rng(seed).permutation(100)
    shuffled = {name: values[shuffled_rows] for name, values in column.items()}

    def by_id(column: Column) -> set[tuple[frozenset[bytes], Edge]]:
        found = edges(column)
        ids = column["image_id"]
        ends = [frozenset([ids[i].tobytes(), ids[j].tobytes()]) for i, j in zip(found["i"], found["j"], strict=True)]
        return set(zip(ends, (row[2:] for row in as_tuples(found)), strict=True))

    assert by_id(column) == by_id(shuffled)


def test_ids_come_in_any_form() -> None:
    column = crawl(60, seed=9)
    column["image_id"][:, -3:] = 0  # S16 drops trailing zeros when it is printed, never when it is compared
    expected = edges(column)
    for form in ("S16", "V16"):
        ids = np.ascontiguousarray(column["image_id"]).view(form)[:, 0]
        np.testing.assert_array_equal(edges({**column, "image_id": ids}), expected)


def test_bands_cut_63_bits_evenly_and_interleave_them() -> None:
    ones = np.array([0, 2**63, 2**63 - 1], np.uint64)
    assert bands(ones).tolist() == [[0] * 5, [0] * 5, [8191, 8191, 8191, 4095, 4095]]
    for bit in range(63):
        changed = np.flatnonzero(bands(np.array([1 << (62 - bit)], np.uint64))[0])
        assert changed.tolist() == [bit % 5]


@pytest.mark.parametrize(("k", "dtype"), [(0, np.uint64), (1, np.uint32), (2, np.uint32), (4, np.uint16)])
def test_bands_are_as_narrow_as_they_can_be(k: int, dtype: type) -> None:
    found = bands(hashes("uniform", 10, 0), k)
    assert (found.dtype, found.shape) == (np.dtype(dtype), (10, k + 1))


@settings(max_examples=50, deadline=None)
@given(k=st.integers(0, 6), seed=st.integers(0, 2**32))
def test_hashes_within_k_share_a_band(k: int, seed: int) -> None:
    values = hashes("uniform", 50, seed)
    near = values ^ flips(np.random.default_rng(seed), 50, 0, k)
    assert (bands(values, k) == bands(near, k)).any(axis=1).all()


@given(counts=st.lists(st.integers(0, 9), max_size=20))
def test_spans_count_out_every_place(counts: list[int]) -> None:
    expected = [(p, at) for p, count in enumerate(counts) for at in range(count)]
    blocks = [zip(which.tolist(), at.tolist(), strict=True) for which, at in spans(np.array(counts, np.int64))]
    assert [pair for block in blocks for pair in block] == expected


@pytest.mark.parametrize("k", [-1, allpairs.MAX_K + 1, 64])
def test_a_distance_beyond_reason_is_refused(k: int) -> None:
    with pytest.raises(UsageError, match=f"distance of {k} bits"):
        all_pairs(hashes("uniform", 3, 0), k)


@pytest.mark.parametrize("band", [-1, 5])
def test_a_band_that_is_not_there_is_refused(band: int) -> None:
    column = crawl(3, 0)
    with pytest.raises(UsageError, match=f"no band {band}"):
        links_in_band(column["image_id"], views(column, np.arange(3), (AS_IS,)), band=band)


def test_a_hundred_thousand_copies_of_a_placeholder() -> None:
    """Linear: as pairs they would be 5e9, in memory 100 GB."""
    n = 100_000
    column = {name: np.repeat(values[:1], n, axis=0) for name, values in crawl(2, 0).items()}
    column["flags"] = np.zeros(n, np.uint8)
    column["image_id"] = np.random.default_rng(0).integers(0, 256, (n, 16), dtype=np.uint8)
    column["sha256"] = column["image_id"].repeat(2, axis=1)
    assert len(edges(column)) == n - 1


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_million_images_in_a_minute() -> None:
    n, planted = 1_000_000, 10_000
    rng = np.random.default_rng(0)
    column: Column = {
        "image_id": rng.integers(0, 256, (n, 16), dtype=np.uint8),
        "sha256": rng.integers(0, 256, (n, 32), dtype=np.uint8),
        "inner64": np.zeros(n, np.uint64),
        "flags": (rng.random(n) < 0.05).astype(np.uint8),
    }
    for short, long in (AS_IS, MIRROR):
        column[short] = rng.integers(0, 2**64, n, dtype=np.uint64)
        column[long] = rng.integers(0, 256, (n, 32), dtype=np.uint8)
    column["inner256"] = np.zeros((n, 32), np.uint8)
    column["flags"][: 4 * planted] = 0
    column["ph64"][:planted] = column["ph64"][planted : 2 * planted] ^ flips(rng, planted, 0, 4)
    column["ph256"][:planted] = column["ph256"][planted : 2 * planted]
    column["ph64"][2 * planted : 3 * planted] = column["mirror"][3 * planted : 4 * planted] ^ flips(rng, planted, 0, 4)
    column["ph256"][2 * planted : 3 * planted] = column["mirror256"][3 * planted : 4 * planted]
    tenth = slice(n - n // 10, n)
    for name in ("sha256", *HASHES):
        column[name][tenth] = column[name][n - 1]
    column["flags"][tenth] = 0
    found = edges(column)
    assert len(found) == 2 * planted + n // 10 - 1
    of = np.concatenate([np.arange(planted), np.arange(2 * planted, 3 * planted)])
    assert (found["i"][: 2 * planted] == of).all() and (found["j"][: 2 * planted] == of + planted).all()
    assert (found["mirrored"][: 2 * planted] == (of >= 2 * planted)).all()
