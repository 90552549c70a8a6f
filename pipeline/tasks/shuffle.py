"""Shuffles of packed columns: one Arrow table a partition, not one element a row (twenty times cheaper).

A shuffle ends in tasks: each gets all rows that carry its number in one table, and is committed as any other.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from core.errors import Failure
from pipeline.tasks.attempt import Attempt, Job, Task

Keyed = tuple[int, pa.Table]


class ArrowCoder(beam.coders.Coder):
    """Arrow tables as IPC streams. Pickle would write the whole parent of a slice.

    Not compressed: that took most of a small table's time, ids are hashes that do not shrink, and Spark and Flink
    compress what they shuffle themselves.
    """

    def encode(self, value: pa.Table) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema) as writer:
            writer.write_table(value)
        return bytes(sink.getvalue())

    def decode(self, encoded: bytes) -> pa.Table:
        with pa.ipc.open_stream(encoded, options=pa.ipc.IpcReadOptions(use_threads=False)) as reader:
            return reader.read_all()

    def estimate_size(self, value: pa.Table) -> int:
        """Bytes; without it Beam's sampling encodes tables a second time."""
        return int(value.nbytes)

    def is_deterministic(self) -> bool:
        return False  # equal tables may be chunked differently; they are values of a shuffle, never its keys

    def to_type_hint(self) -> Any:
        return pa.Table


beam.coders.registry.register_coder(pa.Table, ArrowCoder)


def partition(ids: pa.ChunkedArray, partitions: int) -> np.ndarray:
    """The partition of each id by its first four bytes, so that partitions are ranges of ids: int64 [n].

    `ids` is a column of ids or other digests without nulls; they are hashes, so partitions are equal within noise.
    """
    width = ids.type.byte_width
    raw = np.frombuffer(b"".join(ids.to_pylist()), dtype=">u8").reshape(-1, width // 8)[:, 0].astype(np.uint64)
    return ((raw >> np.uint64(32)) * np.uint64(partitions) >> np.uint64(32)).astype(np.int64)


def split(table: pa.Table, partitions: np.ndarray) -> Iterator[Keyed]:
    """The rows of a table by partition, one table for each that has any."""
    order = np.argsort(partitions, kind="stable")
    bounds = np.flatnonzero(np.diff(partitions[order])) + 1
    for rows in np.split(order, bounds) if len(order) else []:
        yield int(partitions[rows[0]]), table.take(pa.array(rows))


class Regroup(beam.PTransform):
    """(partition, table) in, whatever `work(table of the whole partition)` yields out: (next partition, table).

    With a `tag`, work may also yield TaggedOutputs of it, and the result has two streams: `.main` and the tag.
    The rows of a partition come in no particular order: `work` must not depend on it.
    """

    def __init__(self, work: Callable[[pa.Table], Iterable[Any]], tag: str | None = None) -> None:
        super().__init__()
        self._work, self._tag = work, tag

    def expand(self, keyed: beam.PCollection) -> Any:
        step = beam.FlatMap(_whole, self._work).with_output_types(Keyed)
        if not self._tag:
            return keyed | beam.GroupByKey() | step
        streams = keyed | beam.GroupByKey() | step.with_outputs(self._tag, main="main")
        streams[self._tag].element_type = streams.main.element_type  # else taken for anything, and pickled
        return streams


def _whole(group: tuple[int, Iterable[pa.Table]], work: Callable[[pa.Table], Iterable[Any]]) -> Iterable[Any]:
    return work(pa.concat_tables(group[1]))


class Shuffle(beam.PTransform):
    """{"reads": tasks that name what is shuffled, "tasks": those that it ends in} in, ids of committed tasks out.

    `rows` makes of the reads the rows (task number, table); `commit(task, table, config, attempt)` gets all rows of a
    task in one table, in no particular order, or None.
    """

    def __init__(
        self,
        job: Job[Any],
        rows: Callable[[beam.PCollection], beam.PCollection],
        commit: Callable[[Task, pa.Table | None, Any, Attempt], None],
    ) -> None:
        super().__init__()
        self._job, self._rows, self._commit = job, rows, commit

    def expand(self, pcolls: dict[str, beam.PCollection]) -> beam.PCollection:
        # A task travels to its rows as a table of its own, so that one coder, and no pickle, carries all of a group.
        tasks = pcolls["tasks"] | "TasksAsTables" >> beam.Map(_as_table).with_output_types(Keyed)
        return (
            (tasks, self._rows(pcolls["reads"]))
            | "TasksAndRows" >> beam.Flatten()
            | "ByTask" >> beam.GroupByKey()
            | "Commit" >> beam.ParDo(_CommitGroup(self._job, self._commit)).with_output_types(str)
        )


_TASK = pa.schema([("task", pa.binary())])


def _as_table(task: Task) -> Keyed:
    return task.number, pa.table([[pickle.dumps(task)]], schema=_TASK)


class _CommitGroup(beam.DoFn):
    def __init__(self, job: Job[Any], commit: Callable[[Task, pa.Table | None, Any, Attempt], None]) -> None:
        super().__init__()
        self._job, self._commit = job, commit

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
                self._commit(tasks[0], pa.concat_tables(rows) if rows else None, self._job.config, attempt)
            yield tasks[0].id
