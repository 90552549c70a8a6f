"""Which images stay: groups of near-duplicates under the star policy.

Images are taken in the order of their rank. One is dropped only if it has an edge of its own to an image that is kept;
otherwise it is kept. So nothing is dropped for looking like something that was itself dropped (chains of similar
images swallow whole collections), and no two kept images are duplicates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dedup.allpairs import Rows, representatives
from dedup.hashes import columns, words
from dedup.tables import GROUP, binary_column
from dedup.views import HASHES, Prints, distances

_BLOCK = 1 << 20  # links that are Python's numbers at a time


def groups(fingerprints: pa.Table, edges: NDArray[Any]) -> tuple[pa.Table, Rows]:
    """The table GROUP for images (columns of FINGERPRINT, in any order) and their duplicate edges.

    `edges` has fields i and j, rows of `fingerprints`, and mirrored, in any order and direction, also more than once:
    as `allpairs.edges` gives them, or all there are. An image ranks above another if it has more pixels within its
    plain border, else more bytes, else the smaller sha256, else the smaller image_id. kept_by is the best-ranked kept
    image that an image has an edge to; group_id the smallest image_id among a keeper and those it keeps. Images without
    a duplicate have no row, nor have keepers whose every duplicate was dropped for a better one.

    Beside the table, for each of its rows a number of its picture: the same for images that cannot be told apart.
    """
    linked = np.zeros(len(fingerprints), bool)  # all that follows is about these
    linked[edges["i"]] = linked[edges["j"]] = True
    place = np.cumsum(linked) - 1
    i, j = place[edges["i"]], place[edges["j"]]
    image = columns(fingerprints.filter(pa.array(linked)))
    picture = _pictures(image, i, j)
    kept_by, mirrored = _kept_by(_ranks(image), picture, i, j, edges["mirrored"])
    return _table(image, kept_by, mirrored, picture)


def without(table: pa.Table, placeholders: NDArray[np.bool_]) -> pa.Table:
    """A table GROUP less all groups to which an image in one of the given rows belongs: none of them stays."""
    gone = pc.is_in(table["group_id"], pc.unique(table["group_id"].filter(pa.array(placeholders)).combine_chunks()))
    keep = pc.and_not(table["keep"], gone)
    reason = pc.if_else(gone, "placeholder", table["reason"])
    for name, column in (("keep", keep), ("reason", reason)):
        table = table.set_column(table.column_names.index(name), GROUP.field(name), column)
    return table


def _ranks(image: dict[str, NDArray[Any]]) -> Rows:
    """The place of each image, 0 the best; no two are equal."""
    sha256, image_id = words(image["sha256"]).byteswap().T, words(image["image_id"]).byteswap().T
    width, height = (
        image[side].astype(np.int64) * (100 - image[f"border_{one}"].astype(np.int64) - image[f"border_{other}"])
        for side, one, other in (("width", "left", "right"), ("height", "top", "bottom"))
    )
    pixels = width * height
    order = np.lexsort((*image_id[::-1], *sha256[::-1], -image["bytes"], -pixels))
    return np.argsort(order)


def _pictures(image: Prints, i: Rows, j: Rows) -> Rows:
    """A number for each image, the same for those that cannot be told apart.

    They are the images linked by edges between equal bytes or equal hashes: whatever has an edge to one of them has one
    to each, though only the representative's may be listed.
    """
    same = np.ones(len(i), bool)
    for name in HASHES:
        same &= (words(image[name])[i] == words(image[name])[j]).all(axis=1)
    same |= (image["sha256"][i] == image["sha256"][j]).all(axis=1)
    n = len(image["ph64"])
    graph = coo_array((np.ones(int(same.sum()), bool), (i[same], j[same])), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _kept_by(
    rank: Rows, picture: Rows, i: Rows, j: Rows, mirrored: NDArray[np.bool_]
) -> tuple[Rows, NDArray[np.bool_]]:
    """For each image its keeper, itself where it is kept: rows; and whether only a mirrored edge leads there.

    Images that cannot be told apart share their fate: they all go to the keeper of the best-ranked, or to that one.
    """
    best = np.full(picture.max(initial=-1) + 1, len(rank))  # by number of the picture: rank of the best
    np.minimum.at(best, picture, rank)
    node = best[picture]  # a picture is one node, called by its rank
    low, high = np.minimum(node[i], node[j]), np.maximum(node[i], node[j])
    links = np.sort(((low * len(rank) + high) * 2 + mirrored)[low < high])  # unmirrored before mirrored
    kept_by, turned = np.arange(len(rank)), np.zeros(len(rank), bool)
    keeper, turn = kept_by.data, turned.data
    for start in range(0, len(links), _BLOCK):
        pairs, flags = np.divmod(links[start : start + _BLOCK], 2)
        block = np.stack([*np.divmod(pairs, len(rank)), flags], axis=1)
        for better, worse, flag in block.tolist():  # ascending: all that could drop `better` has been seen
            if keeper[better] == better and keeper[worse] == worse:
                keeper[worse], turn[worse] = better, bool(flag)
    return np.argsort(rank)[kept_by[node]], turned[node]


def _table(image: Prints, kept_by: Rows, mirrored: NDArray[np.bool_], picture: Rows) -> tuple[pa.Table, Rows]:
    image_id, n = image["image_id"], len(kept_by)
    smallest = representatives(image_id, kept_by)
    shared = np.bincount(kept_by, minlength=n)[kept_by] > 1
    keep = kept_by == np.arange(n)
    same_bytes = (image["sha256"] == image["sha256"][kept_by]).all(axis=1) & ~keep
    d64, d256 = distances(image, np.arange(n), kept_by, mirrored)
    reasons = np.select([keep, same_bytes, mirrored], ["", "same_bytes", "mirrored"], "near_duplicate")
    found = {
        "image_id": binary_column(image_id),
        "group_id": binary_column(image_id[smallest]),
        "keep": pa.array(keep),
        "kept_by": binary_column(image_id[kept_by]),
        "d64": pa.array(d64),
        "d256": pa.array(d256),
        "same_bytes": pa.array(same_bytes),
        "reason": pa.array(reasons, pa.string(), mask=keep),
    }
    order = np.lexsort(words(image_id).byteswap().T[::-1])
    order = order[shared[order]]
    return pa.table(found, schema=GROUP).take(pa.array(order)), picture[order]
