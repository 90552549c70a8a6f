"""One attempt at one task: the parts it writes, the rows it counts, the receipt that makes them exist."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core import choice, snapshot
from core.errors import Failure
from core.files import Hashed, Pending, digest, entries_in, join, open_input, remove
from core.inputs import Source, reading
from core.listing import sizes_below
from core.manifest import (
    RECEIPTS,
    Counts,
    Manifest,
    Part,
    Receipt,
    first_missing,
    read_receipts,
    receipt_name,
    receipt_path,
    write_receipt,
)
from core.runs import begun_for
from core.tables import name_of
from pipeline.tables import DROP, REJECT

C = TypeVar("C")

ROW_GROUP = 16_384  # rows; a reader of row groups holds some megabytes
ROW_GROUP_BYTES = 32 << 20  # of the values of a row group; the row that exceeds it ends the group
REJECTS = 16  # rows of each reason that a task keeps to look at


@dataclass(frozen=True)
class Task:
    """The unit of a stage's work. The id is stable; `inputs` is the digest of what this task alone reads.

    Tasks of one lane run one after another on one worker; a task without a lane is alone in its own. Where a shuffle
    ends in tasks, `number` is the key that its rows carry.
    """

    id: str
    inputs: str = ""
    args: tuple[Any, ...] = ()
    lane: str = ""
    number: int = 0


def tasks_of(manifest: Manifest, table: str) -> list[Task]:
    """A task for each part of a finished stage's table: it reads that part, whose path is its one argument."""
    return [
        Task(part.task, part.sha256, (path,))
        for part, path in zip(manifest.of(table), manifest.paths(table), strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class Job(Generic[C]):
    """What all tasks of one step share, as it travels to the workers."""

    folder: str
    step: str
    step_digest: str  # of the stage, its rules and its Config
    seed: int
    config: C
    facts_digest: str  # of the facts that the stage runs for; empty where no stage runs
    lease_seconds: float = 60.0  # how long a worker may be silent before another takes over its lane
    all_inputs: bool = False  # whether the step's digest covers all that the stage reads; a task then names no inputs

    def basis_of(self, task: Task) -> str:
        """The digest of all that determines what a task writes."""
        return digest(self.step_digest, self.step, task.id, task.inputs)

    def done(self, task: Task) -> Receipt | None:
        """The task's receipt, if it was given for the same rules, Config and inputs, and its parts are still there."""
        return self.done_of([task]).get(task.id)

    def done_of(
        self, tasks: Sequence[Task], sizes: Mapping[str, int] | None = None, known: snapshot.Known | None = None
    ) -> dict[str, Receipt]:
        """The same for many tasks, by id; `sizes` are those of a listing of the stage's folder."""
        basis = {task.id: self.basis_of(task) for task in tasks}
        found = {r.task: r for _, r in (known or {}).values() if r.step == self.step and r.task in basis}
        found |= read_receipts(self.folder, self.step, [task for task in basis if task not in found])
        return {
            task: receipt
            for task, receipt in found.items()
            if receipt.basis == basis[task] and not first_missing(self.folder, receipt.parts, sizes)
        }

    def receipts(self, tasks: Sequence[Task]) -> dict[str, Receipt]:
        """The same by one listing: what that does not have yet counts as not done, and a worker looks again."""
        sizes = sizes_below(self.folder)
        known = (
            snapshot.read(self.folder, entries_in(join(self.folder, RECEIPTS))) if snapshot.SNAPSHOT in sizes else {}
        )
        return self.done_of([task for task in tasks if receipt_name(self.step, task.id) in sizes], sizes, known)

    def check(self) -> None:
        """Failure where the folder is another run's: this worker is a left-over of one that was ended."""
        if self.facts_digest and (now := begun_for(self.folder)) != self.facts_digest:
            said = "has been begun with another recipe" if now else "is complete"
            raise Failure(
                f"{self.folder} {said} since this worker was started: what it had not committed is left out; "
                "end this command, if it still runs"
            )


class Attempt:
    """What one attempt at a task writes; nothing of it exists until the `with` block has ended well."""

    def __init__(self, job: Job[Any], task: Task, check: Callable[[], None] | None = None) -> None:
        """`check` raises Failure once another worker has taken over: see Lane."""
        self._job, self._task, self._still_ours = job, task, check or (lambda: None)
        self._tables: dict[str, _Table] = {}
        self._files: list[Part] = []
        self._counts: Counts = {}
        self._notes: dict[str, int] = {}
        self._read: dict[str, str] = {}
        self._rejects: dict[tuple[str, str], pa.Table] = {}  # name of their table, reason

    def check(self) -> None:
        """Failure where the task is no longer this worker's to do."""
        self._still_ours()
        self._job.check()

    # ── what a task writes ──

    def rows(self, table: pa.Table, schema: pa.Schema) -> None:
        """Append rows to the task's part of a declared table."""
        name = name_of(schema)
        if name not in self._tables:
            self._tables[name] = _Table(join(self._job.folder, name), schema)
        self._tables[name].append(table)

    @contextmanager
    def file(self, table: str, name: str) -> Iterator[FilePart]:
        """A part that the task writes itself, under its name below the stage's folder; the block sets its rows.

        "{sha256}" in the name stands for the beginning of the file's digest: needed where another attempt at the task
        may write other bytes.
        """
        folder, _, base = join(self._job.folder, name).rpartition("/")
        pending = Pending(folder)
        part = FilePart(pending.file)
        try:
            yield part
            sha256 = pending.file.sha256
            self.check()
            pending.place(base.replace("{sha256}", sha256[:16]))
        except BaseException:
            pending.discard()
            raise
        name = name.replace("{sha256}", sha256[:16])
        self._files.append(Part(table, self._task.id, name, part.rows, pending.file.length, sha256))

    def adopt(self, table: str, name: str) -> None:
        """Take a file that a library has written below the stage's folder for a part."""
        with open_input(join(self._job.folder, name)) as file:
            sha256 = hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
            self._files.append(Part(table, self._task.id, name, 0, file.tell(), sha256))

    # ── what a task reads ──

    @contextmanager
    def reading(self, source: Source) -> Iterator[str]:
        """The path of a raw file that the block reads. The receipt will say what it held, all of it.

        Failure where that is not what it held when the stage began.
        """
        with reading(source) as seen:
            yield source.path
        self._read[source.id] = seen.sha256

    # ── what a task counts ──

    def count_in(self, unit: str, n: int) -> None:
        """n rows of that unit came in."""
        self._count(unit)["in"] += n

    def count_kept(self, unit: str, n: int) -> None:
        """n of them go on."""
        self._count(unit)["kept"] += n

    def count_dropped(self, unit: str, reason: str, n: int) -> None:
        """n of them go, and why."""
        if n:
            reasons = self._count(unit)["dropped"]
            reasons[reason] = reasons.get(reason, 0) + n

    def note(self, name: str, n: int = 1) -> None:
        """A number worth keeping that is not part of the balance."""
        self._notes[name] = self._notes.get(name, 0) + n

    def drop_rows(self, unit: str, rows: pa.Table, reasons: pa.Array) -> None:
        """Candidates that go, with the reason of each: counted, listed by id, some of each reason kept to look at."""
        if rows.num_rows:
            self.reject_rows(unit, rows, reasons, REJECT, "pair_id")
            self.rows(rows.select(["image_id", "pair_id"]).append_column("reason", reasons), DROP)

    def reject_rows(self, unit: str, rows: pa.Table, reasons: pa.Array, table: pa.Schema, key: str) -> None:
        """Rows that go, with the reason of each: counted, and some of each reason kept to look at.

        `table` is where they are kept, one of the tables of rejects; a hash of the column `key` decides which.
        """
        rows = rows.append_column("reason", reasons).select(table.names).cast(table)
        for reason in pc.unique(reasons).to_pylist():
            some = rows.filter(pc.equal(rows["reason"], reason))
            self.count_dropped(unit, reason, some.num_rows)
            if earlier := self._rejects.get((name_of(table), reason)):
                some = pa.concat_tables([earlier, some])
            ranks = choice.rank(self._job.seed, "reject", reason, choice.as_keys(some[key]))
            self._rejects[name_of(table), reason] = some.take(pa.array(ranks.argsort(kind="stable")[:REJECTS]))

    def _count(self, unit: str) -> dict[str, Any]:
        return self._counts.setdefault(unit, {"in": 0, "kept": 0, "dropped": {}})

    # ── the commit ──

    def __enter__(self) -> Self:
        self.check()
        # A receipt for other inputs, if there is one, must not be found valid again once its files have been replaced.
        remove(receipt_path(self._job.folder, self._job.step, self._task.id))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._commit()
        finally:
            for table in self._tables.values():
                table.discard()

    def _commit(self) -> None:
        for _, rows in sorted(self._rejects.items()):
            self.rows(rows, rows.schema)
        parts = [table.place(self._task.id) for _, table in sorted(self._tables.items())]
        self.check()
        write_receipt(
            self._job.folder,
            Receipt(
                self._job.step,
                self._task.id,
                self._job.basis_of(self._task),
                tuple(sorted([*parts, *self._files])),
                self._counts,
                self._notes,
                self._read,
            ),
        )


@dataclass
class FilePart:
    """A part being written: its file and, at the end, how many rows or samples it holds."""

    file: Hashed
    rows: int = 0


class _Table:
    """A Parquet part being written, in row groups whose bounds depend on the rows alone."""

    def __init__(self, folder: str, schema: pa.Schema) -> None:
        self._schema = schema
        self._pending = Pending(folder)
        self._writer = pq.ParquetWriter(self._pending.file, schema, compression="zstd", write_page_checksum=True)
        self._waiting: list[pa.Table] = []
        self._rows_waiting = self._bytes_waiting = 0
        self._rows = 0

    def append(self, table: pa.Table) -> None:
        table = table.select(self._schema.names).cast(self._schema)
        sizes = _row_bytes(table).cumsum()
        at = 0
        while at < table.num_rows:
            # a group ends with the row that fills it, whatever the tables are in which the rows came
            before = sizes[at - 1] if at else 0
            full = int(np.searchsorted(sizes, before + ROW_GROUP_BYTES - self._bytes_waiting)) + 1
            end = min(full, at + ROW_GROUP - self._rows_waiting, table.num_rows)
            self._waiting.append(table.slice(at, end - at))
            self._rows_waiting += end - at
            self._bytes_waiting += int(sizes[end - 1] - before)
            if self._rows_waiting >= ROW_GROUP or self._bytes_waiting >= ROW_GROUP_BYTES:
                self._flush()
            at = end

    def _flush(self) -> None:
        rows = pa.concat_tables(self._waiting).combine_chunks()
        self._writer.write_table(rows, row_group_size=ROW_GROUP)
        self._rows += rows.num_rows
        self._waiting, self._rows_waiting, self._bytes_waiting = [], 0, 0

    def place(self, task: str) -> Part:
        """The part under its name: the task and the digest of the bytes, so that no two attempts collide."""
        if self._rows_waiting:
            self._flush()
        self._writer.close()
        file, name = self._pending.file, name_of(self._schema)
        stem = f"{task}-{file.sha256[:16]}.parquet"
        self._pending.place(stem)
        return Part(name, task, f"{name}/{stem}", self._rows, file.length, file.sha256)

    def discard(self) -> None:
        with suppress(Failure):  # a writer that is closed after its file has no room left says so once more
            self._writer.close()
        self._pending.discard()


def _row_bytes(table: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
    """About how many bytes the values of each row take: a number of that row alone."""
    sizes = np.zeros(table.num_rows, np.int64)
    for column in table.columns:
        kind = column.type
        if pa.types.is_string(kind) or pa.types.is_binary(kind):
            sizes += pc.fill_null(pc.binary_length(column), 0).to_numpy()
        elif pa.types.is_list(kind):
            sizes += 8 * pc.fill_null(pc.list_value_length(column), 0).to_numpy()
        else:
            sizes += 8
    return sizes
