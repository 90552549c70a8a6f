"""A run that was killed, damaged and started twice ends with the same files as an undisturbed one; see tests/walks.py.

OPENWIT_WALKS=20 takes 20 walks on disk and 5 on a store instead of 160 and 40, OPENWIT_WALK=137 that one alone. Walks
on a store are numbered from 1000.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from core.manifest import read_manifest
from demo.localweb import Behaviour, LocalWeb
from tests.dedup.made import scene
from tests.forks import Forks
from tests.pipeline.test_fetch import encoded
from tests.promises import RECIPES, World, look
from tests.small import FOLDERS, PIPELINE
from tests.stores import new_bucket, used
from tests.walks import Walker, walk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WALKS = int(os.environ.get("OPENWIT_WALKS", "160"))  # on disk; a quarter as many on an object store
STORES = 1000  # the first walk on a store: the seed alone says where a walk goes
AT_ONCE = 2  # walks
CHUNK = 5  # walks of a test
IMAGES, TABLES, HOSTS = 24, 3, "abcd"


def seeds(is_store: bool) -> list[list[int]]:
    """The walks of each test on disk or on a store; the one that is asked for, where it goes there."""
    if "OPENWIT_WALK" in os.environ:
        one = int(os.environ["OPENWIT_WALK"])
        return [[one]] if (one >= STORES) == is_store else []
    assert 0 < WALKS <= STORES, f"OPENWIT_WALKS={WALKS}: give 1 to {STORES}"
    first, end = (STORES, STORES + max(1, WALKS // 4)) if is_store else (0, WALKS)
    return [list(range(start, min(start + CHUNK, end))) for start in range(first, end, CHUNK)]


def name(seeds: list[int]) -> str:
    """Of a test."""
    return f"{seeds[0]}-{seeds[-1]}"


@pytest.fixture(scope="module")
def web() -> Iterator[LocalWeb]:
    """Some hosts with some pictures each, the last of which are those of the first again."""
    pictures = {
        f"{HOSTS[i % len(HOSTS)]}.test/{i}.jpg": Behaviour(body=encoded(scene(i % (IMAGES - 4))), delay=0.02)
        for i in range(IMAGES)
    }
    with LocalWeb({}, pictures) as served:
        yield served


def write_tables(folder: Path, web: LocalWeb) -> dict[str, object]:
    """Tables of the pictures' URLs with captions, a list of queries; what a recipe says of them."""
    lines: list[list[str]] = [["url,caption"] for _ in range(TABLES)]
    for i in range(IMAGES):
        url = f"http://{HOSTS[i % len(HOSTS)]}.test/{i}.jpg"
        lines[i % TABLES].append(f"{url},a picture of scene {i} in {'the summer' if i % 3 else 'winter'}")
        if i % 5 == 0:
            lines[(i + 1) % TABLES].append(f"{url},soft blobs")
    for number, some in enumerate(lines):
        (folder / f"table{number}.csv").write_text("".join(f"{line}\n" for line in some))
    (folder / "queries.txt").write_text("picture\nscene\nsummer\nwinter\nblobs\n")
    return {
        "queries.wikipedia": [],
        "queries.wordnet": [],
        "queries.lists": [str(folder / "queries.txt")],
        "crawl.warc": [],
        "crawl.urls": [str(folder / "table*.csv")],
        "filter.languages": [],
        "match.max_pairs_per_query": 10,
        "match.lanes": 2,
        "fetch.images_per_chunk": 4,
        "fetch.requests_per_second": 1000.0,
        "pack.samples_per_shard": 2,
        "engine.lease_seconds": 2.0,
        "engine.workers": 1,
    }


@pytest.fixture(scope="module")
def world(web: LocalWeb, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All recipes run to their ends, undisturbed, the first of them timed."""
    folder = tmp_path_factory.mktemp("world")
    with Forks(tmp_path_factory.mktemp("commands")) as forks:
        env = {"OPENWIT_CONNECT_TO": web.connect_to, "OMP_NUM_THREADS": "1"}
        world = World(forks, write_tables(folder, web), env, folder / "0")
        for recipe in range(len(RECIPES)):
            out = folder / str(recipe)
            if recipe:
                shutil.copytree(world.undisturbed, out)
            walker = Walker(world, str(out))
            for stage in PIPELINE:
                began = time.monotonic()
                walker.run_one(stage, recipe)
                world.seconds.setdefault(stage, time.monotonic() - began)
                manifest = read_manifest(str(out / FOLDERS[stage]))
                assert manifest is not None
                world.learn(stage, manifest)
            walker.hold()
        made = [look("pack", folder / str(recipe) / FOLDERS["pack"]) for recipe in range(len(RECIPES))]
        assert all(one != other for one, other in combinations(made, 2)), "what a recipe changes must show"
        world.expected.update({stage: look(stage, world.undisturbed / FOLDERS[stage]) for stage in PIPELINE})
        yield world


@pytest.mark.parametrize("seeds", seeds(is_store=False), ids=name)
def test_on_disk(world: World, seeds: list[int], tmp_path: Path) -> None:
    take(world, {seed: str(tmp_path / f"{seed}" / "out") for seed in seeds}, tmp_path)


@pytest.mark.parametrize("seeds", seeds(is_store=True), ids=name)
def test_on_an_object_store(world: World, minio: str, seeds: list[int], tmp_path: Path) -> None:
    with used(minio) as environment:
        there = replace(world, env={**world.env, **environment})
        bucket = new_bucket()
        take(there, {seed: f"s3://{bucket}/{seed}" for seed in seeds}, tmp_path)


def take(world: World, walks: Mapping[int, str], folder: Path) -> None:
    """Take walks, some at once; by seed, where each goes."""

    def one(seed: int) -> str:
        began, said = time.monotonic(), ""
        try:
            walk(world, seed, walks[seed], folder / f"{seed}" / "copy")
        except AssertionError as error:
            said = f"{error}"
        print(f"\n{said or f'walk {seed} took {time.monotonic() - began:.1f} s'}")
        return said

    with ThreadPoolExecutor(AT_ONCE) as threads:
        failed = [said for said in threads.map(one, walks) if said]
    assert not failed, "\n\n".join(failed)
