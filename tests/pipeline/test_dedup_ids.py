"""Ids of any bytes are found, those too that end in zeros."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.tables import ID
from dedup.tables import GROUP
from pipeline import dedup
from pipeline.tasks.attempt import Task
from shards.format import shard_of
from tests.pipeline.upstream import pair, pairs, table_of


def test_ids_that_end_in_zero_bytes_are_found(tmp_path: Path) -> None:
    """numpy takes them out of an array without those bytes."""
    gone = [bytes([first]) + bytes(15) for first in (0, 1, 128)] + [b"\x80" * 15 + b"\0"]
    stays = [bytes([200]) + bytes(15), bytes([201]) + bytes(15), b"\xff" * 15 + b"\0", bytes(15) + b"\1"]
    other = [b"\x80" + bytes(14) + b"\1", b"\xff" * 16, stays[0]]
    rows = [{"image_id": a, "kept_by": b, "keep": False, "same_bytes": False} for a, b in zip(gone, stays, strict=True)]
    rows += [{"image_id": id_, "kept_by": id_, "keep": True, "same_bytes": False} for id_ in stays]
    pq.write_table(table_of(GROUP, sorted(rows, key=lambda row: row["image_id"])), tmp_path / "groups.parquet")
    asked = [{"image_id": id_, "pair_id": id_, "text": "a dog"} for id_ in (*gone, *other, *gone)]
    pq.write_table(pairs(asked), tmp_path / "pairs.parquet")
    task, paths = Task("a", args=(str(tmp_path / "pairs.parquet"),)), [str(tmp_path / "groups.parquet")]
    found = [row for _, table in dedup.read_texts(task, 4, paths) for row in table.to_pylist()]
    stays_for = dict(zip(gone, stays, strict=True)) | {id_: id_ for id_ in other}
    assert len(found) == len(asked) and all(row["keeper"] == stays_for[row["image_id"]] for row in found)
    parts = {number: table["keeper"].to_pylist() for number, table in dedup.read_texts(task, 4, paths)}
    assert all(shard_of(keeper, 4) == number for number, keepers in parts.items() for keeper in keepers)


def test_a_placeholder_whose_ids_end_in_zero_bytes_is_seen(tmp_path: Path) -> None:
    ids = [bytes([first]) + bytes(15) for first in range(4)]
    rows = [
        pair(f"http://shop{i}.test/{i}.jpg", f"text {i}", page_url="") | {"image_id": id_} for i, id_ in enumerate(ids)
    ]
    pq.write_table(pairs(rows[::-1]), tmp_path / "pairs.parquet")
    images, picture = pa.chunked_array([ids], ID), np.array([7, 7, 7, 3])
    for least, shown in ((3, [True, True, True, False]), (4, [False] * 4)):
        many = dedup.on_many_domains(images, picture, [str(tmp_path / "pairs.parquet")], least)
        assert many.tolist() == shown
