"""Choices that are the same on one machine, on a cluster and after a retry: a hash, with a purpose.

Every cap, sample, split and order uses a hash of its own, so that no two of them agree by accident and none of
them follows the ids, whose order is the order of the shards.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import xxhash

_UNIT = float(2**53)  # as fine as a float in [0, 1) can be


def rank(seed: int, purpose: str, scope: str, ids: Iterable[bytes]) -> np.ndarray:
    """Orders ids within one scope: uint64 [n], the smallest ranks are chosen first.

    `purpose` names the decision ("query_quota"), `scope` what it is made for (the query); both end up in the hash, with
    the seed. The upper 64 bits of xxh3_128 are used: among the 20,000 pairs of one query two ranks are equal with a
    chance of 1e-11, and callers break ties by id.
    """
    prefix = f"{seed}\x1f{purpose}\x1f{scope}\x1f".encode()
    return np.fromiter((xxhash.xxh3_128_intdigest(prefix + i) >> 64 for i in ids), dtype=np.uint64)


def fraction(seed: int, purpose: str, scope: str, id_: bytes) -> float:
    """A number in [0, 1), uniform over ids: `fraction(...) < 0.05` is a five per cent sample that never changes."""
    return (int(rank(seed, purpose, scope, [id_])[0]) >> 11) / _UNIT


def as_keys(column: pa.ChunkedArray) -> list[bytes]:
    """The values of a column of ids, texts or numbers as a choice by hash takes them."""
    return [value if isinstance(value, bytes) else str(value).encode() for value in column.to_pylist()]
