"""What Beam carries to the workers: lanes of tasks, each task committed where it is worked on.

A DoFn may run twice, on two machines at once, so it writes only under names fixed by the task, and nobody counts from
Beam's counters: a task is done when it has a receipt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import xxhash

from core.files import join
from core.lease import Lease
from pipeline.tasks.attempt import Attempt, Job, Task


class Lane:
    """Tasks that one worker does one after another, and whether they are still its own to do.

    A lane with a name is worked on by one process at a time, whatever the engine does. Call `check` before each step
    that others can see, a request or a commit: it raises Failure once another process has taken the lane over.
    """

    def __init__(self, job: Job[Any], tasks: Sequence[Task], lease: Lease | None = None) -> None:
        self._job, self._lease = job, lease
        self.tasks = tasks  # those that have no receipt yet, in order

    def begin(self, task: Task) -> Attempt:
        """An attempt at one of its tasks: `with lane.begin(task) as attempt` commits it."""
        return Attempt(self._job, task, self.check)

    def check(self) -> None:
        """Failure once another worker has taken over; never for tasks without a lane, which any number may do."""
        if self._lease:
            self._lease.check()


def in_lanes(tasks: Iterable[Task]) -> list[tuple[Task, ...]]:
    """Tasks grouped by lane, lanes in the order of a hash of their name, tasks by id."""
    lanes: dict[str, list[Task]] = {}
    for task in tasks:
        lanes.setdefault(task.lane or task.id, []).append(task)
    names = sorted(lanes, key=lambda name: xxhash.xxh3_64_intdigest(name.encode()))
    return [tuple(sorted(lanes[name], key=lambda task: task.id)) for name in names]


class ForEachLane(beam.PTransform):
    """Lanes of tasks in, ids of committed tasks out; `work(lane, config)` commits each task of a lane."""

    def __init__(self, job: Job[Any], work: Callable[[Lane, Any], None]) -> None:
        super().__init__()
        self._job, self._work = job, work

    def expand(self, lanes: beam.PCollection) -> beam.PCollection:
        return lanes | beam.ParDo(_DoLane(self._job, self._work)).with_output_types(str)


class ForEachTask(ForEachLane):
    """The same for work that looks at one task at a time: `work(task, config, attempt)`."""

    def __init__(self, job: Job[Any], work: Callable[[Task, Any, Attempt], None]) -> None:
        super().__init__(job, _OneByOne(work))


class _OneByOne:
    def __init__(self, work: Callable[[Task, Any, Attempt], None]) -> None:
        self._work = work

    def __call__(self, lane: Lane, config: Any) -> None:
        for task in lane.tasks:
            with lane.begin(task) as attempt:
                self._work(task, config, attempt)


class _DoLane(beam.DoFn):
    def __init__(self, job: Job[Any], work: Callable[[Lane, Any], None]) -> None:
        super().__init__()
        self._job, self._work = job, work

    def process(self, tasks: tuple[Task, ...]) -> Iterator[str]:
        missing = self._missing(tasks)
        if missing and tasks[0].lane:
            path = join(self._job.folder, "_leases", f"{self._job.step}.{tasks[0].lane}")
            with Lease(path, self._job.lease_seconds) as lease:
                missing = self._missing(tasks)  # whoever held the lane before may have done some
                self._do(missing, lease)
        else:
            self._do(missing)
        yield from (task.id for task in missing)

    def _do(self, missing: Sequence[Task], lease: Lease | None = None) -> None:
        if missing:
            self._work(Lane(self._job, missing, lease), self._job.config)

    def _missing(self, tasks: Sequence[Task]) -> list[Task]:
        done = self._job.done_of(tasks)
        return [task for task in tasks if task.id not in done]
