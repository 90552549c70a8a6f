"""Columns of URL tables come out in the json of samples, each of one type, as other people's loaders need it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dedup.tables import CAPTION, GROUP
from pipeline.ids import image_id
from pipeline.inputs.urltables import owncolumns
from pipeline.tables import CANDIDATE, COLUMN, QUERY
from shards.reader import Shards
from tests.pipeline.upstream import Project, pair, table_of
from tests.shards.helpers import QUERIES, caption_rows

Declared = Sequence[tuple[str, str, int]]  # name, kind, gaps


def crawled(folder: Path, **tasks: Declared | None) -> Project:
    """A finished crawl of tasks with a candidate each: URL tables with these columns, or archives (None)."""
    made = Project(folder)
    parts = {}
    for task, declared in tasks.items():
        rows = [{"name": name, "kind": kind, "gaps": gaps} for name, kind, gaps in declared or ()]
        candidates = table_of(CANDIDATE, [pair(f"http://a.test/{task}", "a dog")])
        parts[task] = [candidates, *([table_of(COLUMN, rows)] if rows else [])]
    made.write("crawl", parts)
    return made


@pytest.mark.parametrize(
    ("tasks", "kinds"),
    [
        ({"a": None}, {}),
        ({"a": [("score", "number", 0), ("lang", "text", 3)]}, {"lang": "text", "score": "number"}),
        ({"a": [("score", "number", 1)]}, {"score": "text"}),
        ({"a": [("score", "number", 0)], "b": [("score", "integer", 0)]}, {"score": "number"}),
        ({"a": [("score", "number", 0)], "b": [("score", "boolean", 0)]}, {"score": "text"}),
        ({"a": [("score", "number", 0)], "b": [("other", "list", 0)]}, {"other": "text", "score": "text"}),
        ({"a": [("score", "number", 0), ("score", "integer", 0)]}, {"score": "number"}),
        ({"a": [("score", "number", 0), ("score", "text", 0)]}, {"score": "text"}),
        ({"a": [("boxes", "list", 0)], "b": None}, {"boxes": "text"}),
        ({"a": [("boxes", "list", 0)]}, {"boxes": "list"}),
    ],
)
def test_a_column_keeps_its_type_where_no_sample_can_lack_it(
    tmp_path: Path, tasks: Mapping[str, Declared | None], kinds: dict[str, str]
) -> None:
    assert owncolumns.kinds(crawled(tmp_path, **tasks).manifest("crawl")) == kinds


@pytest.mark.parametrize(
    ("kind", "own", "value"),
    [
        ("text", {"x": "A dog"}, "A dog"),
        ("text", {"x": 0.25}, "0.25"),
        ("text", {"x": True}, "true"),
        ("text", {"x": ["é", 1]}, '["é", 1]'),
        ("text", {"x": None}, ""),
        ("text", {}, ""),
        ("text", None, ""),
        ("number", {"x": 1}, 1.0),
        ("integer", {"x": 1}, 1),
        ("list", {"x": [1]}, [1]),
    ],
)
def test_values(kind: str, own: dict[str, Any] | None, value: object) -> None:
    found = owncolumns.values(None if own is None else json.dumps(own), {"x": kind})["x"]
    assert found == value and type(found) is type(value)


def test_huggingface_reads_the_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loader takes the types from the first five samples and stops at any other, and at null or [] among others."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    import datasets

    urls = sorted((f"http://a.test/{n}.jpg" for n in range(12)), key=image_id)
    made = crawled(tmp_path, table=[("score", "number", 0), ("boxes", "list", 4), ("width", "integer", 0)], page=None)
    made.write("queries", {"q": [table_of(QUERY, [{"id": id_, "text": text} for id_, text in QUERIES.items()])]})
    made.write_fetch({"c": {url: jpeg(n) for n, url in enumerate(urls)}})
    captions = []
    for n, url in enumerate(urls):
        rows = caption_rows(url, ["ein Bild"] if n < 6 else ["a dog", "a cat"])
        if n % 3:
            rows[0] |= {
                "uid": f"uid{n}",
                "columns": json.dumps({"score": n / 10, "boxes": [[n]] * (n % 2), "width": 9}),
            }
            rows[0] |= {"licence": "CC BY", "lang": None}
        captions += rows
    made.write("dedup", {"d": [table_of(CAPTION, captions), table_of(GROUP, [])]}, images=len(urls))
    made.run("pack", {"pack.shards": 2})

    tars = sorted(str(path) for path in made.of("pack").glob("*.tar"))
    loaded = datasets.load_dataset("webdataset", data_files={"train": tars}, split="train", cache_dir=tmp_path / "hf")
    theirs = {row["json"]["url"]: row["json"] for row in loaded.remove_columns("jpg")}
    ours = {sample.meta["url"]: sample.meta for sample in Shards(str(made.of("pack"))).iterate()}
    assert theirs == ours and len(ours) == len(urls)
    one = ours[urls[4]]
    assert (one["uid"], one["score"], one["boxes"], one["extra"]) == ("uid4", "0.4", "[]", {"width": "9"})
    assert (ours[urls[3]]["score"], ours[urls[3]]["boxes"], ours[urls[3]]["extra"]) == ("", "", {"width": ""})


def jpeg(n: int) -> bytes:
    to = io.BytesIO()
    Image.new("RGB", (40, 40), (n, n, n)).save(to, "JPEG")
    return to.getvalue()
