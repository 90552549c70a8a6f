"""The report: right numbers, pictures that are there, nothing fetched, hostile texts harmless, the same page again."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from core.manifest import read_manifest
from core.recipe import Recipe
from core.registry import STAGES
from report import examples, render
from report.thumbnails import SIDE
from tests.report.finished import (
    RESULTS,
    SCRIPT,
    finish,
    finish_all,
    finish_images,
    finish_overlap,
    finish_pairs,
    finish_training,
    made_samples,
    recipe_in,
)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A recipe of which nothing has run."""
    return recipe_in(tmp_path)


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
        if tag == "wbr":
            self.words.append("\u200b")
            return
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
        return " ".join(" ".join(self.words).replace(" \u200b ", "").split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def made(recipe: Recipe) -> str:
    assert render.main(["--recipe", recipe.path]) == 0
    return (Path(recipe.out) / "report.html").read_text(encoding="utf-8")


def page_of(recipe: Recipe) -> Page:
    return Page(made(recipe))


# ── what it says ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "said",
    [
        "filter 21 pairs 12 kept · 57.1 % 8 too_few_words",
        "fetch 14 images 12 kept · 85.7 %",
        "dedup 12 images 10 kept · 83.3 %",
        "pairs 21 came in kept 12 57.1 % ",
        "queries 4 came in kept 3 75.0 %",
        'Dog <script>alert("x")</script> title, 4,000×',
        'request <script>alert("x")</script> <script>alert("x")</script>.warc.gz , byte 4,711',
        "too_few_words 8 38.1 % Fewer words than min_words",
        "is_a_script 1 4.8 %",
        "pages 5 came in kept 4 80.0 % What goes on, some of it. http://site.test/",
        "too_large 1 20.0 % The page has more bytes than the recipe takes. http://site.test/huge",
        "Noted: links not http 2",
        "http_404 1 7.1 % Not found (404).",
        "3 of 64 bits, 14 of 256",
        "the same bytes",
        "3 strings were searched for; 2 took a pair.",
        "dog 12 pairs",
        "Of all 12 pairs.",
        "site.test 12 100.0 %",
        "loss at step 29: 0.1333; guessing gets 4.159",
        "clothing top-1 0.421 0.388 to 0.457 · chance 0.100 · 1,234 examples",
        "retrieval R@1 0.250 no interval · no chance level · 20 examples",
        "cat else dog 2× 1 of 3",
        "✗ dog 50.0 % sure; it is cat , which comes 2nd",
        "1st a dog, number 0",
        '22nd a dog <script>alert("x")</script> & abc',
        "filter 2026-01-02 03:04 4.5 s",
        f"9 of {len(STAGES)} stages finished",
        "last stage run 2026-01-02 03:04 UTC",
    ],
)
def test_what_happened_is_said(page: Page, said: str) -> None:
    assert said in page.text


def test_pictures_are_there_small_and_described(page: Page) -> None:
    images = page.all("img")
    assert len(images) == 10 + 2 + 2 + 4 + 1 + 2  # of the shards, of two groups of two, of two queries, retrieved
    for attributes in images:
        assert attributes["alt"]
        data = base64.b64decode(attributes["src"].removeprefix("data:image/jpeg;base64,"), validate=True)
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            assert image.format == "JPEG"
            assert max(image.size) == SIDE
            assert image.size == (int(attributes["width"]), int(attributes["height"]))


def test_a_pair_is_shown_with_the_queries_it_was_kept_for(html: str) -> None:
    first, later = (html[html.index(f"number {i}</bdi>") :][:500] for i in (0, 7))
    assert re.findall(r"<bdi>(.*?)</bdi>", first.split("</ul>")[0]) == [
        "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt; dog",
        "dog",
    ]
    assert re.findall(r"<bdi>(.*?)</bdi>", later.split("</ul>")[0]) == ["dog"]


def test_a_stage_that_is_not_finished_is_not_run_yet(recipe: Recipe) -> None:
    finish_pairs(recipe, made_samples(2), {})
    page = page_of(recipe)
    assert "fetch not run yet dedup not run yet pack not run yet" in page.text  # in the funnel
    assert "fetch Each image is asked for once, as robots.txt and opt-outs allow. not run yet" in page.text
    assert "Training Not run yet." in page.text
    assert f"4 of {len(STAGES)} stages finished" in page.text
    assert page.all("img") == []


def test_images_without_shards_are_shown_from_the_chunks(whole: Recipe) -> None:
    (Path(whole.folder("pack")) / "_manifest.json").unlink()
    assert len(page_of(whole).all("img")) == 4  # of the two groups


def test_a_keeper_in_a_chunk_that_is_not_looked_into_is_found_in_the_shards(
    whole: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examples, "CHUNKS_READ", 1)  # what was replaced is in the second, its keepers in the first
    dedup, fetch, pack = (read_manifest(whole.folder(stage)) for stage in ("dedup", "fetch", "pack"))
    assert dedup and fetch and pack
    found = [examples.duplicates(dedup, examples.some_chunks(fetch, seed), pack, seed) for seed in range(8)]
    assert {len(groups) for groups in found} == {0, 2}
    assert all(group["picture"] and group["replaced"][0]["picture"] for groups in found for group in groups)


@pytest.mark.parametrize("n", [0, 3])
def test_nothing_failed_and_nothing_is_a_duplicate(recipe: Recipe, n: int) -> None:
    finish_pairs(recipe, made_samples(n), {})
    finish_images(recipe, made_samples(n), {}, {})
    page = page_of(recipe)
    assert len(page.all("img")) == (3 + 3 + 2 if n else 0)  # kept, and of two queries
    assert f"images {n} came in {'kept 3 100.0 % What goes on' if n else 'dedup'}" in page.text
    assert "No duplicate was found" in page.text


def test_a_stage_made_from_another_run_of_its_input_is_pointed_out(whole: Recipe) -> None:
    assert "was made from another run" not in page_of(whole).text
    finish(whole, "filter", lambda attempt: attempt.note("again"), inputs=["crawl"])
    assert "match was made from another run of filter" in page_of(whole).text


def test_a_damaged_log_is_named(whole: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    (Path(whole.folder("train")) / "metrics.jsonl").write_text('{"step": 1}\n{"st')
    assert render.main(["--recipe", whole.path]) == 1
    assert "metrics.jsonl is damaged in line 2" in capsys.readouterr().err
    assert not (Path(whole.out) / "report.html").exists()


@pytest.mark.parametrize("content", ["{", "[]", "null"])
def test_how_a_stage_ran_is_unknown_where_it_is_damaged(whole: Recipe, content: str) -> None:
    (Path(whole.folder("filter")) / "_run.json").write_text(content)
    assert re.search(r"filter – – 3 \d+\.\d kB", page_of(whole).text)


def test_a_damaged_overlap_is_named(whole: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    (Path(whole.out) / "overlap.parquet").write_bytes(b"PAR1 and no more")
    assert render.main(["--recipe", whole.path]) == 1
    assert "overlap.parquet is damaged (" in capsys.readouterr().err


def test_half_a_page_is_made_again(whole: Recipe) -> None:
    page = made(whole)
    (Path(whole.out) / "report.html").write_text(page[: len(page) // 2])
    assert made(whole) == page


def test_nothing_finished_is_wrong_use(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    assert render.main(["--recipe", recipe.path]) == 2
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
    assert all("aria-label" in svg for svg in page.all("svg") if svg.get("role"))
    reasons = [link["href"] for link in page.all("a") if link["href"].startswith("#filter-pairs-")]
    assert [name.removeprefix("#filter-pairs-") for name in reasons] == ["kept", "too_few_words", "is_a_script"]


def test_every_number_leads_to_what_is_behind_it(whole: Recipe) -> None:
    """Whatever was kept or dropped opens to rows, or to where on the page they are; so does each entry of a list."""
    html = made(whole)
    manifests = [read_manifest(whole.folder(stage)) for stage in STAGES]
    counts = [count for manifest in manifests if manifest for count in manifest.counts.values()]
    opened = re.findall(r'<details class="reason.*?</details>', html, re.DOTALL)
    assert len(opened) == sum(bool(count["kept"]) + len(count["dropped"]) for count in counts) > 15
    assert all(re.search(r"<li>|<a href=\"#", inside) for inside in opened)
    for listed in re.findall(r'<ol class="bars">.*?</ol>', html, re.DOTALL):
        assert listed.count("<li><details>") == listed.count("<ul>\n<li>") > 0
    results = re.findall(r'<span class="value">(.*?)</span>', html)
    assert len(results) == len(RESULTS)


def test_leaks_are_shown_beside_what_they_are_like(whole: Recipe) -> None:
    """Once `openwit overlap` has said which they are, and as long as that is true."""
    assert "Not known: openwit overlap" in page_of(whole).text
    url = made_samples(1)[0][0]
    row = {"key": "7.png", "image_url": url, "d64": 1}
    rows = [row, {**row, "d64": 4}, {**row, "key": "8.png", "leak": False}, {**row, "key": "9.png", "packed": False}]
    finish_overlap(whole, rows)
    shown = page_of(whole)
    assert "1 of 40 evaluation pictures are in the dataset" in shown.text
    assert f"1 of 64 bits, 12 of 256 {url}" in shown.text
    assert len(shown.all("img")) == len(page_of(whole).all("img"))
    finish(whole, "dedup", lambda attempt: attempt.note("again"))
    assert "Not known: openwit overlap" in page_of(whole).text


# ── again ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_stages_make_the_same_page(whole: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(whole.out) / "report.html"
    before = made(whole)
    capsys.readouterr()
    path.unlink()
    assert made(whole) == before
    assert len(before) < 20_000_000
    assert f"9 of {len(STAGES)} stages" in capsys.readouterr().out


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


def test_a_big_table_is_read_in_part(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    finish_pairs(recipe, made_samples(9), {})
    monkeypatch.setattr(examples, "PARTS_READ", 0)
    assert "Of 0 pairs in some parts chosen by hash, among 9." in page_of(recipe).text
