import functools
import hashlib
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Failure
from core.files import publishing
from core.tables import ID, declare
from shards.format import CHUNK, TarWriter, range_of, shard_of, write_rows
from shards.merge import Run, merge_range, read_range
from tests.shards.helpers import write_run

START = bytes(16)
MiB = 1 << 20


@functools.cache
def id_(i: int) -> bytes:
    return hashlib.sha256(b"%d" % i).digest()[:16]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def merged(runs: list[Run], lo: bytes = START, hi: bytes | None = None, memory: int = MiB) -> dict[bytes, bytes]:
    """The merge as a dict; its order is checked."""
    samples = list(merge_range(runs, lo, hi, memory, ()))
    assert [sample[0] for sample in samples] == sorted({sample[0] for sample in samples})
    return {image_id: image for image_id, _, image in samples}


# ── the merge itself ──

# Few leading and trailing bytes, so that ids are neighbours and end in zeros.
IDS = st.builds(lambda a, b: bytes([a]) + bytes(14) + bytes([b]), st.integers(0, 3), st.integers(0, 3)) | st.binary(
    min_size=16, max_size=16
)


@settings(max_examples=50)
@given(
    st.dictionaries(IDS, st.tuples(st.integers(0, 3), st.binary(max_size=1500)), max_size=30),
    IDS,
    st.none() | IDS,
    st.sets(IDS, max_size=5),
    st.sampled_from([1, 2000, 5000, MiB]),
)
def test_a_merge_is_a_sort_in_memory(
    folder: Path,
    images: dict[bytes, tuple[int, bytes]],
    lo: bytes,
    hi: bytes | None,
    dropped: set[bytes],
    memory: int,
) -> None:
    name = uuid.uuid4().hex
    runs = [
        write_run(folder, f"{name}-{run}", {i: image for i, (of, image) in images.items() if of == run})
        for run in range(4)
    ]
    dropped |= set(list(images)[::3])
    expected = [
        (i, "jpg", image)
        for i, (_, image) in sorted(images.items())
        if lo <= i and (hi is None or i < hi) and i not in dropped
    ]
    assert list(merge_range(runs, lo, hi, memory, dropped)) == expected


@pytest.mark.parametrize("shards", [1, 2, 7, 40])
def test_the_ranges_of_all_shards_are_the_whole(folder: Path, shards: int) -> None:
    runs = three_runs(folder)
    whole = merged(runs)
    assert len(whole) == 300
    in_parts = [merged(runs, *range_of(shard, shards)) for shard in range(shards)]
    assert {image_id: image for part in in_parts for image_id, image in part.items()} == whole
    assert all(shard_of(image_id, shards) == shard for shard, part in enumerate(in_parts) for image_id in part)


@functools.cache
def three_runs(folder: Path) -> list[Run]:
    images = {id_(i): hashlib.shake_256(b"%d" % i).digest(i * 7 % 3000) for i in range(300)}
    return [
        write_run(folder, f"three-{run}", {i: images[i] for i in list(images)[run * 100 : run * 100 + 100]})
        for run in range(3)
    ]


def test_merging_in_two_levels_writes_the_same_bytes(folder: Path) -> None:
    def merge(runs: list[Run], name: str, memory: int) -> Run:
        run = Run(str(folder / f"{name}.tar"), str(folder / f"{name}.parquet"))
        with publishing(run.tar) as images, publishing(run.index) as table, TarWriter(images) as tar:
            write_rows(table, CHUNK, (tar.add(*sample) for sample in merge_range(runs, START, None, memory, ())))
        return run

    runs = three_runs(folder)
    once = merge(runs, "once", MiB)
    twice = merge([merge(runs[:2], "first", 4000), runs[2]], "twice", 9000)
    assert Path(once.tar).read_bytes() == Path(twice.tar).read_bytes()
    assert Path(once.index).read_bytes() == Path(twice.index).read_bytes()


def test_a_range_with_more_index_than_memory_is_halved_until_it_fits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shards.merge._FEW", 7)
    runs = three_runs(folder)
    assert len(merged(runs, memory=1)) == 300
    assert len(merged(runs, *range_of(1, 2), memory=1)) == sum(shard_of(id_(i), 2) for i in range(300))


def test_runs_on_an_object_store(folder: Path) -> None:
    images = {id_(i): b"%d" % i for i in range(20)}
    run = write_run("memory://merge/runs", "a", images)
    assert merged([run]) == images


def test_no_runs_and_empty_runs(folder: Path) -> None:
    assert merged([]) == {}
    assert merged([write_run(folder, "empty", {})]) == {}


# ── what it costs ──


def test_each_run_is_read_once_a_slab_and_only_in_the_range(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = {id_(i): bytes(500) for i in range(10_000)}  # 1,024 bytes each in the tar
    run = write_run(folder, "long", images)
    groups: list[int] = []
    reads: list[int] = []
    read_row_group, cat_file = pq.ParquetFile.read_row_group, LocalFileSystem.cat_file

    def spy_on_groups(self: pq.ParquetFile, group: int, columns: Any = None) -> pa.Table:
        groups.append(group)
        return read_row_group(self, group, columns=columns)

    def spy_on_reads(self: LocalFileSystem, path: str, start: int, end: int) -> bytes:
        reads.append(end - start)
        data: bytes = cat_file(self, path, start, end)
        return data

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spy_on_groups)
    monkeypatch.setattr(LocalFileSystem, "cat_file", spy_on_reads)
    shard = 9
    some = merged([run], *range_of(shard, 100), memory=MiB)
    assert groups == [0]  # of three
    assert reads == [1024 * len(some)]
    assert len(some) == sum(shard_of(i, 100) == shard for i in images)
    reads.clear()
    merged([run], memory=MiB)
    assert sum(reads) == 1024 * 10_000
    assert max(reads) <= MiB // 2
    assert len(reads) < 25  # 20 would be full; each part of the range that the index is read for ends in a smaller one


PROBE = """
import re, sys
from shards.merge import Run, merge_range

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read()).group(1)) << 10

runs = [Run(f"{sys.argv[1]}/{i}.tar", f"{sys.argv[1]}/{i}.parquet") for i in range(10)]
memory = int(sys.argv[2])
for _ in merge_range(runs, bytes(16), b"\\x02" + bytes(15), memory // 16, ()):  # what is loaded on first use
    pass
before, count = peak(), 0
for _, _, image in merge_range(runs, bytes(16), None, memory, ()):
    count += len(image)
print(peak() - before, count)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads the peak memory that Linux keeps")  # noqa: PTH110
def test_memory_is_bounded_whatever_the_size_of_the_data(tmp_path: Path) -> None:
    memory, size = 32 * MiB, 32_000
    body = os.urandom(size)
    for run in range(10):
        write_run(tmp_path, str(run), {id_(run * 1000 + i): body for i in range(1000)})
    done = subprocess.run([sys.executable, "-c", PROBE, str(tmp_path), str(memory)], capture_output=True, check=True)
    grown, count = map(int, done.stdout.split())
    assert count == 10_000 * size > 9 * memory
    assert grown <= memory


def test_an_image_larger_than_the_memory_is_held_alone(folder: Path) -> None:
    images = {id_(i): bytes([i]) * 3000 for i in range(5)}
    assert merged([write_run(folder, "large", images)], memory=1000) == images


# ── damage ──


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return write_run(tmp_path, "chunk", {id_(i): b"%d" % i * 400 for i in range(50)})


def test_two_runs_with_the_same_id_are_a_failure_that_names_both(tmp_path: Path, run: Run) -> None:
    other = write_run(tmp_path, "other", {id_(7): b"again", id_(99): b""})
    with pytest.raises(Failure, match=f"{id_(7).hex()} is both in .*chunk.tar and in .*other.tar"):
        merged([run, other])


@pytest.mark.parametrize("left", [0, 700, 20_000])
def test_a_truncated_chunk_is_a_failure_that_names_it(run: Run, left: int) -> None:
    os.truncate(run.tar, left)
    with pytest.raises(Failure, match=rf"chunk\.tar ends at byte {left}, its index goes on to byte"):
        merged([run])


def test_a_missing_chunk_is_a_failure_that_names_it(run: Run) -> None:
    Path(run.tar).unlink()
    with pytest.raises(Failure, match=r"chunk\.tar cannot be read"):
        merged([run])


def test_a_changed_image_is_a_failure_that_names_it(run: Run) -> None:
    raw = bytearray(Path(run.tar).read_bytes())
    raw[600] ^= 1
    Path(run.tar).write_bytes(raw)
    with pytest.raises(
        Failure, match=rf"chunk\.tar is damaged: image {min(id_(i) for i in range(50)).hex()} at byte 512"
    ):
        merged([run])


def test_a_damaged_index_is_a_failure_that_names_it(run: Run) -> None:
    raw = Path(run.index).read_bytes()
    Path(run.index).write_bytes(raw[: len(raw) // 2])
    with pytest.raises(Failure, match=r"chunk\.parquet is damaged"):
        merged([run])


def test_an_index_out_of_order_is_a_failure_that_names_it(run: Run) -> None:
    rows = pq.read_table(run.index)
    with publishing(run.index) as file:
        write_rows(file, CHUNK, rows.to_pylist()[::-1])
    with pytest.raises(Failure, match=r"chunk\.parquet is not sorted"):
        merged([run])


# ── tables ──

TABLE = declare(
    "test", 1, {"n": (pa.int64(), "any"), "image_id": (ID, "sorted by it"), "words": (pa.list_(pa.string()), "any")}
)


@settings(max_examples=50)
@given(st.lists(st.lists(IDS, max_size=8), max_size=4), IDS, st.none() | IDS)
def test_a_range_of_tables(folder: Path, tables: list[list[bytes]], lo: bytes, hi: bytes | None) -> None:
    paths: list[str] = []
    rows: list[dict[str, Any]] = []
    for table, ids in enumerate(tables):
        these = [
            {"n": table * 10 + i, "image_id": image_id, "words": ["a"] * i} for i, image_id in enumerate(sorted(ids))
        ]
        paths.append(str(folder / f"{uuid.uuid4().hex}.parquet"))
        pq.write_table(pa.Table.from_pylist(these, schema=TABLE), paths[-1], row_group_size=3)
        rows += these
    expected = sorted(
        (row for row in rows if lo <= row["image_id"] and (hi is None or row["image_id"] < hi)),
        key=lambda row: row["image_id"],
    )
    found = read_range(paths, TABLE, lo, hi)
    assert found.to_pylist() == expected
    assert found.schema == TABLE
