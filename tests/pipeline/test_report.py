"""The report: right numbers, pictures that are there, nothing fetched, hostile texts harmless, the same page again."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from dedup.tables import GROUP
from pipeline import report
from pipeline.attempt import Attempt, Job, Task
from pipeline.pictures import SIDE, curve, packed, thumbnail
from pipeline.records import CANDIDATE, OUTCOME, PAIR, QUERY, image_id, pair_id, reject_of
from pipeline.report import share, shown, size, span
from shards.errors import Failure
from shards.files import publish, to_json
from shards.format import CHUNK, TarWriter, write_rows
from shards.manifest import Manifest, read_manifest, write_manifest
from shards.recipe import Recipe, read
from tests.shards.helpers import make_pack, outcome

SCRIPT = '<script>alert("x")</script>'
OVERRIDE = "abc \u202etxt.exe"
QUERIES = ["dog", "cat", f"{SCRIPT} dog"]

Sample = tuple[str, bytes, str]  # image URL, image, text


def picture(colour: tuple[int, int, int], kind: str = "JPEG", size: tuple[int, int] = (320, 200)) -> bytes:
    file = io.BytesIO()
    Image.new("RGBA" if kind == "PNG" else "RGB", size, colour).save(file, kind)
    return file.getvalue()


def made_samples(n: int) -> list[Sample]:
    kinds = ("JPEG", "PNG", "WEBP")
    return [
        (f"http://img{i % 3}.site.test/{i}.jpg", picture((i * 20 % 256, 90, 160), kinds[i % 3]), f"a dog, number {i}")
        for i in range(n)
    ]


def candidate(url: str, text: str, page: str = "http://site.test/", **more: Any) -> dict[str, Any]:
    return {
        **dict.fromkeys(CANDIDATE.names, ""),
        **dict.fromkeys(("licence", "opt_out", "lang_score")),
        "pair_id": pair_id(url, text),
        "image_id": image_id(url),
        "image_url": url,
        "page_url": page,
        "text": text,
        "text_source": "alt",
        "lang": "en",
        "warc_offset": 0,
        **more,
    }


def finish(recipe: Recipe, stage: str, *fills: Callable[[Attempt], None], inputs: Sequence[str] = ()) -> Manifest:
    """A finished stage; `fills` do its tasks."""
    folder = recipe.folder(stage)
    job, receipts = Job(folder, "step", "basis", 1, None), []
    for i, fill in enumerate(fills):
        with Attempt(job, Task(f"task{i}")) as attempt:
            fill(attempt)
        receipt = job.done(Task(f"task{i}"))
        assert receipt is not None
        receipts.append(receipt)
    facts = {
        "stage": stage,
        "rules_version": 7,
        "seed": 1,
        "config": {"min_words": 3, "languages": [SCRIPT]},
        "inputs": {name: digest_of(recipe, name) for name in inputs},
        "determined_by": {},
    }
    publish(
        f"{folder}/_run.json",
        to_json(
            {
                "command": ["openwit", stage],
                "started": "2026-01-02T03:04:05Z",
                "seconds": 4.5,
                "python": "3.11.7",
                "versions": {"pyarrow": "25"},
            }
        ),
    )
    return write_manifest(folder, facts, receipts)


def digest_of(recipe: Recipe, stage: str) -> str:
    manifest = read_manifest(recipe.folder(stage))
    assert manifest is not None
    return manifest.digest


def finish_pairs(recipe: Recipe, samples: Sequence[Sample], rejects: Mapping[str, Sequence[dict[str, Any]]]) -> None:
    """queries, crawl, filter and match; `rejects` are what the filter dropped, by reason."""
    kept = [candidate(url, text) for url, _, text in samples]
    dropped = [row for rows in rejects.values() for row in rows]

    def queries(attempt: Attempt) -> None:
        rows = [{"id": i, "text": text, "source": "list", "count": 0} for i, text in enumerate(QUERIES)]
        attempt.rows(pa.Table.from_pylist(rows, schema=QUERY), QUERY)

    def crawl(attempt: Attempt) -> None:
        attempt.took("pages", 5)
        attempt.kept("pages", 4)
        attempt.dropped("pages", "too_large", 1)
        attempt.took("pairs", len(kept + dropped))
        attempt.kept("pairs", len(kept + dropped))
        attempt.note("links_not_http", 2)

    def filter_(attempt: Attempt) -> None:
        attempt.took("pairs", len(kept + dropped))
        attempt.kept("pairs", len(kept))
        for reason, rows in rejects.items():
            table = pa.Table.from_pylist(rows, schema=CANDIDATE)
            attempt.drop("pairs", table, pa.array([reason] * len(rows), pa.string()), CANDIDATE)

    def match(attempt: Attempt) -> None:
        attempt.took("pairs", len(kept))
        attempt.kept("pairs", len(kept))
        pairs = [{**row, "queries": [0, 2], "kept_for": [0, 2] if i < 2 else [0]} for i, row in enumerate(kept)]
        attempt.rows(pa.Table.from_pylist(pairs, schema=PAIR), PAIR)

    finish(recipe, "queries", queries)
    finish(recipe, "crawl", crawl)
    finish(recipe, "filter", filter_, inputs=["crawl"])
    finish(recipe, "match", match, inputs=["queries", "filter"])


def finish_images(
    recipe: Recipe,
    samples: Sequence[Sample],
    failed: Mapping[str, str],
    replaced: Mapping[str, tuple[str, int, int, bool]],
) -> None:
    """fetch (two lanes take turns), dedup and pack.

    `failed`: URL → reason; `replaced`: URL → its keeper, d64, d256, same bytes.
    """

    def fetch(lane: int, attempt: Attempt) -> None:
        mine, lost = samples[lane::2], dict(list(failed.items())[lane::2])
        attempt.took("images", len(mine) + len(lost))
        attempt.kept("images", len(mine))
        rows = [outcome(url, image) for url, image, _ in mine]
        for url, reason in lost.items():
            attempt.dropped("images", reason, 1)
            rows.append({**outcome(url, None, reason), "detail": f"{SCRIPT} said {reason}", "http_status": 404})
        rows = [{**row, "fetch_pass": 1} for row in sorted(rows, key=lambda row: row["image_id"])]
        attempt.rows(pa.Table.from_pylist(rows, schema=OUTCOME), OUTCOME)
        with (
            attempt.file("chunk_tar", f"chunk/lane{lane:05d}-0000.tar") as tar,
            attempt.file("chunk", f"chunk/lane{lane:05d}-0000.parquet") as index,
            TarWriter(tar.file) as writer,
        ):
            by_id = sorted((image_id(url), image) for url, image, _ in mine)
            index.rows = write_rows(index.file, CHUNK, [writer.add(id_, ext(image), image) for id_, image in by_id])

    def dedup(attempt: Attempt) -> None:
        attempt.took("images", len(samples))
        attempt.kept("images", len(samples) - len(replaced))
        attempt.dropped("images", "near_duplicate", len(replaced))
        rows: list[dict[str, Any]] = []
        for url, (keeper, d64, d256, same_bytes) in replaced.items():
            group = {"group_id": image_id(keeper), "kept_by": image_id(keeper)}
            rows.append(
                {**group, "image_id": image_id(url), "keep": False, "d64": d64, "d256": d256, "same_bytes": same_bytes}
            )
            rows.append({**group, "image_id": image_id(keeper), "keep": True, "d64": 0, "d256": 0, "same_bytes": True})
        attempt.rows(pa.Table.from_pylist(sorted(rows, key=lambda row: row["image_id"]), schema=GROUP), GROUP)

    finish(recipe, "fetch", functools.partial(fetch, 0), functools.partial(fetch, 1))
    finish(recipe, "dedup", dedup)
    make_pack(recipe.folder("pack"), [(url, image, [text]) for url, image, text in samples if url not in replaced])


def finish_training(recipe: Recipe, losses: Sequence[float], results: Sequence[dict[str, Any]]) -> None:
    def train(attempt: Attempt) -> None:
        with attempt.file("metrics", "metrics.jsonl") as part:
            for step, loss in enumerate(losses):
                row = {"step": step, "loss": loss, "learning_rate": 1e-3, "scale": 14.3}
                part.file.write(json.dumps(row).encode() + b"\n")

    def evaluate(attempt: Attempt) -> None:
        with attempt.file("results", "results.json") as part:
            part.file.write(to_json(list(results)))

    finish(recipe, "train", train)
    finish(recipe, "eval", evaluate)


def ext(image: bytes) -> str:
    return {b"\xff\xd8": "jpg", b"\x89P": "png", b"RI": "webp"}[image[:2]]


RESULTS = [
    {"name": "clothing", "metric": "top-1", "value": 0.4211, "low": 0.3875, "high": 0.4566, "n": 1234, "chance": 0.1},
    {"name": "retrieval", "metric": "R@1", "value": 0.25, "low": None, "high": None, "n": 20, "chance": None},
]


def recipe_in(folder: Path) -> Recipe:
    path = folder / "mine.toml"
    path.write_text(f'[run]\nout = "{folder}/out"\nseed = 1\n')
    return read(str(path))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A recipe of which nothing has run."""
    return recipe_in(tmp_path)


def finish_all(recipe: Recipe) -> None:
    """Every stage finished: 12 pairs kept of 21, 12 images of 14, 2 of them duplicates."""
    samples = made_samples(12)
    samples[3] = (samples[3][0], samples[3][1], f"a dog {SCRIPT} & {OVERRIDE}")
    rejects = {
        "too_few_words": [candidate(f"http://site.test/r{i}.jpg", f"word{i}") for i in range(8)],
        "is_a_script": [candidate("http://site.test/s.jpg", f"{SCRIPT} {OVERRIDE}\x00", "javascript:alert(1)")],
    }
    finish_pairs(recipe, samples, rejects)
    replaced = {samples[1][0]: (samples[0][0], 3, 14, False), samples[5][0]: (samples[4][0], 0, 0, True)}
    finish_images(recipe, samples, {"http://gone.test/1.jpg": "http_404", "http://gone.test/2.jpg": "dns"}, replaced)
    finish_training(recipe, [4.0 / (step + 1) for step in range(30)], RESULTS)


@pytest.fixture
def whole(recipe: Recipe) -> Recipe:
    """A recipe of which everything has run."""
    finish_all(recipe)
    return recipe


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of everything."""
    recipe = recipe_in(tmp_path_factory.mktemp("whole"))
    finish_all(recipe)
    return made(recipe)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    """The same, taken apart."""
    return Page(html)


class Page(HTMLParser):
    """A page as a browser takes it apart: its elements, and its text without styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self._inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._inside.append(tag)

    def handle_data(self, data: str) -> None:
        if self._inside and self._inside[-1] != "style":
            self.words.append(data)

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def made(recipe: Recipe) -> str:
    assert report.main(["--recipe", recipe.path]) == 0
    return (Path(recipe.out) / "report.html").read_text(encoding="utf-8")


def page_of(recipe: Recipe) -> Page:
    return Page(made(recipe))


# ── what it says ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "said",
    [
        "filter 12 of 21 · 57.1 %",
        "fetch 12 of 14 · 85.7 %",
        "dedup 10 of 12 · 83.3 %",
        "filter · pairs 21 in rows share kept 12 57.1 % too_few_words 8 38.1 % is_a_script 1 4.8 %",
        "crawl · pages 5 in rows share kept 4 80.0 % too_large 1 20.0 %",
        "crawl · noted links_not_http 2",
        "too_few_words · 8 of 21 pairs, 38.1 %",
        "http_404 · 1 of 14 images, 7.1 %",
        "d64 3, d256 14",
        "the same bytes",
        "Of all 12 pairs.",
        "dog 12 100.0 %",
        "site.test 12 100.0 %",
        "loss at step 29: 0.1333",
        "clothing top-1 0.421 0.388 – 0.457 0.100 1,234",
        "retrieval R@1 0.250 – – 20",
        "filter 2026-01-02 03:04 4.5 s 7 1 openwit filter",
        "9 of 9 stages finished",
        "last stage run 2026-01-02 03:04 UTC",
    ],
)
def test_what_happened_is_said(page: Page, said: str) -> None:
    assert said in page.text


def test_pictures_are_there_small_and_described(page: Page) -> None:
    images = page.all("img")
    assert len(images) == 10 + 2 + 2  # what is in the shards, and two groups of two
    for attributes in images:
        assert attributes["alt"]
        data = base64.b64decode(attributes["src"].removeprefix("data:image/jpeg;base64,"), validate=True)
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            assert image.format == "JPEG"
            assert max(image.size) == SIDE
            assert image.size == (int(attributes["width"]), int(attributes["height"]))


def test_a_pair_is_shown_with_the_queries_it_was_kept_for(html: str) -> None:
    first, later = (html[html.index(f"number {i}</bdi>") :][:300] for i in (0, 7))
    assert re.findall(r"<li><bdi>(.*?)</bdi></li>", first.split("</ul>")[0]) == [
        "dog",
        "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt; dog",
    ]
    assert re.findall(r"<li><bdi>(.*?)</bdi></li>", later.split("</ul>")[0]) == ["dog"]


def test_a_stage_that_is_not_finished_is_not_run_yet(recipe: Recipe) -> None:
    finish_pairs(recipe, made_samples(2), {})
    page = page_of(recipe)
    assert "fetch not run yet dedup not run yet pack not run yet" in page.text
    assert "Training Not run yet." in page.text
    assert "4 of 9 stages finished" in page.text
    assert "Images fetch not run yet dedup not run yet pack not run yet" in page.text
    assert page.all("img") == []


def test_images_without_shards_are_shown_from_the_chunks(whole: Recipe) -> None:
    (Path(whole.folder("pack")) / "_manifest.json").unlink()
    assert len(page_of(whole).all("img")) == 4  # of the two groups


def test_a_keeper_in_a_chunk_that_is_not_looked_into_is_found_in_the_shards(
    whole: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "CHUNKS_READ", 1)  # what was replaced is in the second, its keepers in the first
    dedup, fetch, pack = (read_manifest(whole.folder(stage)) for stage in ("dedup", "fetch", "pack"))
    assert dedup and fetch and pack
    found = [report.duplicates(dedup, fetch, pack, seed) for seed in range(8)]
    assert {len(groups) for groups in found} == {0, 2}
    assert all(group["picture"] and group["replaced"][0]["picture"] for groups in found for group in groups)


@pytest.mark.parametrize("n", [0, 3])
def test_nothing_failed_and_nothing_is_a_duplicate(recipe: Recipe, n: int) -> None:
    finish_pairs(recipe, made_samples(n), {})
    finish_images(recipe, made_samples(n), {}, {})
    page = page_of(recipe)
    assert len(page.all("img")) == n
    assert f"fetch {n} of {n} · {share(n, n)}" in page.text
    assert "No fetch failed" in page.text
    assert "No duplicate was found" in page.text


def test_a_stage_made_from_another_run_of_its_input_is_pointed_out(whole: Recipe) -> None:
    assert "was made from another run" not in page_of(whole).text
    finish(whole, "filter", lambda attempt: attempt.note("again"), inputs=["crawl"])
    assert "match was made from another run of filter" in page_of(whole).text


def test_a_damaged_log_is_named(whole: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    (Path(whole.folder("train")) / "metrics.jsonl").write_text('{"step": 1}\n{"st')
    assert report.main(["--recipe", whole.path]) == 1
    assert "metrics.jsonl is damaged in line 2" in capsys.readouterr().err
    assert not (Path(whole.out) / "report.html").exists()


def test_nothing_finished_is_wrong_use(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main(["--recipe", recipe.path]) == 2
    assert "no stage of" in capsys.readouterr().err
    assert not Path(recipe.out).exists()


# ── what it must not do ───────────────────────────────────────────────────────────────────────────


def test_the_page_asks_nothing_of_any_network(html: str, page: Page) -> None:
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "http" not in policy
    for tag, attributes in page.elements:
        assert tag not in {"script", "link", "iframe", "object", "embed", "form", "base", "audio", "video", "image"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "srcset", "href", "xlink:href", "poster", "data", "background", "action"} and tag != "a":
                assert value.startswith(("data:image/jpeg;base64,", "#"))
    assert not re.search(r"url\((?!#)|@import", html)


def test_hostile_texts_are_only_texts(html: str, page: Page) -> None:
    assert "<script" not in html
    assert f"a dog {SCRIPT} & abc ⟨U+202E⟩txt.exe" in page.text
    assert f"{SCRIPT} abc ⟨U+202E⟩txt.exe⟨U+0000⟩" in page.text
    assert f"{SCRIPT} said http_404" in page.text
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00]", html)


def test_only_web_addresses_are_links_and_they_tell_nobody(page: Page) -> None:
    assert "javascript:alert(1)" in page.text
    links = [link for link in page.all("a") if not link["href"].startswith("#")]
    assert links
    for link in links:
        assert link["href"].startswith("http://")
        assert link["rel"] == "noreferrer nofollow"


def test_the_page_is_well_formed(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    anchors = {link["href"][1:] for link in page.all("a") if link["href"].startswith("#")}
    uses = {use["xlink:href"][1:] for use in page.all("use")}
    assert anchors | uses <= set(ids)
    assert len(page.all("caption")) == len(page.all("table"))
    assert len(page.all("h1")) == 1
    assert all("aria-label" in svg for svg in page.all("svg") if svg.get("role") == "img")


# ── again ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_stages_make_the_same_page(whole: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(whole.out) / "report.html"
    before = made(whole)
    capsys.readouterr()
    path.unlink()
    assert made(whole) == before
    assert len(before) < 20_000_000
    assert "9 of 9 stages" in capsys.readouterr().out


def test_nothing_to_do_until_a_stage_ran_again(whole: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(whole.out) / "report.html"
    before = made(whole)
    capsys.readouterr()
    written = path.stat().st_mtime_ns
    assert made(whole) == before
    assert capsys.readouterr().out == f"report: nothing to do, {path} is up to date\n"
    assert path.stat().st_mtime_ns == written
    finish_training(whole, [1.0], [])
    assert "It has no results." in page_of(whole).text


def test_examples_do_not_depend_on_the_order_of_rows(recipe: Recipe) -> None:
    rows = [candidate(f"http://site.test/r{i}.jpg", f"word{i}") for i in range(60)]
    shown_texts = []
    for order in (rows, rows[::-1]):
        manifest = finish(recipe, "filter", functools.partial(drop, order))
        examples = report.by_reason(manifest, reject_of(CANDIDATE), "pair_id", seed=1)
        shown_texts.append([row["text"] for row in examples["few"]])
    assert shown_texts[0] == shown_texts[1]
    assert len(shown_texts[0]) == report.PER_REASON
    assert shown_texts[0] != [f"word{i}" for i in range(report.PER_REASON)]


def drop(rows: Sequence[dict[str, Any]], attempt: Attempt) -> None:
    attempt.took("pairs", len(rows))
    attempt.drop("pairs", pa.Table.from_pylist(rows, schema=CANDIDATE), pa.array(["few"] * len(rows)), CANDIDATE)


def test_a_big_table_is_read_in_part(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    finish_pairs(recipe, made_samples(9), {})
    monkeypatch.setattr(report, "PARTS_READ", 0)
    assert "Of 0 pairs in some parts chosen by hash, among 9." in page_of(recipe).text


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


def test_curves_are_the_same_again_and_stay_small() -> None:
    import numpy as np

    steps, values = np.arange(1e5), np.sin(np.arange(1e5) / 1e4)
    values[5] = np.inf
    one, again = (curve("loss", steps, values, "loss (nats)") for _ in range(2))
    assert hashlib.sha256(one.encode()).digest() == hashlib.sha256(again.encode()).digest()
    assert len(one) < 40_000
    assert "step (optimiser updates)" in one and "loss (nats)" in one


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
        (size(999), "999 B"),
        (size(64_100_000), "64.1 MB"),
        (size(12 * 10**15), "12000.0 TB"),
        (shown("a\tb\u2067c"), "a⟨U+0009⟩b⟨U+2067⟩c"),
        (shown("a\udcffb"), "a⟨U+DCFF⟩b"),
        (shown("‌می‌خواهم 👩‍🔬"), "‌می‌خواهم 👩‍🔬"),
        (shown("x" * 1000), "x" * report.TEXT + "…"),
    ],
)
def test_words_for_numbers_and_texts(said: str, expected: str) -> None:
    assert said == expected
