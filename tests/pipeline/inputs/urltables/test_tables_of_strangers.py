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

from core.errors import Failure, UsageError
from pipeline.inputs.urltables.tablecolumns import as_text, json_value
from pipeline.inputs.urltables.urltable import Options, Row, check, rows

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
    assert as_text(object()) is None
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


# ── JSON ──────────────────────────────────────────────────────────────────────────────────────────

PRETTY = [json.dumps(row, indent=2) for row in OBJECTS]
FIRST, SECOND = json.dumps(OBJECTS[:2]), json.dumps(OBJECTS[2:])


@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
@pytest.mark.parametrize(
    "text",
    [
        f"{FIRST}\n{SECOND}\n",
        f"{FIRST}[]{SECOND}",
        f'{{"train": {FIRST}, "val": {SECOND}}}',
        f'{{"version": 1, "train": {FIRST}, "empty": [], "tags": ["a"], "val": {SECOND}, "end": null}}',
        f'{{"data": {FIRST}, "data": {SECOND}}}',
        json.dumps({"train": OBJECTS[:2], "val": OBJECTS[2:]}, indent=2),
        '{"annotations": [\n' + ",\n".join(LINES) + "\n]}",
        f'{{"data": {FIRST}}}\n\n{{"data": {SECOND}}}',
        "\n".join(PRETTY),
        ",\n".join(PRETTY),
        "".join(LINES),
        ",\n".join(LINES),
        ",\r\n".join(LINES) + ",\r\n",
        "".join(f"\x1e{line}\n" for line in LINES),
        "".join(f"\x1e{row}\n" for row in PRETTY),
    ],
    ids=[
        "a list a line",
        "lists",
        "splits",
        "splits among others",
        "one key twice",
        "indented splits",
        "a row a line",
        "objects of lists",
        "jq",
        "jq with commas",
        "without line ends",
        "commas",
        "commas, also the last",
        "RFC 7464",
        "RFC 7464, indented",
    ],
)
def test_json_is_read_to_its_end(tmp_path: Path, name: str, text: str) -> None:
    assert read(put(tmp_path, name, text.encode())) == READ


def test_one_indented_object_is_a_row(tmp_path: Path) -> None:
    assert read(put(tmp_path, "t.json", PRETTY[0].encode())) == READ[:1]


@pytest.mark.parametrize(
    ("text", "after"),
    [
        (f"{FIRST}garbage", 2),
        (f"{FIRST}]", 2),
        (f"{FIRST}\n{LINES[3]}", 2),
        (f'{{"data": {FIRST}}}garbage', 2),
        (f'{{"data": {FIRST}, "more": {{}}, "data": 1}}', 2),
        (f"{PRETTY[0]}\n{PRETTY[1]}\ngarbage", 2),
        (f"{PRETTY[0]}\n{PRETTY[1]}\n{PRETTY[2][:-2]}", 2),
    ],
)
def test_what_follows_json_and_is_none_is_damage(tmp_path: Path, text: str, after: int) -> None:
    path = put(tmp_path, "t.json", text.encode())
    with pytest.raises(Failure, match=f"after row {after} "):
        list(rows(path, Options()))
    found = [(row.url, bool(row.reason)) for row in rows(path, Options(truncated="skip"))]
    assert found == [*((url, False) for url, _ in READ[:after]), ("", True)]


def test_lists_with_other_names_are_refused_by_name(tmp_path: Path) -> None:
    others = [{"image_url": "u", "text": "t"}]
    path = put(tmp_path, "t.json", json.dumps({"train": OBJECTS, "val": others}).encode())
    with pytest.raises(UsageError, match="several lists of rows, train, val"):
        check(path, Options())


DIGITS = "7" * 5000


@pytest.mark.parametrize("form", ["[{}]", '{{"data": [{}]}}', "{}"])
def test_a_number_of_many_digits_is_text(tmp_path: Path, form: str) -> None:
    odd = f'{{"url": "u", "caption": "t", "n": {DIGITS}, "m": [1, -{DIGITS}]}}'
    text = form.format(("\n" if form == "{}" else ",").join([LINES[0], odd, LINES[1]]))
    found = table(put(tmp_path, "t.json", text.encode()))
    assert [row.url for row in found] == [READ[0][0], "u", READ[1][0]]
    assert found[1].columns == {"n": DIGITS, "m": [1, f"-{DIGITS}"]}


@pytest.mark.parametrize("at", range(3))
def test_a_line_that_is_nested_too_deep_is_lost_alone(tmp_path: Path, at: int) -> None:
    lines = LINES[:2]
    lines.insert(at, '{"url": "u", "caption": "t", "n": ' + "[" * 100_000 + "]" * 100_000 + "}")
    expected: list[tuple[str, tuple[str, ...]]] = list(READ[:2])
    expected.insert(at, ("not_json", ()))
    assert read(put(tmp_path, "t.jsonl", "\n".join(lines).encode())) == expected


CUT = ['{"url": "u', '{"url": "u"', '{"url": "u",']
CUT_INSIDE = ['{"url":', '{"url": "u", "n": [', "x"]  # as a first line they may be the beginning of what follows


@pytest.mark.parametrize(
    ("cut", "at"), [*((cut, at) for cut in CUT for at in range(3)), *((cut, at) for cut in CUT_INSIDE for at in (1, 2))]
)
def test_a_line_that_is_cut_is_lost_alone(tmp_path: Path, cut: str, at: int) -> None:
    lines = LINES[:2]
    lines.insert(at, cut)
    found = list(rows(put(tmp_path, "t.jsonl", "\n".join(lines).encode()), Options()))
    assert [row.reason for row in found if row.reason] == ["not_json"]
    assert [row.url for row in found if not row.reason] == [url for url, _ in READ[:2]]


def test_a_list_with_an_item_that_is_nested_too_deep_is_damaged_there(tmp_path: Path) -> None:
    text = f"[{LINES[0]}, {'[' * 100_000}{']' * 100_000}, {LINES[1]}]"
    with pytest.raises(Failure, match="after row 1 "):
        list(rows(put(tmp_path, "t.json", text.encode()), Options()))


FRENCH = [{"url": "http://a.example/1", "caption": "Café – 5 €"}, {"url": "http://a.example/2", "caption": "été"}]


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
@pytest.mark.parametrize("form", ["list", "lines", "object", "jq"])
def test_json_in_windows_1252(tmp_path: Path, form: str, encoding: str) -> None:
    lines = [json.dumps(row, ensure_ascii=False, indent=1 if form == "jq" else None) for row in FRENCH]
    text = {"list": f"[{', '.join(lines)}]", "object": f'{{"data": [{", ".join(lines)}]}}'}.get(form, "\n".join(lines))
    notes = Counter[str]()
    found = table(put(tmp_path, "t.json", text.encode(encoding)), notes)
    assert [row.texts for row in found] == [(row["caption"],) for row in FRENCH]
    assert +notes == ({"windows_1252_tables": 1} if encoding == "cp1252" else {})


@pytest.mark.parametrize("encoding", ["koi8-r", "shift-jis"])
def test_json_in_another_encoding_is_refused(tmp_path: Path, encoding: str) -> None:
    caption = {"koi8-r": "Кошка на окне", "shift-jis": "窓の上の猫がいる"}[encoding]
    data = json.dumps([{"url": "u", "caption": caption}] * 9, ensure_ascii=False).encode(encoding)
    with pytest.raises(UsageError, match="neither UTF-8 nor windows-1252"):
        check(put(tmp_path, "t.json", data), Options())
