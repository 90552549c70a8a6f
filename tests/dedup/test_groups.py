"""Groups: the star policy, on every list of edges that says the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dedup import groups as groups_module
from dedup.allpairs import LINK, edges
from dedup.groups import groups, without
from dedup.tables import GROUP
from dedup.views import AS_IS, MIRROR
from tests.dedup.made import Column, crawl, table
from tests.dedup.test_allpairs import ways

SIDES = ("left", "top", "right", "bottom")


def images(n: int, seed: int = 0, given: Mapping[str, list[Any]] | None = None) -> Column:
    """n images of which no two look alike, all of 100 × 100 pixels and 1,000 bytes unless said otherwise."""
    rng = np.random.default_rng(seed)
    column: Column = {
        "image_id": rng.integers(0, 256, (n, 16), dtype=np.uint8),
        "sha256": rng.integers(0, 256, (n, 32), dtype=np.uint8),
        "ph64": rng.integers(0, 2**64, n, dtype=np.uint64),
        "ph256": rng.integers(0, 256, (n, 32), dtype=np.uint8),
        "mirror": rng.integers(0, 2**64, n, dtype=np.uint64),
        "mirror256": rng.integers(0, 256, (n, 32), dtype=np.uint8),
        "inner64": np.zeros(n, np.uint64),
        "border_left": np.zeros(n, np.uint8),
        "border_top": np.zeros(n, np.uint8),
        "width": np.full(n, 100, np.int32),
        "height": np.full(n, 100, np.int32),
        "bytes": np.full(n, 1000, np.int64),
    }
    return column | {name: np.array(values, column[name].dtype) for name, values in (given or {}).items()}


Link = tuple[int, int, bool]  # rows, and whether one of them is mirrored


def links(pairs: Sequence[Link | tuple[int, int]]) -> NDArray[Any]:
    return np.array([(*pair, False)[:3] for pair in pairs], LINK)


def rank(column: Column, row: int) -> tuple[Any, ...]:
    border = [int(column[f"border_{side}"][row]) if f"border_{side}" in column else 0 for side in SIDES]
    width, height = int(column["width"][row]), int(column["height"][row])
    pixels = width * (100 - border[0] - border[2]) * height * (100 - border[1] - border[3])
    ids = column["sha256"][row].tobytes(), column["image_id"][row].tobytes()
    return -pixels, -int(column["bytes"][row]), *ids


def star(column: Column, pairs: Sequence[Link]) -> dict[int, tuple[int, bool]]:
    """The policy as it is written: image → keeper, itself where it is kept; and whether it is mirrored."""
    neighbours: dict[int, dict[int, bool]] = {row: {} for row in range(len(column["image_id"]))}
    for i, j, mirrored in pairs:
        neighbours[i][j] = neighbours[j][i] = mirrored and neighbours[i].get(j, True)
    kept_by: dict[int, tuple[int, bool]] = {}
    for row in sorted(neighbours, key=lambda row: rank(column, row)):
        kept = [other for other in neighbours[row] if kept_by.get(other, (-1,))[0] == other]
        best = min(kept, key=lambda other: rank(column, other)) if kept else row
        kept_by[row] = best, neighbours[row].get(best, False)
    return kept_by


def expected_rows(column: Column, kept_by: dict[int, tuple[int, bool]]) -> list[dict[str, Any]]:
    ids = [row.tobytes() for row in column["image_id"]]
    members: dict[int, list[int]] = {}
    for row, (keeper, _) in kept_by.items():
        members.setdefault(keeper, []).append(row)
    rows = []
    for row, (keeper, mirrored) in kept_by.items():
        if len(members[keeper]) > 1:
            d64, d256 = (min(distance) for distance in zip(*ways(column, row, keeper, mirrored), strict=True))
            same_bytes = row != keeper and bool((column["sha256"][row] == column["sha256"][keeper]).all())
            why = "same_bytes" if same_bytes else "mirrored" if mirrored else "near_duplicate"
            rows.append(
                {
                    "image_id": ids[row],
                    "group_id": min(ids[member] for member in members[keeper]),
                    "keep": row == keeper,
                    "kept_by": ids[keeper],
                    "d64": d64,
                    "d256": d256,
                    "same_bytes": same_bytes,
                    "reason": None if row == keeper else why,
                }
            )
    return sorted(rows, key=lambda row: bytes(row["image_id"]))


def all_edges(column: Column) -> list[Link]:
    """Every duplicate edge there is: nobody is represented by another."""
    found = []
    for i, j in combinations(range(len(column["image_id"])), 2):
        if (column["sha256"][i] == column["sha256"][j]).all():
            found.append((i, j, False))
        elif not column["flags"][i] and not column["flags"][j]:
            near = [any(d64 <= 4 and d256 <= 40 for d64, d256 in ways(column, i, j, m)) for m in (False, True)]
            found += [(i, j, not near[0])] if any(near) else []
    return found


def grouped(column: Column, found: NDArray[Any]) -> pa.Table:
    return groups(table(column), found)[0]


@settings(max_examples=100, deadline=None)
@given(n=st.integers(1, 40), seed=st.integers(0, 2**32), density=st.floats(0, 0.3))
def test_any_graph_is_grouped_by_the_star_policy(n: int, seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    column = images(n, seed, {"width": list(rng.integers(1, 4, n)), "bytes": list(rng.integers(1, 3, n))})
    pairs = [(i, j, bool(rng.random() < 0.3)) for i, j in combinations(range(n), 2) if rng.random() < density]
    pairs += [(i, j, True) for i, j, _ in pairs[::3]]  # near both ways, or found twice
    found = grouped(column, links(pairs))
    found.validate(full=True)
    assert found.schema.equals(GROUP, check_metadata=True)
    assert found.to_pylist() == expected_rows(column, star(column, pairs))


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 70), seed=st.integers(0, 2**32))
def test_edges_of_representatives_decide_as_all_edges_do(n: int, seed: int) -> None:
    """The proof that `edges` leaves out nothing that the star policy needs."""
    column = crawl(n, seed)
    pairs = all_edges(column)
    found = grouped(column, edges(column))
    assert found.to_pylist() == expected_rows(column, star(column, pairs))
    assert found.equals(grouped(column, links(pairs)))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_nothing_is_dropped_without_a_kept_neighbour_and_no_two_kept_are_linked(seed: int) -> None:
    column = crawl(70, seed)
    linked = {frozenset(pair[:2]) for pair in all_edges(column)}
    row_of = {row.tobytes(): number for number, row in enumerate(column["image_id"])}
    dropped = {}
    for row in grouped(column, edges(column)).to_pylist():
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
    found = edges(column)
    rows = np.array(data.draw(st.permutations(range(60))))
    shuffled = {name: values[rows] for name, values in column.items()}
    place = np.argsort(rows)
    moved = found[data.draw(st.permutations(range(len(found))))].copy()
    moved["i"], moved["j"] = place[moved["j"]], place[moved["i"]]
    expected = grouped(column, found)
    assert grouped(shuffled, moved).equals(expected)
    assert grouped(shuffled, edges(shuffled)).equals(expected)


@pytest.mark.parametrize(
    ("given_", "keeper"),
    [
        ({"width": [100, 101], "bytes": [2000, 1000]}, 1),  # more pixels, though fewer bytes
        ({"width": [50, 100], "height": [300, 100]}, 0),  # pixels, not width
        ({"width": [2**16, 30_000], "height": [2**16, 30_000]}, 0),  # 2³² pixels: beyond 32 bits
        ({"width": [112, 100], "border_left": [11, 0]}, 1),  # a border is no part of a picture
        ({"height": [112, 100], "border_top": [10, 0]}, 0),  # though it may have more beside it
        ({"bytes": [1000, 1001]}, 1),
        ({"sha256": [[1] * 32, [0] * 8 + [255] * 24]}, 1),  # as bytes compare
        ({"sha256": [[0] * 31 + [1], [0] * 31 + [2]]}, 0),
        ({"sha256": [[7] * 32] * 2, "image_id": [[0] * 15 + [1], [0] * 16]}, 1),
    ],
)
def test_rank(given_: dict[str, list[Any]], keeper: int) -> None:
    column = images(2, given=given_)
    found = grouped(column, links([(0, 1)]))
    kept = found.filter(found["keep"]).to_pylist()
    assert [row["image_id"] for row in kept] == [column["image_id"][keeper].tobytes()]


def test_a_chain_is_not_swallowed() -> None:
    """0 - 1 - 2 - 3 - 4, ranked in that order: 1 duplicates 0 and 3 duplicates 2; 2 and 4 have lost nothing."""
    column = images(5, given={"width": [5, 4, 3, 2, 1]})
    found = {row["image_id"]: row for row in grouped(column, links([(i, i + 1) for i in range(4)])).to_pylist()}
    ids = [row.tobytes() for row in column["image_id"]]
    assert [found[id_]["kept_by"] if id_ in found else None for id_ in ids] == [ids[0], ids[0], ids[2], ids[2], None]


def test_a_keeper_whose_duplicates_went_to_better_ones_has_no_row() -> None:
    column = images(3, given={"width": [3, 1, 2]})
    found = grouped(column, links([(0, 1), (1, 2)]))
    assert column["image_id"][2].tobytes() not in found["image_id"].to_pylist()
    assert len(found) == 2


def test_kept_by_is_the_best_of_several_keepers() -> None:
    column = images(4, given={"width": [2, 4, 3, 1]})
    found = grouped(column, links([(3, 0), (3, 1), (3, 2)]))
    assert set(found["kept_by"].to_pylist()) == {column["image_id"][1].tobytes()}


def test_images_that_cannot_be_told_apart_have_one_number() -> None:
    column = images(5, given={"width": [5, 4, 3, 2, 1]})
    column["sha256"][1] = column["sha256"][0]
    for name in (*AS_IS, *MIRROR):
        column[name][[1, 3]] = column[name][[0, 2]]
    column["ph64"][4], column["ph256"][4] = column["ph64"][0], column["ph256"][0]  # but another mirror image
    found, picture = groups(table(column), links([(0, 1), (0, 2), (2, 3), (0, 4)]))
    numbers = dict(zip(found["image_id"].to_pylist(), picture.tolist(), strict=True))
    of = [numbers[row.tobytes()] for row in column["image_id"]]
    assert of[0] == of[1] and of[2] == of[3] and len(set(of)) == 3


def test_without_placeholders_whole_groups_go() -> None:
    column = images(5, given={"width": [5, 4, 3, 2, 1]})
    found = grouped(column, links([(0, 1), (0, 2), (3, 4)]))
    ids = [row.tobytes() for row in column["image_id"]]
    left = without(found, np.array([id_ == ids[1] for id_ in found["image_id"].to_pylist()]))
    assert left.schema.equals(GROUP, check_metadata=True)
    said = {row["image_id"]: (row["keep"], row["reason"]) for row in left.to_pylist()}
    assert [said[id_] for id_ in ids] == [(False, "placeholder")] * 3 + [(True, None), (False, "near_duplicate")]
    assert without(found, np.zeros(5, bool)).equals(found)
    assert left.drop_columns(["keep", "reason"]).equals(found.drop_columns(["keep", "reason"]))


def test_no_edges_no_rows() -> None:
    for column in (images(3), images(0)):
        found = grouped(column, links([]))
        assert found.equals(pa.table({name: [] for name in GROUP.names}, schema=GROUP))


def test_links_are_walked_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    column = crawl(120, seed=4)
    expected = grouped(column, edges(column))
    monkeypatch.setattr(groups_module, "_BLOCK", 3)
    assert grouped(column, edges(column)).equals(expected)
