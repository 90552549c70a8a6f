"""A job server of one's own: the Java process that takes a pipeline from Python and runs it on Spark or Flink."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from core.credentials import public_text
from core.errors import Failure
from pipeline.engines import jars, tether

START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_LEAST_ROOM = 256 << 20  # bytes
_LOG, _OWNER = "log.txt", "owner"  # in the folder of a job server: what it said; locked while whoever started it lives
_KEPT_SECONDS = 24 * 3600.0  # that the log of a job that failed is there to be read

# What Spark's own launcher opens to it of Java 17, and what the job server needs besides.
_OPENS = [
    "java.lang",
    "java.lang.invoke",
    "java.lang.reflect",
    "java.io",
    "java.net",
    "java.nio",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
    "sun.nio.ch",
    "sun.nio.cs",
    "sun.security.action",
    "sun.util.calendar",
]
OPENS = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENS]

_MAIN = {
    "spark": "org.apache.beam.runners.spark.SparkJobServerDriver",
    "flink": "org.apache.beam.runners.flink.FlinkJobServerDriver",
}
_MASTER = {"spark": "--spark-master-url", "flink": "--flink-master"}
_STARTED = re.compile(rb"JobService started on (?:\S*:)(\d+)")


class JobServer:
    """Runs while its block does; `address` is where it takes jobs, `log` what it said.

    `conf`: properties of Spark, or lines of Flink's configuration. Neither it nor what it started outlives this
    process.
    """

    def __init__(self, engine: str, master: str, conf: Mapping[str, str]) -> None:
        self._engine, self._master, self._conf = engine, master, conf
        # Workers on other machines have to reach the driver; on this one nobody else needs to.
        self._local = bool(re.match(r"local\[|spark://(127\.|localhost)", master))

    def __enter__(self) -> Self:
        room = shutil.disk_usage(tempfile.gettempdir()).free
        if room < _LEAST_ROOM:
            raise Failure(
                f"only {room >> 20} MiB are free in {tempfile.gettempdir()}, where {self._engine} keeps what it "
                "shuffles: free some, or set TMPDIR to a folder on a larger disk"
            )
        remove_left_behind()
        self._folder = tempfile.mkdtemp(prefix=f"openwit-{self._engine}-")
        self._owner = _own(Path(self._folder))
        self.log = str(Path(self._folder) / _LOG)
        words = [jars.java(), *OPENS, *self._properties(), "-cp", jars.class_path(self._engine), _MAIN[self._engine]]
        words += [f"{_MASTER[self._engine]}={self._master}", "--job-host=127.0.0.1", "--job-port=0"]
        words += ["--artifact-port=0", "--expansion-port=0", f"--artifacts-dir={self._folder}/artifacts"]
        if self._engine == "flink":
            words.append(f"--flink-conf-dir={self._folder}")
        with Path(self.log).open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", tether.__file__, *words],  # not as a module: that would load all of Beam
                env={**os.environ, **({"SPARK_LOCAL_IP": "127.0.0.1"} if self._local else {})},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is ours to answer: it ends with our end of the pipe
            )
        try:
            self.address = self._wait_until_started()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        _clear(Path(self._folder), keep_log=error is not None)  # after an error it is worth reading
        os.close(self._owner)

    def ended(self) -> int | None:
        """Its exit status, None if it runs on: whoever lost the connection to it may see that before it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        return self._process.returncode

    def _properties(self) -> list[str]:
        words = [f"-Djava.io.tmpdir={self._folder}", "-Dlog4j2.level=INFO"]
        if self._engine == "spark":
            conf = _spark_conf(self._folder) | (_LOOPBACK if self._local else {}) | dict(self._conf)
            return words + [f"-D{key}={value}" for key, value in conf.items()]
        lines = [f"{key}: {value}\n" for key, value in (_FLINK_CONF | dict(self._conf)).items()]
        (Path(self._folder) / "flink-conf.yaml").write_text("".join(lines))
        return words

    def _wait_until_started(self) -> str:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if found := _STARTED.search(Path(self.log).read_bytes()):
                return f"127.0.0.1:{int(found[1])}"
            if self._process.poll() is not None:
                raise Failure(f"the job server of {self._engine} did not start: {self._last_words()}; see {self.log}")
            time.sleep(0.1)
        raise Failure(
            f"the job server of {self._engine} did not start within {START_SECONDS:.0f} s: free some memory and cores, "
            f"or see {self.log}"
        )

    def _last_words(self) -> str:
        log = public_text(Path(self.log).read_text(errors="replace"))
        lines = [line.strip() for line in log.splitlines() if line.strip()]
        return next((line for line in lines if "Exception" in line or "Error" in line), lines[-1] if lines else "")[
            :300
        ]

    def _stop(self) -> None:
        assert self._process.stdin is not None  # it is a pipe
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, 9)
            self._process.wait()


def remove_left_behind() -> None:
    """Remove what job servers left in the temporary folder whose owners are dead; logs stay for a day.

    A folder without an owner's mark is left alone, for nothing tells whether somebody uses it, and so is a link, and
    what belongs to another user.
    """
    for folder in sorted(Path(tempfile.gettempdir()).glob("openwit-*-*")):
        if not re.match(rf"openwit-({'|'.join(_MAIN)})-", folder.name):
            continue
        with suppress(OSError):  # it has gone meanwhile, or is not ours to look into
            about = folder.lstat()
            if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
                continue
            owner = os.open(folder / _OWNER, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError while the owner lives
                log = folder / _LOG
                is_new = log.exists() and time.time() - log.stat().st_mtime < _KEPT_SECONDS
                _clear(folder, keep_log=is_new)
            finally:
                os.close(owner)


def _own(folder: Path) -> int:
    """Mark a folder as ours; the mark's file descriptor, whose lock ends with this process, however it ends."""
    mark = folder / f"{_OWNER}.new"
    owner = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(owner, fcntl.LOCK_EX)
    mark.rename(folder / _OWNER)  # it is locked before it can be seen
    return owner


def _clear(folder: Path, keep_log: bool) -> None:
    """Remove a folder, or all in it but the log and the owner's mark. Links in it are removed, and not followed."""
    if not keep_log:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for entry in sorted(folder.iterdir()):
        if entry.name in {_LOG, _OWNER}:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _spark_conf(folder: str) -> dict[str, str]:
    return {
        "spark.app.name": "openwit",
        "spark.ui.enabled": "false",
        "spark.local.dir": folder,
        "spark.speculation": "false",  # a task on two workers at once would be two guests at one site
        # Where openwit engines has put them on every machine: sending 260 MB with each job costs more than the job.
        "spark.executor.extraClassPath": jars.class_path("spark"),
        "spark.executor.extraJavaOptions": " ".join(OPENS),
    }


_LOOPBACK = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}

_FLINK_CONF = {
    "taskmanager.memory.network.min": "256m",  # for the embedded one: 64m are too few buffers for a shuffle
    "taskmanager.memory.network.max": "256m",
    "rest.bind-address": "127.0.0.1",
    "execution.batch.speculative.enabled": "false",
    # With several attempts the loss of a worker is not the loss of the stage. (A cluster has its own strategy: what a
    # job says of it is lost on the way there.)
    "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": "3",
    "restart-strategy.fixed-delay.delay": "2 s",
    # A cluster that hears no more of this process ends the job, minutes later, and does not go on for nobody.
    "execution.attached": "true",
    "execution.shutdown-on-attached-exit": "true",
}
