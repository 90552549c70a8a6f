"""What a stage finds out of its raw files before it works, and what workers that outlive it may not do."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from core import inputs, runs
from core.errors import Failure
from core.recipe import Recipe
from pipeline.crawl import visits_of
from pipeline.stage import Stage, definition_of
from pipeline.tasks.attempt import Attempt, Task

MIB = 1 << 20
BETWEEN = MIB + 10  # a byte that the sample leaves out


def crawl(folder: Path, **values: object) -> Stage[Any]:
    tables: dict[str, dict[str, object]] = {
        "run": {"out": str(folder / "out")},
        "crawl": values,
        "fetch": {"contact": "me@example.org"},
    }
    return Stage(Recipe("r.toml", tables), "crawl", definition_of("crawl")).look()


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is known by a sample, whose blocks are as far apart as in one of gigabytes."""
    monkeypatch.setattr(inputs, "SAMPLED_ABOVE", 2 * MIB)
    monkeypatch.setattr(inputs, "_BLOCK", 4096)
    path = tmp_path / "a" / "large.csv"
    path.parent.mkdir()
    path.write_bytes(random.Random(1).randbytes(4 * MIB))
    return path


def test_what_a_killed_run_has_read_is_not_read_anew(large: Path, tmp_path: Path) -> None:
    first = crawl(tmp_path, urls=[str(large)])
    runs.begin(first.folder, first.facts, first.memory.known)
    (source,) = first.sources["urls"]
    task = Task(source.id, source.digest)
    with Attempt(first.job("candidates"), task) as attempt, attempt.reading(source):
        pass
    large.chmod(0o640)  # which changes its second time, if it is not too young to be known by its times
    again = crawl(tmp_path, urls=[str(large)])
    assert again.facts == first.facts and again.job("candidates").done(task)
    data = bytearray(large.read_bytes())
    data[BETWEEN] ^= 1
    large.write_bytes(data)
    assert crawl(tmp_path, urls=[str(large)]).facts != first.facts


@pytest.mark.parametrize("differs", [True, False])
def test_a_copy_is_one_in_every_byte(large: Path, tmp_path: Path, differs: bool) -> None:
    other = tmp_path / "b" / large.name
    other.parent.mkdir()
    data = bytearray(large.read_bytes())
    data[BETWEEN] ^= differs
    other.write_bytes(data)
    assert inputs.digest_file(str(large)) == inputs.digest_file(str(other))
    stage = crawl(tmp_path, urls=[str(large), str(other)])
    assert len({source.id for source in stage.sources["urls"]}) == 1 + differs
    assert stage.copies == ([] if differs else ["b/large.csv is a copy of a/large.csv: it is read once"])


def test_a_visit_that_outlives_its_run_commits_nothing(tmp_path: Path) -> None:
    stage = crawl(tmp_path, seeds=["http://a.test/"])
    job, task = visits_of(stage), Task("a.test", "its seeds")
    runs.begin(stage.folder, stage.facts)
    with pytest.raises(Failure, match="has been begun with another recipe"), Attempt(job, task):
        runs.begin(stage.folder, {**stage.facts, "seed": 2})
    assert job.done(task) is None


def test_a_stage_looks_at_nothing_before_it_is_asked_to(tmp_path: Path) -> None:
    recipe = Recipe("r.toml", {"run": {"out": str(tmp_path)}, "crawl": {"urls": [os.devnull]}})
    assert Stage(recipe, "crawl", definition_of("crawl")).folder == f"{tmp_path}/1_crawl"
