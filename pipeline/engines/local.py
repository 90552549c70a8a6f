"""The local engine: cores are used by several processes over disjoint tasks, each a plain FnApiRunner pipeline.

Beam's own multi-threading and multi-processing modes lose data silently; one process in memory does not.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from core.errors import Failure, describe
from core.runs import cores
from pipeline.engines import graph
from pipeline.tasks.attempt import Task

_TO_SEE_IT = "run it again with --set engine.workers=1 --debug and report what it shows"


class Local:
    """Runs pipelines on this machine, in as many processes as `workers` says (0 = one a core; 1 = in this one)."""

    name = "local"

    def __init__(self, workers: int) -> None:
        self._workers = workers or cores()

    def run(self, transform: beam.PTransform, lanes: Sequence[tuple[Task, ...]]) -> None:
        """Run a transform over lanes of tasks, dealt to the workers."""
        workers = min(self._workers, len(lanes))
        if workers <= 1:
            _run(transform, lanes)
            return
        context = multiprocessing.get_context("spawn")
        started: list[tuple[Any, Connection]] = []
        resource_tracker.ensure_running()  # started together with the first of them, it would let Ctrl-C through again
        with _interrupts_held_back():
            for share in (lanes[i::workers] for i in range(workers)):
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_child, args=(sender, transform, share))
                process.start()
                sender.close()
                started.append((process, receiver))
        _wait(started)

    def shuffle(self, transform: beam.PTransform, reads: Sequence[Task], tasks: Sequence[Task]) -> None:
        """Run a transform over {"reads": tasks, "tasks": tasks} in one pipeline, in this process."""
        graph.run(FnApiRunner(), [], lambda pipeline: graph.shuffle(pipeline, transform, reads, tasks))


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C waits until the block has ended; from processes that are started in it, it stays held back.

    It reaches all of a terminal's processes and is the parent's to answer. To block it is not enough for the parent:
    a library's thread takes it, Python raises it here all the same, and a half-started worker ends with a trace.
    """
    held_back: list[int] = []
    in_charge = threading.current_thread() is threading.main_thread()  # no other may say what a signal does
    before = signal.signal(signal.SIGINT, lambda number, _: held_back.append(number)) if in_charge else None
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if in_charge:
            signal.signal(signal.SIGINT, before)
    if held_back:
        signal.raise_signal(signal.SIGINT)


def _run(transform: beam.PTransform, lanes: Sequence[tuple[Task, ...]]) -> None:
    graph.run(FnApiRunner(), [], lambda pipeline: graph.over_lanes(pipeline, transform, lanes))


def _wait(started: list[tuple[Any, Connection]]) -> None:
    """Wait for all worker processes; the first error ends the others and is raised."""
    try:
        waiting = {receiver: process for process, receiver in started}
        while waiting:
            for receiver in wait(list(waiting)):
                assert isinstance(receiver, Connection)  # nothing else is waited for
                process = waiting.pop(receiver)
                error: Exception | None
                try:
                    error = receiver.recv()
                except EOFError:
                    process.join()
                    error = Failure(
                        f"a worker process ended with status {process.exitcode} (out of memory?): "
                        "run the same command to go on, with fewer engine.workers if it happens again"
                    )
                if error is not None:
                    raise error
    finally:
        for process, _ in started:
            process.terminate()
            process.join()


def _child(sender: Any, transform: beam.PTransform, lanes: Sequence[tuple[Task, ...]]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _run(transform, lanes)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is raised again in the parent)
        sender.send(error if isinstance(error, Failure) else Failure(f"unexpected {describe(error)}; {_TO_SEE_IT}"))
    else:
        sender.send(None)


def _end_with_parent() -> None:
    """A worker whose parent was killed stops at once: the next run may already be asking the same hosts."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # only children run this
    parent.join()
    os._exit(1)
