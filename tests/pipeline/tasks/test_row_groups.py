"""Row groups of the parts that tasks write: bounded by rows and by bytes, the same however the rows came."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.tables import declare
from pipeline.tasks import attempt
from pipeline.tasks.attempt import Attempt, Job, Task

TEXTS = declare(
    "texts", 1, {"text": (pa.string(), "any | null"), "n": (pa.int64(), "any"), "l": (pa.list_(pa.int32()), "")}
)


@pytest.mark.parametrize("pieces", [[60], [1] * 60, [7, 13, 40], [33, 27]])
def test_row_groups_depend_on_the_rows_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: list[int]
) -> None:
    monkeypatch.setattr(attempt, "ROW_GROUP_BYTES", 1000)
    monkeypatch.setattr(attempt, "ROW_GROUP", 20)
    texts = [*["x" * 92] * 20, None, *["x"] * 24, "x" * 5000, *["x" * 42] * 14]  # each row 8 bytes more for its number
    table = pa.table([texts, range(60), [[]] * 60], schema=TEXTS)
    job = Job(folder=str(tmp_path), step="made", step_digest="basis", seed=1, config=None, facts_digest="")
    with Attempt(job, Task("a")) as made:
        at = 0
        for n in pieces:
            made.rows(table.slice(at, n), TEXTS)
            at += n
    receipt = job.done(Task("a"))
    assert receipt is not None and receipt.parts[0].rows == 60
    path = tmp_path / receipt.parts[0].name
    metadata = pq.read_metadata(path)
    sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert sizes == [10, 10, 20, 6, 14]
    assert pq.read_table(path).equals(table)
