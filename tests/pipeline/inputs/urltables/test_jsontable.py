"""Tables in JSON, in every form that programs write."""

import gzip
import json
from pathlib import Path

import pytest

from pipeline.inputs.urltables.urltable import Options, rows
from tests.pipeline.inputs.urltables.tables import put, read, refused

# ── JSON ──

ROWS = [
    {"url": "http://a.test/1", "caption": "A dog", "box": [1, 2]},
    {"url": "http://a.test/2", "caption": ["a", "b"]},
]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson", "a.json.gz"])
@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=1),
        "\n".join(map(json.dumps, ROWS)),
        "\r\n\r\n".join(map(json.dumps, ROWS)) + "\r\n",
        json.dumps({"info": {"year": 2021}, "tags": ["a"], "annotations": ROWS, "more": []}),  # RedCaps
        json.dumps({"info": {"year": 2021}, "empty": [], "data": ROWS}, indent=4),
        "\ufeff" + json.dumps(ROWS),
    ],
    ids=["list", "indented list", "lines", "lines with blank ones", "object", "indented object", "mark"],
)
def test_json_in_any_form(tmp_path: Path, name: str, text: str) -> None:
    data = text.encode()
    path = put(tmp_path, name, gzip.compress(data) if name.endswith("gz") else data)
    assert read(path) == [("http://a.test/1", ("A dog",)), ("http://a.test/2", ("a", "b"))]
    assert [row.columns for row in rows(path, Options())] == [{"box": [1, 2]}, {}]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("of", [None, "annotations"])
def test_json_is_read_in_pieces(tmp_path: Path, of: str | None, indent: int | None) -> None:
    some = [
        {"url": f"http://a.test/{n}", "caption": f"number {n} " * (n % 90), "n": n, "f": n / 7} for n in range(9000)
    ]
    whole = some if of is None else {"skipped": [some[:3000]], "info": {"a": [some[:99]]}, of: some}
    path = put(tmp_path, "a.json", json.dumps(whole, indent=indent).encode())
    assert Path(path).stat().st_size > 4 << 20
    found = list(rows(path, Options()))
    assert [(row.url, dict(row.columns)) for row in found] == [
        (row["url"], {"n": row["n"], "f": row["f"]}) for row in some
    ]


def test_lines_that_are_no_json_are_lost_by_name(tmp_path: Path) -> None:
    data = "\n".join(
        [json.dumps(ROWS[0]), '{"url": "cut', "7", "[" * 100_000, '{"url": ["u"], "caption": "t"}', json.dumps(ROWS[1])]
    )
    path = put(tmp_path, "a.jsonl", data.encode())
    assert [(row.place, row.reason) for row in rows(path, Options())] == [
        (1, ""),
        (2, "not_json"),
        (3, "not_an_object"),
        (4, "not_json"),
        (5, "url_not_text"),
        (6, ""),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            json.dumps({"images": [{"coco_url": "u", "id": 1}], "annotations": [{"caption": "t"}]}),  # COCO
            "that have both a URL and a caption (it has images of coco_url, id, annotations of caption)",
        ),
        (
            json.dumps({"url": {"0": "u"}, "caption": {"0": "t"}}, indent=1),
            "is an object without a list of rows",
        ),  # pandas
        (json.dumps({"image_urls": ["u"], "captions": ["t"]}, indent=1), "is an object without a list of rows"),  # SBU
        (json.dumps(["u", "v"]), "is a list of str, not of objects"),
        (json.dumps([["url", "caption"], ["u", "t"]]), "is a list of list, not of objects"),
        ("url,caption\nu,t\n", "is no JSON (it begins with 'u')"),
    ],
)
def test_json_that_is_no_table_of_rows(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(put(tmp_path, "a.json", text.encode()))
