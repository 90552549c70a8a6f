"""Features by file: layouts that are read, oddities that are refused by name; splits that are functions of ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Failure
from evaluation.features import Features, in_order, joined, read_features, split

LABELS = {"a": 0, "b": 1, "c": 0}
VECTORS = [[1.0, 2.0], [3.0, 4.5], [5.0, -6.0]]


def write(folder: Path, ids: Any = ("a", "b", "c"), vectors: Any = VECTORS, **more: Any) -> str:
    """A Parquet file of these columns, plain lists as texts and lists of float32."""
    ids = ids if isinstance(ids, pa.Array | pa.ChunkedArray) else pa.array(ids)
    vectors = vectors if isinstance(vectors, pa.Array) else pa.array(vectors, pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": ids, "vector": vectors, **more}), folder / "features.parquet")
    return str(folder / "features.parquet")


@pytest.mark.parametrize("number", [pa.float16(), pa.float32(), pa.float64()], ids=str)
@pytest.mark.parametrize(
    "layout", [pa.list_, pa.large_list, lambda number: pa.list_(number, 2)], ids=["", "large", "2"]
)
def test_vectors_of_every_layout(number: pa.DataType, layout: Any, tmp_path: Path) -> None:
    flat = pa.array(np.array(VECTORS, number.to_pandas_dtype()).ravel())
    kind = layout(number)
    if pa.types.is_fixed_size_list(kind):
        vectors: pa.Array = pa.FixedSizeListArray.from_arrays(flat, 2)
    else:
        offsets = pa.array([0, 2, 4, 6], pa.int64() if pa.types.is_large_list(kind) else pa.int32())
        vectors = (pa.LargeListArray if pa.types.is_large_list(kind) else pa.ListArray).from_arrays(offsets, flat)
    found = read_features(write(tmp_path, vectors=vectors, model=pa.array(["x"] * 3)), {"c": 2, "a": 0, "b": 1})
    assert found.ids == ("c", "a", "b") and found.labels.tolist() == [2, 0, 1]
    assert found.vectors.dtype == np.float32 and found.vectors.tolist() == [VECTORS[i] for i in (2, 0, 1)]


@pytest.mark.parametrize(
    "ids",
    [
        pa.array(["a", "b", "c"], pa.large_string()),
        pa.array(["a", "b", "c"], pa.string_view()),
        pa.array(["a", "b", "c"]).dictionary_encode(),
    ],
    ids=["large", "view", "dictionary"],
)
def test_ids_of_every_layout(ids: pa.Array, tmp_path: Path) -> None:
    assert read_features(write(tmp_path, ids=ids), LABELS).ids == ("a", "b", "c")


def test_numbers_are_ids_and_accents_are_one_character(tmp_path: Path) -> None:
    path = write(tmp_path, ids=[7, 8, 9])
    assert read_features(path, {"7": 0, "8": 1, "9": 0}).ids == ("7", "8", "9")
    path = write(tmp_path, ids=["cafe\u0301", "b", "c"])
    assert read_features(path, {"caf\u00e9": 0, "b": 1, "c": 0}).ids[0] == "caf\u00e9"


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"ids": ["a", "b", "b"]}, "several vectors for b: keep one"),
        ({"ids": ["a", "b", "d"]}, "no vector for c: compute"),
        ({"ids": ["a", "b", "c", "d"], "vectors": [*VECTORS, [0, 0]]}, "vectors for d, which have no label"),
        ({"ids": ["a", None, "c"]}, "1 rows without an id"),
        ({"ids": [b"a", b"b", b"c"]}, "ids of type binary"),
        ({"ids": [0.0, 1.0, 2.0]}, "ids of type double"),
        ({"vectors": [[1, 2], [3, float("nan")], [5, 6]]}, "vectors of b hold NaN"),
        ({"vectors": [[1, 2], [3, 4], [float("inf"), 6]]}, "vectors of c hold NaN or numbers beyond"),
        ({"vectors": pa.array([[1, 2], [3, 1e300], [5, 6]])}, "vectors of b hold NaN or numbers beyond"),
        ({"vectors": [[1, 2], None, [5, 6]]}, "no vector in the row of b"),
        ({"vectors": [[1, 2], [3, None], [5, 6]]}, "empty numbers in the vector of b"),
        ({"vectors": [[1, 2], [3], [5, 6]]}, "vectors of 2 numbers, and of 1 for b"),
        ({"vectors": [[], [], []]}, "vectors of 0 numbers"),
        ({"vectors": pa.array([[1, 2], [3, 4], [5, 6]])}, r"type list<\w+: int64>"),
        ({"vectors": pa.array(["[1, 2]", "[3, 4]", "[5, 6]"])}, "vectors of type string"),
        ({"ids": pa.array([], pa.string()), "vectors": []}, "no rows"),
    ],
)
def test_what_is_refused(columns: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(Failure, match=rf"features\.parquet.* {said}"):
        read_features(write(tmp_path, **columns), LABELS)


def test_vectors_of_zeros_alone_are_named(tmp_path: Path) -> None:
    path = str(tmp_path / "test.parquet")
    pq.write_table(pa.table({"id": ["a", "b"], "vector": [[0.0, 0.0], [0.0, 1.0]]}), path)
    with pytest.raises(Failure, match=r"has vectors of zeros alone for a: compute them again"):
        read_features(path, {"a": 0, "b": 1})


def test_other_columns_other_files_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "features.parquet"
    pq.write_table(pa.table({"image_id": ["a"], "embedding": [[1.0]]}), path)
    with pytest.raises(Failure, match="columns image_id, embedding: it takes one `id` and one `vector`"):
        read_features(str(path), LABELS)
    path.write_text("id,vector\n")
    with pytest.raises(Failure, match="no readable Parquet file"):
        read_features(str(path), LABELS)
    write(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Failure, match="no readable Parquet file"):
        read_features(str(path), LABELS)
    with pytest.raises(Failure, match=r"missing\.parquet"):
        read_features(str(tmp_path / "missing.parquet"), LABELS)


def made(n: int, classes: int, prefix: str = "") -> Features:
    ids = tuple(f"{prefix}{i}" for i in range(n))
    return Features(ids, np.ones((n, 1), np.float32), np.arange(n, dtype=np.int64) % classes)


@pytest.mark.parametrize(
    ("ids", "vectors", "labels", "said"),
    [
        ("ab", np.ones((2, 3)), [0, 1], "not float64"),
        ("ab", np.ones((2, 0), np.float32), [0, 1], r"not float32 \[2, 0\]"),
        ("ab", np.ones((3, 1), np.float32), [0, 1], "3 vectors have 2 ids and 2 labels"),
        ("aa", np.ones((2, 1), np.float32), [0, 1], "two vectors have the id a"),
        ("ab", np.ones((2, 1), np.float32), [0, -1], "numbers of classes from 0"),
    ],
)
def test_features_that_do_not_fit(ids: str, vectors: Any, labels: list[int], said: str) -> None:
    with pytest.raises(Failure, match=said):
        Features(tuple(ids), vectors, np.array(labels, np.int64))


@given(st.integers(0, 99), st.integers(1, 4), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_a_split_is_a_function_of_seed_and_ids(seed: int, classes: int, random: Any) -> None:
    features = made(40, classes)
    order = np.arange(40)
    random.shuffle(order)
    train, validation = split(features, seed)
    for mine, shuffled in zip((train, validation), split(features.take(order), seed), strict=True):
        assert set(mine.ids) == set(shuffled.ids)
    assert sorted(train.ids + validation.ids) == sorted(features.ids)
    each = np.bincount(features.labels)
    assert np.bincount(validation.labels, minlength=classes).tolist() == (each // 5).tolist()


def test_seeds_and_purposes_differ() -> None:
    features = made(200, 1)
    assert set(split(features, 0)[1].ids) != set(split(features, 1)[1].ids)
    assert in_order(features, 0, "validation", 0).tolist() != in_order(features, 0, "few_shot", 0).tolist()


def test_a_split_of_too_few_is_refused_and_both_parts_join_again() -> None:
    with pytest.raises(Failure, match="no class has the 5 examples"):
        split(made(8, 2), 0)
    assert joined(made(2, 1), made(3, 1, "x")).ids == ("0", "1", "x0", "x1", "x2")
    with pytest.raises(Failure, match="two vectors have the id 0"):
        joined(made(1, 1), made(1, 1))
