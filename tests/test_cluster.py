"""On clusters of Spark and Flink the stages write the same bytes, whatever part of them is killed meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import clusters
from tests.clusters import Cluster
from tests.running import start, wait_until
from tests.small import FOLDERS, PIPELINE, Small, contents
from tests.test_engines import bare_worker

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

PATIENCE_SECONDS = 300.0  # for what takes a minute where nothing else runs
SLOWLY = {"fetch.requests_per_second": 5.0}  # of one domain: a chunk takes seconds
SPREAD = {"match.lanes": 200}  # tasks that the last shuffle of match ends in: enough to be found at it


@pytest.fixture(scope="module", params=["spark", "flink"])
def cluster(
    request: pytest.FixtureRequest, engines: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    with clusters.CLUSTERS[request.param](tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture(scope="module")
def spread(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What match writes for so many lanes, undisturbed."""
    out = tmp_path_factory.mktemp("spread")
    copy_until("match", small, out)
    small.run("match", out=out, **SPREAD)
    return out / FOLDERS["match"]


def copy_until(stage: str, small: Small, out: Path) -> None:
    """What the stages before it have made."""
    for earlier in PIPELINE[: PIPELINE.index(stage)]:
        shutil.copytree(small.out / FOLDERS[earlier], out / FOLDERS[earlier])


def on(cluster: Cluster, folder: Path) -> dict[str, object]:
    """Settings of a recipe whose stages run there."""
    return {
        "engine.runner": cluster.engine,
        "engine.master": cluster.master,
        "engine.worker_command": bare_worker(folder),
    }


def test_every_stage(small: Small, cluster: Cluster, tmp_path: Path) -> None:
    for stage in PIPELINE:
        assert "→" in small.run(stage, out=tmp_path / "out", **on(cluster, tmp_path))
        folder = tmp_path / "out" / FOLDERS[stage]
        assert contents(folder) == contents(small.out / FOLDERS[stage]), stage
        if stage == "fetch":  # its own outcomes hold other times: those of the first go on, so that all can be compared
            shutil.rmtree(folder)
            shutil.copytree(small.out / FOLDERS[stage], folder)


# ── what is killed while it works ──


@dataclass(frozen=True)
class Run:
    """A stage that runs on a cluster."""

    folder: Path  # where it writes
    process: subprocess.Popen[str]

    def receipts(self, step: str) -> dict[str, int]:
        """Those of a step that are there, by name: when each was written."""
        return {path.name: path.stat().st_mtime_ns for path in self.folder.glob(f"_receipts/{step}.*.json")}

    def wait_for_a_receipt(self, step: str) -> None:
        """Return as soon as the step has committed something."""
        wait_until(lambda: self.receipts(step) or self.process.poll() is not None, PATIENCE_SECONDS)
        assert self.process.poll() is None, self.process.communicate()

    def end(self, status: int = 0) -> str:
        """Wait for its end; what it said on its standard error."""
        out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        assert self.process.returncode == status, f"it ended with {self.process.returncode}:\n{out}\n{err}"
        return err


@contextmanager
def running(small: Small, stage: str, out: Path, **values: object) -> Iterator[Run]:
    """A stage while it runs."""
    process = start(stage, *small.words(out, **values), env=small.env)
    try:
        yield Run(out / FOLDERS[stage], process)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def at_a_lane(run: Run) -> int:
    """The Python worker that has committed a chunk of a lane and is at the next, by the lease that it holds."""
    lane = min(run.receipts("chunks")).split(".")[1].rpartition("-")[0]
    return int(json.loads(max(run.folder.glob(f"_leases/chunks.{lane}.*")).read_bytes())["pid"])


@pytest.mark.parametrize("victim", ["java", "python"])
def test_killed_in_a_lane(small: Small, cluster: Cluster, victim: str, tmp_path: Path) -> None:
    out, expected = tmp_path / "out", small.out / FOLDERS["fetch"]
    copy_until("fetch", small, out)
    before = cluster.failures()
    with running(small, "fetch", out, **on(cluster, tmp_path), **SLOWLY) as run:
        run.wait_for_a_receipt("chunks")
        worker = at_a_lane(run)
        os.kill(worker if victim == "python" else cluster.java_of(worker), signal.SIGKILL)
        assert len(run.receipts("chunks")) < len(list(expected.glob("_receipts/*")))
        run.end()
    assert cluster.failures() > before
    assert contents(run.folder) == contents(expected)
    cluster.complete()


@pytest.mark.parametrize("victim", ["java", "python"])
def test_killed_in_a_shuffle(small: Small, cluster: Cluster, spread: Path, victim: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    copy_until("match", small, out)
    before = cluster.failures()
    with running(small, "match", out, **on(cluster, tmp_path), **SPREAD) as run:
        run.wait_for_a_receipt("plan")
        worker = cluster.python_workers()[0]
        os.kill(worker if victim == "python" else cluster.java_of(worker), signal.SIGKILL)
        assert len(run.receipts("plan")) < SPREAD["match.lanes"]
        run.end()
    assert cluster.failures() > before
    assert contents(run.folder) == contents(spread)
    cluster.complete()


def test_job_server_killed(small: Small, cluster: Cluster, tmp_path: Path) -> None:
    out, expected = tmp_path / "out", small.out / FOLDERS["fetch"]
    copy_until("fetch", small, out)
    same_command = {**on(cluster, tmp_path), **SLOWLY}
    with running(small, "fetch", out, **same_command) as run:
        run.wait_for_a_receipt("chunks")
        os.kill(clusters.job_server_of(run.process.pid), signal.SIGKILL)
        said = run.end(status=1).splitlines()
    assert said[-1].startswith(f"fetch: the job server of {cluster.engine} ended with status 137, and with it the job")
    assert all(line.startswith("fetch: ") for line in said)  # progress, that sentence, and no traceback
    committed = run.receipts("chunks")
    assert 1 <= len(committed) < len(list(expected.glob("_receipts/*")))
    with running(small, "fetch", out, **same_command) as run:
        run.end()
    assert committed.items() <= run.receipts("chunks").items()  # none was done again
    assert contents(run.folder) == contents(expected)
