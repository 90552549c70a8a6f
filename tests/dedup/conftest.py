"""A dataset with planted leaks."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from dedup.tables import CAPTION, GROUP
from pipeline.ids import image_id
from pipeline.tables import CANDIDATE, QUERY
from tests.dedup.made import scene
from tests.dedup.planted import LEAKED, N, edited, jpeg, prints, url_of
from tests.pipeline.upstream import Project, pair, table_of
from tests.shards.helpers import QUERIES, caption_rows


@pytest.fixture(scope="module")
def bodies() -> dict[str, bytes]:
    clean = {f"http://web.test/{i}.jpg": jpeg(scene(i)) for i in range(60)}
    return clean | {url_of(i): jpeg(edited(i)) for i in LEAKED}


@pytest.fixture
def made(tmp_path: Path, bodies: dict[str, bytes]) -> Project:
    """All stages before pack, and a tar of the evaluation set; one leaked picture has a duplicate that was dropped."""
    project = Project(tmp_path / "out", {"pack.shards": 3})
    project.write("queries", {"q": [table_of(QUERY, [{"id": id_, "text": text} for id_, text in QUERIES.items()])]})
    project.write("crawl", {"w": [table_of(CANDIDATE, [pair(url, "a text") for url in bodies])]})
    copy, keeper = url_of(0), "http://web.test/0.jpg"
    project.write_fetch({"c0": bodies})
    kept = sorted(bodies.keys() - {copy}, key=image_id)
    captions = table_of(CAPTION, [row for url in kept for row in caption_rows(url, [f"a dog at {url}"])])
    apart = {"same_bytes": False}
    groups: list[dict[str, Any]] = [
        {"image_id": image_id(copy), "kept_by": image_id(keeper), "keep": False, "reason": "near_duplicate", **apart},
        {"image_id": image_id(keeper), "kept_by": image_id(keeper), "keep": True, "reason": None, **apart},
    ]
    rows = table_of(GROUP, sorted(groups, key=lambda row: row["image_id"]))
    project.write("dedup", {"c0": [prints(bodies)], "captions": [captions], "groups": [rows]}, images=len(kept))
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for i in range(N):
            body = jpeg(scene(1000 + i))
            member = tarfile.TarInfo(f"{i:03}.jpg")
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return project
