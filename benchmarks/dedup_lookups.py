"""dedup_lookups: finding a part's images among all linked or dropped ones, against pyarrow's is_in and index_in.

    make bench BENCH=dedup_lookups

Half of the images of a set are linked, and half of those dropped. Both read the same Parquet parts and give the same
rows. What pyarrow's functions look in is hashed again for each row group, so that a row costs more in a larger set.
"""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.tables import ID, read_batches, read_table
from dedup.lookup import Lookup
from dedup.tables import FINGERPRINT, GROUP
from pipeline import dedup
from pipeline.tables import PAIR
from pipeline.tasks.attempt import ROW_GROUP, Task
from pipeline.tasks.shuffle import split
from shards.format import Ids, ids_in, shards_of
from tests.pipeline.upstream import table_of

SIZES = (125_000, 500_000, 2_000_000)  # images of a set
A_PART = 125_000  # of them
RANGES = 8  # that captions are dealt to
GOAL = 3.0  # times as cheap at 2M
FLAT = 0.6  # of what a row costs at 2M it costs at 125k, at the least

Rows = Iterator[pa.Table]


def linked_ours(parts: list[str], linked: Ids) -> Rows:
    """As `commit_groups` looks for the images that have any duplicate."""
    lookup = Lookup(np.unique(linked))
    for path in parts:
        for rows in read_batches(path, FINGERPRINT):
            yield rows.filter(pa.array(lookup.find(ids_in(rows["image_id"]))[1]))


def linked_theirs(parts: list[str], linked: Ids) -> Rows:
    values = pc.unique(pa.chunked_array([_column(linked)]))
    for path in parts:
        for rows in read_batches(path, FINGERPRINT):
            yield rows.filter(pc.is_in(rows["image_id"], values))


def keepers_ours(parts: list[str], groups: str) -> Rows:
    """`read_texts` itself: each text with the image that stays for its own."""
    dedup._keepers.cache_clear()  # reading them is part of the cost
    for path in parts:
        yield from (rows for _, rows in dedup.read_texts(Task("part", args=(path,)), RANGES, (groups,)))


def keepers_theirs(parts: list[str], groups: str) -> Rows:
    dropped = read_table(groups, GROUP)
    dropped = dropped.filter(pc.invert(dropped["keep"])).combine_chunks()
    duplicates, keepers = dropped["image_id"].combine_chunks(), dropped["kept_by"].combine_chunks()
    for path in parts:
        for rows in read_batches(path, PAIR):
            images = rows["image_id"].combine_chunks()
            keeper = pc.coalesce(keepers.take(pc.index_in(images, duplicates)), images)
            rows = rows.replace_schema_metadata().append_column("keeper", keeper)
            yield from (part for _, part in split(rows, shards_of(ids_in(rows["keeper"]), RANGES)))


def _column(ids: Ids) -> pa.Array:
    return pa.FixedSizeBinaryArray.from_buffers(ID, len(ids), [None, pa.py_buffer(np.ascontiguousarray(ids))])


def write(folder: Path, images: int) -> tuple[list[str], list[str], Ids, str]:
    """The parts of fingerprints and of pairs of a set, its linked images, its groups."""
    random = np.random.default_rng(images)
    ids = np.frombuffer(random.bytes(16 * images), "S16")
    prints: list[str] = []
    texts: list[str] = []
    for first in range(0, images, A_PART):
        some = ids[first : first + A_PART]
        for schema, paths, of in ((FINGERPRINT, prints, np.sort(some)), (PAIR, texts, some)):
            blank = table_of(schema, [{"text": "a brown dog on the lawn"}] if schema is PAIR else [{}])
            rows = blank.take(pa.array(np.zeros(len(of), np.int64)))
            rows = rows.set_column(rows.schema.get_field_index("image_id"), schema.field("image_id"), _column(of))
            paths.append(str(folder / f"{images}-{first}-{len(schema)}.parquet"))
            pq.write_table(rows, paths[-1], row_group_size=ROW_GROUP, compression="zstd")
    linked = np.sort(ids[: images // 2])
    dropped = linked[::2]
    keep = pa.array(np.zeros(len(dropped), bool))
    known: dict[str, Any] = {
        "image_id": _column(dropped),
        "kept_by": _column(linked[1::2][: len(dropped)]),
        "keep": keep,
    }
    rows = table_of(GROUP, [{"keep": False, "same_bytes": False}]).take(pa.array(np.zeros(len(dropped), np.int64)))
    for name, column in known.items():
        rows = rows.set_column(rows.schema.get_field_index(name), GROUP.field(name), column)
    groups = str(folder / f"{images}-groups.parquet")
    pq.write_table(rows, groups, row_group_size=ROW_GROUP, compression="zstd")
    return prints, texts, linked, groups


def cpu_seconds(work: Callable[[], Rows]) -> float:
    """CPU seconds of this process, all threads together, to have all rows."""
    started = time.process_time()
    for _ in work():
        pass
    return time.process_time() - started


def main() -> None:
    print(f"{'':10}{'images':>12}{'pyarrow':>10}{'ours':>8}   CPU microseconds a row, reading included")
    ours: dict[tuple[str, int], float] = {}
    theirs: dict[tuple[str, int], float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for images in SIZES:
            prints, texts, linked, groups = write(Path(scratch), images)
            looks: dict[str, tuple[Callable[[], Rows], Callable[[], Rows]]] = {
                "linked": (
                    functools.partial(linked_ours, prints, linked),
                    functools.partial(linked_theirs, prints, linked),
                ),
                "keepers": (
                    functools.partial(keepers_ours, texts, groups),
                    functools.partial(keepers_theirs, texts, groups),
                ),
            }
            for name, (our_way, their_way) in looks.items():
                assert all(a.equals(b) for a, b in zip(our_way(), their_way(), strict=True)), f"{name} differs"
                ours[name, images] = min(cpu_seconds(our_way) for _ in range(3)) / images * 1e6
                theirs[name, images] = cpu_seconds(their_way) / images * 1e6
                print(f"{name:10}{images:12,}{theirs[name, images]:10.2f}{ours[name, images]:8.2f}", flush=True)
    few, many = SIZES[0], SIZES[-1]
    flat = min(ours[name, few] / ours[name, many] for name in looks)
    print(f"the same rows; ours at {few:,} costs {flat:.2f} of what it costs at {many:,}, {FLAT} at the least")
    assert flat >= FLAT
    print(f"dedup_lookups ratio={min(theirs[name, many] / ours[name, many] for name in looks):.2f} goal={GOAL}")


if __name__ == "__main__":
    main()
