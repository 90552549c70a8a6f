"""A stage does not know where it runs: on Spark and on Flink the same bytes as on this machine alone."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.documents import block, clone_in, run_block
from tests.small import FOLDERS, PIPELINE, Small, contents

pytestmark = [pytest.mark.engines, pytest.mark.timeout(900)]

KINDS = ("crawl", "match", "fetch", "dedup")  # one of each kind of step: tasks, shuffles, lanes, and all of them


def bare_worker(folder: Path) -> str:
    """A command that starts a worker knowing nothing of the launcher's environment, in a folder of its own."""
    script = folder / "worker.sh"
    worker = Path(sys.executable).with_name("openwit-worker")
    script.write_text(f'#!/bin/sh\ncd / && exec env -i PATH=/usr/bin:/bin {worker} "$@"\n')
    script.chmod(0o755)
    return str(script)


@pytest.mark.parametrize(
    ("runner", "stages"),
    [("spark", PIPELINE), ("flink", KINDS), pytest.param("flink", PIPELINE, marks=pytest.mark.slow)],
    ids=["spark", "flink", "every stage on flink"],
)
def test_stages_embedded(small: Small, engines: None, runner: str, stages: Sequence[str], tmp_path: Path) -> None:
    where = {"engine.runner": runner, "engine.worker_command": bare_worker(tmp_path)}
    for stage in PIPELINE:
        if stage not in stages:
            shutil.copytree(small.out / FOLDERS[stage], tmp_path / "out" / FOLDERS[stage])
            continue
        said = small.run(stage, out=tmp_path / "out", **where)
        assert "→" in said
        folder = tmp_path / "out" / FOLDERS[stage]
        assert contents(folder) == contents(small.out / FOLDERS[stage]), stage
        if stage == "fetch":  # its own outcomes hold other times: those of the first go on, so that all can be compared
            shutil.rmtree(folder)
            shutil.copytree(small.out / FOLDERS[stage], folder)


def test_the_commands_of_the_documents(engines: None, data: Path, tmp_path: Path) -> None:
    """On real pages, as README and the engines' pages say: the same bytes from each."""
    scripts = {"local": "make crawl\n", "spark": block("README.md", 2), "flink": block("docs/flink.md", 0)}
    assert commands(scripts["spark"]) == commands(block("docs/spark.md", 0))
    made = {}
    for engine, script in scripts.items():
        clone = clone_in(tmp_path / engine)
        assert "crawl: kept " in run_block(script, clone)
        made[engine] = contents(clone / "out" / "real" / FOLDERS["crawl"])
    assert made["local"] == made["spark"] == made["flink"]


def commands(script: str) -> list[str]:
    return [line.partition("#")[0].strip() for line in script.splitlines()]
