"""The views of a picture: as it is, within its plain border, and mirrored. Two pictures are alike if two views are.

Views as they are and within borders are compared with each other and with mirrored ones; two mirrored views differ as
the two pictures do. So a mirrored copy is found from either side, and one with a border from the other's mirrored view.

Among 13,767 web photos, drawings, product shots and cut-outs, 125 pairs are edges by a mirrored view alone: a hundred
photos of one test set that were mirrored to be a second hundred, 21 copies known to be flipped, and four pairs of drawn
letters (b and d, p and q): the mirror image of a sign may be another sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dedup.hashes import Hashes, hamming, hamming256

Prints = Mapping[str, NDArray[Any]]  # columns of FINGERPRINT, a row an image

AS_IS, INNER, MIRROR = ("ph64", "ph256"), ("inner64", "inner256"), ("mirror", "mirror256")
VIEWS = (AS_IS, INNER, MIRROR)
HASHES = tuple(name for view in VIEWS for name in view)

_UPRIGHT = [(a, b) for a in (AS_IS, INNER) for b in (AS_IS, INNER)]
_MIRRORED = [pair for view in (AS_IS, INNER) for pair in ((view, MIRROR), (MIRROR, view))]


class Views(NamedTuple):
    """Views of some images, as arrays [v]."""

    row: NDArray[np.int64]  # of the image
    mirrored: NDArray[np.bool_]
    ph64: Hashes
    ph256: NDArray[np.uint8]  # [v, 32]

    def take(self, order: NDArray[np.int64]) -> Views:
        """Some of them, in some order."""
        return Views(self.row[order], self.mirrored[order], self.ph64[order], self.ph256[order])


def views(image: Prints, rows: NDArray[np.int64], kinds: tuple[tuple[str, str], ...] = VIEWS) -> Views:
    """All views of the images in some rows, or those of some kinds; one has no inner view where it has no border."""
    parts = []
    for short, long in kinds:
        there = rows[image[short][rows] != 0] if short == INNER[0] else rows
        mirrored = np.full(len(there), (short, long) == MIRROR)
        parts.append(Views(there, mirrored, image[short][there], image[long][there]))
    return Views(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def distances(
    image: Prints, i: NDArray[np.int64], j: NDArray[np.int64], mirrored: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """d64 and d256 of pairs of rows: each the smallest of any two views, one of them mirrored where `mirrored`."""
    d64, d256 = np.full(len(i), 64, np.uint8), np.full(len(i), 256, np.uint16)
    for pairs, here in ((_UPRIGHT, ~mirrored), (_MIRRORED, mirrored)):
        for a, b in pairs:
            at = np.flatnonzero(here & _there(image, a, i) & _there(image, b, j))
            d64[at] = np.minimum(d64[at], hamming(image[a[0]][i[at]], image[b[0]][j[at]]))
            d256[at] = np.minimum(d256[at], hamming256(image[a[1]][i[at]], image[b[1]][j[at]]))
    return d64, d256


def _there(image: Prints, view: tuple[str, str], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    return image[view[0]][rows] != 0 if view is INNER else np.ones(len(rows), bool)
