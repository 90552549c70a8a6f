"""Tables in JSON, in every form that programs write."""

import gzip
import json
from pathlib import Path

import pytest

from core.errors import Failure
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


ROW = {"url": "http://a.test/1", "caption": "A dog"}
TYPED = {"url": {"S": "http://a.test/1"}, "caption": {"S": "A dog"}, "n": {"N": "1"}}
FLATTEN = "flatten them, for example jq -c '{}' FILE > FLAT.jsonl"


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize(
    ("row", "under", "way"),
    [
        (
            {"_index": "a", "_id": "1", "_score": 1, "_source": ROW},
            "rows nested under _source",
            "._source",
        ),  # elasticdump
        ({"_airbyte_ab_id": "1", "_airbyte_data": ROW}, "rows nested under _airbyte_data", "._airbyte_data"),
        ({"Item": TYPED}, "rows nested under Item", ".Item | map_values(.[])"),  # DynamoDB's export
        (TYPED, "values nested under their types, as DynamoDB", "map_values(.[])"),
        ({"id": 1, "the row": ROW}, "rows nested under the row", '.["the row"]'),
    ],
)
def test_rows_that_are_nested_are_named_with_how_to_flatten_them(
    tmp_path: Path, row: dict[str, object], under: str, way: str, n: int
) -> None:
    lines = put(tmp_path, "a.jsonl", f"{json.dumps(row)}\n".encode() * n)
    assert refused(lines).startswith(f"{lines} has its {under}")
    assert refused(lines).endswith(FLATTEN.format(way))
    listed = put(tmp_path, "b.json", json.dumps([row] * n).encode())
    assert under in refused(listed) and refused(listed).endswith(FLATTEN.format(f".[] | {way}"))


PHPMYADMIN = [
    {"type": "header", "version": "5.2.1", "comment": "Export to JSON plugin for PHPMyAdmin"},
    {"type": "database", "name": "shop"},
    {"type": "table", "name": "users", "database": "shop", "data": [{"id": "1", "name": "me"}]},
    {"type": "table", "name": "photos", "database": "shop", "data": ROWS},
    {"type": "table", "name": "empty", "database": "shop", "data": []},
]


@pytest.mark.parametrize("form", ["indented", "as it is", "a line each"])
def test_an_export_of_phpmyadmin_is_read(tmp_path: Path, form: str) -> None:
    lines = "[\n" + ",\n".join(map(json.dumps, PHPMYADMIN)) + "\n]\n"
    text = {"indented": json.dumps(PHPMYADMIN, indent=1), "as it is": json.dumps(PHPMYADMIN)}.get(form, lines)
    path = put(tmp_path, "a.json", text.encode())
    assert read(path) == [("http://a.test/1", ("A dog",)), ("http://a.test/2", ("a", "b"))]
    none = put(tmp_path, "b.json", json.dumps(PHPMYADMIN[:3]).encode())
    assert read(none) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[{'url': 'u', 'caption': 't'}]", "is no JSON but what Python prints: write it by json.dumps"),
        ("{'url': 'u', 'caption': 't'}\n{'url': 'v', 'caption': 't'}\n", "is no JSON but what Python prints"),
        ("[\n  {\n    'url': 'u'}]", "is no JSON but what Python prints"),
        ('{ _id: ObjectId("65"), url: "u", caption: "t" }\n', "is no JSON but JavaScript, as the shell of MongoDB"),
        ('[\n  {\n    _id: ObjectId("65"),\n    url: "u"\n  }\n]', "write it by mongoexport, or by JSON.stringify"),
        ('var rows = [{"url": "u", "caption": "t"}];', "is no JSON but JavaScript"),
        ('window.data = {"url": "u"}', "is no JSON (it begins with 'w')"),
    ],
)
def test_what_resembles_json_is_named_with_how_to_write_it(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(put(tmp_path, "a.json", text.encode()))


@pytest.mark.parametrize("text", ['[{"url": "u", "caption": "t"},]', '{"data": [{"url": "u", "caption": "t"},\n]}'])
def test_a_comma_before_the_end_of_a_list_is_named(tmp_path: Path, text: str) -> None:
    path = put(tmp_path, "a.json", text.encode())
    with pytest.raises(Failure, match=r"after row 1 \(a comma stands before the end of a list, .*: take it away"):
        list(rows(path, Options()))
