"""Groups: the star policy, on every list of edges that says the same."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dedup import groups as groups_module
from dedup.allpairs import EDGE, edges
from dedup.groups import groups
from dedup.hashes import hamming, hamming256
from dedup.tables import GROUP
from tests.dedup.made import Column, crawl, table


def images(n: int, seed: int = 0, given: Mapping[str, list[Any]] | None = None) -> Column:
    """n images of which no two look alike, all of 100 × 100 pixels and 1,000 bytes unless said otherwise."""
    rng = np.random.default_rng(seed)
    column: Column = {
        "image_id": rng.integers(0, 256, (n, 16), dtype=np.uint8),
        "sha256": rng.integers(0, 256, (n, 32), dtype=np.uint8),
        "ph64": rng.integers(0, 2**64, n, dtype=np.uint64),
        "ph256": rng.integers(0, 256, (n, 32), dtype=np.uint8),
        "width": np.full(n, 100, np.int32),
        "height": np.full(n, 100, np.int32),
        "bytes": np.full(n, 1000, np.int64),
    }
    return column | {name: np.array(values, column[name].dtype) for name, values in (given or {}).items()}


def links(pairs: list[tuple[int, int]]) -> NDArray[Any]:
    found = np.zeros(len(pairs), EDGE)
    for row, (i, j) in zip(found, pairs, strict=True):
        row["i"], row["j"] = i, j
    return found


def rank(column: Column, row: int) -> tuple[Any, ...]:
    pixels = int(column["width"][row]) * int(column["height"][row])
    ids = column["sha256"][row].tobytes(), column["image_id"][row].tobytes()
    return -pixels, -int(column["bytes"][row]), *ids


def star(column: Column, pairs: list[tuple[int, int]]) -> dict[int, int]:
    """The policy as it is written: image → keeper, itself where it is kept."""
    neighbours: dict[int, set[int]] = {row: set() for row in range(len(column["image_id"]))}
    for i, j in pairs:
        neighbours[i].add(j)
        neighbours[j].add(i)
    kept_by: dict[int, int] = {}
    for row in sorted(neighbours, key=lambda row: rank(column, row)):
        kept = [other for other in neighbours[row] if kept_by.get(other) == other]
        kept_by[row] = min(kept, key=lambda other: rank(column, other)) if kept else row
    return kept_by


def expected_rows(column: Column, kept_by: dict[int, int]) -> list[dict[str, Any]]:
    ids = [row.tobytes() for row in column["image_id"]]
    members: dict[int, list[int]] = {}
    for row, keeper in kept_by.items():
        members.setdefault(keeper, []).append(row)
    return sorted(
        (
            {
                "image_id": ids[row],
                "group_id": min(ids[member] for member in members[keeper]),
                "keep": row == keeper,
                "kept_by": ids[keeper],
                "d64": int(hamming(column["ph64"][row], column["ph64"][keeper])),
                "d256": int(hamming256(column["ph256"][row], column["ph256"][keeper])),
                "same_bytes": row != keeper and bool((column["sha256"][row] == column["sha256"][keeper]).all()),
            }
            for row, keeper in kept_by.items()
            if len(members[keeper]) > 1
        ),
        key=lambda row: bytes(row["image_id"]),
    )


def all_edges(column: Column) -> list[tuple[int, int]]:
    """Every duplicate edge there is: nobody is represented by another."""
    found = []
    for i, j in combinations(range(len(column["image_id"])), 2):
        near = (
            not column["flags"][i]
            and not column["flags"][j]
            and hamming(column["ph64"][i], column["ph64"][j]) <= 4
            and hamming256(column["ph256"][i], column["ph256"][j]) <= 40
        )
        if near or (column["sha256"][i] == column["sha256"][j]).all():
            found.append((i, j))
    return found


def edges_of(column: Column) -> NDArray[Any]:
    ids, sha256, ph64, ph256 = (column[name] for name in ("image_id", "sha256", "ph64", "ph256"))
    return edges(ids, sha256, ph64, ph256, column["flags"])


@settings(max_examples=100, deadline=None)
@given(n=st.integers(1, 40), seed=st.integers(0, 2**32), density=st.floats(0, 0.3))
def test_any_graph_is_grouped_by_the_star_policy(n: int, seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    column = images(n, seed, {"width": list(rng.integers(1, 4, n)), "bytes": list(rng.integers(1, 3, n))})
    pairs = [pair for pair in combinations(range(n), 2) if rng.random() < density]
    found = groups(table(column), links(pairs))
    found.validate(full=True)
    assert found.schema.equals(GROUP, check_metadata=True)
    assert found.to_pylist() == expected_rows(column, star(column, pairs))


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 70), seed=st.integers(0, 2**32))
def test_edges_of_representatives_decide_as_all_edges_do(n: int, seed: int) -> None:
    """The proof that `edges` leaves out nothing that the star policy needs."""
    column = crawl(n, seed)
    pairs = all_edges(column)
    found = groups(table(column), edges_of(column))
    assert found.to_pylist() == expected_rows(column, star(column, pairs))
    assert found.equals(groups(table(column), links(pairs)))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_nothing_is_dropped_without_a_kept_neighbour_and_no_two_kept_are_linked(seed: int) -> None:
    column = crawl(70, seed)
    linked = {frozenset(pair) for pair in all_edges(column)}
    row_of = {row.tobytes(): number for number, row in enumerate(column["image_id"])}
    dropped = {}
    for row in groups(table(column), edges_of(column)).to_pylist():
        if row["keep"]:
            assert row["kept_by"] == row["image_id"]
        else:
            dropped[row_of[row["image_id"]]] = row_of[row["kept_by"]]
    assert all(frozenset(pair) in linked for pair in dropped.items())
    assert not set(dropped) & set(dropped.values())
    assert all(pair & set(dropped) for pair in linked)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), data=st.data())
def test_order_of_images_and_edges_means_nothing(seed: int, data: st.DataObject) -> None:
    column = crawl(60, seed)
    found = edges_of(column)
    rows = np.array(data.draw(st.permutations(range(60))))
    shuffled = {name: values[rows] for name, values in column.items()}
    place = np.argsort(rows)
    moved = found[data.draw(st.permutations(range(len(found))))].copy()
    moved["i"], moved["j"] = place[moved["j"]], place[moved["i"]]
    expected = groups(table(column), found)
    assert groups(table(shuffled), moved).equals(expected)
    assert groups(table(shuffled), edges_of(shuffled)).equals(expected)


@pytest.mark.parametrize(
    ("given_", "keeper"),
    [
        ({"width": [100, 101], "bytes": [2000, 1000]}, 1),  # more pixels, though fewer bytes
        ({"width": [50, 100], "height": [300, 100]}, 0),  # pixels, not width
        ({"width": [2**16, 30_000], "height": [2**16, 30_000]}, 0),  # 2³² pixels: beyond 32 bits
        ({"bytes": [1000, 1001]}, 1),
        ({"sha256": [[1] * 32, [0] * 8 + [255] * 24]}, 1),  # as bytes compare
        ({"sha256": [[0] * 31 + [1], [0] * 31 + [2]]}, 0),
        ({"sha256": [[7] * 32] * 2, "image_id": [[0] * 15 + [1], [0] * 16]}, 1),
    ],
)
def test_rank(given_: dict[str, list[Any]], keeper: int) -> None:
    column = images(2, given=given_)
    found = groups(table(column), links([(0, 1)]))
    kept = found.filter(found["keep"]).to_pylist()
    assert [row["image_id"] for row in kept] == [column["image_id"][keeper].tobytes()]


def test_a_chain_is_not_swallowed() -> None:
    """0 - 1 - 2 - 3 - 4, ranked in that order: 1 duplicates 0 and 3 duplicates 2; 2 and 4 have lost nothing."""
    column = images(5, given={"width": [5, 4, 3, 2, 1]})
    found = {row["image_id"]: row for row in groups(table(column), links([(i, i + 1) for i in range(4)])).to_pylist()}
    ids = [row.tobytes() for row in column["image_id"]]
    assert [found[id_]["kept_by"] if id_ in found else None for id_ in ids] == [ids[0], ids[0], ids[2], ids[2], None]


def test_a_keeper_whose_duplicates_went_to_better_ones_has_no_row() -> None:
    column = images(3, given={"width": [3, 1, 2]})
    found = groups(table(column), links([(0, 1), (1, 2)]))
    assert column["image_id"][2].tobytes() not in found["image_id"].to_pylist()
    assert len(found) == 2


def test_kept_by_is_the_best_of_several_keepers() -> None:
    column = images(4, given={"width": [2, 4, 3, 1]})
    found = groups(table(column), links([(3, 0), (3, 1), (3, 2)]))
    assert set(found["kept_by"].to_pylist()) == {column["image_id"][1].tobytes()}


def test_no_edges_no_rows() -> None:
    for column in (images(3), images(0)):
        found = groups(table(column), links([]))
        assert found.equals(pa.table({name: [] for name in GROUP.names}, schema=GROUP))


def test_links_are_walked_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    column = crawl(120, seed=4)
    expected = groups(table(column), edges_of(column))
    monkeypatch.setattr(groups_module, "_BLOCK", 3)
    assert groups(table(column), edges_of(column)).equals(expected)
