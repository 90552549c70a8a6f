"""Where the work runs: Beam carries lanes of tasks to workers, and each task commits itself.

Local cores are used by several processes over disjoint tasks, each a plain FnApiRunner pipeline that commits its own
parts: Beam's own multi-threading and multi-processing modes lose data silently. A DoFn may run twice, so it writes
only under names fixed by the task, and nobody counts from Beam's counters.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

import apache_beam as beam
import pyarrow as pa
import xxhash
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline.attempt import Attempt, Job, Task
from shards.errors import Failure, UsageError
from shards.runs import cores

Lane = tuple[Task, ...]
Work = Callable[[Task, Any, Attempt], None]
Begin = Callable[[Task], Attempt]
LaneWork = Callable[[Sequence[Task], Any, Begin], None]
GroupWork = Callable[[Task, pa.Table | None, Any, Attempt], None]


class CommitLanes(beam.PTransform):
    """Lanes of tasks in, ids of committed tasks out.

    `work(tasks, config, begin)` gets the tasks of one lane that have no receipt yet, in order, and commits each with
    `with begin(task) as attempt`.
    """

    def __init__(self, job: Job[Any], work: LaneWork) -> None:
        super().__init__()
        self._job, self._work = job, work

    def expand(self, lanes: beam.PCollection) -> beam.PCollection:
        return lanes | beam.ParDo(_CommitLane(self._job, self._work)).with_output_types(str)


class Commit(CommitLanes):
    """The same for work that looks at one task at a time: `work(task, config, attempt)`."""

    def __init__(self, job: Job[Any], work: Work) -> None:
        super().__init__(job, _OneByOne(work))


class _OneByOne:
    def __init__(self, work: Work) -> None:
        self._work = work

    def __call__(self, tasks: Sequence[Task], config: Any, begin: Begin) -> None:
        for task in tasks:
            with begin(task) as attempt:
                self._work(task, config, attempt)


class _CommitLane(beam.DoFn):
    def __init__(self, job: Job[Any], work: LaneWork) -> None:
        super().__init__()
        self._job, self._work = job, work

    def process(self, lane: Lane) -> Iterator[str]:
        pending = [task for task in lane if not self._job.done(task)]
        if pending:
            self._work(pending, self._job.config, lambda task: Attempt(self._job, task))
        yield from (task.id for task in pending)


class CommitGroups(beam.PTransform):
    """Where a shuffle ends: {"tasks": tasks, "rows": (task number, table)} in, ids of committed tasks out.

    `work(task, rows, config, attempt)` gets all rows of a task in one table, in no particular order, or None.
    """

    def __init__(self, job: Job[Any], work: GroupWork) -> None:
        super().__init__()
        self._job, self._work = job, work

    def expand(self, pcolls: dict[str, beam.PCollection]) -> beam.PCollection:
        tasks = pcolls["tasks"] | beam.Map(_numbered).with_output_types(tuple[int, Task])
        return (
            {"tasks": tasks, "rows": pcolls["rows"]}
            | beam.CoGroupByKey()
            | beam.ParDo(_CommitGroup(self._job, self._work)).with_output_types(str)
        )


def _numbered(task: Task) -> tuple[int, Task]:
    return task.number, task


class _CommitGroup(beam.DoFn):
    def __init__(self, job: Job[Any], work: GroupWork) -> None:
        super().__init__()
        self._job, self._work = job, work

    def process(self, group: tuple[int, dict[str, Iterable[Any]]]) -> Iterator[str]:
        number, values = group
        tasks, tables = list(values["tasks"]), list(values["rows"])
        if len(tasks) != 1:
            raise Failure(
                f"{len(tasks)} tasks have the number {number} in {self._job.step}: this is a bug, please report it"
            )
        if not self._job.done(tasks[0]):
            with Attempt(self._job, tasks[0]) as attempt:
                self._work(tasks[0], pa.concat_tables(tables) if tables else None, self._job.config, attempt)
            yield tasks[0].id


# ── running ──────────────────────────────────────────────────────────────────────────────────────


def in_lanes(tasks: Iterable[Task]) -> list[Lane]:
    """Tasks grouped by lane, lanes in the order of a hash of their name, tasks by id."""
    lanes: dict[str, list[Task]] = {}
    for task in tasks:
        lanes.setdefault(task.lane or task.id, []).append(task)
    names = sorted(lanes, key=lambda name: xxhash.xxh3_64_intdigest(name.encode()))
    return [tuple(sorted(lanes[name], key=lambda task: task.id)) for name in names]


def run_local(transform: beam.PTransform, tasks: Sequence[Task], workers: int) -> None:
    """Run a transform over tasks, dealt to that many processes (0 = one a core; 1 = in this one)."""
    lanes = in_lanes(tasks)
    workers = min(workers or cores(), len(lanes))
    if workers <= 1:
        _run_pipeline(transform, lanes)
        return
    context = multiprocessing.get_context("spawn")
    started = []
    for share in (lanes[i::workers] for i in range(workers)):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(sender, transform, share))
        process.start()
        sender.close()
        started.append((process, receiver))
    _wait(started)


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


def _child(sender: Any, transform: beam.PTransform, lanes: list[Lane]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal's processes: the parent answers it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _run_pipeline(transform, lanes)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is raised again in the parent)
        sender.send(error if isinstance(error, Failure) else Failure(f"{type(error).__name__}: {error}"))
    else:
        sender.send(None)


def _end_with_parent() -> None:
    """A worker whose parent was killed stops at once: the next run may already be asking the same hosts."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # only children run this
    parent.join()
    os._exit(1)


def run_shuffle(transform: beam.PTransform, reads: Sequence[Task], ends_in: Sequence[Task]) -> None:
    """Run a transform over {"reads": tasks, "tasks": tasks} in one pipeline, in this process."""
    with _own_errors(), beam.Pipeline(FnApiRunner(), PipelineOptions([])) as pipeline:
        _ = {
            "reads": pipeline | "Reads" >> beam.Create(reads, reshuffle=False).with_output_types(Task),
            "tasks": pipeline | "Tasks" >> beam.Create(ends_in, reshuffle=False).with_output_types(Task),
        } | transform


def _run_pipeline(transform: beam.PTransform, lanes: list[Lane]) -> None:
    with _own_errors(), beam.Pipeline(FnApiRunner(), PipelineOptions([])) as pipeline:
        _ = pipeline | beam.Create(lanes, reshuffle=False).with_output_types(tuple[Task, ...]) | transform


_OWN = re.compile(r"shards\.errors\.(Failure|UsageError): (.*?)(?: \[while running .*)?$", re.MULTILINE)
_WHERE = re.compile(r" \[while running .*", re.DOTALL)


@contextmanager
def _own_errors() -> Iterator[None]:
    """Our own sentence out of what Beam makes of an error: the error with words behind it, or its traceback as text."""
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # it logs, with a traceback, what it then raises
    try:
        yield
    except Failure as error:
        raise type(error)(_WHERE.sub("", str(error))) from error
    except Exception as error:
        found = _OWN.findall(str(error))
        if not found:
            raise
        kind, sentence = found[-1]
        raise (UsageError(sentence) if kind == "UsageError" else Failure(sentence)) from error
