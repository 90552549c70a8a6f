"""Beam carries the tasks: the same parts with one worker or two, errors in one sentence, shuffles complete."""

import os
import time
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import Failure, UsageError
from core.tables import declare
from pipeline.engines.local import Local
from pipeline.tasks.attempt import Attempt, Job, Task
from pipeline.tasks.lanes import ForEachLane, ForEachTask, Lane, in_lanes
from pipeline.tasks.shuffle import ArrowCoder, Keyed, Regroup, Shuffle, partition, split

NUMBERS = declare("number", 1, {"n": (pa.int64(), "a number")})


def square(task: Task, config: Any, attempt: Attempt) -> None:
    attempt.rows(pa.table({"n": [task.args[0] ** 2]}), NUMBERS)
    attempt.note(f"worker_{os.getpid()}")


def fail(task: Task, config: Any, attempt: Attempt) -> None:
    raise Failure(f"task {task.id} cannot be done: give it up")


def misuse(task: Task, config: Any, attempt: Attempt) -> None:
    raise UsageError("this is wrong: do it otherwise")


def blunder(task: Task, config: Any, attempt: Attempt) -> None:
    attempt.rows(pa.table({"n": [1 // task.number]}), NUMBERS)


def die(task: Task, config: Any, attempt: Attempt) -> None:
    os._exit(9)


def in_order(lane: Lane, config: Any) -> None:
    for task in lane.tasks:
        with lane.begin(task) as attempt:
            attempt.rows(pa.table({"n": [time.monotonic_ns(), os.getpid()]}), NUMBERS)


def job(folder: Path) -> Job[None]:
    return Job(folder=str(folder), step="squares", step_digest="basis", seed=1, config=None, facts_digest="")


TASKS = [Task(f"t{i:02d}", args=(i,)) for i in range(9)]


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "number").iterdir()}


@pytest.mark.parametrize("workers", [1, 2])
def test_all_tasks_commit(tmp_path: Path, workers: int) -> None:
    Local(workers).run(ForEachTask(job(tmp_path), square), in_lanes(TASKS))
    receipts = [job(tmp_path).done(task) for task in TASKS]
    assert all(receipts)
    assert len({note for receipt in receipts if receipt for note in receipt.notes}) == workers
    Local(1).run(ForEachTask(job(tmp_path / "other"), square), in_lanes(TASKS[::-1]))
    assert parts(tmp_path) == parts(tmp_path / "other")


def test_tasks_with_a_receipt_are_left_alone(tmp_path: Path) -> None:
    Local(1).run(ForEachTask(job(tmp_path), square), in_lanes(TASKS))
    Local(1).run(ForEachTask(job(tmp_path), fail), in_lanes(TASKS))


def test_tasks_of_a_lane_run_in_order_on_one_worker(tmp_path: Path) -> None:
    tasks = [Task(f"{lane}-{i}", lane=lane) for i in range(3) for lane in ("b", "a")]
    assert sorted([task.id for task in lane] for lane in in_lanes(tasks)) == [
        ["a-0", "a-1", "a-2"],
        ["b-0", "b-1", "b-2"],
    ]
    Local(2).run(ForEachLane(job(tmp_path), in_order), in_lanes(tasks))
    for lane in ("a", "b"):
        receipts = [job(tmp_path).done(task) for task in tasks if task.lane == lane]
        moments, workers = zip(
            *(pq.read_table(tmp_path / receipt.parts[0].name)["n"].to_pylist() for receipt in receipts if receipt),
            strict=True,
        )
        assert list(moments) == sorted(moments) and len(moments) == 3 and len(set(workers)) == 1


def test_a_failure_is_said_in_its_own_sentence(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"^task t\d\d cannot be done: give it up$"):
        Local(1).run(ForEachTask(job(tmp_path), fail), in_lanes(TASKS[:1]))


@pytest.mark.parametrize("workers", [1, 2])
def test_wrong_use_stays_what_it_is(tmp_path: Path, workers: int) -> None:
    with pytest.raises(UsageError, match=r"^this is wrong: do it otherwise$"):
        Local(workers).run(ForEachTask(job(tmp_path), misuse), in_lanes(TASKS[:workers]))


def test_a_mistake_of_ours_in_a_worker_is_called_unexpected(tmp_path: Path) -> None:
    with pytest.raises(
        Failure, match=r"^unexpected ZeroDivisionError: .* run it again with --set engine\.workers=1 --d"
    ):
        Local(2).run(ForEachTask(job(tmp_path), blunder), in_lanes(TASKS))


def test_a_worker_that_dies_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="ended with status 9"):
        Local(2).run(ForEachTask(job(tmp_path), die), in_lanes(TASKS))


# ── shuffles ──


def read(task: Task) -> list[Keyed]:
    return list(split(pa.table({"n": list(range(task.args[0]))}), np.arange(task.args[0]) % 3))


def odd_apart(rows: pa.Table) -> list[Any]:
    numbers = np.sort(rows["n"].to_numpy())
    even, odd = numbers[numbers % 2 == 0], numbers[numbers % 2 == 1]
    return [
        *split(pa.table({"n": even}), even % 2),
        *(beam.pvalue.TaggedOutput("odd", keyed) for keyed in split(pa.table({"n": odd}), odd % 2)),
    ]


def in_two_streams(reads: beam.PCollection) -> beam.PCollection:
    step = reads | beam.FlatMap(read).with_output_types(Keyed) | Regroup(odd_apart, tag="odd")
    return (step.main, step.odd) | beam.Flatten()


def commit_sorted(task: Task, rows: pa.Table | None, config: Any, attempt: Attempt) -> None:
    attempt.note("rows", rows.num_rows if rows else 0)
    if rows:
        attempt.rows(rows.sort_by("n"), NUMBERS)


def test_a_shuffle_ends_in_every_task_and_loses_no_row(tmp_path: Path) -> None:
    ends = [Task(name, number=number) for number, name in enumerate(("even", "odd", "nothing"))]
    Local(1).shuffle(
        Shuffle(job(tmp_path), in_two_streams, commit_sorted), [Task("a", args=(10,)), Task("b", args=(7,))], ends
    )
    notes = {task.id: receipt.notes["rows"] for task in ends if (receipt := job(tmp_path).done(task))}
    assert notes == {"even": 5 + 4, "odd": 5 + 3, "nothing": 0}


def test_partitions_are_ranges_of_ids() -> None:
    ids = sorted(os.urandom(16) for _ in range(1000))
    found = partition(pa.chunked_array([ids], pa.binary(16)), 7)
    assert (np.diff(found) >= 0).all() and set(found) == set(range(7))
    assert [int(i) for i in found] == [int.from_bytes(id_[:4], "big") * 7 >> 32 for id_ in ids]


def test_the_arrow_coder_sends_a_slice_alone() -> None:
    table = pa.table({"n": np.arange(100_000)})
    coder = ArrowCoder()
    encoded = coder.encode(table.slice(10, 5))
    assert coder.decode(encoded)["n"].to_pylist() == [10, 11, 12, 13, 14] and len(encoded) < 1000
    assert isinstance(beam.coders.registry.get_coder(pa.Table), ArrowCoder)
