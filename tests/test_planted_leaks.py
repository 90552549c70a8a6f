"""Photographs with copies of an evaluation set among them, through every stage: found, measured, and taken out."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from math import comb
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

import openwit
from core import recipe as recipes
from core.recipe import Recipe
from core.tables import read_table
from dedup.tables import OVERLAP
from demo.localweb import LocalWeb
from pipeline.ids import image_id
from report import leaked as page
from tests.pipeline.test_pack import tars
from tests.pipeline.upstream import Project
from tests.trainer.helpers import run_training, write_merges
from trainer.evals.zeroshot import EXAMPLE

CLASSES = {  # of Caltech-101, and how many pictures of each are in the evaluation set
    "Motorbikes": 40,
    "airplanes": 40,
    "watch": 30,
    "Leopards": 30,
    "trilobite": 30,
    "bonsai": 25,
    "chandelier": 25,
    "butterfly": 20,
}
N = sum(CLASSES.values())
EVERY = 20  # of which leaks: 5 %
OTHERS = 150  # photographs of Crossmodal-3600, no copies of anything
STAGES = ("queries", "crawl", "filter", "match", "fetch", "dedup", "pack")


def edited(number: int, body: bytes) -> bytes:
    """A leaked picture as the web has it, in six ways by turns."""
    picture = Image.open(io.BytesIO(body)).convert("RGB")
    width, height = picture.size
    made, quality = [
        (picture.resize((width * 2 // 3, height * 2 // 3)), 90),
        (picture, 25),
        (ImageOps.mirror(picture), 90),
        (ImageOps.expand(picture, 24, "white"), 90),
        (ImageOps.expand(ImageOps.mirror(picture), 30, "black"), 80),
        (ImageOps.mirror(picture.resize((width * 3 // 4, height * 3 // 4))), 60),
    ][number % 6]
    to = io.BytesIO()
    made.save(to, "JPEG", quality=quality)
    return to.getvalue()


def photos(data: Path) -> tuple[dict[str, bytes], list[bytes]]:
    """The evaluation set by name, CLASS_NUMBER.jpg, and other photographs."""
    found: dict[str, list[bytes]] = {label: [] for label in CLASSES}
    others: list[bytes] = []
    with tarfile.open(data / "photos" / "photos.tar") as tar:
        for member in sorted(tar.getmembers(), key=lambda member: member.name):
            label = member.name.rsplit("/", 1)[-1].removeprefix("caltech_").split("_image")[0]
            wanted = found[label] if label in CLASSES else others if "xm3600" in member.name else None
            if wanted is not None and len(wanted) < CLASSES.get(label, OTHERS):
                file = tar.extractfile(member)
                assert file is not None
                wanted.append(file.read())
    named = {f"{label}_{i:02}.jpg": body for label, some in found.items() for i, body in enumerate(some)}
    assert len(named) == N and len(others) == OTHERS
    return dict(sorted(named.items())), others


def label_of(name: str) -> str:
    return name.rsplit("_", 1)[0].lower()


def url_of(name: str) -> str:
    return f"http://copies.test/{name}"


class Made:
    """The web, the evaluation set, and a recipe of both."""

    def __init__(self, folder: Path, data: Path) -> None:
        named, others = photos(data)
        self.leaked = [name for number, name in enumerate(named) if number % EVERY == 0]
        sent = {url_of(name): edited(i, named[name]) for i, name in enumerate(self.leaked)}
        sent |= {f"http://photos.test/{i}.jpg": body for i, body in enumerate(others)}
        captions = {url_of(name): f"a photo of a {label_of(name)}" for name in self.leaked}
        lines = [f"{url}\t{captions.get(url, 'a photo of something else')}, number {i}" for i, url in enumerate(sent)]
        for url, body in sent.items():
            (folder / "web" / url.removeprefix("http://")).parent.mkdir(parents=True, exist_ok=True)
            (folder / "web" / url.removeprefix("http://")).write_bytes(body)
        (folder / "pairs.tsv").write_text("\n".join(["url\tcaption", *lines]) + "\n")
        (folder / "queries.txt").write_text("photo\n")
        (folder / "labels.tsv").write_text("".join(f"{name}\t{label_of(name)}\n" for name in named))
        with tarfile.open(folder / "set.tar", "w") as tar:
            for name, body in named.items():
                member = tarfile.TarInfo(name)
                member.size = len(body)
                tar.addfile(member, io.BytesIO(body))
        values: dict[str, object] = {
            "queries.lists": [str(folder / "queries.txt")],
            "crawl.urls": [str(folder / "pairs.tsv")],
            "filter.languages": [],
            "fetch.contact": "https://openwit.test",
            "fetch.connect_to": "${OPENWIT_CONNECT_TO}",
            "fetch.requests_per_second": 500.0,
            "pack.shards": 3,
            "train.merges": str(write_merges(folder / "merges.gz")),
            "train.batch_size": 32,
            "train.steps": 40,
            "train.warmup": 4,
            "train.threads": 1,
            "eval.pictures": str(folder / "set.tar"),
            "eval.labels": str(folder / "labels.tsv"),
            "eval.templates": ["a photo of a {}"],
        }
        (folder / "out").mkdir()
        self.project = Project(folder / "out", values)

    @property
    def recipe(self) -> Recipe:
        words = self.project.words()
        return recipes.read(words[1], words[3::2])

    def run(self, verb: str, *more: str) -> None:
        assert openwit.main([verb, *self.project.words(), *more]) == 0

    def overlap(self) -> list[dict[str, Any]]:
        """The leaks that overlap finds, whether or not they are packed."""
        self.run("overlap")
        table = read_table(str(self.project.folder / "overlap.parquet"), OVERLAP)
        return [row for row in table.to_pylist() if row["leak"]]

    def measured(self) -> page.SetLeaks:
        """What the report says of the set."""
        found = page.read(self.recipe, self.project.manifest("dedup"))
        assert found is not None
        (one,) = page.by_set(found, self.project.manifest("eval"))
        return one


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Every stage up to a model and its answers to the evaluation set."""
    folder = tmp_path_factory.mktemp("planted")
    with pytest.MonkeyPatch.context() as patch:
        made = Made(folder, data)
        with LocalWeb(folder / "web") as web:
            patch.setenv("OPENWIT_CONNECT_TO", web.connect_to)
            for stage in STAGES:
                made.run(stage)
        run_training(made.recipe)
        made.run("eval")
        yield made


# ── the calculation by hand: nothing but sums of binomial terms ──


def at_least(hits: int, n: int, p: float) -> float:
    return sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(hits, n + 1))


def root(share: float, hits: int, n: int) -> float:
    """The p at which `hits` or more of n have the given probability, by halving."""
    low, high = 0.0, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if at_least(hits, n, middle) > share else (middle, high)
    return low


@pytest.mark.slow
def test_planted_leaks_are_found_measured_and_taken_out(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    before = tars(made.project)
    rows = made.overlap()
    assert {row["key"] for row in rows} == set(made.leaked), "every copy, and nothing else"
    assert all(row["packed"] and row["image_id"] == image_id(url_of(row["key"])) for row in rows)
    assert {i % 6 for i, name in enumerate(made.leaked) for row in rows if row["key"] == name and row["mirrored"]} == {
        2,
        4,
        5,
    }

    answers = read_table(made.project.manifest("eval").paths("zeroshot_example")[0], EXAMPLE).to_pylist()
    right = {row["key"]: row["correct"] for row in answers}
    inside = [right[name] for name in made.leaked]
    outside = [value for name, value in right.items() if name not in made.leaked]
    clean = sum(outside) / len(outside)
    assert len(right) == N and 0 < clean < 1, "else nothing is measured"
    one = made.measured()
    assert (one.asked, one.found, one.numbers is not None) == (N, len(made.leaked), True)
    numbers = one.numbers
    assert numbers is not None
    assert numbers["contamination"] == pytest.approx(0.05, abs=1e-12)
    assert numbers["all_minus_clean"] == pytest.approx(sum(right.values()) / N - clean, abs=1e-9)
    assert numbers["p"] == pytest.approx(at_least(sum(inside), len(inside), clean), rel=1e-9)
    low = root(0.0025, sum(inside), len(inside)) if any(inside) else 0.0
    high = root(0.9975, sum(inside) + 1, len(inside)) if not all(inside) else 1.0
    assert (numbers["low"], numbers["high"]) == pytest.approx((low - clean, high - clean), abs=1e-9)

    made.run("decontaminate")
    made.run("pack", "--set", f'pack.drop=["{made.project.folder}/decontaminate.txt"]')
    gone = tuple(image_id(url_of(name)).hex() for name in made.leaked)
    assert tars(made.project) == {
        shard: {member: body for member, body in members.items() if not member.startswith(gone)}
        for shard, members in before.items()
    }
    counts = made.project.manifest("pack").counts["images"]
    assert counts["dropped"] == {"drop_list": len(gone)} and counts["kept"] == OTHERS
    capsys.readouterr()
    assert not any(row["packed"] for row in made.overlap())
    assert f"overlap: 0 of {N} evaluation pictures are in the dataset" in capsys.readouterr().out


@pytest.mark.slow
def test_leaks_of_a_set_in_numbered_tars_are_measured(made: Made) -> None:
    """As CLIP_benchmark has its sets: overlap and eval call the pictures the same, so that the two can be joined."""
    folder, classes = made.project.folder.parent / "numbered", sorted({name.lower() for name in CLASSES})
    (folder / "test").mkdir(parents=True)
    (folder / "classnames.txt").write_text("".join(f"{name}\n" for name in classes))
    (folder / "test" / "nshards.txt").write_text("1")
    with tarfile.open(folder.parent / "set.tar") as pictures, tarfile.open(folder / "test" / "0.tar", "w") as tar:
        for i, name in enumerate(sorted(pictures.getnames())):
            file = pictures.extractfile(name)
            assert file is not None
            for ending, body in ((".jpg", file.read()), (".cls", b"%d" % classes.index(label_of(name)))):
                member = tarfile.TarInfo(f"s{i:07}{ending}")
                member.size = len(body)
                tar.addfile(member, io.BytesIO(body))
    made.run("pack")
    made.run("eval", "--set", f'eval.sets=["{folder}"]')
    made.run("overlap", "--pictures", str(folder))
    found = page.read(made.recipe, made.project.manifest("dedup"))
    assert found is not None
    one = next(one for one in page.by_set(found, made.project.manifest("eval")) if one.name == "numbered")
    numbers = one.numbers
    assert numbers is not None, one.why
    assert (numbers["n"], numbers["overlap"]) == (N, len(made.leaked))
    assert numbers["all_minus_clean"] == pytest.approx(numbers["all"] - numbers["clean"], abs=1e-12)
