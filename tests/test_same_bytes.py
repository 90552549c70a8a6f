"""The same input, recipe and seed give the same bytes: however many workers, in whatever order, after any retries."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

import openwit as command
import pipeline.stage
from core.files import digest
from pipeline.tasks.attempt import Task
from pipeline.tasks.lanes import in_lanes
from shards.reader import Shards
from tests.running import environment
from tests.small import FOLDERS, PIPELINE, Small, contents, without_inputs

pytestmark = [pytest.mark.program, pytest.mark.timeout(600)]


def same(one: Path, other: Path, stages: Iterable[str] = PIPELINE) -> None:
    for stage in stages:
        a, b = one / FOLDERS[stage], other / FOLDERS[stage]
        if stage in ("dedup", "pack"):
            assert without_inputs(a) == without_inputs(b), stage
        else:
            assert contents(a) == contents(b), stage


def test_the_small_web_is_not_trivial(small: Small) -> None:
    shards = Shards(str(small.out / FOLDERS["pack"]))
    assert len(shards) > 100 and len(shards.sizes) >= 5
    assert len(list((small.out / FOLDERS["fetch"] / "chunk_tar").iterdir())) >= 6


def test_one_worker_shuffled_inputs_and_tasks_committed_in_random_order(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shuffled(tasks: Iterable[Task]) -> list[tuple[Task, ...]]:
        lanes = in_lanes(tasks)
        random.Random(digest([task.id for lane in lanes for task in lane])).shuffle(lanes)
        return lanes

    monkeypatch.setattr(pipeline.stage, "in_lanes", shuffled)
    for name, value in environment(small.env).items():
        monkeypatch.setenv(name, value)
    other = Small(small.out, small.archives[::-1], small.web)
    for name in PIPELINE:
        assert command.main([name, *other.words(tmp_path, **{"engine.workers": 1})]) == 0
    same(small.out, tmp_path)


def test_archives_that_came_before_are_not_read_again(small: Small, tmp_path: Path) -> None:
    """Half of the archives first, then all: the crawl ends in the same bytes, and did only what was missing."""
    half = Small(small.out, small.archives[:3], small.web)
    half.run("crawl", out=tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / FOLDERS["crawl"] / "candidate").iterdir()}
    small.run("crawl", out=tmp_path)
    same(small.out, tmp_path, ["crawl"])
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / FOLDERS["crawl"] / "candidate").iterdir()}
    assert len(before) == 3 and before.items() < after.items()


def test_editing_the_filter_never_crawls_again(small: Small, tmp_path: Path) -> None:
    for stage in ("queries", "crawl", "filter"):
        shutil.copytree(small.out / FOLDERS[stage], tmp_path / FOLDERS[stage])
    said = small.run("queries", "crawl", "filter", out=tmp_path, **{"filter.min_words": 4})
    assert said.count("nothing to do") == 2 and "filter: kept" in said
