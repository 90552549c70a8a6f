"""What the report is made of: examples chosen by hash, the funnel's shapes, pictures, plots, words."""

from __future__ import annotations

import base64
import functools
import inspect
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from core.errors import Failure
from core.manifest import Manifest, read_manifest
from core.recipe import Recipe
from pipeline.ids import image_id
from pipeline.inputs.archives import warc
from pipeline.inputs.pages import extract
from pipeline.tables import CANDIDATE, FETCH_REASONS, PAGE_REASONS
from pipeline.tasks.attempt import Attempt
from pipeline.text.rules import RULES
from report import examples
from report.funnel import SHOWN, TRUNK, funnel
from report.phrases import TEXT, anchor, count, meaning, share, shown, size, span, took
from report.plots import by_rank, curve, histogram
from report.thumbnails import packed, thumbnail
from tests.report.finished import candidate, finish, made_samples, picture, recipe_in
from tests.shards.helpers import make_pack


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A recipe of which nothing has run."""
    return recipe_in(tmp_path)


def test_examples_do_not_depend_on_the_order_of_rows(recipe: Recipe) -> None:
    rows = [candidate(f"http://site.test/r{i}.jpg", f"word{i}") for i in range(60)]
    shown_texts = []
    for order in (rows, rows[::-1]):
        manifest = finish(recipe, "filter", functools.partial(drop, order))
        found = examples.behind(manifest, "filter", "pairs", seed=1)
        shown_texts.append([row["text"] for row in found["few"]])
        assert found["kept"] == []
    assert shown_texts[0] == shown_texts[1]
    assert len(shown_texts[0]) == examples.PER_REASON
    assert shown_texts[0] != [f"word{i}" for i in range(examples.PER_REASON)]


def drop(rows: Sequence[dict[str, Any]], attempt: Attempt) -> None:
    attempt.count_in("pairs", len(rows))
    attempt.drop_rows("pairs", pa.Table.from_pylist(rows, schema=CANDIDATE), pa.array(["few"] * len(rows)))


# ── its parts ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (picture((1, 2, 3), "JPEG", (640, 480)), (160, 120)),
        (picture((1, 2, 3), "WEBP", (100, 1000)), (16, 160)),
        (picture((1, 2, 3), "PNG", (10, 10)), (10, 10)),
        (picture((1, 2, 3), "JPEG")[:300], None),
        (b"no picture", None),
        (None, None),
    ],
)
def test_thumbnails(image: bytes | None, expected: tuple[int, int] | None) -> None:
    small = thumbnail(image)
    assert (small and (small.width, small.height)) == expected


def test_transparency_is_over_white() -> None:
    file = io.BytesIO()
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(file, "PNG")
    small = thumbnail(file.getvalue())
    assert small is not None
    with Image.open(io.BytesIO(base64.b64decode(small.source.partition(",")[2]))) as image:
        assert image.getpixel((10, 10)) == (255, 255, 255)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    samples = made_samples(1)
    url, image, text = samples[0]
    manifest = read_manifest(make_pack(tmp_path, [(url, image, [text])], shards=1))
    assert manifest is not None
    found = packed(manifest, image_id(url))
    assert found is not None and found[1] == image
    assert packed(manifest, b"\xff" * 16) is None
    tar = tmp_path / "00000.tar"
    body = bytearray(tar.read_bytes())
    body[found[0]["image_offset"]] ^= 1
    tar.write_bytes(body)
    with pytest.raises(Failure, match=r"00000\.tar is damaged"):
        packed(manifest, image_id(url))


def waves() -> Any:
    values = np.sin(np.arange(1e5) / 1e4)
    values[5] = np.inf
    return values


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda: curve("loss", np.arange(1e5), waves(), "loss (nats)", 0.5), {"step (optimiser updates)", "guessing"}),
        (lambda: curve("loss", np.arange(1.0), np.ones(1), "loss (nats)"), {"loss (nats)"}),
        (
            lambda: by_rank("q", np.arange(9e5, 0, -1), "query", "pairs", 20_000),
            {"rank of the query", "limit", "100,000"},
        ),
        (lambda: by_rank("q", np.ones(1), "query", "pairs", 20_000), {"rank of the query", "pairs"}),
        (lambda: by_rank("q", np.array([12.0, 2.0]), "query", "pairs"), {"rank of the query", "10", "4"}),
        (lambda: histogram("h", np.geomspace(1, 1e6, 999), "pixels", "images"), {"pixels", "images", "10,000"}),
        (lambda: histogram("h", np.full(3, 7.0), "words", "pairs"), {"words", "pairs"}),
    ],
)
def test_plots_have_axes_take_the_page_s_colours_and_are_the_same_again(draw: Any, said: set[str]) -> None:
    one, again = draw(), draw()
    assert one == again
    assert len(one) < 60_000
    texts = {"".join(text.itertext()).strip() for text in ET.fromstring(one).iter("{http://www.w3.org/2000/svg}text")}
    assert said <= texts
    assert "$" not in one  # mathematics, which is not drawn
    assert "currentColor" in one and "var(--kept)" in one
    assert not re.search(r"#(?!ffffff)[0-9a-f]{6}\b", one)  # no colour that would stay when the page turns dark
    assert "font-family" not in one and "DejaVu" not in one


# ── the funnel ──


def counted(recipe: Recipe, stage: str, unit: str, kept: int, dropped: dict[str, int]) -> Manifest:
    def fill(attempt: Attempt) -> None:
        attempt.count_in(unit, kept + sum(dropped.values()))
        attempt.count_kept(unit, kept)
        for reason, n in dropped.items():
            attempt.count_dropped(unit, reason, n)

    return finish(recipe, stage, fill)


def test_the_funnel_is_as_wide_as_the_rows_are_many(recipe: Recipe) -> None:
    many = {f"reason_{i}": 10 * (i + 1) for i in range(SHOWN + 3)}
    done = {
        "crawl": counted(recipe, "crawl", "pairs", 1000, {}),
        "filter": counted(recipe, "filter", "pairs", 550, many),
        "dedup": counted(recipe, "dedup", "images", 90, {"near_duplicate": 10}),
        "pack": counted(recipe, "pack", "images", 88, {"near_duplicate": 10, "lost": 2}),
    }
    drawn = funnel(done)
    crawl, filter_, match, fetch, dedup, pack = drawn.levels
    assert [crawl.width, crawl.width_kept, filter_.width_kept] == pytest.approx([TRUNK, TRUNK, 0.55 * TRUNK])
    assert (match.into, fetch.into, match.flow, filter_.flow) == (0, 0, "", "")  # not run yet: nothing flows
    assert [ribbon.n for ribbon in filter_.ribbons] == [90, 80, 70, 60, 50, 40, 30 + 20 + 10]
    assert filter_.ribbons[-1].label == "for 3 more reasons"
    assert [(ribbon.label, ribbon.n) for ribbon in pack.ribbons] == [("lost", 2)]  # dedup has told of the duplicates
    assert (dedup.into, dedup.kept, pack.into, pack.kept) == (100, 90, 90, 88)
    heights = [level.y for level in drawn.levels] + [drawn.height]
    assert heights == sorted(heights)
    for level, below in zip(drawn.levels, heights[1:], strict=True):
        labels = [level.y, *(ribbon.y for ribbon in level.ribbons), below]
        assert all(low + 12 < high for low, high in pairwise(labels))  # no label over another


# ── words ──


def test_every_reason_is_explained() -> None:
    others = (
        "near_duplicate same_bytes mirrored placeholder same_text caption_cap no_query exact_duplicate domain_budget"
        " query_quota not_a_word already_in_list list_is_full held_out unlabelled over_the_pool kept"
    )
    of_archives = set(re.findall(r'Problem\("(\w+)"', inspect.getsource(warc)))
    assert len(of_archives) > 5
    for reason in (*FETCH_REASONS, *PAGE_REASONS, *RULES, *extract.REASONS, *of_archives, *others.split()):
        assert meaning(reason).endswith((".", '."', ")", ".)")), reason
        assert "\n" not in meaning(reason)
    assert meaning("of_next_year") == ""


def test_anchors_are_names_without_anything_else() -> None:
    assert anchor("filter", 'a "b" <c>') == "filter-a_b_c_"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (share(0, 10), "0.0 %"),
        (share(1, 10_000), "< 0.1 %"),
        (share(9_999, 10_000), "> 99.9 %"),
        (share(10, 10), "100.0 %"),
        (share(0, 0), "0.0 %"),
        (span(3.21), "3.2 s"),
        (span(250), "4 min 10 s"),
        (span(25_500), "7 h 05 min"),
        (took({"seconds": 250, "work": {"found": {"here": 9, "of": 9}, "plan": {"here": 3, "of": 3}}}), "4 min 10 s"),
        (
            took({"seconds": 250, "work": {"a": {"here": 0, "of": 9}, "b": {"here": 1, "of": 1}}}),
            "last 4 min 10 s (10.0 % of it)",
        ),
        (took({"seconds": 250, "work": {}}), "4 min 10 s"),
        (took({"seconds": 250}), "last 4 min 10 s (an unknown part of it)"),
        (count(1, "class", "classes"), "1 class"),
        (count(3000, "shard"), "3,000 shards"),
        (size(999), "999 B"),
        (size(64_100_000), "64.1 MB"),
        (size(12 * 10**15), "12000.0 TB"),
        (shown("a\tb\u2067c"), "a⟨U+0009⟩b⟨U+2067⟩c"),
        (shown("a\udcffb"), "a⟨U+DCFF⟩b"),
        (shown("‌می‌خواهم 👩‍🔬"), "‌می‌خواهم 👩‍🔬"),
        (shown("x" * 1000), "x" * TEXT + "…"),
    ],
)
def test_words_for_numbers_and_texts(said: str, expected: str) -> None:
    assert said == expected
