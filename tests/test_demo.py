"""The demo, as a newcomer runs it: all it claims is true, a second run has nothing to do, Ctrl-C costs nothing."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.documents import block, clone_in
from tests.running import answer_interrupts, environment
from tests.small import FOLDERS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

MAKE_DEMO = shlex.split(block("README.md", 0).splitlines()[0], comments=True)
AT_MOST_SECONDS = 8 * 60
AGAIN_SECONDS = 30
AT_MOST_BYTES = 4 << 30
INTERRUPTS = 12


def start(clone: Path, *words: str) -> subprocess.Popen[str]:
    """A command in a clone, in a process group as a terminal's."""
    return subprocess.Popen(
        words,
        cwd=clone,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=answer_interrupts,
    )


def memory(session: int) -> int:
    """Bytes that the processes of a session hold now, what they share counted once (proportional set size)."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended while it was looked at
            of = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(of[3]) == session and of[0] != "Z":
                rollup = (folder / "smaps_rollup").read_text()
                total += 1024 * int(re.findall(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)[0])
    return total


def watched(process: subprocess.Popen[str]) -> int:
    """The most that the process and those it started held at once, in bytes, looked at twice a second."""
    most = 0
    while process.poll() is None:
        most = max(most, memory(process.pid))
        time.sleep(0.5)
    return most


def run(clone: Path) -> str:
    """What `make demo` says, by the README."""
    process = start(clone, *MAKE_DEMO)
    out, err = process.communicate(timeout=1800)
    assert process.returncode == 0, out + err
    return out


def results(clone: Path) -> dict[str, object]:
    """What does not depend on when pages were visited and images asked for."""
    made = clone / "out" / "demo"
    counts = {stage: json.loads((made / at / "_manifest.json").read_bytes())["counts"] for stage, at in FOLDERS.items()}
    return {**counts, "eval": json.loads((made / FOLDERS["eval"] / "results.json").read_bytes())}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which the demo was run to its end, in the time that a newcomer is promised."""
    clone = clone_in(tmp_path_factory.mktemp("demo") / "clone")
    started = time.monotonic()
    process = start(clone, *MAKE_DEMO)
    with ThreadPoolExecutor(1) as beside:
        most = beside.submit(watched, process)
        out, err = process.communicate(timeout=1800)
    assert process.returncode == 0, out + err
    assert "demo: all of it is true" in out
    took = time.monotonic() - started
    print(f"the demo took {took:.0f} s and held {most.result() / 2**30:.2f} GiB at most")
    assert took < AT_MOST_SECONDS
    assert 2**28 < most.result() < AT_MOST_BYTES
    return clone


def test_again_there_is_nothing_to_do(done: Path) -> None:
    started = time.monotonic()
    said = run(done)
    assert time.monotonic() - started < AGAIN_SECONDS
    assert said.count("nothing to do") == len(FOLDERS) + 2  # the report, before and after overlap
    assert "demo: all of it is true" in said


def test_interrupted_anywhere_it_ends_the_same(done: Path, tmp_path: Path) -> None:
    rng, clone = random.Random(1), clone_in(tmp_path / "clone")
    for _ in range(INTERRUPTS):
        process = start(clone, sys.executable, "-m", "demo")  # make would hide the status
        try:
            process.communicate(timeout=rng.uniform(2, 40))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            _, err = process.communicate(timeout=60)
            assert process.returncode == 130, err
            assert "Traceback" not in err
    run(clone)
    assert results(clone) == results(done)
