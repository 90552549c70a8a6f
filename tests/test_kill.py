"""kill -9 at any moment costs the tasks in flight: the same command again ends in the same bytes."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.running import start
from tests.small import FOLDERS, PIPELINE, Small, contents

pytestmark = [pytest.mark.program, pytest.mark.timeout(900)]


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


def killed_at_random(small: Small, stage: str, kills: int, folder: Path) -> int:
    """Kill one stage at so many random moments of its run, each time from its start, and run it again to its end.

    Returns how many of the kills came before the end.
    """
    before = folder / "before"
    for earlier in PIPELINE[: PIPELINE.index(stage)]:
        shutil.copytree(small.out / FOLDERS[earlier], before / FOLDERS[earlier])
    before.mkdir(exist_ok=True)
    expected, chance, hits = contents(small.out / FOLDERS[stage]), random.Random(f"{stage} {kills}"), 0
    shutil.copytree(before, folder / "timed")
    started = time.monotonic()
    small.run(stage, out=folder / "timed")
    seconds = time.monotonic() - started
    for kill in range(kills):
        out = folder / str(kill)
        shutil.copytree(before, out)
        hits += kill_at(chance.uniform(0.2 * seconds, seconds), stage, *small.words(out), env=small.env)
        small.run(stage, out=out)
        assert contents(out / FOLDERS[stage]) == expected
        shutil.rmtree(out)
    return hits


@pytest.mark.parametrize("stage", ["crawl", "fetch", "pack"])
def test_killed_once(small: Small, stage: str, tmp_path: Path) -> None:
    killed_at_random(small, stage, 1, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("stage", PIPELINE)
def test_killed_at_ten_random_moments(small: Small, stage: str, tmp_path: Path) -> None:
    hits = killed_at_random(small, stage, 10, tmp_path)
    print(f"{stage}: {hits} of 10 kills came before its end")
    assert hits >= 5
