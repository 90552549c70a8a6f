"""Spark and Flink: pipelines are handed to a Beam job server, embedded here or in front of a cluster."""

from __future__ import annotations

import json
import logging
import re
import socket
import sys
import threading
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import apache_beam as beam
import grpc
from apache_beam.runners.portability.portable_runner import PortableRunner

from core.credentials import public_text
from core.errors import Failure, UsageError
from core.runs import cores
from pipeline.engines import graph, jars
from pipeline.engines.jobserver import JobServer
from pipeline.tasks.attempt import Task

if TYPE_CHECKING:
    from pipeline.engines import Config

_PATIENCE_SECONDS = 5.0  # for an address to answer
_ATTEMPTS = 4  # of a Spark task: with several, the loss of a worker is not the loss of the stage


class Portable:
    """Runs pipelines on Spark or Flink, each spread over `engine.workers`; the job server is started at the first."""

    def __init__(self, config: Config) -> None:
        self.name, self._config = config.runner, config
        self._workers = config.workers or cores()
        self._embedded = not (config.master or config.job_server)
        self._running = ExitStack()
        self._server: JobServer | None = None
        self._address = config.job_server

    def __enter__(self) -> Self:
        logging.getLogger().addFilter(_not_said_twice)
        threading.excepthook = _in_a_thread
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.__exit__(kind, error, trace)
        logging.getLogger().removeFilter(_not_said_twice)
        threading.excepthook = threading.__excepthook__

    def run(self, transform: beam.PTransform, lanes: Sequence[tuple[Task, ...]]) -> None:
        """Run a transform over lanes of tasks, dealt to the workers."""
        self._submit(lambda pipeline: graph.over_lanes(pipeline, transform, lanes, deal=True))

    def shuffle(self, transform: beam.PTransform, reads: Sequence[Task], tasks: Sequence[Task]) -> None:
        """Run a transform over {"reads": tasks, "tasks": tasks}."""
        self._submit(lambda pipeline: graph.shuffle(pipeline, transform, reads, tasks, deal=True))

    def _submit(self, build: Callable[[beam.Pipeline], None]) -> None:
        options = [f"--job_endpoint={self._connect()}", *self._options()]
        try:
            graph.run(PortableRunner(), options, build)
        except grpc.RpcError as error:
            raise self._lost(error) from error
        except RuntimeError as error:
            if isinstance(error, Failure):
                raise
            raise self._failed(error) from error

    # ── where ──

    def _connect(self) -> str:
        """The address of the job server; it is started where it is ours and does not run yet."""
        if not self._address:
            self._server = JobServer(self.name, self._config.master or self._embedded_master(), self._conf())
            self._check_master()
            self._address = self._running.enter_context(self._server).address
        elif self._config.job_server:
            _check_address("engine.job_server", self._address)
        return self._address

    def _embedded_master(self) -> str:
        return f"local[{self._workers},{_ATTEMPTS}]" if self.name == "spark" else "[local]"

    def _conf(self) -> dict[str, str]:
        if self.name == "spark":
            return {"spark.default.parallelism": str(self._workers), **self._config.conf}
        return {"taskmanager.numberOfTaskSlots": str(self._workers), **self._config.conf}

    def _check_master(self) -> None:
        """A master that cannot be reached is said at once; by itself Spark would try for a minute."""
        master = self._config.master
        if self.name == "flink" and master:
            _check_flink(master)
        elif match := re.fullmatch(r"spark://([^,]+)(,.*)?", master):
            _check_address("engine.master", match[1])

    # ── how ──

    def _options(self) -> list[str]:
        options = [
            "--environment_type=PROCESS",
            f"--environment_config={json.dumps({'command': self._worker_command()})}",
            f"--sdk_worker_parallelism={self._workers if self._embedded else 0}",  # 0: as many as the machine has cores
        ]
        if self._server:  # its workers have the jars; a job server of someone else's has its own way to send them
            options.append(f"--files_to_stage={jars.empty_jar(self.name)}")
        if self.name == "flink":
            options.append(f"--parallelism={self._workers}")
        return options + [f"--{key}={value}" for key, value in self._config.options.items()]

    def _worker_command(self) -> str:
        command = self._config.worker_command or str(Path(sys.executable).with_name("openwit-worker"))
        if self._embedded and not Path(command).is_file():
            raise UsageError(
                f"there is no {command}, which starts the workers: install openwit in this environment (pip install "
                "-e .), or say where it is with engine.worker_command"
            )
        return command

    # ── what went wrong ──

    def _lost(self, error: grpc.RpcError) -> Failure:
        where = f"the job server at {self._address}"
        if self._server and (status := self._server.ended()) is not None:
            where = f"the job server of {self.name} ended with status {status}, and with it the job"
            return Failure(f"{where}: what was committed stays, run the same command to go on; see {self._server.log}")
        code = error.code().name if isinstance(error, grpc.Call) else type(error).__name__
        return Failure(f"{where} stopped answering ({code}): what was committed stays, run the same command to go on")

    def _failed(self, error: Exception) -> Failure:
        """What the engine says of a job that failed, by its first cause: the rest is a Java trace in its log."""
        whole = public_text(str(error))  # before it is shortened: half a URL does not show what in it is a password
        said = re.sub(r"^Pipeline \S+ failed in state FAILED: ", "", " ".join(whole.split()))
        causes = re.findall(r"Caused by: ([^\n]*)", whole)
        log = f"; see {self._server.log}" if self._server else ""
        return Failure(f"the job failed on {self.name}: {(causes[-1] if causes else said)[:300]}{log}")


def _not_said_twice(record: logging.LogRecord) -> bool:
    """Beam logs what the engine says of a failure, and then raises it."""
    return record.module != "portable_runner"


def _in_a_thread(args: threading.ExceptHookArgs) -> None:
    """A thread of Beam's loses the job server as well, and would print a traceback before our sentence."""
    if not isinstance(args.exc_value, grpc.RpcError):
        threading.__excepthook__(args)


def _check_address(key: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"{key} = {address!r} is no host:port: correct it in the recipe or with --set")
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE_SECONDS).close()
    except OSError as error:
        raise Failure(f"nobody answers at {key} = {address} ({error}): start it, or correct the address") from None


def _check_flink(address: str) -> None:
    _check_address("engine.master", address)
    try:
        with urllib.request.urlopen(f"http://{address}/config", timeout=_PATIENCE_SECONDS) as reply:
            version = str(json.load(reply)["flink-version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failure(f"engine.master = {address} is no Flink ({error}): give the address of its REST port") from None
    if not version.startswith("1.19."):
        raise Failure(
            f"engine.master = {address} is Flink {version}, and the jars here speak to 1.19: use one of these"
        )
