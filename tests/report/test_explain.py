"""explain: what became of an image, a page or an id, in lines that no stranger can forge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import openwit
from dedup.tables import CAPTION, GROUP
from pipeline.ids import image_id, pair_id
from pipeline.tables import CANDIDATE, DROP, OUTCOME, PAIR, QUERY
from pipeline.tables import PAGE as VISITED
from shards.format import shard_of
from tests.pipeline.upstream import Project, pair, table_of
from tests.shards.helpers import outcome

DOG, COPY, GONE, WALL, LOGO, NEVER = (
    f"http://img.test/{name}.jpg" for name in ("dog", "copy", "gone", "wall", "logo", "never")
)
PAGE, OTHER = "http://a.test/page", "http://b.test/other"
BODY = b"body of a dog"


def found(url: str, text: str, page: str, offset: int) -> dict[str, Any]:
    """A candidate."""
    return pair(url, text, page_url=page, text_source="alt", warc_file="w.warc.gz", warc_offset=offset)


CRAWLED = [
    found(DOG, "a dog", PAGE, 10),
    found(DOG, "a dog", OTHER, 20),
    found(DOG, "dog.jpg", OTHER, 20),
    found(COPY, "my dog", OTHER, 20),
    found(GONE, "a lost dog", PAGE, 10),
    found(WALL, "a wall", PAGE, 10),
    found(WALL, "a wall", OTHER, 20),
    found(LOGO, "logo", OTHER, 20),
]
PAIRS = [{**CRAWLED[i], "queries": [1], "kept_for": [1]} for i in (0, 3, 4)]


SEED = "http://b.test/"
VISITS = [
    {"page_url": SEED, "found_by": "seed", "depth": 0, "reason": "", "http_status": 200},
    {"page_url": "http://b.test/secret", "found_by": "link", "depth": 1, "reason": "robots_disallowed"},
    {"page_url": "http://b.test/gone", "found_by": "sitemap", "depth": 1, "reason": "http_404", "http_status": 404},
    {"page_url": "http://b.test/away", "found_by": "link", "depth": 1, "reason": "redirected", "detail": "to x"},
]
VISITS = [{"found_from": None if row["depth"] == 0 else SEED, "domain": "b.test", **row} for row in VISITS]


def dropped(rows: Sequence[dict[str, Any]], reason: str) -> list[dict[str, Any]]:
    return [{**row, "reason": reason} for row in rows]


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Every stage up to the shards over these."""
    made = Project(tmp_path_factory.mktemp("explain"), {"pack.shards": 7})
    never = dropped([found(NEVER, "", PAGE, 10), found(NEVER, "x" * 9, OTHER, 20)], "no_text")
    logos = dropped([CRAWLED[2], CRAWLED[7]], "is_a_filename")
    unasked = [*dropped([CRAWLED[1], CRAWLED[6]], "exact_duplicate"), *dropped([CRAWLED[5]], "query_quota")]
    made.write("queries", {"q": [table_of(QUERY, [{"id": 0, "text": "cat"}, {"id": 1, "text": "dog"}])]})
    made.write("crawl", {"w": [table_of(CANDIDATE, CRAWLED), table_of(DROP, never), table_of(VISITED, VISITS)]})
    made.write("filter", {"w": [table_of(DROP, logos)]})
    made.write("match", {"w": [table_of(PAIR, PAIRS), table_of(DROP, unasked)]})
    made.write_fetch({"c": {DOG: BODY, COPY: BODY, GONE: "http_404"}})
    ids = sorted([image_id(DOG), image_id(COPY)])
    about = {"kept_by": image_id(DOG), "group_id": ids[0], "same_bytes": True}
    groups = [{**about, "image_id": id_, "keep": id_ == image_id(DOG)} for id_ in ids]
    captions = [{**row, "own": i == 0, "image_id": image_id(DOG), "total": 2} for i, row in enumerate(PAIRS[:2])]
    same = dropped([CRAWLED[3]], "same_text")
    made.write("dedup", {"d": [table_of(GROUP, groups), table_of(CAPTION, captions), table_of(DROP, same)]}, images=1)
    made.run("pack")
    return made


def told(made: Project, url: str, capsys: pytest.CaptureFixture[str], status: int = 0) -> list[str]:
    """The lines that explain prints."""
    capsys.readouterr()
    assert openwit.main(["explain", url, *made.words()]) == status
    said = capsys.readouterr()
    assert (said.out == "") == (status != 0) and (said.err == "") == (status == 0)
    return (said.out + said.err).splitlines()


def test_the_whole_story_of_an_image(walked: Project, capsys: pytest.CaptureFixture[str]) -> None:
    group = min(image_id(DOG), image_id(COPY)).hex()
    assert told(walked, DOG, capsys) == [
        DOG,
        f"  image_id {image_id(DOG).hex()}",
        f"  crawl    alt 'a dog' on {PAGE} (w.warc.gz+10)",
        f"           match    kept, pair {pair_id(DOG, 'a dog').hex()}, for 'dog'",
        f"  crawl    alt 'a dog' on {OTHER} (w.warc.gz+20)",
        "           match    dropped: exact_duplicate",
        f"  crawl    alt 'dog.jpg' on {OTHER} (w.warc.gz+20)",
        "           filter   dropped: is_a_filename",
        f"  fetch    JPEG 1×1, 13 bytes, sha256 {outcome(DOG, BODY)['sha256'].hex()}",
        f"  dedup    kept for the group {group}",
        f"  pack     {shard_of(image_id(DOG), 7):05d}.tar, with 2 captions",
    ]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (SEED, "page kept; met by seed, at depth 0"),
        ("http://B.test", "page kept; met by seed, at depth 0"),
        ("http://b.test/secret", f"page robots_disallowed (no more is known); met by link of {SEED}, at depth 1"),
        ("http://b.test/gone", f"page http_404 (404); met by sitemap of {SEED}, at depth 1"),
        ("http://b.test/away", f"page redirected (to x); met by link of {SEED}, at depth 1"),
    ],
)
def test_a_page_that_was_visited(url: str, said: str, walked: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(walked, url, capsys)[1:] == [f"  crawl    {said}"]


def test_a_caption_that_was_dropped(walked: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert "           dedup    dropped: same_text" in told(walked, COPY, capsys)


@pytest.mark.parametrize(
    ("url", "ends"),
    [
        (COPY, f"  dedup    dropped: a duplicate of {image_id(DOG).hex()} (the same bytes); its captions go there"),
        (GONE, "  fetch    failed_to_download: http_404 (no more is known)"),
        (LOGO, "           filter   dropped: is_a_filename"),
        (NEVER, "  crawl    dropped: no_text (2×)"),
    ],
)
def test_a_story_ends_where_the_image_went(
    url: str, ends: str, walked: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = told(walked, url, capsys)
    assert lines[-1] == ends
    assert lines[0] == (url if url != NEVER else f"image {image_id(url).hex()}")


def test_of_a_pair_that_was_not_taken_the_later_finds_are_duplicates(
    walked: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [line for line in told(walked, WALL, capsys) if "match" in line] == [
        "           match    dropped: query_quota",
        "           match    dropped: exact_duplicate",
    ]


def test_ids_and_pages_stand_for_their_images(walked: Project, capsys: pytest.CaptureFixture[str]) -> None:
    story = {url: told(walked, url, capsys) for url in (DOG, COPY, GONE, WALL, LOGO)}
    assert told(walked, image_id(DOG).hex(), capsys) == story[DOG]
    assert told(walked, pair_id(COPY, "my dog").hex(), capsys) == story[COPY]
    for page, images in ((PAGE, (DOG, GONE, WALL)), (OTHER, (DOG, COPY, WALL, LOGO))):
        assert told(walked, page, capsys) == [line for url in sorted(images, key=image_id) for line in story[url]]


@pytest.mark.parametrize("url", ["http://nowhere.test/", "00" * 16, "dog.jpg", "\x1b[2Jhttp://a.test/"])
def test_what_nobody_has_seen_is_wrong_use(url: str, walked: Project, capsys: pytest.CaptureFixture[str]) -> None:
    (said,) = told(walked, url, capsys, status=2)
    assert f"no stage of {walked.folder} has seen" in said and said.isprintable()


def test_stages_that_are_not_finished_tell_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Project(tmp_path)
    assert "no stage" in told(made, DOG, capsys, status=2)[0]
    made.write("crawl", {"w": [table_of(CANDIDATE, CRAWLED)]})
    assert len(told(made, DOG, capsys)) == 2 + 3


def test_long_stories_say_what_they_leave_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Project(tmp_path)
    texts = [found(DOG, f"dog {i}", PAGE, i) for i in range(53)]
    images = [found(f"http://img.test/{i}.jpg", "one", OTHER, i) for i in range(60)]
    made.write("crawl", {"w": [table_of(CANDIDATE, texts + images)]})
    assert told(made, DOG, capsys)[-2:] == [
        f"  crawl    alt 'dog 49' on {PAGE} (w.warc.gz+49)",
        "  … and 3 more texts",
    ]
    lines = told(made, OTHER, capsys)
    assert lines[-1] == "… and 10 more images" and sum("image_id" in line for line in lines) == 50


# ── what strangers write ──

ESCAPES = "\x1b[2J\x1b]0;yours\x07\x9b1m\r"
FORGED = "\n  pack     00000.tar, with 99 captions"
DISGUISED = "\u202e\u2028\u2066\x85\u200b\ufeff\x00"


@pytest.mark.parametrize("evil", [ESCAPES, FORGED, DISGUISED])
@pytest.mark.parametrize("field", ["text", "page_url", "image_url", "warc_file", "text_source", "query", "detail"])
def test_nothing_from_the_web_forges_a_line_or_an_escape(
    field: str, evil: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Project(tmp_path)
    row = found(DOG, "a dog", PAGE, 10)
    row |= {field: f"a{evil}b"} if field in row else {}
    query = f"a{evil}b" if field == "query" else "dog"
    failed = outcome(DOG, None, "dns") | ({"detail": f"a{evil}b"} if field == "detail" else {})
    made.write("queries", {"q": [table_of(QUERY, [{"id": 0, "text": query}])]})
    made.write("crawl", {"w": [table_of(CANDIDATE, [row])]})
    made.write("match", {"w": [table_of(PAIR, [{**row, "queries": [0], "kept_for": [0]}])]})
    made.write("fetch", {"c": [table_of(OUTCOME, [failed])]})
    lines = told(made, image_id(DOG).hex(), capsys)
    assert len(lines) == 5 and [line.split()[0] for line in lines[1:]] == ["image_id", "crawl", "match", "fetch"]
    assert all(line.isprintable() for line in lines)
    shown = {"\n": "\\n", "\x1b": "\\x1b", "\u202e": "\\u202e"}[evil[0]]
    assert f"a{shown}" in "\n".join(lines)
