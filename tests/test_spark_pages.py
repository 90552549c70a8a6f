"""The commands of docs/spark.md, as they stand there but for the folder, the ports and the master, on this machine.

Instead of YARN it is a Spark inside the job server (`local[2]`) that takes the work: that the archives reach other
machines is YARN's affair, and is not seen here.
"""

from __future__ import annotations

import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clusters import QUICK, Spark
from tests.documents import block, copy_to, run_block
from tests.running import environment, wait_until
from tests.small import FOLDERS, Small, contents

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]


@pytest.fixture
def clone(engines: None, tmp_path: Path) -> Path:
    """A copy of the repository, of which openwit is installed."""
    if shutil.which("python3.11") is None:
        pytest.skip("the page's commands want a python3.11")
    return copy_to(tmp_path / "clone")


def here(script: str, tmp_path: Path) -> str:
    """A script of the page with its folder moved."""
    assert "/opt/openwit" in script
    return script.replace("/opt/openwit", f"{tmp_path}/opt")


def test_on_a_standalone_cluster(clone: Path, small: Small, tmp_path: Path) -> None:
    run_block(here(block("docs/spark.md", 1), tmp_path), clone)
    (tmp_path / "cluster").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENWIT_ENGINES", str(tmp_path / "opt" / "engines"))
        patch.setenv("JAVA_TOOL_OPTIONS", QUICK)
        with Spark(tmp_path / "cluster") as cluster:
            worker = tmp_path / "opt" / "env" / "bin" / "openwit-worker"
            where = {"engine.runner": "spark", "engine.master": cluster.master, "engine.worker_command": str(worker)}
            assert "→" in small.run("crawl", out=tmp_path / "out", **where)
    assert contents(tmp_path / "out" / FOLDERS["crawl"]) == contents(small.out / FOLDERS["crawl"])


def test_with_a_job_server_of_ones_own(clone: Path, small: Small, tmp_path: Path) -> None:
    run_block(here(block("docs/spark.md", 2), tmp_path), clone)
    assert (clone / "env.tar.gz").stat().st_size > 10 << 20 and (clone / "jars.tar").stat().st_size > 100 << 20
    port = free_port()
    with job_server(clone, tmp_path, port):
        where = {
            "engine.runner": "spark",
            "engine.job_server": f"127.0.0.1:{port}",
            "engine.worker_command": "./env/bin/openwit-worker",
        }
        options = small.words(tmp_path / "out", **where)
        options += ["--set", f'engine.options={{ files_to_stage = "{tmp_path}/opt/empty.jar" }}']
        run_block(f"env/bin/openwit crawl {shlex.join(options)}", clone, small.env)
    assert contents(tmp_path / "out" / FOLDERS["crawl"]) == contents(small.out / FOLDERS["crawl"])


SUBMIT = r"""#!/usr/bin/env bash
command=()
while IFS= read -r -d '' word; do command+=("$word"); done < <(
  java -cp "$SPARK_HOME/jars/*" org.apache.spark.launcher.Main org.apache.spark.deploy.SparkSubmit "$@" | tail -c +3
)
exec "${command[@]}"
"""


@contextmanager
def job_server(clone: Path, tmp_path: Path, port: int) -> Iterator[None]:
    """What the page starts, by a `spark-submit` that does as Spark's own script: its launcher says what to run."""
    script = block("docs/spark.md", 3)
    for theirs, ours in (
        ("--master yarn", "--master local[2]"),
        ("--spark-master-url=yarn", "--spark-master-url=local[2]"),
        ("--job-port=8099", f"--job-port={port}"),
    ):
        assert script.count(theirs) == 1
        script = script.replace(theirs, ours)
    (found,) = (tmp_path / "opt" / "engines").glob("spark-*")
    home = tmp_path / "spark"
    (home / "jars").mkdir(parents=True)
    for jar in found.glob("*.jar"):
        if not jar.name.startswith("beam-"):
            (home / "jars" / jar.name).symlink_to(jar)
    submit = home / "spark-submit"
    submit.write_text(SUBMIT)
    submit.chmod(0o755)
    own = {"PATH": f"{home}:{environment()['PATH']}", "SPARK_HOME": str(home), "SPARK_SCALA_VERSION": "2.12"}
    log = tmp_path / "job_server.txt"
    with log.open("wb") as said:
        process = subprocess.Popen(
            ["bash", "-ec", f"JARS={found}\nexec {script}"],
            cwd=clone,
            env=environment({**own, "SPARK_LOCAL_IP": "127.0.0.1"}),
            stdout=said,
            stderr=said,
        )
    try:
        wait_until(lambda: b"JobService started" in log.read_bytes() or process.poll() is not None)
        assert process.poll() is None, log.read_text(errors="replace")
        yield
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
