"""Tables as other programs write or harm them: every row is read as it stands, or the loss is said."""

import bz2
import json
import lzma
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.text.tablecolumns import json_value, text_of
from pipeline.text.urltable import Options, Row, check, rows
from shards.errors import Failure

N = 5
OBJECTS = [{"url": f"http://a.example/{i}.jpg", "caption": f"a cat {i}"} for i in range(N)]
LINES = [json.dumps(row) for row in OBJECTS]
READ = [(row["url"], (row["caption"],)) for row in OBJECTS]


def put(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


def table(path: str, notes: Counter[str] | None = None) -> list[Row]:
    """The rows; the table has passed the check before."""
    check(path, Options())
    return list(rows(path, Options(), notes))


def read(path: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(row.reason or row.url, row.texts) for row in table(path)]


# ── Parquet ───────────────────────────────────────────────────────────────────────────────────────


TEXTS = [b"a cat", b"caf\xe9", b"a dog"]
TEXT = pa.array(TEXTS, pa.binary()).view(pa.string())  # says it is text, and has a byte that is none
LIST = pa.ListArray.from_arrays([0, 1, 2, 3], TEXT)


@pytest.mark.parametrize(
    "column",
    [
        TEXT,
        LIST,
        pa.LargeListArray.from_arrays([0, 1, 2, 3], TEXT),
        pa.FixedSizeListArray.from_arrays(TEXT, 1),
    ],
    ids=["text", "list", "large_list", "fixed_size_list"],
)
def test_a_byte_that_is_no_utf8_harms_only_itself(tmp_path: Path, column: pa.Array) -> None:
    path = str(tmp_path / "t.parquet")
    pq.write_table(pa.table({"url": [row["url"] for row in OBJECTS[:3]], "caption": column}), path)
    assert [row.texts for row in table(path)] == [("a cat",), ("caf\ufffd",), ("a dog",)]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (LIST, [["a cat"], ["caf\ufffd"], ["a dog"]]),
        (
            pa.StructArray.from_arrays([TEXT, LIST], ["a", "b"]),
            [{"a": text, "b": [text]} for text in ("a cat", "caf\ufffd", "a dog")],
        ),
        (
            pa.MapArray.from_arrays([0, 1, 2, 3], pa.array(["k"] * 3), TEXT),
            [[["k", "a cat"]], [["k", "caf\ufffd"]], [["k", "a dog"]]],
        ),
        (pa.array([0, 2**50, None], pa.timestamp("s")), ["1970-01-01T00:00:00.000", None, None]),
        (pa.array([[0], [2**62], None], pa.list_(pa.timestamp("us"))), [["1970-01-01T00:00:00"], None, None]),
        (pa.array([0, 2**31 - 1, None], pa.date32()), ["1970-01-01", None, None]),
    ],
    ids=["list", "struct", "map", "timestamp", "list_of_timestamps", "date"],
)
def test_values_that_python_does_not_have_harm_only_themselves(
    tmp_path: Path, column: pa.Array, expected: list[object]
) -> None:
    path, notes = str(tmp_path / "t.parquet"), Counter[str]()
    urls, captions = zip(*((row["url"], row["caption"]) for row in OBJECTS[:3]), strict=True)
    pq.write_table(pa.table({"url": urls, "caption": captions, "other": column}), path)
    found = [row.columns["other"] for row in table(path, notes)]
    assert found == expected
    assert notes["column_values_left_out"] == sum(one is None and column[i].is_valid for i, one in enumerate(expected))


def test_an_object_of_no_known_type_is_never_text() -> None:
    assert text_of(object()) is None
    with pytest.raises(ValueError, match="object"):
        json_value(object())


# ── packed in several streams ─────────────────────────────────────────────────────────────────────

PACKERS: dict[str, Callable[[bytes], bytes]] = {"bz2": bz2.compress, "xz": lzma.compress}
HALVES = [("\n".join(some) + "\n").encode() for some in (LINES[:2], LINES[2:])]


@pytest.mark.parametrize("form", PACKERS)
@pytest.mark.parametrize("between", [b"", bytes(4), bytes(8192), bytes(20_000)], ids=len)
@pytest.mark.parametrize("after", [b"", bytes(4)], ids=len)
def test_every_stream_is_read(tmp_path: Path, form: str, between: bytes, after: bytes) -> None:
    first, second = map(PACKERS[form], HALVES)
    assert read(put(tmp_path, f"t.jsonl.{form}", first + between + second + after)) == READ


@pytest.mark.parametrize("form", PACKERS)
@pytest.mark.parametrize("between", [b"x", b"\n", bytes(4) + b"x"])
def test_bytes_between_streams_are_damage(tmp_path: Path, form: str, between: bytes) -> None:
    first, second = map(PACKERS[form], HALVES)
    path = put(tmp_path, f"t.jsonl.{form}", first + between + second)
    with pytest.raises(Failure, match="after row 2"):
        list(rows(path, Options()))
    found = list(rows(path, Options(truncated="skip")))
    assert [row.reason for row in found] == ["", "", "damaged_file"]


def test_padding_of_xz_is_in_fours(tmp_path: Path) -> None:
    first, second = map(lzma.compress, HALVES)
    with pytest.raises(Failure, match="after row 2"):
        list(rows(put(tmp_path, "t.jsonl.xz", first + bytes(3) + second), Options()))


@pytest.mark.parametrize("form", PACKERS)
def test_a_last_stream_that_is_cut_is_said(tmp_path: Path, form: str) -> None:
    first, second = map(PACKERS[form], HALVES)
    found = list(rows(put(tmp_path, f"t.jsonl.{form}", first + second[:-6]), Options(truncated="skip")))
    assert found[-1].reason == "truncated_file"
    assert [row.url for row in found[:2]] == [url for url, _ in READ[:2]]
