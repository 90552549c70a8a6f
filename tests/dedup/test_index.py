"""The index: exactly the answers of brute force, from files that are what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from core.errors import Failure, UsageError
from dedup import index
from dedup.hashes import HASH_DEF, columns, fingerprints, hamming
from dedup.index import Index, Match, build
from tests.dedup.made import KINDS, crawl, degenerate, flips, hashes, scene, table


def built(folder: Path, column: dict[str, NDArray[Any]]) -> Index:
    build(str(folder), [table(column)])
    return Index.open(str(folder))


def with_hashes(ph64: NDArray[np.uint64], seed: int) -> dict[str, NDArray[Any]]:
    nothing = np.zeros(len(ph64), np.uint64)
    return crawl(len(ph64), seed) | {"ph64": ph64, "inner64": nothing, "flags": nothing.astype(np.uint8)}


def in_order(column: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The unflagged images by image_id: what the rows of an index are."""
    kept = np.flatnonzero(column["flags"] == 0)
    rows = sorted(kept, key=lambda row: column["image_id"][row].tobytes())
    return {name: values[rows] for name, values in column.items()}


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(0, 150),
    k=st.integers(0, index.MAX_K),
    seed=st.integers(0, 2**32),
)
def test_query_is_brute_force(tmp_path_factory: pytest.TempPathFactory, kind: str, n: int, k: int, seed: int) -> None:
    column = with_hashes(hashes(kind, n, seed), seed)
    rng = np.random.default_rng(seed)
    queries = np.concatenate(
        [column["ph64"][:40] ^ flips(rng, len(column["ph64"][:40]), 0, 7), hashes(kind, 5, seed + 1)]
    )
    distance = hamming(queries[:, None], in_order(column)["ph64"])
    expected = [(q, row, int(distance[q, row])) for q, row in np.argwhere(distance <= k).tolist()]
    found = built(tmp_path_factory.mktemp("index"), column).query(queries, k)
    assert found.tolist() == expected


@pytest.mark.parametrize("block", [1, 3])
def test_queries_in_blocks_find_the_same(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    column = with_hashes(hashes("clustered", 100, 0), 0)
    opened = built(tmp_path, column)
    expected = opened.query(column["ph64"])
    assert len(expected) > 100
    monkeypatch.setattr(index, "_QUERIES", block)
    monkeypatch.setattr("dedup.allpairs._BLOCK", block)
    np.testing.assert_array_equal(opened.query(column["ph64"]), expected)


def test_one_hash_may_be_asked_for(tmp_path: Path) -> None:
    column = in_order(with_hashes(hashes("uniform", 50, 0), 0))
    found = built(tmp_path, column).query(int(column["ph64"][7]))
    assert found.tolist() == [(0, 7, 0)]


def test_the_largest_and_the_smallest_hash_are_found(tmp_path: Path) -> None:
    ends = np.array([0, 2**64 - 1, 2**63, 2**63 - 1], np.uint64)
    column = in_order(with_hashes(ends, 0))
    opened = built(tmp_path, column)
    for k in (0, 4):
        assert {(q, row) for q, row, _ in opened.query(column["ph64"], k).tolist()} >= {(q, q) for q in range(4)}


def test_rows_of_equal_hashes_ascend(tmp_path: Path) -> None:
    """Or else a build on another processor would give other bytes."""
    few = hashes("uniform", 5, 0)[np.random.default_rng(0).integers(0, 5, 1000)]
    built(tmp_path, with_hashes(few, 0))
    for band in range(3):
        values, rows = np.load(tmp_path / f"band{band}.npy"), np.load(tmp_path / f"rows{band}.npy").astype(np.int64)
        assert ((np.diff(values) > 0) | (np.diff(rows) > 0)).all()


def test_the_same_images_give_the_same_bytes(tmp_path: Path) -> None:
    column = crawl(90, seed=2)
    rows = np.random.default_rng(0).permutation(90)
    shuffled = table({name: values[rows] for name, values in column.items()})
    build(str(tmp_path / "a"), [table(column)])
    build(str(tmp_path / "b"), (shuffled.slice(start, 20) for start in range(0, 90, 20)))
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
    assert files == sorted([*(f"{name}.npy" for name in index._ARRAYS), "manifest.json"])
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_flagged_images_are_counted_and_left_out(tmp_path: Path) -> None:
    column = crawl(90, seed=2)
    opened = built(tmp_path, column)
    said = json.loads((tmp_path / "manifest.json").read_bytes())
    assert (said["images"], said["flagged"]) == (len(opened), (column["flags"] > 0).sum())
    assert said["images"] + said["flagged"] == 90
    assert said["flagged"] > 10
    assert said["rows"] == said["images"] + ((column["flags"] == 0) & (column["inner64"] > 0)).sum() > len(opened)


def pictures(images: list[Image.Image]) -> dict[str, NDArray[Any]]:
    ids = np.random.default_rng(0).integers(0, 256, (len(images), 16), dtype=np.uint8)
    return fingerprints(images) | {"image_id": ids, "sha256": np.repeat(ids, 2, axis=1)}


def test_an_image_is_found_by_its_likeness(tmp_path: Path) -> None:
    column = pictures([*(scene(seed) for seed in range(20)), *degenerate().values()])
    opened = built(tmp_path, column)
    ids = [row.tobytes().hex() for row in column["image_id"]]
    assert opened.query_image(scene(3)) == [Match(ids[3], 0, 0)]
    smaller = opened.query_image(scene(5).resize((100, 60)))
    assert [match.image_id for match in smaller] == [ids[5]]
    assert smaller[0].d256 <= 8
    assert opened.query_image(scene(99)) == []
    for name, image in degenerate().items():
        assert opened.query_image(image) == [], name


def test_the_nearest_comes_first_and_256_bits_decide(tmp_path: Path) -> None:
    column = pictures([scene(0)] * 4)
    column["ph256"][0, :5] ^= 255  # 40 bits: the last that may match
    column["ph256"][1, :5] ^= 255
    column["ph256"][1, 5] ^= 1
    column["ph64"][2] ^= np.uint64(0b11)
    found = built(tmp_path, column).query_image(scene(0))
    ids = [row.tobytes().hex() for row in column["image_id"]]
    assert found == [Match(ids[3], 0, 0), Match(ids[2], 2, 0), Match(ids[0], 0, 40)]


def test_mirrored_and_bordered_pictures_are_found_either_way(tmp_path: Path) -> None:
    framed = ImageOps.expand(scene(1), 25, "black")
    opened = built(tmp_path, column := pictures([scene(0), framed, *(scene(seed) for seed in range(2, 9))]))
    assert len(opened) == 9
    ids = [row.tobytes().hex() for row in column["image_id"]]
    assert opened.query_image(ImageOps.mirror(scene(0))) == [Match(ids[0], 0, 0, True)]
    assert opened.query_image(ImageOps.expand(scene(0), (0, 30), "white")) == [Match(ids[0], 0, 0)]
    for asked, mirrored in ((framed, False), (scene(1), False), (ImageOps.mirror(scene(1)), True)):
        assert opened.query_image(asked) == [Match(ids[1], 0, 0, mirrored)]
    assert opened.query_image(ImageOps.expand(scene(1), 40, "white")) == [Match(ids[1], 0, 0)]
    several = opened.query_prints(fingerprints([scene(99), Image.new("L", (50, 50)), scene(0), scene(2)]))
    assert [[match.image_id for match in matches] for matches in several] == [[], [], [ids[0]], [ids[2]]]


def test_nothing_indexed_nothing_found(tmp_path: Path) -> None:
    build(str(tmp_path), [])
    opened = Index.open(str(tmp_path))
    assert len(opened) == 0
    assert opened.query_image(scene(0)) == []


@pytest.mark.parametrize("name", [f"{name}.npy" for name in index._ARRAYS])
@pytest.mark.parametrize("damage", ["truncated", "gone", "flipped"])
def test_a_damaged_file_is_noticed(tmp_path: Path, name: str, damage: str) -> None:
    built(tmp_path, crawl(50, seed=0))
    path = tmp_path / name
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(data[:-1])
    else:
        data[-1] ^= 1
        path.write_bytes(data)
    with pytest.raises(Failure, match=f"{name} is damaged"):
        Index.open(str(tmp_path))
    if damage == "flipped":
        assert len(Index.open(str(tmp_path), verify=False)) > 0
    else:
        with pytest.raises(Failure, match=f"{name} is damaged"):
            Index.open(str(tmp_path), verify=False)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"hash_def": "imagehash.phash 8 and 16, gate 9.6, pillow 3.3.1"}, "pillow 3.3.1"),
        ({"format": "openwit near-duplicate index 0"}, "index 0, not"),
        ({"files": {"../../etc/passwd": {"bytes": 1, "sha256": ""}}}, "remove it and run openwit dedup again"),
        ({"files": None}, "is damaged"),
        ({"files": {"ph256.npy": {"bytes": 1}}}, "is damaged"),
    ],
)
def test_an_index_of_another_kind_is_refused(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    built(tmp_path, crawl(10, seed=0))
    manifest = tmp_path / "manifest.json"
    said = json.loads(manifest.read_bytes())
    assert said["hash_def"] == HASH_DEF
    manifest.write_text(json.dumps(said | change))
    with pytest.raises(Failure, match=sentence):
        Index.open(str(tmp_path))


def test_a_damaged_manifest_is_noticed(tmp_path: Path) -> None:
    built(tmp_path, crawl(10, seed=0))
    manifest = tmp_path / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-20])
    with pytest.raises(Failure, match=r"manifest\.json is damaged"):
        Index.open(str(tmp_path))


def test_a_folder_without_a_whole_index_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="holds no manifest"):
        Index.open(str(tmp_path))
    built(tmp_path, crawl(10, seed=0))

    def fail(path: str, array: NDArray[Any]) -> dict[str, Any]:
        raise Failure("no room")

    monkeypatch.setattr(index, "_write", fail)
    with pytest.raises(Failure, match="no room"):
        build(str(tmp_path), [table(crawl(20, seed=1))])
    with pytest.raises(UsageError, match="holds no manifest"):  # not the old one over new files
        Index.open(str(tmp_path))


def test_an_index_is_read_from_a_local_folder(tmp_path: Path) -> None:
    build("memory://index", [table(crawl(10, seed=0))])
    with pytest.raises(UsageError, match="not a local folder"):
        Index.open("memory://index")


def test_an_image_that_comes_twice_is_refused(tmp_path: Path) -> None:
    made = table(with_hashes(hashes("uniform", 5, 0), 0))
    build(str(tmp_path), [made])
    with pytest.raises(Failure, match=columns(made)["image_id"][3].tobytes().hex()):
        build(str(tmp_path), [made, made.slice(3, 1)])
    assert len(Index.open(str(tmp_path))) == 5  # the index that was there still is


@pytest.mark.parametrize("k", [-1, 6])
def test_a_distance_that_is_not_exact_is_refused(tmp_path: Path, k: int) -> None:
    with pytest.raises(UsageError, match=f"distance of {k} bits"):
        built(tmp_path, crawl(5, seed=0)).query(0, k)


def test_tables_may_come_from_anywhere(tmp_path: Path) -> None:
    """Only six columns are needed."""
    made = table(crawl(20, seed=0))
    narrow: pa.Table = made.select(["flags", "image_id", "inner256", "inner64", "ph256", "ph64"])
    build(str(tmp_path / "a"), [made])
    build(str(tmp_path / "b"), [narrow])
    assert (tmp_path / "a" / "manifest.json").read_bytes() == (tmp_path / "b" / "manifest.json").read_bytes()
