"""Clusters of Spark and of Flink on 127.0.0.1: a master and two workers, and what is needed to kill parts of them.

Every process is started in a process group and a folder of its own, with nothing of our environment; what it starts in
turn (executors, Python workers) stays in its group and is ended with it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from pipeline.engines import jars, tether
from pipeline.engines.jobserver import OPENS
from tests.running import wait_until

WORKERS = 2
START_SECONDS = 120.0  # of which it takes five where nothing else runs
QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # for a JVM that lives for a minute: a third less CPU


class Cluster:
    """Runs while its block does; `master` is what engine.master is set to."""

    engine: str
    java: str  # in the command line of what Python workers belong to: an executor, a task manager
    failed: str  # what the engine says in a log when work of its own has failed
    master: str

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self._folders = 0

    def __enter__(self) -> Self:
        try:
            self.start_master()
            self._add_workers(WORKERS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Kill everything, and see that it is gone."""
        for process in self._started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        wait_until(lambda: not self._running())

    def complete(self) -> None:
        """Start again what was killed."""
        dead = [process for process in self._started if process.poll() is not None]
        self._add_workers(len(dead))
        for process in dead:
            process.communicate()
            self._started.remove(process)

    # ── how an engine starts ──

    def start_master(self) -> None:
        """Start it, and wait until it can be spoken to."""
        raise NotImplementedError

    def start_worker(self) -> Path:
        """Start one; its log."""
        raise NotImplementedError

    joined: str  # what a worker's log says when it belongs to the cluster

    def _add_workers(self, n: int) -> None:
        for log in [self.start_worker() for _ in range(n)]:
            _wait_for(log, self.joined)

    def _new_folder(self) -> Path:
        self._folders += 1
        folder = self._folder / str(self._folders)
        folder.mkdir()
        return folder

    def _start(self, folder: Path, main: str, *words: str, java: Sequence[str] = (), **env: str) -> Path:
        """Start a Java program in a folder; its log."""
        options = [*OPENS, *java, f"-Djava.io.tmpdir={folder}", "-cp", _class_path(self.engine)]
        log = folder / "log.txt"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-I", tether.__file__, jars.java(), *options, main, *words],
                cwd=folder,
                env={"PATH": "/usr/bin:/bin", "JAVA_TOOL_OPTIONS": QUICK, **env},
                stdin=subprocess.PIPE,  # the tether's: all ends when we do
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self._started.append(process)
        return log

    # ── what runs ──

    def python_workers(self) -> list[int]:
        """Their numbers."""
        return [process.pid for process in self._running() if "openwit-worker" in process.command]

    def java_of(self, python_worker: int) -> int:
        """The number of the executor or task manager that has started it."""
        group = os.getpgid(python_worker)
        beside = [process for process in self._running() if process.group == group != process.pid]
        (java,) = (process.pid for process in beside if self.java in process.command)
        return java

    def failures(self) -> int:
        """How often the engine has said that work of its own failed."""
        logs = [*self._folder.rglob("log.txt"), *self._folder.rglob("stderr")]
        return sum(len(re.findall(self.failed, log.read_text(errors="replace"))) for log in logs)

    def _running(self) -> list[_Process]:
        groups = {process.pid for process in self._started}
        return [process for process in _processes() if process.group in groups]


class Spark(Cluster):
    """A standalone Spark; its workers have one core each."""

    engine, java = "spark", "CoarseGrainedExecutorBackend"
    joined = "Successfully registered with master"
    failed = "Exception in task|finished with state (?:EXITED|FAILED|KILLED exitStatus)"

    def start_master(self) -> None:
        log = self._spark("master.Master", "--port", "0", "--webui-port", "0")
        self.master = _wait_for(log, r"Starting Spark master at (\S+)")
        _wait_for(log, "New state: ALIVE")

    def start_worker(self) -> Path:
        return self._spark("worker.Worker", "--webui-port", "0", "--cores", "1", "--memory", "2g", self.master)

    def _spark(self, main: str, *words: str) -> Path:
        folder = self._new_folder()
        (folder / "jars").mkdir()  # a home of Spark's has such a folder; an executor gets its jars by its class path
        env = {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_HOME": str(folder), "SPARK_SCALA_VERSION": "2.12"}
        return self._start(folder, f"org.apache.spark.deploy.{main}", "--host", "127.0.0.1", *words, **env)


_FLINK = {
    "jobmanager.rpc.address": "127.0.0.1",
    "jobmanager.rpc.port": "0",
    "jobmanager.bind-host": "127.0.0.1",
    "rest.address": "127.0.0.1",
    "rest.bind-address": "127.0.0.1",
    "rest.bind-port": "0",
    "taskmanager.host": "127.0.0.1",
    "taskmanager.bind-host": "127.0.0.1",
    "taskmanager.numberOfTaskSlots": "2",  # so that one can go on with the work of both
    "cluster.evenly-spread-out-slots": "true",
    "blob.service.cleanup.interval": "5",  # seconds that the jars of a job that is over are kept; by default an hour
    # docs/flink.md: without, the loss of a worker is the loss of the stage, which has to be run again
    "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": "12",
    "restart-strategy.fixed-delay.delay": "2 s",
    "heartbeat.interval": "1000",  # milliseconds …
    "heartbeat.timeout": "6000",  # … after which a task manager is missed; by default 50 s
    # What Flink's own script works out: a task manager does not start without.
    "taskmanager.cpu.cores": "1.0",
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.framework.off-heap.size": "128m",
    "taskmanager.memory.task.heap.size": "400m",
    "taskmanager.memory.task.off-heap.size": "0",
    "taskmanager.memory.managed.size": "300m",
    "taskmanager.memory.network.min": "256m",
    "taskmanager.memory.network.max": "256m",
    "taskmanager.memory.jvm-metaspace.size": "256m",
    "taskmanager.memory.jvm-overhead.min": "148m",
    "taskmanager.memory.jvm-overhead.max": "148m",
}


class Flink(Cluster):
    """A Flink session; its task managers have two slots each."""

    engine, java = "flink", "TaskManagerRunner"
    joined = "Successful registration at resource manager"
    failed = "switched from RUNNING to FAILED"

    def start_master(self) -> None:
        self._conf = dict(_FLINK)
        log = self._flink("entrypoint.StandaloneSessionClusterEntrypoint")
        self._conf["jobmanager.rpc.port"] = _wait_for(log, r"Actor system started at \S+:(\d+)\s")
        self.master = _wait_for(log, r"Rest endpoint listening at (\S+)")
        _wait_for(log, "Starting the slot manager")

    def start_worker(self) -> Path:
        return self._flink("taskexecutor.TaskManagerRunner")

    def _flink(self, main: str) -> Path:
        folder = self._new_folder()
        lines = [f"{key}: {value}\n" for key, value in {**self._conf, "io.tmp.dirs": str(folder)}.items()]
        (folder / "flink-conf.yaml").write_text("".join(lines))
        java = ["-Xmx528m", "-XX:MaxMetaspaceSize=256m"]
        return self._start(folder, f"org.apache.flink.runtime.{main}", f"--configDir={folder}", java=java)


CLUSTERS: dict[str, type[Cluster]] = {"spark": Spark, "flink": Flink}


def job_server_of(command: int) -> int:
    """The number of the Java process that runs at a command's tether."""
    running = list(_processes())
    (tethered,) = (process.pid for process in running if process.parent == command and "JobServer" in process.command)
    (java,) = (process.pid for process in running if process.parent == tethered)
    return java


class _Process(NamedTuple):
    pid: int
    parent: int
    group: int
    command: str


def _processes() -> Iterator[_Process]:
    """Everything that runs here, by proc_pid_stat(5)."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            state, parent, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if state not in "ZX":
                command = (folder / "cmdline").read_bytes().decode(errors="replace")
                yield _Process(int(folder.name), int(parent), int(group), command)


def _class_path(engine: str) -> str:
    """All that an engine itself needs. It knows nothing of Beam: a job brings that, or says where it is."""
    return ":".join(str(path) for path in jars.folder(engine).glob("*.jar") if not path.name.startswith("beam-"))


def _wait_for(log: Path, pattern: str) -> str:
    """Wait until a log says it; its group, if it has one."""
    wait_until(lambda: re.search(pattern, log.read_text(errors="replace")), START_SECONDS)
    found = re.search(pattern, log.read_text(errors="replace"))
    assert found is not None  # that is what was waited for
    return found[found.re.groups]
