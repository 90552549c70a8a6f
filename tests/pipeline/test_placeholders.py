"""dedup drops a picture that many sites show with many texts: a badge, a logo, "no photo"."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from dedup.tables import GROUP
from pipeline.ids import image_id
from pipeline.tables import DROP, REJECT
from tests.dedup.made import scene
from tests.pipeline.test_dedup import FETCHED, IDS, URLS, captions, jpeg, rows_of
from tests.pipeline.upstream import Project, pair, pairs

BADGE = jpeg(scene(40, 160, 120))
SHOPS = {
    f"http://cdn{i % 3}.shop{i // 3}.test/{i}.jpg": f"buy it now, {i // 2}" for i in range(12)
}  # 4 domains, 6 texts


def placeholders(folder: Path, texts: Mapping[str, str], bodies: Mapping[str, bytes], domains: int = 4) -> Project:
    """A picture that shops show under many URLs, beside a photo; deduplicated."""
    made = Project(folder, {"dedup.placeholder_domains": domains})
    rows = [*(pair(url, text) for url, text in texts.items()), *rows_of(["other"])]
    made.write("match", {"a": [pairs(rows[::2])], "b": [pairs(rows[1::2])]})
    fetched = {url: bodies.get(url, BADGE) for url in texts} | {URLS["other"]: FETCHED["other"]}
    made.write_fetch({"lane00000-00000": fetched})
    made.run("dedup")
    return made


def test_a_placeholder_goes_with_all_that_look_like_it(tmp_path: Path) -> None:
    larger = {"http://alone.test/large.jpg": jpeg(scene(40, 320, 240))}  # the best of the group, and seen once
    made = placeholders(tmp_path, {**SHOPS, "http://alone.test/large.jpg": "a badge"}, larger)
    groups = made.rows("dedup", GROUP)
    assert len(groups) == 13 and not any(row["keep"] for row in groups)
    assert {row["reason"] for row in groups} == {"placeholder"}
    assert {row["kept_by"] for row in groups} == {image_id("http://alone.test/large.jpg")}
    assert captions(made).keys() == {IDS["other"]}
    counts = made.manifest("dedup").counts
    assert counts["images"] == {"in": 14, "kept": 1, "dropped": {"placeholder": 13}}
    assert counts["pairs"] == {"in": 14, "kept": 1, "dropped": {"placeholder": 13}}
    dropped = made.rows("dedup", DROP)
    assert {row["image_id"] for row in dropped} == {row["image_id"] for row in groups}
    assert [row["reason"] for row in dropped] == ["placeholder"] * 13
    rejects = made.rows("dedup", REJECT)
    assert len(rejects) == 13 and {row["text"] for row in rejects} == {*SHOPS.values(), "a badge"}


@pytest.mark.parametrize(
    ("texts", "bodies", "domains"),
    [
        (SHOPS, {}, 5),  # four domains are too few
        (dict.fromkeys(SHOPS, "the same everywhere") | dict(list(SHOPS.items())[:4]), {}, 4),  # texts are
        # Each domain has saved it anew: it is a picture that people share.
        (SHOPS, {url: jpeg(scene(40, 160, 120), 30 + i // 3 * 20) for i, url in enumerate(SHOPS)}, 4),
    ],
)
def test_a_picture_that_is_shared_stays(
    tmp_path: Path, texts: dict[str, str], bodies: dict[str, bytes], domains: int
) -> None:
    made = placeholders(tmp_path, texts, bodies, domains)
    assert sum(row["keep"] for row in made.rows("dedup", GROUP)) == 1
    assert "placeholder" not in made.manifest("dedup").counts["images"]["dropped"]
    assert len(captions(made)) == 2
    assert {row["reason"] for row in made.rows("dedup", DROP)} <= {"same_text"}


def test_two_pictures_are_not_counted_together(tmp_path: Path) -> None:
    """Of each of two near-duplicates two domains have copies; which images are one picture is by bytes and hashes."""
    bodies = {url: BADGE if i < 6 else jpeg(scene(40, 160, 120), 40) for i, url in enumerate(SHOPS)}
    assert len(captions(placeholders(tmp_path / "2", SHOPS, bodies, domains=2))) == 1
    assert len(captions(placeholders(tmp_path / "3", SHOPS, bodies, domains=3))) == 2
