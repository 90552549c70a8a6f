"""Finding ids in a sorted array: the places that numpy's own search gives, whatever the ids look like."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from dedup.lookup import Lookup
from shards.format import as_ids, id_at

ZEROS, ONES = bytes(16), b"\xff" * 16
TRAILING = b"\x80" + bytes(15)  # what numpy takes out of an array of S16 as one byte
SAME_START = [b"\x80" * 8 + bytes([i]) + bytes(7) for i in range(40)]  # only their last eight bytes differ


def some(n: int, seed: int) -> list[bytes]:
    data = np.random.default_rng(seed).bytes(16 * n)
    return [data[at : at + 16] for at in range(0, len(data), 16)]


@pytest.mark.parametrize(
    "known",
    [[], [ZEROS], [ONES], [TRAILING], [ZEROS, ONES], SAME_START, [*some(5000, 1), *SAME_START, ZEROS, ONES, TRAILING]],
    ids=["none", "zeros", "ones", "trailing zeros", "both ends", "one bucket", "many"],
)
def test_each_id_has_the_place_that_a_search_gives(known: Iterable[bytes]) -> None:
    known = sorted(set(known))
    asked = [*known, *some(3000, 2), *SAME_START, ZEROS, ONES, TRAILING, TRAILING[:-1] + b"\1", b"\0" * 15 + b"\1"]
    places, found = Lookup(as_ids(known)).find(as_ids(asked))
    assert found.tolist() == [id_ in set(known) for id_ in asked]
    assert places.tolist() == np.searchsorted(as_ids(known), as_ids(asked)).tolist()
    assert [id_at(as_ids(known), at) for at in places[found]] == [id_ for id_ in asked if id_ in set(known)]


def test_of_no_ids_none_is_found() -> None:
    places, found = Lookup(as_ids([ZEROS])).find(as_ids([]))
    assert len(places) == len(found) == 0
