import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import core.manifest
from core.errors import Failure
from core.files import create, join, publish, read_many, to_json
from core.manifest import (
    SCHEMA_VERSION,
    Counts,
    Part,
    Receipt,
    add_up,
    balance,
    missing_part,
    read_manifest,
    read_receipts,
    receipt_path,
    remove_manifest,
    write_manifest,
    write_receipt,
)


def part(folder: str, table: str, task: str, name: str, body: bytes) -> Part:
    publish(join(folder, name), body)
    return Part(table, task, name, rows=len(body), bytes=len(body), sha256=hashlib.sha256(body).hexdigest())


def count(n: int, kept: int, **dropped: int) -> dict[str, Any]:
    return {"in": n, "kept": kept, "dropped": dropped}


@pytest.fixture
def receipts(folder: str) -> list[Receipt]:
    return [
        Receipt(
            "read",
            task,
            "basis",
            (
                part(folder, "rows", task, f"rows/{task}", task.encode()),
                part(folder, "drop", task, f"drop/{task}", b""),
            ),
            {"rows": count(10, 7, short=2, long=1)},
            {"truncated": 1},
        )
        for task in ("b", "a")
    ]


# ── receipts ──


def test_a_task_is_done_when_its_receipt_is_there(folder: str, receipts: list[Receipt]) -> None:
    assert read_receipts(folder, "read", ["a"]) == {}
    for receipt in receipts:
        write_receipt(folder, receipt)
    assert read_receipts(folder, "read", ["a", "b", "c"]) == {"a": receipts[1], "b": receipts[0]}
    assert read_receipts(folder, "read", ["c"]) == {}
    assert read_receipts(folder, "write", ["a"]) == {}


def test_an_empty_receipt_is_none(folder: str) -> None:
    publish(receipt_path(folder, "read", "a"), b"")  # the disk lost its bytes when the power failed
    assert read_receipts(folder, "read", ["a"]) == {}


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"parts": [{}]}', b'{"parts": 3}', b"\xff"])
def test_a_damaged_receipt_is_a_failure_that_names_it(folder: str, body: bytes) -> None:
    publish(receipt_path(folder, "read", "a"), body)
    with pytest.raises(Failure, match=r"read\.a\.json is damaged .*: remove it"):
        read_receipts(folder, "read", ["a"])


# ── counts ──


def test_counts_and_notes_add_up_by_unit_and_reason(receipts: list[Receipt]) -> None:
    third = Receipt("other", "a", "", (), {"rows": count(3, 2, short=1), "images": count(5, 5)}, {"slow": 2})
    counts, notes = add_up([*receipts, third])
    assert counts == {"rows": count(23, 16, short=5, long=2), "images": count(5, 5)}
    assert notes == {"truncated": 2, "slow": 2}


COUNT = st.builds(
    lambda kept, dropped: {"in": kept + sum(dropped.values()), "kept": kept, "dropped": dropped},
    st.integers(0, 99),
    st.dictionaries(st.sampled_from(["short", "long", "ugly"]), st.integers(0, 99)),
)


@given(st.lists(st.dictionaries(st.sampled_from(["rows", "images"]), COUNT), max_size=5), st.integers(1, 9))
def test_balanced_receipts_balance_and_one_lost_row_is_told(counts: list[Counts], lost: int) -> None:
    receipts = [Receipt("s", str(i), "", (), one) for i, one in enumerate(counts)]
    total, _ = add_up(receipts)
    balance(total)
    for unit in total:
        total[unit]["in"] += lost
        with pytest.raises(Failure, match=f"^{lost} of {total[unit]['in']} {unit} are neither kept nor dropped"):
            balance(total)
        total[unit]["in"] -= lost


def test_rows_from_nowhere_are_told_too() -> None:
    with pytest.raises(Failure, match=r"^out/2_filter: 10 rows came in, and 11 are kept or dropped: this is a bug"):
        balance({"rows": count(10, 11)}, "out/2_filter")


# ── manifests ──


def test_a_manifest_lists_what_the_receipts_say(folder: str, receipts: list[Receipt]) -> None:
    assert read_manifest(folder) is None
    manifest = write_manifest(folder, {"stage": "filter", "config": {"min_words": 3}}, receipts)
    assert read_manifest(folder) == manifest
    assert [p.name for p in manifest.parts] == ["drop/a", "drop/b", "rows/a", "rows/b"]
    assert manifest.paths("rows") == [join(folder, "rows/a"), join(folder, "rows/b")]
    assert manifest.of("nothing") == []
    assert manifest.counts == {"rows": count(20, 14, short=4, long=2)}
    assert (manifest.facts["stage"], manifest.facts["notes"]) == ("filter", {"truncated": 2})
    assert missing_part(manifest) is None


def test_a_manifest_does_not_depend_on_the_order_of_receipts(folder: str, receipts: list[Receipt]) -> None:
    one = write_manifest(folder, {"stage": "filter"}, receipts)
    remove_manifest(folder)
    other = write_manifest(folder, {"stage": "filter"}, receipts[::-1])
    assert one.digest == other.digest


def test_a_manifest_depends_on_every_part_and_fact(folder: str, receipts: list[Receipt]) -> None:
    changed = replace(receipts[0], parts=(replace(receipts[0].parts[0], sha256="0" * 64),))
    digests = set()
    for stage, some in (
        ("filter", receipts),
        ("match", receipts),
        ("filter", [changed, receipts[1]]),
        ("filter", receipts[:1]),
    ):
        digests.add(write_manifest(folder, {"stage": stage}, some).digest)
        remove_manifest(folder)
    assert len(digests) == 4


def test_no_manifest_is_written_where_rows_are_lost(tmp_path: Path, receipts: list[Receipt]) -> None:
    lost = replace(receipts[0], counts={"rows": count(10, 7, short=2)})
    with pytest.raises(Failure, match=f"^{tmp_path}: 1 of 20 rows are neither kept nor dropped"):
        write_manifest(str(tmp_path), {"stage": "filter"}, [lost, receipts[1]])
    assert read_manifest(str(tmp_path)) is None


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'"parts_sha256"', b'{"parts_sha256": "0"}', b"\xff"])
def test_a_damaged_manifest_is_a_failure_that_names_it(folder: str, receipts: list[Receipt], body: bytes) -> None:
    write_manifest(folder, {"stage": "filter"}, receipts)
    publish(join(folder, "_manifest.json"), body)
    with pytest.raises(Failure, match=r"_manifest\.json is damaged or does not belong to its _parts\.parquet"):
        read_manifest(folder)


def test_a_manifest_beside_another_list_of_parts_is_a_failure(folder: str, receipts: list[Receipt]) -> None:
    write_manifest(folder, {"stage": "filter"}, receipts)
    publish(join(folder, "_parts.parquet"), b"PAR1")
    with pytest.raises(Failure, match="does not belong"):
        read_manifest(folder)


def test_a_stage_that_is_made_anew_between_two_requests_is_not_damaged(
    folder: str, receipts: list[Receipt], monkeypatch: pytest.MonkeyPatch
) -> None:
    def then_another_run(folder: str, names: Sequence[str]) -> list[bytes | None]:
        monkeypatch.undo()
        found = read_many(folder, names)
        remove_manifest(folder)
        write_manifest(folder, {"stage": "filter"}, receipts[:1])
        return found

    write_manifest(folder, {"stage": "filter"}, receipts)
    monkeypatch.setattr(core.manifest, "read_many", then_another_run)
    read = read_manifest(folder)
    assert read is not None and len(read.parts) == len(receipts[0].parts)


def test_a_manifest_of_another_version_is_named_whatever_else_it_says(folder: str, receipts: list[Receipt]) -> None:
    write_manifest(folder, {"stage": "filter"}, receipts)
    publish(join(folder, "_manifest.json"), to_json({"schema_version": SCHEMA_VERSION + 1, "parts": "elsewhere"}))
    with pytest.raises(Failure, match=r"_manifest\.json was written by another version of openwit"):
        read_manifest(folder)


@pytest.mark.parametrize("name", ["_manifest.json", "_parts.parquet"])
def test_what_cannot_be_read_is_not_damaged(tmp_path: Path, receipts: list[Receipt], name: str) -> None:
    write_manifest(str(tmp_path), {"stage": "filter"}, receipts)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to(name)  # a loop, which nobody can open
    with pytest.raises(Failure, match=rf"{name} cannot be read .*symbolic links.*then run the same command again"):
        read_manifest(str(tmp_path))


def test_a_manifest_that_is_removed_at_once_was_written_all_the_same(
    folder: str, receipts: list[Receipt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run begins: who wrote it learns of that from the lock."""
    for writer in (publish, create):

        def and_remove(path: str, data: bytes, write: Callable[[str, bytes], Any] = writer) -> Any:
            done = write(path, data)
            remove_manifest(folder)
            return done

        monkeypatch.setattr(f"core.manifest.{writer.__name__}", and_remove)
    assert [p.name for p in write_manifest(folder, {}, receipts).of("rows")] == ["rows/a", "rows/b"]


@pytest.mark.parametrize("damage", ["removed", "cut", "grown"])
def test_a_part_that_is_missing_or_has_another_size_is_named(tmp_path: Path, damage: str) -> None:
    folder = str(tmp_path)
    parts = tuple(part(folder, "rows", "a", f"rows/{name}", b"body") for name in ("a", "b", "c"))
    manifest = write_manifest(folder, {}, [Receipt("read", "a", "", parts, {})])
    assert missing_part(manifest) is None
    path = tmp_path / "rows" / "b"
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes({"cut": b"bod", "grown": b"body!"}[damage])
    assert missing_part(manifest) == "rows/b"


def test_the_manifest_is_written_last(folder: str, receipts: list[Receipt], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, data: bytes) -> None:
        raise InterruptedError(path)

    monkeypatch.setattr("core.manifest.publish", refuse)
    monkeypatch.setattr("core.manifest.create", refuse)
    with pytest.raises(InterruptedError, match=r"_manifest\.json"):
        write_manifest(folder, {"stage": "filter"}, receipts)
    assert read_manifest(folder) is None


def test_a_receipt_on_disk_is_plain_json(tmp_path: Path, receipts: list[Receipt]) -> None:
    write_receipt(str(tmp_path), receipts[0])
    raw = (tmp_path / "_receipts" / "read.b.json").read_bytes()
    assert raw == to_json({"schema_version": SCHEMA_VERSION, **asdict(receipts[0])})
    assert json.loads(raw)["parts"][0]["table"] == "rows"
