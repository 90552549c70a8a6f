"""A task's parts exist once its receipt does, and every row it took is kept or dropped by a name."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import Failure
from core.files import digest
from core.inputs import Source, digest_file
from core.manifest import balance, read_receipts, write_manifest
from core.runs import begin, publish_manifest
from core.tables import read_batches, read_table
from pipeline.ids import image_id, pair_id
from pipeline.tables import CANDIDATE, DROP, REJECT
from pipeline.tasks.attempt import REJECTS, ROW_GROUP, Attempt, Job, Task

JOB = Job(folder="unset", step="candidates", step_digest="basis", seed=1, config=None, facts_digest="")
TASK = Task("t", "input")


def job(folder: Path) -> Job[None]:
    return Job(folder=str(folder), step="candidates", step_digest="basis", seed=1, config=None, facts_digest="")


def candidates(n: int, start: int = 0) -> pa.Table:
    rows = []
    for i in range(start, start + n):
        url, text = f"http://a.test/{i}.jpg", f"text {i}"
        rows.append(
            {
                **dict.fromkeys(CANDIDATE.names, ""),
                **dict.fromkeys(("licence", "opt_out", "lang", "lang_score")),
                "pair_id": pair_id(url, text),
                "image_id": image_id(url),
                "image_url": url,
                "text": text,
                "warc_offset": i,
            }
        )
    return pa.Table.from_pylist(rows, schema=CANDIDATE)


def test_nothing_exists_before_the_end_and_all_of_it_after(tmp_path: Path) -> None:
    with Attempt(job(tmp_path), TASK) as attempt:
        attempt.rows(candidates(3), CANDIDATE)
        attempt.count_in("pairs", 3)
        attempt.count_kept("pairs", 3)
        assert job(tmp_path).done(TASK) is None
    receipt = job(tmp_path).done(TASK)
    assert receipt is not None and receipt.counts == {"pairs": {"in": 3, "kept": 3, "dropped": {}}}
    (part,) = receipt.parts
    assert read_table(str(tmp_path / part.name), CANDIDATE).num_rows == part.rows == 3
    assert (tmp_path / part.name).stat().st_size == part.bytes


def test_an_attempt_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="in the middle"), Attempt(job(tmp_path), TASK) as attempt:
        attempt.rows(candidates(ROW_GROUP + 1), CANDIDATE)
        with attempt.file("chunk_tar", "chunk/t.tar") as part:
            part.file.write(b"half")
            raise RuntimeError("in the middle")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_receipt_counts_only_for_what_determined_it(tmp_path: Path) -> None:
    with Attempt(job(tmp_path), TASK) as attempt:
        attempt.count_in("pairs", 0)
    assert job(tmp_path).done(TASK)
    assert not job(tmp_path).done(Task("t", "another input"))
    assert not Job(
        folder=str(tmp_path), step="candidates", step_digest="another basis", seed=1, config=None, facts_digest=""
    ).done(TASK)


def test_row_groups_depend_on_the_rows_alone(tmp_path: Path) -> None:
    def written(folder: Path, sizes: list[int]) -> bytes:
        start = 0
        with Attempt(job(folder), TASK) as attempt:
            for size in sizes:
                attempt.rows(candidates(size, start), CANDIDATE)
                start += size
        receipt = read_receipts(str(folder), "candidates", ["t"]).get("t")
        assert receipt is not None
        return (folder / receipt.parts[0].name).read_bytes()

    at_once = written(tmp_path / "a", [ROW_GROUP + 5])
    assert written(tmp_path / "b", [7, ROW_GROUP - 7, 1, 4]) == at_once
    assert pq.ParquetFile(pa.BufferReader(at_once)).num_row_groups == 2


def test_drops_are_counted_listed_and_sampled(tmp_path: Path) -> None:
    rows = candidates(100)
    reasons = pa.array(["too_short"] * 60 + ["is_a_url"] * 40)
    with Attempt(job(tmp_path), TASK) as attempt:
        attempt.count_in("pairs", 100)
        for part in (slice(0, 30), slice(30, 100)):
            attempt.drop_rows("pairs", rows[part], reasons[part.start : part.stop])
    receipt = job(tmp_path).done(TASK)
    assert receipt is not None
    balance(receipt.counts)
    assert receipt.counts["pairs"]["dropped"] == {"too_short": 60, "is_a_url": 40}
    drop, reject = receipt.parts
    assert read_table(str(tmp_path / drop.name), DROP)["reason"].to_pylist() == reasons.to_pylist()
    kept = read_table(str(tmp_path / reject.name), REJECT)
    assert kept["reason"].value_counts().to_pylist() == [
        {"values": "is_a_url", "counts": REJECTS},
        {"values": "too_short", "counts": REJECTS},
    ]


def test_rejects_are_chosen_by_hash_not_by_arrival(tmp_path: Path) -> None:
    def chosen(folder: Path, rows: pa.Table) -> set[str]:
        with Attempt(job(folder), TASK) as attempt:
            attempt.drop_rows("pairs", rows, pa.array(["x"] * rows.num_rows))
        receipt = job(folder).done(TASK)
        assert receipt is not None
        return set(read_table(str(folder / receipt.parts[1].name), REJECT)["text"].to_pylist())

    rows = candidates(200)
    forwards = chosen(tmp_path / "a", rows)
    assert forwards == chosen(tmp_path / "b", rows.take(list(range(199, -1, -1))))
    assert forwards != {f"text {i}" for i in range(REJECTS)}


def test_a_manifest_refuses_rows_that_went_without_a_name(tmp_path: Path) -> None:
    with Attempt(job(tmp_path), TASK) as attempt:
        attempt.count_in("pairs", 2)
        attempt.count_kept("pairs", 1)
    receipt = job(tmp_path).done(TASK)
    assert receipt is not None
    with pytest.raises(Failure, match="1 of 2 pairs are neither kept nor dropped"):
        write_manifest(str(tmp_path), {}, [receipt])


# ── workers that outlive their run ──


FACTS = {"stage": "pack", "inputs": {}, "seed": 1}


def of_run(folder: Path, facts: dict[str, Any]) -> Job[None]:
    return Job(
        folder=str(folder), step="shards", step_digest=digest(facts), seed=1, config=None, facts_digest=digest(facts)
    )


def test_a_worker_of_an_older_recipe_overwrites_nothing(tmp_path: Path) -> None:
    old, new = of_run(tmp_path, FACTS), of_run(tmp_path, {**FACTS, "seed": 2})
    begin(str(tmp_path), FACTS)
    with pytest.raises(Failure, match="begun with another recipe"), Attempt(old, TASK) as late:
        begin(str(tmp_path), {**FACTS, "seed": 2})
        with Attempt(new, TASK) as attempt, attempt.file("shard", "00000.tar") as part:
            part.file.write(b"new")
        with late.file("shard", "00000.tar") as part:
            part.file.write(b"old")
    assert (tmp_path / "00000.tar").read_bytes() == b"new"
    assert new.done(TASK) and not old.done(TASK)
    with pytest.raises(Failure, match="begun with another recipe"), Attempt(old, TASK):
        pytest.fail("it has no business here")
    assert new.done(TASK), "nor does it remove a receipt"


def test_a_worker_that_comes_after_the_end_writes_nothing(tmp_path: Path) -> None:
    job = of_run(tmp_path, FACTS)
    begin(str(tmp_path), FACTS)
    with Attempt(job, TASK):
        pass
    receipt = job.done(TASK)
    assert receipt is not None
    publish_manifest(str(tmp_path), FACTS, [receipt], b"{}")
    with pytest.raises(Failure, match="is complete"), Attempt(job, TASK):
        pytest.fail("nothing is left to do")
    assert job.done(TASK) == receipt


# ── what a task reads ──


def test_the_receipt_says_what_the_raw_files_held(tmp_path: Path) -> None:
    path = tmp_path / "a.warc"
    path.write_bytes(b"an archive")
    source = Source(str(path), digest_file(str(path)))
    with Attempt(job(tmp_path), TASK) as attempt, attempt.reading(source) as name:
        assert name == str(path)
    receipt = job(tmp_path).done(TASK)
    assert receipt is not None and receipt.read == {source.id: hashlib.sha256(b"an archive").hexdigest()}
    assert write_manifest(str(tmp_path), {}, [receipt]).facts["read"] == receipt.read


def test_a_part_that_is_not_what_its_name_says_is_found(tmp_path: Path) -> None:
    parts = {}
    for task in ("t", "u"):
        with Attempt(job(tmp_path), Task(task)) as attempt:
            attempt.rows(candidates(3, start=5 * (task == "u")), CANDIDATE)
        (parts[task],) = job(tmp_path).done(Task(task)).parts  # type: ignore[union-attr]
    shutil.copy(tmp_path / parts["u"].name, tmp_path / parts["t"].name)  # a whole table, of another task
    for read in (read_table, lambda *words: list(read_batches(*words))):
        with pytest.raises(Failure, match="is not as it was written"):
            read(str(tmp_path / parts["t"].name), CANDIDATE)
