"""Features of examples: ids, vectors and labels, also of any other model by a Parquet file of (id, vector)."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core import choice
from core.errors import Failure
from core.files import open_input, unreadable
from core.stores import is_io_error
from evaluation.wording import listed

LARGEST = 1e18  # of a value: beyond it squares are not finite in float32
VALIDATION = 0.2  # of each class, where no validation split is given


@dataclass(frozen=True)
class Features:
    """Vectors of examples with one class each. Failure names what is wrong with them."""

    ids: tuple[str, ...]  # no two the same
    vectors: npt.NDArray[np.float32]  # [n, d], finite
    labels: npt.NDArray[np.int64]  # [n], numbers of classes

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or not self.vectors.size or self.vectors.dtype != np.float32:
            raise Failure(
                f"features are float32 [examples, dimensions], not {self.vectors.dtype} {list(self.vectors.shape)}"
            )
        if not len(self.ids) == len(self.vectors) == len(self.labels):
            raise Failure(
                f"{len(self.vectors):,} vectors have {len(self.ids):,} ids and {len(self.labels):,} labels: give each "
                "its own"
            )
        if len(set(self.ids)) != len(self.ids):
            twice = [name for name, count in Counter(self.ids).items() if count > 1]
            raise Failure(f"two vectors have the id {listed(twice)}: keep one of each")
        if self.labels.ndim != 1 or self.labels.dtype != np.int64 or self.labels.min() < 0:
            raise Failure("labels are int64 [examples], numbers of classes from 0")
        wrong = np.flatnonzero(~(np.abs(self.vectors) <= LARGEST).all(axis=1))
        if len(wrong):
            raise Failure(
                f"the vectors of {listed([self.ids[i] for i in wrong])} hold NaN or numbers beyond ±{LARGEST:g}: "
                "compute them again, or leave these examples out"
            )

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> Features:
        """The examples at these rows, in this order."""
        return Features(tuple(self.ids[i] for i in rows), self.vectors[rows], self.labels[rows])


def joined(one: Features, other: Features) -> Features:
    """The examples of both, which share no id."""
    return Features(
        one.ids + other.ids,
        np.concatenate([one.vectors, other.vectors]),
        np.concatenate([one.labels, other.labels]),
    )


def split(features: Features, seed: int, share: float = VALIDATION) -> tuple[Features, Features]:
    """A part to train on and one to validate with: of each class, `share` of its examples, rounded down.

    Which ones is a function of (seed, id), whatever the order of the examples. A class of few keeps all for training.
    """
    held = np.zeros(len(features.ids), np.bool_)
    for label in np.unique(features.labels):
        order = in_order(features, seed, "validation", int(label))
        held[order[: held_out(len(order), share)]] = True
    if not held.any():
        raise Failure(
            f"no class has the {int(np.ceil(1 / share))} examples that a validation split takes: give one of its own"
        )
    return features.take(np.flatnonzero(~held)), features.take(np.flatnonzero(held))


def held_out(examples: int, share: float = VALIDATION) -> int:
    """How many of a class `split` validates with."""
    return int(share * examples)


def in_order(features: Features, seed: int, purpose: str, label: int) -> npt.NDArray[np.int64]:
    """The rows of a class in the order in which they are chosen for a purpose, a function of (seed, id): int64."""
    rows = np.flatnonzero(features.labels == label)
    ids = [features.ids[i].encode() for i in rows]
    ranks = choice.rank(seed, purpose, "", ids)
    return np.array([row for _, _, row in sorted(zip(ranks.tolist(), ids, rows.tolist(), strict=True))], np.int64)


# ── features by file ──────────────────────────────────────────────────────────────────────────────


def read_features(path: str, label_of: Mapping[str, int]) -> Features:
    """The features of a Parquet file with columns `id` and `vector`, in the order of `label_of` (id → class).

    Ids are texts or whole numbers, vectors lists of float16, float32 or float64, all of one length; other columns are
    ignored. Every labelled id has a vector and every vector a label, or Failure names those that do not.
    """
    table = _read(path)
    ids = _ids(table["id"], path)
    vectors = _vectors(table["vector"], ids, path)
    if twice := [name for name, count in Counter(ids).items() if count > 1]:
        raise Failure(f"{path} has several vectors for {listed(twice)}: keep one of each")
    row_of = {name: row for row, name in enumerate(ids)}
    wanted = {unicodedata.normalize("NFC", name): label for name, label in label_of.items()}
    if missing := [name for name in wanted if name not in row_of]:
        raise Failure(f"{path} has no vector for {listed(missing)}: compute all, or evaluate without these examples")
    if unknown := [name for name in ids if name not in wanted]:
        raise Failure(f"{path} has vectors for {listed(unknown)}, which have no label: take them out, or label them")
    if len(zero := np.flatnonzero(~vectors.any(axis=1))):
        raise Failure(
            f"{path} has vectors of zeros alone for {listed([ids[i] for i in zero])}: compute them again, or leave "
            "these examples out"
        )
    rows = np.array([row_of[name] for name in wanted], np.int64)
    try:
        return Features(tuple(wanted), vectors[rows], np.array(list(wanted.values()), np.int64))
    except Failure as error:
        raise Failure(f"{path}: {error}") from None


def _read(path: str) -> pa.Table:
    try:
        with open_input(path) as source, pq.ParquetFile(source, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            for name in ("id", "vector"):
                if names.count(name) != 1:
                    raise Failure(
                        f"{path} has the columns {', '.join(names)}: it takes one `id` and one `vector`; rename them"
                    )
            table = file.read(columns=["id", "vector"])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        if is_io_error(error):
            raise unreadable(path, error) from error
        raise Failure(f"{path} is no readable Parquet file ({error}): write it again") from error
    if not table.num_rows:
        raise Failure(f"{path} has no rows: write the features of your examples into it")
    return table


def _ids(column: pa.ChunkedArray, path: str) -> list[str]:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)  # the last is of polars
    if not (pa.types.is_integer(kind) or any(is_text(kind) for is_text in texts)):
        raise Failure(f"{path} has ids of type {column.type}: write them as texts")
    if column.null_count:
        raise Failure(f"{path} has {column.null_count:,} rows without an id: give each its own")
    return [unicodedata.normalize("NFC", str(name)) for name in column.to_pylist()]


def _vectors(column: pa.ChunkedArray, ids: Sequence[str], path: str) -> npt.NDArray[np.float32]:
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or not pa.types.is_floating(kind.value_type):
        raise Failure(f"{path} has vectors of type {kind}: write them as lists of float32")
    empty = pc.is_null(column).to_numpy()
    if empty.any():
        raise Failure(
            f"{path} has no vector in the row of {listed([ids[i] for i in np.flatnonzero(empty).tolist()])}: fill it"
        )
    lengths = pc.list_value_length(column).to_numpy()
    usual = Counter(lengths.tolist()).most_common(1)[0][0]
    if len(other := np.flatnonzero(lengths != usual)) or not usual:
        some = other.tolist() if usual else list(range(len(ids)))
        raise Failure(
            f"{path} has vectors of {usual} numbers, and of {lengths[some[0]]} for {listed([ids[i] for i in some])}: "
            "all have to come from one model"
        )
    values = pc.list_flatten(column)
    if values.null_count:
        some = np.unique(np.flatnonzero(pc.is_null(values).to_numpy()) // usual).tolist()
        raise Failure(f"{path} has empty numbers in the vector of {listed([ids[i] for i in some])}: fill them in")
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused by its id
        vectors: npt.NDArray[np.float32] = values.to_numpy().astype(np.float32).reshape(len(ids), usual)
    return vectors
