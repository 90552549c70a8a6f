"""Conditions and scores: what a comparison means, what lacks a value, and which files are no scores."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import Failure, UsageError
from pipeline.tables import OUTCOME
from shards.scores import SCORE, comparable, conditions, names_in, read_scores, unknown, unwanted

A, B, C, D = (bytes([i]) * 15 + b"\0" for i in range(4))  # ids that end in zero, which numpy's S16 cuts off


def scored(rows: list[tuple[bytes, str, float]]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(SCORE.names, row, strict=True)) for row in rows], schema=SCORE)


IMAGES = pa.table(
    {
        "image_id": pa.array([A, B, C, D], pa.binary(16)),
        "width": pa.array([100, 256, None, 300], pa.int32()),
        "format": ["JPEG", "PNG", "JPEG", None],
    }
)
FITS = scored([(A, "fit", 0.28), (A, "other", 9), (B, "fit", 0.3), (D, "fit", -1)])


@pytest.mark.parametrize(
    ("where", "goes"),
    [
        ({}, {}),
        ({"width": ">= 256"}, {A: "where:width", C: "missing:width"}),
        ({"width": "> 255.5"}, {A: "where:width", C: "missing:width"}),
        ({"width": "<100"}, {A: "where:width", B: "where:width", C: "missing:width", D: "where:width"}),
        ({"format": "== JPEG"}, {B: "where:format", D: "missing:format"}),
        ({"format": "!= JPEG"}, {A: "where:format", C: "where:format", D: "missing:format"}),
        ({"fit": ">= 0.28"}, {C: "missing:fit", D: "where:fit"}),  # 0.28 as it is stored is a little more
        ({"fit": "<= 0.3"}, {C: "missing:fit"}),  # and so is 0.3
        ({"fit": "> 0.28"}, {A: "where:fit", C: "missing:fit", D: "where:fit"}),
        ({"other": "== 9"}, {B: "missing:other", C: "missing:other", D: "missing:other"}),
        ({"nobody": "> 0"}, dict.fromkeys([A, B, C, D], "missing:nobody")),
        ({"width": ">= 256", "fit": "> 0.28"}, {A: "where:fit", C: "missing:fit", D: "where:fit"}),
        ({"fit": "> 0.28", "width": ">= 256"}, {A: "where:fit", C: "missing:fit", D: "where:fit"}),
    ],
)
def test_what_is_not_wanted_goes_under_its_name(where: dict[str, str], goes: dict[bytes, str]) -> None:
    assert unwanted(conditions(where.items(), OUTCOME), IMAGES, FITS) == goes


def test_one_score_said_twice_is_one_and_two_are_an_error() -> None:
    (fit,) = conditions([("fit", "> 0")], OUTCOME)
    assert unwanted([fit], IMAGES, scored([(A, "fit", 1), (A, "fit", 1)])).keys() == {B, C, D}
    with pytest.raises(Failure, match=f"image {A.hex()} has two different scores 'fit'"):
        unwanted([fit], IMAGES, scored([(A, "fit", 1), (A, "fit", 2)]))


@pytest.mark.parametrize(
    ("name", "said", "wrong"),
    [
        ("width", "256", 'where.width = "256" is no condition: write a comparison and a value, as ">= 256"'),
        ("width", ">=", "is no condition"),
        ("width", "=> 256", "is no condition"),
        ("width", ">= wide", "compares to no number"),
        ("width", ">= nan", "compares to no number"),
        ("clip:x", "> inf", "compares to no number"),
        ("format", "> JPEG", 'compares a text: write "== JPEG" or "!= JPEG"'),
        ("fetched_at", "> 2026", "fetched_at is neither a number nor a text"),
        ("sha256", "== 00", "sha256 is neither a number nor a text"),
    ],
)
def test_a_condition_that_makes_no_sense_is_said(name: str, said: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=re.escape(wrong)):
        conditions([(name, said)], OUTCOME)


def test_a_name_that_nobody_knows_has_neighbours() -> None:
    known = [*comparable(OUTCOME), "clip:ViT-B/32"]
    assert unknown(["width", "clip:ViT-B/32"], known) == ""
    assert unknown(["clip:ViT-B-32"], known) == (
        "there is no column or score 'clip:ViT-B-32'; did you mean 'clip:ViT-B/32'?"
    )
    assert unknown(["widht"], known).endswith("did you mean 'width' or 'height' or 'original_width'?")
    assert "known are image_url, " in unknown(["zzz"], known)


# ── files ──


@pytest.mark.parametrize("groups", [1, 100])
def test_a_file_in_any_order_comes_out_by_id(tmp_path: Path, groups: int) -> None:
    path = str(tmp_path / "s.parquet")
    rows = [(B, "x", 1.0), (A, "y", 2.0), (C, "x", 3.0), (A, "x", 4.0)]
    pq.write_table(scored(rows), path, row_group_size=groups)
    assert names_in(path) == {"x", "y"}
    assert read_scores(path, ["x"]).to_pylist() == scored([rows[3], rows[0], rows[2]]).to_pylist()
    assert read_scores(path, []).num_rows == 0


def test_a_file_that_pandas_wrote_is_read(tmp_path: Path) -> None:
    path = str(tmp_path / "s.parquet")
    columns = {
        "value": pa.array([1, 2], pa.int64()),
        "name": pa.array(["x", "x"]).dictionary_encode(),
        "image_id": pa.array([B, A], pa.binary()),
        "__index_level_0__": [0, 1],
    }
    pq.write_table(pa.table(columns), path)
    assert names_in(path) == {"x"}
    assert read_scores(path, ["x"]) == scored([(A, "x", 2), (B, "x", 1)])


def test_a_file_that_polars_wrote_is_read(tmp_path: Path) -> None:
    path = str(tmp_path / "s.parquet")
    columns = {
        "image_id": pa.array([B, A], pa.large_binary()),
        "name": pa.array(["x", "x"], pa.large_string()),
        "value": pa.array(np.array([0.25, 0.5], np.float16)),
    }
    pq.write_table(pa.table(columns), path)
    assert names_in(path) == {"x"}
    assert read_scores(path, ["x"]) == scored([(A, "x", 0.5), (B, "x", 0.25)])


@pytest.mark.parametrize("condition", [">= 0", "< 0", "!= 0"])
def test_what_is_no_number_says_nothing_of_an_image(tmp_path: Path, condition: str) -> None:
    """pandas writes null for NaN, and polars NaN."""
    path = str(tmp_path / "s.parquet")
    values = pa.array([float("nan"), float("nan"), None, 1.0, -1.0])
    pq.write_table(pa.table({"image_id": [A, A, B, C, D], "name": ["x"] * 5, "value": values}), path)
    rows = read_scores(path, ["x"])
    assert rows == scored([(C, "x", 1), (D, "x", -1)])
    gone = unwanted(conditions([("x", condition)], OUTCOME), IMAGES, rows)
    assert {image: why for image, why in gone.items() if image in (A, B)} == {A: "missing:x", B: "missing:x"}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"image_id": ["00"], "name": ["x"], "value": [1.0]}, "it has image_id string, name string, value double"),
        ({"image_id": [A], "value": [1.0]}, "it has image_id binary, value double"),
        ({"image_id": [A], "name": ["x"], "value": ["1"]}, "value string"),
        ({"image_id": [b"short"], "name": ["x"], "value": [1.0]}, "widths must match"),
        ({"image_id": pa.array([A, None]), "name": ["x", "x"], "value": [1.0, 2.0]}, "null values"),
        (None, "is no table of scores"),
    ],
)
def test_what_is_no_table_of_scores_is_said(tmp_path: Path, columns: dict[str, Any] | None, said: str) -> None:
    path = tmp_path / "s.parquet"
    if columns is None:
        path.write_bytes(b"image_id,name,value\n")
    else:
        pq.write_table(pa.table(columns), path)
    with pytest.raises((UsageError, Failure), match=said) as caught:
        names_in(str(path))
        read_scores(str(path), ["x"])
    assert str(path) in str(caught.value)
