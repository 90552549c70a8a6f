"""The exact scan: by bands it finds what comparing all pairs finds, and keeps the nearest of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from core.errors import UsageError
from dedup import scan as scans
from dedup.hashes import fingerprints, hamming256
from dedup.scan import MAX_BOUND, limits, near, scan
from dedup.views import HASHES
from tests.dedup.made import Column, scene, table


def flipped(rng: np.random.Generator, hashes: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    """Each hash with up to `most` of its bits flipped; some flips within one band, some all over."""
    bits = np.unpackbits(hashes, axis=1)
    for row in bits:
        n = int(rng.integers(0, most + 1))
        start = int(rng.integers(0, 256))
        near_by = (start + np.arange(256)) % 256
        row[near_by[:n] if rng.random() < 0.5 else rng.permutation(256)[:n]] ^= 1
    return np.packbits(bits, axis=1)


def pairs_of(found: Any) -> set[tuple[int, int, int]]:
    return {(int(asked), int(view), int(d256)) for part in found for asked, view, d256 in part}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, MAX_BOUND), st.integers(1, 60), st.integers(0, 300))
def test_by_bands_it_finds_what_brute_force_finds(seed: int, bound: int, q: int, v: int) -> None:
    rng = np.random.default_rng(seed)
    asked = rng.integers(0, 256, (q, 32)).astype(np.uint8)
    stored = flipped(rng, asked[rng.integers(0, q, v)], min(128, bound + 20))
    distance = hamming256(asked[:, None], stored[None, :])
    expected = {(int(i), int(j), int(distance[i, j])) for i, j in zip(*np.nonzero(distance <= bound), strict=True)}
    assert pairs_of(scans._by_bands(asked, stored, bound)) == expected
    assert pairs_of(near(asked, stored, bound)) == expected


@pytest.mark.parametrize("bound", [0, 15, 16, 40, 60, MAX_BOUND])
def test_the_limits_add_up(bound: int) -> None:
    assert sum(limit + 1 for limit in limits(bound)) == bound + 1


@pytest.mark.parametrize("bound", [-1, MAX_BOUND + 1])
def test_a_bound_that_cannot_be_searched_is_refused(bound: int) -> None:
    with pytest.raises(UsageError, match="choose 0 to 64"):
        next(near(np.zeros((1, 32), np.uint8), np.zeros((1, 32), np.uint8), bound))


def prints_of(pictures: list[Image.Image]) -> Column:
    """Fingerprints of pictures whose ids are their numbers."""
    found = fingerprints(pictures)
    ids = np.arange(len(pictures), dtype=np.uint8).repeat(16).reshape(-1, 16)
    return found | {"image_id": ids, "sha256": np.repeat(ids, 2, axis=1)}


def framed(picture: Image.Image) -> Image.Image:
    return ImageOps.expand(picture, 40, "white")


STORED = [
    scene(1).resize((150, 120)),
    ImageOps.mirror(scene(2)),
    framed(scene(3)),
    scene(4),
    framed(ImageOps.mirror(scene(5))),
    ImageOps.mirror(scene(6)),
    Image.new("RGB", (90, 90), "teal"),
    scene(90),
]
ASKED = [scene(1), scene(2), scene(3), framed(scene(4)), scene(5), framed(scene(6)), Image.new("RGB", (90, 90), "teal")]
FOUND = [  # picture, image, mirrored, bordered
    (0, 0, False, False),
    (1, 1, True, False),
    (2, 2, False, True),
    (3, 3, False, True),
    (4, 4, True, True),
    (5, 5, True, True),
]


def test_copies_are_found_from_either_side(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, stored = fingerprints(ASKED), table(prints_of(STORED))
    found = scan(asked, [stored], 30, 5)
    seen = [(int(m["picture"]), int(m["image_id"][0]), bool(m["mirrored"]), bool(m["bordered"])) for m in found]
    assert seen == FOUND
    monkeypatch.setattr(scans, "_IMAGES", 3)
    monkeypatch.setattr(scans, "_HELD", 1)
    monkeypatch.setattr(scans, "_FEW", 0)
    again = scan(asked, [stored.slice(i, 1) for i in range(len(STORED))], 30, 5)
    assert again.tobytes() == found.tobytes()
    assert not len(scan(asked, [], 30, 5)) and not len(scan(fingerprints([]), [stored], 30, 5))


def test_the_nearest_stay_and_of_equal_ones_the_smallest_ids() -> None:
    column = prints_of([scene(1)] * 5)
    for name in HASHES:
        if name.endswith("256"):
            column[name] = column[name].copy()
    column["ph256"][[0, 3], 5] ^= 3  # two bits
    found = scan(fingerprints([scene(1)]), [table(column)], 60, 4)
    assert [(int(m["image_id"][0]), int(m["d256"])) for m in found] == [(1, 0), (2, 0), (4, 0), (0, 2)]
