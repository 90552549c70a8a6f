"""What Beam carries to the workers: lanes of tasks, and groups of rows, each committed where it is worked on.

A DoFn may run twice, on two machines at once, so it writes only under names fixed by the task, and nobody counts from
Beam's counters: a task is done when it has a receipt.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
import xxhash

from core.errors import Failure
from core.files import join
from core.lease import Lease
from pipeline.tasks.attempt import Attempt, Job, StillOurs, Task, always_ours
from pipeline.tasks.packed import Keyed

Lane = tuple[Task, ...]
Work = Callable[[Task, Any, Attempt], None]
Begin = Callable[[Task], Attempt]
LaneWork = Callable[[Sequence[Task], Any, Begin, StillOurs], None]
GroupWork = Callable[[Task, pa.Table | None, Any, Attempt], None]


def in_lanes(tasks: Iterable[Task]) -> list[Lane]:
    """Tasks grouped by lane, lanes in the order of a hash of their name, tasks by id."""
    lanes: dict[str, list[Task]] = {}
    for task in tasks:
        lanes.setdefault(task.lane or task.id, []).append(task)
    names = sorted(lanes, key=lambda name: xxhash.xxh3_64_intdigest(name.encode()))
    return [tuple(sorted(lanes[name], key=lambda task: task.id)) for name in names]


class CommitLanes(beam.PTransform):
    """Lanes of tasks in, ids of committed tasks out.

    `work(tasks, config, begin, still_ours)` gets the tasks of one lane that have no receipt yet, in order, and commits
    each with `with begin(task) as attempt`. A lane with a name is worked on by one process at a time, whatever the
    engine does: before each thing that the world outside can see, `work` calls `still_ours`, which raises once another
    process has taken the lane over.
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

    def __call__(self, tasks: Sequence[Task], config: Any, begin: Begin, still_ours: StillOurs) -> None:
        for task in tasks:
            with begin(task) as attempt:
                self._work(task, config, attempt)


class _CommitLane(beam.DoFn):
    def __init__(self, job: Job[Any], work: LaneWork) -> None:
        super().__init__()
        self._job, self._work = job, work

    def process(self, lane: Lane) -> Iterator[str]:
        if not lane[0].lane:
            yield from self._commit(lane, always_ours)
        elif self._pending(lane):
            path = join(self._job.folder, "_leases", f"{self._job.step}.{lane[0].lane}")
            with Lease(path, self._job.lease_seconds) as lease:
                yield from self._commit(lane, lease.check)

    def _commit(self, lane: Lane, still_ours: StillOurs) -> Iterator[str]:
        pending = self._pending(lane)  # only now: whoever held the lane before may have done some
        if pending:
            self._work(pending, self._job.config, lambda task: Attempt(self._job, task, still_ours), still_ours)
        yield from (task.id for task in pending)

    def _pending(self, lane: Lane) -> list[Task]:
        return [task for task in lane if not self._job.done(task)]


class CommitGroups(beam.PTransform):
    """Where a shuffle ends: {"tasks": tasks, "rows": (task number, table)} in, ids of committed tasks out.

    `work(task, rows, config, attempt)` gets all rows of a task in one table, in no particular order, or None.
    """

    def __init__(self, job: Job[Any], work: GroupWork) -> None:
        super().__init__()
        self._job, self._work = job, work

    def expand(self, pcolls: dict[str, beam.PCollection]) -> beam.PCollection:
        # A task travels to its rows as a table of its own, so that one coder, and no pickle, carries all of a group.
        tasks = pcolls["tasks"] | beam.Map(_as_table).with_output_types(Keyed)
        return (
            (tasks, pcolls["rows"])
            | beam.Flatten()
            | beam.GroupByKey()
            | beam.ParDo(_CommitGroup(self._job, self._work)).with_output_types(str)
        )


_TASK = pa.schema([("task", pa.binary())])


def _as_table(task: Task) -> Keyed:
    return task.number, pa.table([[pickle.dumps(task)]], schema=_TASK)


class _CommitGroup(beam.DoFn):
    def __init__(self, job: Job[Any], work: GroupWork) -> None:
        super().__init__()
        self._job, self._work = job, work

    def process(self, group: tuple[int, Iterable[pa.Table]]) -> Iterator[str]:
        number, tables = group
        rows = [table for table in tables if table.schema != _TASK]
        tasks = [pickle.loads(table["task"][0].as_py()) for table in tables if table.schema == _TASK]
        if len(tasks) != 1:
            raise Failure(
                f"{len(tasks)} tasks have the number {number} in {self._job.step}: this is a bug, please report it"
            )
        if not self._job.done(tasks[0]):
            with Attempt(self._job, tasks[0]) as attempt:
                self._work(tasks[0], pa.concat_tables(rows) if rows else None, self._job.config, attempt)
            yield tasks[0].id
