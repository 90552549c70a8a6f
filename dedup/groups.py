"""Which images stay: groups of near-duplicates under the star policy.

Images are taken in the order of their rank. One is dropped only if it has an edge of its own to an image that is kept;
otherwise it is kept. So nothing is dropped for looking like something that was itself dropped (chains of similar
images swallow whole collections), and no two kept images are duplicates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dedup.allpairs import Rows, representatives
from dedup.hashes import columns, hamming, hamming256, words
from dedup.tables import GROUP

_BLOCK = 1 << 20  # links that are Python's numbers at a time


def groups(fingerprints: pa.Table, edges: NDArray[Any]) -> pa.Table:
    """The table GROUP for images (columns of FINGERPRINT, in any order) and their duplicate edges.

    `edges` has fields i and j, rows of `fingerprints`, in any order and direction: as `allpairs.edges` gives them, or
    all there are. An image ranks above another if it has more pixels, else more bytes, else the smaller sha256, else
    the smaller image_id. kept_by is the best-ranked kept image that an image has an edge to; group_id the smallest
    image_id among a keeper and those it keeps. Images without a duplicate have no row, nor have keepers whose every
    duplicate was dropped for a better one.
    """
    linked = np.zeros(len(fingerprints), bool)  # all that follows is about these
    linked[edges["i"]] = linked[edges["j"]] = True
    place = np.cumsum(linked) - 1
    i, j = place[edges["i"]], place[edges["j"]]
    image = columns(fingerprints.filter(pa.array(linked)))
    kept_by = _kept_by(_ranks(image), _twins(image, i, j), i, j)
    return _table(image, kept_by)


def _ranks(image: dict[str, NDArray[Any]]) -> Rows:
    """The place of each image, 0 the best; no two are equal."""
    sha256, image_id = words(image["sha256"]).byteswap().T, words(image["image_id"]).byteswap().T
    pixels = image["width"].astype(np.int64) * image["height"]
    order = np.lexsort((*image_id[::-1], *sha256[::-1], -image["bytes"], -pixels))
    return np.argsort(order)


def _twins(image: dict[str, NDArray[Any]], i: Rows, j: Rows) -> Rows:
    """A number for each image, the same for those that cannot be told apart.

    They are the images linked by edges between equal bytes or equal hashes: whatever has an edge to one of them has one
    to each, though only the representative's may be listed.
    """
    same = (image["sha256"][i] == image["sha256"][j]).all(axis=1)
    same |= (image["ph64"][i] == image["ph64"][j]) & (image["ph256"][i] == image["ph256"][j]).all(axis=1)
    n = len(image["ph64"])
    graph = coo_array((np.ones(int(same.sum()), bool), (i[same], j[same])), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _kept_by(rank: Rows, twin: Rows, i: Rows, j: Rows) -> Rows:
    """For each image its keeper, itself where it is kept: rows.

    Twins share their fate: they all go to the keeper of the best-ranked among them, or to that one.
    """
    best = np.full(twin.max(initial=-1) + 1, len(rank))  # by twin number: rank of the best
    np.minimum.at(best, twin, rank)
    node = best[twin]  # twins are one node, called by its rank
    low, high = np.minimum(node[i], node[j]), np.maximum(node[i], node[j])
    links = np.sort((low * len(rank) + high)[low < high])
    kept_by = np.arange(len(rank))
    keeper = kept_by.data
    for start in range(0, len(links), _BLOCK):
        block = np.stack(np.divmod(links[start : start + _BLOCK], len(rank)), axis=1)
        for better, worse in block.tolist():  # ascending: all that could drop `better` has been seen
            if keeper[better] == better and keeper[worse] == worse:
                keeper[worse] = better
    return np.argsort(rank)[kept_by[node]]


def _table(image: dict[str, NDArray[Any]], kept_by: Rows) -> pa.Table:
    image_id, n = image["image_id"], len(kept_by)
    smallest = representatives(image_id, kept_by)
    shared = np.bincount(kept_by, minlength=n)[kept_by] > 1
    keep = kept_by == np.arange(n)
    found = {
        "image_id": _binary(image_id),
        "group_id": _binary(image_id[smallest]),
        "keep": pa.array(keep),
        "kept_by": _binary(image_id[kept_by]),
        "d64": pa.array(hamming(image["ph64"], image["ph64"][kept_by])),
        "d256": pa.array(hamming256(image["ph256"], image["ph256"][kept_by])),
        "same_bytes": pa.array((image["sha256"] == image["sha256"][kept_by]).all(axis=1) & ~keep),
    }
    order = np.lexsort(words(image_id).byteswap().T[::-1])
    return pa.table(found, schema=GROUP).take(pa.array(order[shared[order]]))


def _binary(rows: NDArray[np.uint8]) -> pa.Array:
    rows = np.ascontiguousarray(rows)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(rows.shape[1]), len(rows), [None, pa.py_buffer(rows)])
