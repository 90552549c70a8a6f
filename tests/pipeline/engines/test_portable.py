"""An engine that is not there is said in one sentence, at once, whatever it is that is missing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from threading import Thread

import pytest

from core.files import names_in
from pipeline.engines import jars
from pipeline.tables import CANDIDATE
from tests.pipeline.upstream import Project
from tests.running import openwit, start, wait_until
from tests.test_engines import bare_worker

LIMIT_SECONDS = 30.0
pytestmark = pytest.mark.engines


def complaint(
    folder: Path, status: int, env: dict[str, str] | None = None, seconds: float = LIMIT_SECONDS, **engine: object
) -> str:
    """What filter says when it cannot run on the engine; it has a part to work on."""
    made = Project(folder, {f"engine.{key}": value for key, value in engine.items()})
    if not made.of("crawl").exists():
        made.write("crawl", {"a": [CANDIDATE.empty_table()]})
    started = time.monotonic()
    said = openwit("filter", *made.words(), env=env, status=status).splitlines()
    assert time.monotonic() - started < seconds and len(said) == 1
    assert not (made.of("filter") / "_manifest.json").exists()
    return said[0]


@pytest.fixture
def nobody() -> str:
    """An address at which nobody listens."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        return f"127.0.0.1:{server.server_port}"


@pytest.fixture
def other_flink() -> Iterator[str]:
    """The address of something that calls itself another Flink."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"flink-version": "1.8.0"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Not on the tests' output."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("runner", ["spark", "flink"])
def test_no_java(engines: None, tmp_path: Path, runner: str) -> None:
    bare = {"PATH": "/nowhere", "JAVA_HOME": ""}
    assert "there is no java here" in complaint(tmp_path, 2, bare, runner=runner)


@pytest.mark.parametrize("runner", ["spark", "flink"])
def test_no_jars(tmp_path: Path, runner: str) -> None:
    said = complaint(tmp_path, 2, {"OPENWIT_ENGINES": str(tmp_path)}, runner=runner)
    assert "run make engines (or openwit engines) once" in said


@pytest.mark.parametrize(("runner", "form"), [("spark", "spark://{}"), ("flink", "{}")])
def test_nobody_at_the_master(engines: None, tmp_path: Path, nobody: str, runner: str, form: str) -> None:
    assert f"nobody answers at engine.master = {nobody}" in complaint(
        tmp_path, 1, runner=runner, master=form.format(nobody)
    )


def test_nobody_at_the_job_server(tmp_path: Path, nobody: str) -> None:
    said = complaint(tmp_path, 1, runner="spark", job_server=nobody)
    assert f"nobody answers at engine.job_server = {nobody}" in said
    assert "is no host:port" in complaint(tmp_path, 2, runner="spark", job_server="here")


def test_another_flink(engines: None, tmp_path: Path, other_flink: str) -> None:
    assert "is Flink 1.8.0, and the jars here speak to 1.19" in complaint(
        tmp_path, 1, runner="flink", master=other_flink
    )


def test_no_worker_command(engines: None, tmp_path: Path) -> None:
    said = complaint(tmp_path, 2, runner="spark", worker_command="/nowhere/openwit-worker")
    assert "there is no /nowhere/openwit-worker, which starts the workers" in said


def test_a_worker_that_cannot_start(engines: None, tmp_path: Path) -> None:
    broken = tmp_path / "broken.sh"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    said = complaint(tmp_path, 1, seconds=180, runner="spark", worker_command=str(broken))  # each task is tried 4 times
    assert "the job failed on spark" in said and "; see " in said
    shutil.rmtree(Path(said.rpartition("; see ")[2]).parent)


def test_a_full_disk(engines: None, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can mount a small disk")
    small = tmp_path / "disk"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
    try:
        said = complaint(tmp_path, 1, {"TMPDIR": str(small)}, runner="spark")
    finally:
        subprocess.run(["umount", small], check=True)
    assert f"MiB are free in {small}" in said and "TMPDIR" in said


def test_nothing_outlives_a_launcher_that_was_killed(engines: None, tmp_path: Path) -> None:
    made = Project(tmp_path, {"engine.runner": "spark"})
    made.write("crawl", {"a": [CANDIDATE.empty_table()]})
    process = start("filter", *made.words(), env={"TMPDIR": str(tmp_path)})

    def started() -> list[str]:
        """Command lines of the job server, its keeper and its workers: all name the folder they keep things in."""
        lines = [path.read_text(errors="replace") for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        return [line for line in lines if str(tmp_path / "openwit-spark-") in line]

    wait_until(lambda: len(started()) >= 2 and names_in(str(tmp_path / "2_filter")))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until(lambda: not started())


def test_the_sdk_and_the_job_server_understand_each_other(engines: None, tmp_path: Path) -> None:
    """The canary: Python's SDK and the job servers are of different versions, 15 apart."""
    for runner in jars.ENGINES:
        made = Project(tmp_path / runner, {"engine.runner": runner, "engine.worker_command": bare_worker(tmp_path)})
        made.write("crawl", {"a": [CANDIDATE.empty_table()]})
        try:
            made.run("filter")
        except AssertionError:
            pytest.fail(
                f"Beam's Python SDK {version('apache-beam')} and the job server of {runner} (Beam 2.62: its pom) no "
                "longer understand each other: pin apache-beam to 2.77 again, or raise both, in pyproject.toml and the "
                "poms"
            )
