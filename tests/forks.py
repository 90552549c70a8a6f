"""Many commands in little time: each is a fork of one process that has imported everything a command needs.

    with Forks(folder) as forks:
        command = forks.start(["filter", "--recipe", …], env={…})
        status = command.wait()

A command of its own takes seconds to import Beam; a fork takes milliseconds. What it shares with `python -m openwit` is
all from `openwit.main` on: a session, streams, signals and an environment of its own, and the same way out.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, Signals
from typing import Any, Self

from core.registry import STAGES
from tests.running import ROOT, answer_interrupts, environment

_FIRST = (  # imported before the first fork, beside the stages: else each command would import them again
    "apache_beam.runners.portability.fn_api_runner",
    "fasttext",
    "fsspec.implementations.chained",
    "pipeline.engines.local",
    "pyarrow.acero",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "pyarrow.substrait",
    "report.status",
    "s3fs",
)
_LOOK = 0.005  # seconds between two looks for a command that has ended
_READY = 60.0  # seconds that all imports may take


class Command:
    """`openwit …`, started: its process number is that of its session and process group, too."""

    def __init__(self, words: Sequence[str], folder: Path, connection: socket.socket) -> None:
        self.words = words
        self._folder, self._answers = folder, connection.makefile()
        self.pid = int(self._answers.readline())
        self._connection = connection
        self._status: int | None = None
        self._gone = False  # nobody is left in its process group, whose number may be another's by now

    def wait(self, seconds: float) -> int | None:
        """The exit status, negative for a signal, as soon as there is one; None if that takes longer."""
        if self._status is None and select.select([self._connection], [], [], seconds)[0]:
            self._status = int(self._answers.readline())
            self.forget()
        return self._status

    def forget(self) -> None:
        """Nobody asks for its status any more."""
        self._answers.close()
        self._connection.close()

    def signal(self, number: Signals) -> None:
        """Send it a signal; nothing happens where it has ended, for its number may be another process's by now."""
        if self.wait(0) is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def signal_worker(self, number: Signals, worker: int) -> None:
        """Send a worker of it a signal; nothing happens where that has ended. It may outlive the command."""
        with suppress(ProcessLookupError):
            if os.getpgid(worker) == self.pid:
                os.kill(worker, number)

    def kill(self) -> None:
        """End it and all workers that it started."""
        if self.is_alive():
            with suppress(ProcessLookupError):
                os.killpg(self.pid, SIGKILL)

    def workers(self) -> list[int]:
        """The numbers of its worker processes."""
        with suppress(OSError):  # it has just ended
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return []

    def is_alive(self) -> bool:
        """Whether it, or a worker that it started, is there; once all have gone it is never asked for again."""
        if not self._gone:
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                self._gone = True
        return not self._gone

    def printed(self, stream: str) -> str:
        """What it has written on "stdout" or "stderr"."""
        return (self._folder / stream).read_text()


class Forks:
    """Starts commands while it is entered."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._socket = folder, str(folder / "socket")
        self._started: list[Command] = []

    def __enter__(self) -> Self:
        words = [sys.executable, "-m", "tests.forks", self._socket]
        self._process = subprocess.Popen(words, cwd=ROOT, env=environment(), preexec_fn=answer_interrupts)
        end = time.monotonic() + _READY
        while not Path(self._socket).exists():
            assert self._process.poll() is None and time.monotonic() < end, "it cannot be started"
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        for command in self._started:
            command.forget()

    def start(self, words: Sequence[str], env: Mapping[str, str]) -> Command:
        """Start `openwit WORDS`."""
        folder = self._folder / uuid.uuid4().hex  # walks that are taken at once start commands at once
        folder.mkdir()
        for stream in ("stdout", "stderr"):
            (folder / stream).touch()  # it may be killed before it can
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._socket)
        connection.sendall(json.dumps([list(words), environment(env), str(folder)]).encode() + b"\n")
        command = Command(words, folder, connection)
        self._started.append(command)
        return command


# ── the process that is forked ────────────────────────────────────────────────────────────────────


def _serve(path: str) -> None:
    """Start commands as they are asked for, until whoever started this process is gone."""
    for module in (*_FIRST, *(stage.module for stage in STAGES.values() if stage.has_tasks)):
        importlib.import_module(module)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{path}.new")
    listener.listen()
    listener.settimeout(_LOOK)
    Path(f"{path}.new").rename(path)
    parent, running = os.getppid(), dict[int, socket.socket]()
    while os.getppid() == parent:
        with suppress(TimeoutError):
            asking, _ = listener.accept()
            asking.settimeout(None)
            with asking.makefile() as lines:
                asked = json.loads(lines.readline())
            pid = os.fork()
            if not pid:
                _become(*asked)
            running[pid] = asking
            asking.sendall(b"%d\n" % pid)
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                with running.pop(ended[0]) as asking, suppress(OSError):
                    asking.sendall(b"%d\n" % os.waitstatus_to_exitcode(ended[1]))


def _become(words: list[str], env: dict[str, str], folder: str) -> Any:
    """Be the command, in this fork, to its end."""
    import openwit
    from core.command import exit_now

    os.setsid()
    for fd, name in enumerate(("/dev/null", f"{folder}/stdout", f"{folder}/stderr")):
        opened = os.open(name, os.O_RDWR)
        os.dup2(opened, fd)
        os.close(opened)
    os.closerange(3, 256)  # the sockets
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["openwit", *words]
    exit_now(lambda _: openwit.main(words))


if __name__ == "__main__":
    _serve(sys.argv[1])
