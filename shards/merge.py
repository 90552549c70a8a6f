"""Merging sorted tars by ranges of ids: the k-way merge of an external sort, in bounded memory.

image_id is a hash, so a tar sorted by it is a sorted run, and merging ranges of many runs is a global shuffle: chunks
are merged into runs, and runs into shards, by the same function.

    with publishing(tar) as images, publishing(index) as table, TarWriter(images) as run:
        write_rows(table, CHUNK, (run.add(*sample) for sample in merge_range(chunks, lo, hi, memory, dropped)))
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import Failure
from core.files import filesystem
from core.tables import open_table
from shards.format import CHUNK, id_at, ids_in, key_of


@dataclass(frozen=True)
class Run:
    """A tar sorted by image_id and the table CHUNK that says what is where in it; both local or on an object store."""

    tar: str
    index: str


_ROW = np.dtype(
    [
        ("image_id", "S16"),
        ("run", "i4"),  # which of the runs
        ("ext", "S4"),
        ("start", "i8"),  # bytes from the tar's start to the sample
        ("end", "i8"),  # to the next sample
        ("image", "i8"),  # and to the image
        ("size", "i8"),  # bytes of the image
        ("sha256", "V32"),  # of the image
    ]
)
_COLUMNS = ["image_id", "ext", "offset", "length", "image_offset", "image_size", "sha256"]
_PEAK = 3 * _ROW.itemsize  # bytes a row of index takes while it is gathered and sorted
_FEW = 4096  # rows of index that are held however small the memory is

Rows = npt.NDArray[np.void]  # of _ROW


def merge_range(
    runs: Sequence[Run], lo: bytes, hi: bytes | None, memory: int, dropped: Container[bytes]
) -> Iterator[tuple[bytes, str, bytes]]:
    """The samples (image_id, ext, image) of all runs with lo <= image_id < hi, ascending; hi None means to the end.

    `memory`: bytes held at once, a quarter of it for the index and half of it for images (an image larger than that
    is held alone), some 30 MiB for decoding row groups aside. `dropped`: ids to leave out. The runs stand on one file
    system; of each run a slab is read as one range. Failure where a run is damaged or shorter than its index, or where
    two runs hold the same id.
    """
    rows = _index_of(runs, lo, hi, most=max(_FEW, memory // 4 // _PEAK))
    if rows is None:
        middle = _middle(lo, hi)
        yield from merge_range(runs, lo, middle, memory, dropped)
        yield from merge_range(runs, middle, hi, memory, dropped)
        return
    for slab in _slabs(rows, memory // 2):
        yield from _read(runs, slab, dropped)


def read_range(paths: Iterable[str], schema: pa.Schema, lo: bytes, hi: bytes | None) -> pa.Table:
    """The rows with lo <= image_id < hi of tables that are sorted by it, together sorted by it."""
    found = [schema.empty_table()]
    for path in paths:
        with open_table(path, schema) as file:
            for table, inside in _groups(file, path, lo, hi):
                found.append(table.take(np.arange(inside.start, inside.stop)))  # a slice would hold the whole group
    rows = pa.concat_tables(found).combine_chunks()
    return rows.take(np.argsort(ids_in(rows["image_id"]), kind="stable"))


def _index_of(runs: Sequence[Run], lo: bytes, hi: bytes | None, most: int) -> Rows | None:
    """The index of the range over all runs, sorted by id; None where it has more than `most` rows."""
    found: list[Rows] = [np.empty(0, _ROW)]
    count = 0
    for number, run in enumerate(runs):
        with open_table(run.index, CHUNK) as file:
            for table, inside in _groups(file, run.index, lo, hi, _COLUMNS):
                found.append(_as_rows(table, number)[inside])
                count += len(found[-1])
                if count > most:
                    return None
    rows = np.concatenate(found)
    rows = rows[np.argsort(rows["image_id"], kind="stable")]
    twice = np.flatnonzero(rows["image_id"][1:] == rows["image_id"][:-1])
    if len(twice):
        i = int(twice[0])
        one, other = runs[rows["run"][i]].tar, runs[rows["run"][i + 1]].tar
        key = key_of(id_at(rows["image_id"], i))
        raise Failure(
            f"image {key} is both in {one} and in {other}, but every image is fetched once: "
            "one of them is of another run, remove it"
        )
    return rows


def _groups(
    file: pq.ParquetFile, path: str, lo: bytes, hi: bytes | None, columns: list[str] | None = None
) -> Iterator[tuple[pa.Table, slice]]:
    """The row groups with ids of the range, each with its rows in the range; found by the ids that the footer gives."""
    column = file.schema.names.index("image_id")
    last = b""
    for group in range(file.num_row_groups):
        about = file.metadata.row_group(group)
        if about.num_rows == 0 or about.column(column).statistics.max < lo:
            continue
        if hi is not None and about.column(column).statistics.min >= hi:
            return
        table = file.read_row_group(group, columns=columns)
        ids = ids_in(table["image_id"])
        if id_at(ids, 0) < last or (ids[1:] < ids[:-1]).any():
            raise Failure(f"{path} is not sorted by image_id: remove it and run the stage that wrote it again")
        last = id_at(ids, -1)
        yield table, slice(int(np.searchsorted(ids, lo)), len(ids) if hi is None else int(np.searchsorted(ids, hi)))


def _as_rows(table: pa.Table, run: int) -> Rows:
    rows = np.empty(table.num_rows, _ROW)
    rows["image_id"] = ids_in(table["image_id"])
    rows["run"] = run
    rows["ext"] = table["ext"].to_numpy()
    rows["start"] = table["offset"].to_numpy()
    rows["end"] = rows["start"] + table["length"].to_numpy()
    rows["image"] = table["image_offset"].to_numpy()
    rows["size"] = table["image_size"].to_numpy()
    rows["sha256"] = table["sha256"].to_numpy()
    return rows


def _middle(lo: bytes, hi: bytes | None) -> bytes:
    above = 1 << 128 if hi is None else int.from_bytes(hi, "big")
    return ((int.from_bytes(lo, "big") + above) // 2).to_bytes(16, "big")


def _slabs(rows: Rows, room: int) -> Iterator[Rows]:
    """Cut the rows where their bytes would pass `room`; at least one row each."""
    ends = np.cumsum(rows["end"] - rows["start"])
    first, before = 0, 0
    while first < len(rows):
        after = max(first + 1, int(np.searchsorted(ends, before + room, side="right")))
        yield rows[first:after]
        first, before = after, int(ends[after - 1])


def _read(runs: Sequence[Run], slab: Rows, dropped: Container[bytes]) -> Iterator[tuple[bytes, str, bytes]]:
    """The samples of a slab: one range of each run that has some, then each image out of it, proven by its sha256."""
    used, first = np.unique(slab["run"], return_index=True)
    last = len(slab) - 1 - np.unique(slab["run"][::-1], return_index=True)[1]
    starts, ends = slab["start"][first].tolist(), slab["end"][last].tolist()  # in a run, a slab's ids are neighbours
    tars = [runs[number].tar for number in used]
    fs, _ = filesystem(tars[0])
    ranges = fs.cat_ranges([filesystem(tar)[1] for tar in tars], starts, ends)
    for tar, start, end, data in zip(tars, starts, ends, ranges, strict=True):
        if isinstance(data, Exception):
            raise Failure(f"{tar} cannot be read ({data}): remove it and run the stage that wrote it again") from data
        if len(data) != end - start:
            raise Failure(
                f"{tar} ends at byte {start + len(data)}, its index goes on to byte {end}: it was cut short; "
                "remove it and run the stage that wrote it again"
            )
    place = {int(number): i for i, number in enumerate(used)}
    for row in slab:
        image_id, number, ext, _, _, image_at, size, sha256 = row.item()
        image_id = image_id.ljust(16, b"\0")
        if image_id in dropped:
            continue
        i = place[number]
        image = ranges[i][image_at - starts[i] : image_at - starts[i] + size]
        if hashlib.sha256(image).digest() != sha256:
            raise Failure(
                f"{tars[i]} is damaged: image {key_of(image_id)} at byte {image_at} is not the one its index knows; "
                "remove it and run the stage that wrote it again"
            )
        yield image_id, ext.decode(), image
