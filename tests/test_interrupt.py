"""Ctrl-C, as a terminal sends it to all of its processes at once: one line, exit status 130, and nothing goes on.

What is killed is said as well, and leaves nobody behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.running import REAL, settings, start, wait_until
from tests.small import FOLDERS, write_archives

pytestmark = pytest.mark.program


def processes(session: int) -> list[str]:
    """The command lines of the processes of a session that run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, of = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(of) == session and state != "Z":
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while it was looked at
    return found


def interrupt(process: subprocess.Popen[str]) -> str:
    """What it says when it is interrupted; the test fails where it says more than that, or leaves anyone behind."""
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Traceback" not in err
    wait_until(lambda: not processes(process.pid))
    return err


@pytest.mark.parametrize("seconds", [0.0, 0.4, 0.8, 1.6])
def test_while_workers_start(tmp_path: Path, data: Path, seconds: float) -> None:
    """Python, and each library that is being loaded, would end with a trace of its insides."""
    archives = [str(archive) for archive in write_archives(data, tmp_path)]
    archives.append(str(data / "warc" / "dev_crawl.warc.gz"))  # which takes longer than any of these
    values = {"run.out": str(tmp_path / "out"), "crawl.warc": archives, "engine.workers": 2}
    process = start("crawl", "--recipe", REAL, *settings(**values))
    wait_until(lambda: sum("spawn_main" in line for line in processes(process.pid)) == 2)
    time.sleep(seconds)
    said = interrupt(process).splitlines()
    assert said[-1] == "crawl: interrupted; what was committed stays, the same command goes on from there"
    assert not (tmp_path / "out" / FOLDERS["crawl"] / "_manifest.json").exists()


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.5])
def test_while_a_stage_of_all_starts(tmp_path: Path, data: Path, seconds: float) -> None:
    process = start("all", "--recipe", REAL, *settings(**{"run.out": str(tmp_path / "out")}))
    wait_until(lambda: any("openwit queries" in line for line in processes(process.pid)))
    time.sleep(seconds)
    assert "interrupted" in interrupt(process)
    assert not (tmp_path / "out" / "report.html").exists(), "it was asked to stop"


def test_a_stage_that_had_just_finished_is_the_last(tmp_path: Path, data: Path) -> None:
    """The stage answers with 0, and `all` remembers what it was asked."""
    (tmp_path / "words.txt").write_text("dog\ncat\n")
    values: dict[str, object] = {"queries.lists": [str(tmp_path / "words.txt")], "queries.wordnet": []}
    values |= {"run.out": str(tmp_path / "out"), "queries.wikipedia": []}
    process = start("all", "--recipe", REAL, *settings(**values))
    wait_until(lambda: any("openwit queries" in line for line in processes(process.pid)))
    os.kill(process.pid, signal.SIGINT)  # it alone: the stage never hears of it
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert out.startswith("queries: kept ") and out.count("\n") == 1


def stage_of(process: subprocess.Popen[str]) -> int:
    """The number of the process of a stage that `openwit all` has started, once it is there."""

    def found() -> list[str]:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return [pid for pid in children if b"openwit\0queries" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    wait_until(found)
    return int(found()[0])


def test_a_launcher_that_is_killed_leaves_nobody(tmp_path: Path, data: Path) -> None:
    process = start("all", "--recipe", REAL, *settings(**{"run.out": str(tmp_path / "out")}))
    stage_of(process)
    time.sleep(1)  # until it has asked to be told of our end
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    wait_until(lambda: not processes(process.pid))
    assert not (tmp_path / "out" / FOLDERS["queries"] / "_manifest.json").exists()


def test_a_stage_that_is_killed_is_said_so(tmp_path: Path, data: Path) -> None:
    process = start("all", "--recipe", REAL, *settings(**{"run.out": str(tmp_path / "out")}))
    os.kill(stage_of(process), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 137
    assert err.splitlines()[-1] == "queries: ended by signal 9 (was memory short?): run the same command again"
    assert not (tmp_path / "out" / "report.html").exists()
