"""A pair walks: real pages and pictures through every stage, held against the truth that came with them."""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
import subprocess
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import pyvips
import webdataset
from PIL import Image

from core import registry
from core.manifest import Manifest, read_manifest
from core.tables import read_table
from dedup.tables import GROUP
from demo.localweb import LocalWeb, Request
from pipeline.ids import fold, image_id, pair_id
from pipeline.tables import CANDIDATE, DROP, OUTCOME, PAIR, PLAN
from pipeline.text.clean import clean
from pipeline.web.urls import normalise
from shards.reader import Shards
from tests.running import REAL, openwit, settings

STAGES = {name: stage.folder for name, stage in registry.STAGES.items()}
EVERYTHING_PASSES = {
    "filter.rules": [],
    "match.require_query": False,
    "match.max_pairs_per_query": 1_000_000_000,
    "dedup.max_captions": 1000,
    "train.steps": 4,
    "train.warmup": 2,
    "train.batch_size": 16,
}

pytestmark = [pytest.mark.program, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Walk:
    """A finished run of all stages with rules that let everything pass."""

    out: Path
    words: list[str]
    requests: list[Request]
    said: str

    def manifest(self, stage: str) -> Manifest:
        found = read_manifest(str(self.out / STAGES[stage]))
        assert found is not None
        return found

    def rows(self, stage: str, schema: Any) -> list[dict[str, Any]]:
        table = schema.metadata[b"table"].decode()
        return [row for path in self.manifest(stage).paths(table) for row in read_table(path, schema).to_pylist()]


@pytest.fixture(scope="session")
def walk(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Walk:
    out = tmp_path_factory.mktemp("walk")
    words = ["--recipe", REAL, *settings(**{"run.out": str(out), **EVERYTHING_PASSES})]
    with LocalWeb(data / "web") as web:
        said = openwit("all", *words, env={"OPENWIT_CONNECT_TO": web.connect_to})
    return Walk(out, words, web.requests, said)


@dataclass(frozen=True)
class Truth:
    """A row of web/*.pairs.tsv whose page is in the crawl."""

    page_url: str
    image_url: str
    text: str
    file: Path


@pytest.fixture(scope="session")
def truths(data: Path, walk: Walk) -> list[Truth]:
    crawled = {line.split()[2] for line in (data / "warc" / "dev_crawl.cdx").read_text().splitlines()[1:]}
    found = []
    for table in sorted((data / "web").glob("*.pairs.tsv")):
        host = table.name.removesuffix(".pairs.tsv")
        with table.open(newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                page, image = (normalise(f"http://{host}/{row[name]}") for name in ("page", "img"))
                assert page and image
                if page in crawled and fold(row["alt"]):
                    found.append(Truth(page, image, fold(row["alt"]), data / "web" / host / row["img"]))
    assert len(found) > 10_000
    return found


@cache
def reason_of_its_size(file: Path) -> str:
    """What the sizes that are taken by default say of a picture, by Pillow and, of drawings, by libvips."""
    if file.suffix == ".svg":
        drawing = pyvips.Image.new_from_file(str(file))
        width, height = drawing.width, drawing.height
    else:
        with Image.open(file) as image:
            width, height = image.size
    if min(width, height) < 32:
        return "too_small"
    return "aspect_too_large" if max(width, height) > 4 * min(width, height) else ""


def test_true_pairs_arrive_with_the_right_image(walk: Walk, truths: list[Truth]) -> None:
    outcomes = {row["image_id"]: row for row in walk.rows("fetch", OUTCOME)}
    keeper = {row["image_id"]: row["kept_by"] for row in walk.rows("dedup", GROUP)}
    shards = Shards(str(walk.out / "6_pack"))
    texts = {bytes.fromhex(s.key): {c["text"] for c in s.meta["captions"]} for s in shards.iterate()}
    arrived, there = 0, [truth for truth in truths if truth.file.is_file() and not reason_of_its_size(truth.file)]
    for truth in there:
        id_ = image_id(truth.image_url)
        right = outcomes[id_]["sha256"] == hashlib.sha256(truth.file.read_bytes()).digest()
        arrived += right and truth.text in texts.get(keeper.get(id_, id_), ())
    print(f"{arrived} of {len(there)} true pairs arrived ({100 * arrived / len(there):.2f} %)")
    assert arrived >= 0.995 * len(there)


def test_every_true_pair_that_did_not_arrive_has_a_reason(walk: Walk, truths: list[Truth]) -> None:
    outcomes = {row["image_id"]: row for row in walk.rows("fetch", OUTCOME)}
    dropped = {
        row["pair_id"]: row["reason"] for stage in ("crawl", "filter", "match") for row in walk.rows(stage, DROP)
    }
    pairs = {row["pair_id"] for row in walk.rows("match", PAIR)}
    reasons: Counter[str] = Counter()
    for truth in truths:
        id_ = pair_id(truth.image_url, truth.text)
        if id_ in pairs:
            reason = outcomes[image_id(truth.image_url)]["reason"]
            reasons[reason or "arrived"] += 1
            if truth.file.is_file():
                assert reason == reason_of_its_size(truth.file), truth
        else:
            reasons[dropped[id_]] += 1
    missing = sum(not truth.file.is_file() for truth in truths)
    assert reasons["http_404"] == missing > 0
    assert reasons["too_small"] > 0 < reasons["aspect_too_large"]
    print(dict(reasons))


def test_no_pair_is_invented(walk: Walk, truths: list[Truth]) -> None:
    true = {pair_id(truth.image_url, truth.text): truth for truth in truths}
    pages = {(truth.page_url, truth.image_url, truth.text) for truth in truths}
    found = {row["pair_id"]: row["text"] for row in walk.rows("crawl", CANDIDATE)}
    for row in walk.rows("match", PAIR):
        text = found[row["pair_id"]]  # filter has cleaned it since
        assert row["pair_id"] == pair_id(row["image_url"], text) and row["text"] == clean(text)
        if row["text_source"] == "alt":
            assert row["pair_id"] in true and (row["page_url"], row["image_url"], text) in pages
    crawled = {id_.hex() for id_ in found}
    for sample in Shards(str(walk.out / "6_pack")).iterate():
        assert {caption["pair_id"] for caption in sample.meta["captions"]} <= crawled


def test_rows_in_are_rows_kept_and_dropped_from_stage_to_stage(walk: Walk) -> None:
    counts = {stage: walk.manifest(stage).counts for stage in ("crawl", "filter", "match", "fetch", "dedup", "pack")}
    for count in (count for stage in counts.values() for count in stage.values()):
        assert count["in"] == count["kept"] + sum(count["dropped"].values())
    assert counts["crawl"]["pairs"]["kept"] == counts["filter"]["pairs"]["in"] == len(walk.rows("crawl", CANDIDATE))
    assert counts["filter"]["pairs"]["kept"] == counts["match"]["pairs"]["in"]
    assert counts["match"]["pairs"]["kept"] == counts["dedup"]["pairs"]["in"] == len(walk.rows("match", PAIR))
    assert counts["match"]["images"]["kept"] == counts["fetch"]["images"]["in"] == len(walk.rows("match", PLAN))
    assert counts["fetch"]["images"]["kept"] == counts["dedup"]["images"]["in"] == counts["pack"]["images"]["in"]
    assert (
        counts["dedup"]["images"]["kept"] == counts["pack"]["images"]["kept"] == len(Shards(str(walk.out / "6_pack")))
    )


def test_the_server_was_asked_once_for_each_image_and_for_each_robots_txt(walk: Walk) -> None:
    asked = Counter((request.method, request.host, request.path) for request in walk.requests)
    assert set(asked.values()) == {1} and {method for method, _, _ in asked} == {"GET"}
    robots = {host for _, host, path in asked if path == "/robots.txt"}
    images = {f"http://{host}{path}" for _, host, path in asked if path != "/robots.txt"}
    assert robots == {request.host for request in walk.requests}
    assert images == {row["image_url"] for row in walk.rows("match", PLAN)}
    assert all("openwit" in request.user_agent.lower() and "+http" in request.user_agent for request in walk.requests)


def test_a_second_run_has_nothing_to_do(walk: Walk) -> None:
    started = time.monotonic()
    said = openwit("all", *walk.words)
    assert said.count("nothing to do") == len(STAGES) + 1, said  # and the report
    assert time.monotonic() - started < 30


def test_tar_webdataset_and_our_reader_see_the_same_samples(walk: Walk) -> None:
    folder = walk.out / "6_pack"
    ours = {sample.key: sample for sample in Shards(str(folder)).iterate()}
    tars = sorted(folder.glob("*.tar"))
    listed = [
        name
        for tar in tars
        for name in subprocess.run(["tar", "-tf", tar], check=True, capture_output=True, text=True).stdout.split()
    ]
    assert listed == [f"{key}.{ext}" for key, s in ours.items() for ext in (s.ext, "txt", "json")]
    theirs = {sample["__key__"]: sample for tar in tars for sample in as_webdataset_reads(tar)}
    assert theirs.keys() == ours.keys()
    for key, sample in ours.items():
        assert theirs[key][sample.ext] == sample.image and theirs[key]["txt"].decode() == sample.text


def as_webdataset_reads(tar: Path) -> list[dict[str, Any]]:
    """The samples of a tar by webdataset's own steps, on a file that is closed at the end: its opener never does."""
    with tar.open("rb") as stream:
        files = webdataset.tariterators.tar_file_expander([{"url": str(tar), "stream": stream}])
        return list(webdataset.tariterators.group_by_keys(files))


def test_explain_tells_what_became_of_a_url(walk: Walk, truths: list[Truth]) -> None:
    there = next(truth for truth in truths if truth.file.is_file())
    gone = next(truth for truth in truths if not truth.file.is_file())
    assert ".tar, with" in openwit("explain", there.image_url, *walk.words)
    assert "http_404" in openwit("explain", gone.image_url, *walk.words)
    assert "no stage" in openwit("explain", "http://nowhere.test/", *walk.words, status=2)


@pytest.fixture(scope="session")
def by_default_rules(walk: Walk, tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """The same crawl, filtered and matched with the recipe's own rules."""
    out = tmp_path_factory.mktemp("default")
    for stage in ("queries", "crawl"):
        shutil.copytree(walk.out / STAGES[stage], out / STAGES[stage])
    words = ["--recipe", REAL, *settings(**{"run.out": str(out)})]
    said = "".join(openwit(stage, *words) for stage in ("filter", "match"))
    return Walk(out, words, [], said)


def test_under_default_rules_every_drop_is_explained(by_default_rules: Walk) -> None:
    run = by_default_rules
    crawled = Counter(row["pair_id"] for row in run.rows("crawl", CANDIDATE))
    kept = Counter(row["pair_id"] for row in run.rows("match", PAIR))
    dropped = Counter(row["pair_id"] for stage in ("filter", "match") for row in run.rows(stage, DROP))
    assert crawled == kept + dropped
    for stage in ("filter", "match"):
        reasons = Counter(row["reason"] for row in run.rows(stage, DROP))
        assert dict(reasons) == run.manifest(stage).counts["pairs"]["dropped"]
    one_of_each = {row["reason"]: row for stage in ("filter", "match") for row in run.rows(stage, DROP)}
    assert len(one_of_each) >= 8
    for reason, row in one_of_each.items():
        assert f"dropped: {reason}" in openwit("explain", row["image_id"].hex(), *run.words)


def test_kept_ids_are_uniform_over_the_range_of_ids(walk: Walk) -> None:
    """A choice that followed the ids would empty some shards: 64 bins, chi-squared below its 99.99 % point."""
    bins = Counter(sample.key[:2] for sample in Shards(str(walk.out / "6_pack")).iterate())
    counts = [sum(bins[f"{i:02x}"] for i in range(first, first + 4)) for first in range(0, 256, 4)]
    expected = sum(counts) / 64
    assert sum((count - expected) ** 2 / expected for count in counts) < 119


def test_the_stored_images_are_small_pictures_that_open(walk: Walk) -> None:
    for sample in _some(Shards(str(walk.out / "6_pack"))):
        with Image.open(io.BytesIO(sample.image)) as image:
            image.load()
            assert min(image.size) <= 256 and image.format == "JPEG"


def _some(shards: Shards) -> Iterator[Any]:
    return (sample for i, sample in enumerate(shards.iterate()) if i % 20 == 0)


def test_shards_are_proven_by_verify(walk: Walk, tmp_path: Path) -> None:
    assert "are as they were packed" in openwit("verify", str(walk.out / "6_pack"))
    broken = tmp_path / "6_pack"
    shutil.copytree(walk.out / "6_pack", broken)
    tar = sorted(broken.glob("*.tar"))[0]
    with tarfile.open(tar) as archive:
        cut = archive.getmembers()[3].offset
    tar.write_bytes(tar.read_bytes()[:cut])
    assert tar.name in openwit("verify", str(broken), status=1)


def test_the_report_is_one_file_that_asks_for_nothing(walk: Walk) -> None:
    page = (walk.out / "report.html").read_text()
    assert len(page) < 20_000_000
    for attribute in ('src="http', "src='http", "url(http", "<link", "@import"):
        assert attribute not in page
