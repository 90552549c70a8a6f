"""The shuffles of dedup find what all pairs and groups over everything at once find, however images lie in parts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from core.tables import read_table
from dedup import allpairs
from dedup.groups import groups
from dedup.hashes import columns
from dedup.tables import GROUP
from pipeline import dedup
from pipeline.engines.local import Local
from pipeline.tasks.attempt import Job, Task
from pipeline.tasks.shuffle import Keyed, Shuffle, partition, split
from tests.dedup.made import crawl, table
from tests.pipeline.upstream import Project

Edges = dict[frozenset[bytes], bool]  # ends → whether only a mirrored view joins them


def grouped(keyed: Iterable[Keyed]) -> Iterator[pa.Table]:
    """What a shuffle hands on: all rows of a key together."""
    tables: defaultdict[int, list[pa.Table]] = defaultdict(list)
    for key, rows in keyed:
        tables[key].append(rows)
    return (pa.concat_tables(tables[key][::-1]) for key in tables)


def shuffled_edges(prints: pa.Table, parts: int, config: dedup.Config) -> Edges:
    """The edges that the functions of the stage find among images that lie in several parts."""
    found: list[pa.Table] = []
    keys = prints.select(dedup.PRINT).replace_schema_metadata()
    read = (
        keyed
        for part in range(parts)
        for rows in [keys.take(np.arange(part, len(keys), parts))]
        for keyed in split(rows, partition(rows["sha256"], dedup.PARTITIONS))
    )

    def one_of(work: Callable[[pa.Table], Iterable[Any]], keyed: Iterable[Keyed]) -> Iterator[Keyed]:
        for rows in grouped(keyed):
            for said in work(rows):
                if isinstance(said, tuple):
                    yield said
                else:
                    found.append(said.value[1])

    of_bytes = list(one_of(dedup.one_of_equal_bytes, read))
    of_hashes = list(one_of(partial(dedup.one_of_equal_hashes, config.distance), of_bytes))
    for rows in grouped(of_hashes):
        found += (edges for _, edges in dedup.near_in_band(config, rows))
    joined: Edges = {}
    for edge in (edge for edges in found for edge in edges.to_pylist()):
        ends = frozenset((edge["a"], edge["b"]))
        joined[ends] = joined.get(ends, True) and edge["mirrored"]
    return joined


def edges_of(prints: pa.Table, config: dedup.Config) -> np.ndarray:
    return allpairs.edges(columns(prints), config.distance, config.distance_256)


@examples(max_examples=30, deadline=None)
@given(n=st.integers(0, 120), parts=st.integers(1, 4), distance=st.integers(0, 5), seed=st.integers(0, 2**32))
def test_the_edges_are_those_of_everything_at_once(n: int, parts: int, distance: int, seed: int) -> None:
    prints, config = table(crawl(n, seed)), dedup.Config(distance=distance)
    ids = prints["image_id"].to_pylist()
    expected = {frozenset((ids[i], ids[j])): mirrored for i, j, *_, mirrored in edges_of(prints, config).tolist()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dedup, "BUCKETS", 3)  # few, so that several values of a band meet in one
        assert shuffled_edges(prints, parts, config) == expected


@pytest.mark.parametrize(("seed", "parts", "buckets"), [(0, 1, 8), (1, 5, dedup.BUCKETS)])
def test_groups_are_those_of_everything_at_once(
    tmp_path: Path, seed: int, parts: int, buckets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dedup, "BUCKETS", buckets)
    images = 200
    prints, config = table(crawl(images, seed)), dedup.Config()
    expected = groups(prints, edges_of(prints, config))[0]
    assert expected.num_rows > images / 4
    made = Project(tmp_path)
    every = {f"part{i}": prints.take(np.arange(i, images, parts)).sort_by("image_id") for i in range(parts)}
    made.write("dedup", {name: [rows] for name, rows in every.items()})
    paths = made.manifest("dedup").paths("fingerprint")
    job, end = (
        Job(folder=str(tmp_path), step="groups", step_digest="basis", seed=1, config=config, facts_digest=""),
        Task("groups", args=(paths, ())),
    )
    shuffle = Shuffle(job, partial(dedup.find_edges, config), dedup.commit_groups)
    Local(1).shuffle(shuffle, [Task(path, args=(path,)) for path in paths], [end])
    receipt = job.done(end)
    assert receipt is not None
    assert read_table(str(tmp_path / receipt.parts[0].name), GROUP).equals(expected)
    dropped = receipt.counts["images"]["dropped"]
    assert dropped.keys() == {"same_bytes", "near_duplicate", "mirrored"}
    assert receipt.counts["images"]["kept"] == images - sum(dropped.values())
