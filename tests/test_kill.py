"""kill -9 at any moment costs the tasks in flight: the same command again ends in the same bytes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from shards.recipe import STAGES
from tests.running import start
from tests.small import FOLDERS, PIPELINE, Small, contents

pytestmark = pytest.mark.timeout(900)

START = 1.5  # seconds until a stage's own work begins, on an idle machine


def kill_at(seconds: float, *words: str, env: dict[str, str]) -> bool:
    """Start a command and kill its first process so much later; whether it was still running. Its workers follow it."""
    process = start(*words, env=env)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=seconds)
        return False
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 20
    while _group_lives(process.pid):
        assert time.monotonic() < deadline, "workers outlived their parent"
        time.sleep(0.01)
    return True


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def killed_often(small: Small, stage: str, kills: int, folder: Path) -> int:
    """Run one stage on copies of what it reads, killed so many times, then to its end; how many kills hit it."""
    for before in PIPELINE[: STAGES.index(stage)]:
        shutil.copytree(small.out / FOLDERS[before], folder / FOLDERS[before])
    seconds = json.loads((small.out / FOLDERS[stage] / "_run.json").read_text())["seconds"]
    chance = random.Random(f"{stage} {kills}")
    words = (stage, *small.words(folder))
    hits = sum(kill_at(START + chance.uniform(0, seconds), *words, env=small.env) for _ in range(kills))
    small.run(stage, out=folder)
    assert contents(folder / FOLDERS[stage]) == contents(small.out / FOLDERS[stage])
    return hits


@pytest.mark.parametrize("stage", ["crawl", "fetch", "pack"])
def test_killed_twice(small: Small, stage: str, tmp_path: Path) -> None:
    killed_often(small, stage, 2, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("stage", PIPELINE)
def test_killed_ten_times(small: Small, stage: str, tmp_path: Path) -> None:
    print(f"{stage}: {killed_often(small, stage, 10, tmp_path)} of 10 kills hit the stage at work")
