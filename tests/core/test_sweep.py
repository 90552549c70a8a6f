"""How a run ends: its manifest, and what is then removed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import fsspec
import pytest

from core import runs
from core.errors import Failure, WorkToDo
from core.exclusive import exclusive
from core.files import is_local, join, publish, read_bytes, remove, remove_all
from core.manifest import missing_part, read_manifest, remove_manifest
from core.recipe import Recipe
from tests.core.stages import FACTS, RUN, files, finished, idle, put, task


def test_what_no_receipt_names_is_removed_and_nothing_else(folder: str) -> None:
    ours = ["_run.json", "_lock"]
    strays = ["candidate/old.parquet", "candidate/.tmp-1", "drop/a.parquet", "_receipts/candidates.c.json", "deep/er/x"]
    neighbours = [
        f"{folder}_copy/a",
        f"{folder.rsplit('/', 1)[0]}/2_filter/a",
        f"{folder.rsplit('/', 1)[0]}/1_crawl.txt",
    ]
    for name in [*ours, *strays]:
        put(folder, name)
    for path in neighbours:
        publish(path, b"x")
    receipts = finished(folder)
    books = {"_manifest.json", "_parts.parquet", "_receipts/candidates.a.json", "_receipts/candidates.b.json"}
    whole = {*ours, *books, "candidate/a.parquet", "candidate/b.parquet"}
    assert files(folder) == whole
    assert read_bytes(join(folder, "_run.json")) == RUN
    for path in neighbours:
        fs, inner = fsspec.core.url_to_fs(path)
        assert fs.cat_file(inner) == b"x", path
    remove_manifest(folder)
    manifest = runs.publish_manifest(folder, FACTS, receipts[:1], RUN)  # b's archive is no longer in the recipe
    assert missing_part(manifest) is None
    assert files(folder) == whole - {"candidate/b.parquet", "_receipts/candidates.b.json"}


def killed_before_its_sweep(folder: str) -> None:
    """A stage that is complete, and has not removed yet what is not of it."""
    finished(folder)
    runs_begun = {"basis": "x", "inputs": {}}
    put(folder, "_begun.json", json.dumps(runs_begun).encode())
    put(folder, "candidate/orphan.parquet")
    put(folder, "_leases/fetch.lane.00000001")


def test_nothing_to_do_finishes_the_sweep_of_a_killed_run(folder: str) -> None:
    killed_before_its_sweep(folder)
    with pytest.raises(WorkToDo):  # else `all` would pass it by
        runs.nothing_to_do(Recipe("r.toml", {}, check=True), folder, FACTS)
    assert "candidate/orphan.parquet" in files(folder)
    assert runs.nothing_to_do(Recipe("r.toml", {}), folder, FACTS)
    books = {"_manifest.json", "_parts.parquet", "_run.json"}
    receipts = {"_receipts/candidates.a.json", "_receipts/candidates.b.json"}
    left = {name for name in files(folder) if not name.startswith("_lock")}
    assert left == {*books, *receipts, "candidate/a.parquet", "candidate/b.parquet"}
    assert idle(folder)


def test_a_sweep_is_of_what_is_complete_now(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run, of another recipe, has the folder after the first look at it and before the lock is taken."""
    killed_before_its_sweep(folder)
    lock = exclusive

    def later(folder: str, name: str) -> Any:
        remove_manifest(folder)
        runs.publish_manifest(folder, {**FACTS, "seed": 2}, [task(folder, "c")], RUN)
        return lock(folder, name)

    monkeypatch.setattr(runs, "exclusive", later)
    with pytest.raises(Failure, match="made anew"):
        runs.nothing_to_do(Recipe("r.toml", {}), folder, FACTS)
    manifest = read_manifest(folder)
    assert manifest is not None and manifest.facts["seed"] == 2 and missing_part(manifest) is None


def test_the_mark_of_the_run_goes_last(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_before_its_sweep(folder)
    removed: list[str] = []

    def fail_in_the_middle(folder: str, names: list[str]) -> None:
        removed.extend(names)
        if not names:
            return
        remove_all(folder, names[:1])
        raise Failure("killed")

    monkeypatch.setattr(runs, "remove_all", fail_in_the_middle)
    with pytest.raises(Failure, match="killed"):
        runs.nothing_to_do(Recipe("r.toml", {}), folder, FACTS)
    monkeypatch.undo()
    assert len(removed) == 2 and "_begun.json" in files(folder)
    assert runs.nothing_to_do(Recipe("r.toml", {}), folder, FACTS)
    assert not {"_begun.json", *removed} & files(folder)


def test_stale_receipts_go_before_the_manifest_is_there(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    receipts = [task(folder, "a"), task(folder, "b")]

    def kill(*_: object) -> None:
        raise Failure("killed")

    monkeypatch.setattr(runs, "write_manifest", kill)
    with pytest.raises(Failure, match="killed"):
        runs.publish_manifest(folder, FACTS, receipts[:1], RUN)
    assert "_receipts/candidates.b.json" not in files(folder) and "candidate/b.parquet" in files(folder)


def test_a_part_that_went_away_is_no_complete_stage(folder: str) -> None:
    receipts = [task(folder, "a"), task(folder, "b")]
    remove(join(folder, "candidate/b.parquet"))
    with pytest.raises(Failure, match=r"candidate/b\.parquet went away"):
        runs.publish_manifest(folder, FACTS, receipts, RUN)
    assert "_manifest.json" not in files(folder)


def test_who_has_lost_the_folder_declares_nothing_complete(folder: str) -> None:
    receipts = [task(folder, "a")]
    put(folder, "candidate/of-another.parquet")

    def lost() -> None:
        raise Failure("taken over")

    with pytest.raises(Failure, match="taken over"):
        runs.publish_manifest(folder, FACTS, receipts, RUN, lost)
    assert not {"_manifest.json", "_parts.parquet"} & files(folder)
    said = iter([None, Failure("taken over")])

    def lost_meanwhile() -> None:
        if error := next(said):
            raise error

    with pytest.raises(Failure, match="taken over"):
        runs.publish_manifest(folder, FACTS, receipts, RUN, lost_meanwhile)
    assert "_manifest.json" not in files(folder) and "candidate/of-another.parquet" in files(folder)


@pytest.mark.parametrize("when", ["before it is written", "after it was written"])
def test_the_manifest_of_who_has_the_folder_now_stays(folder: str, when: str) -> None:
    """This run was stopped for longer than its lease lasts; another has begun meanwhile, and is done."""
    receipts = [task(folder, "a")]
    looks = iter([when == "before it is written", when == "after it was written"])

    def held() -> None:
        if next(looks):
            remove_manifest(folder)
            runs.publish_manifest(folder, {**FACTS, "seed": 2}, [task(folder, "b")], RUN)
            if when == "after it was written":
                raise Failure("taken over")

    if when == "before it is written" and is_local(folder):
        return  # a lock of the operating system is not lost while its holder is stopped
    with pytest.raises(Failure, match=r"taken over|was written by another run meanwhile"):
        runs.publish_manifest(folder, FACTS, receipts, RUN, held)
    manifest = read_manifest(folder)
    assert manifest is not None and manifest.facts["seed"] == 2 and missing_part(manifest) is None


def test_a_table_that_was_moved_to_another_disk_and_linked_stays(tmp_path: Path) -> None:
    folder, larger = tmp_path / "1_crawl", tmp_path / "larger"
    receipts = [task(str(folder), "a"), task(str(folder), "b")]
    shutil.move(folder / "candidate", larger)
    (folder / "candidate").symlink_to(larger)
    for left in ("c-0123456789abcdef.parquet", ".tmp-1", "thesis.txt"):
        (larger / left).write_bytes(b"x")
    with exclusive(str(folder), "crawl"):
        runs.publish_manifest(str(folder), FACTS, receipts, RUN)
    assert (folder / "candidate").is_symlink()
    assert sorted(path.name for path in larger.iterdir()) == ["a.parquet", "b.parquet", "thesis.txt"]
    assert idle(str(folder))


@pytest.mark.parametrize("target", ["..", "../2_filter", "../../photos"])
def test_what_a_link_leads_to_is_not_ours_to_remove(tmp_path: Path, target: str) -> None:
    folder = tmp_path / "out" / "1_crawl"
    receipts = [task(str(folder), "a"), task(str(folder), "b")]
    others = [tmp_path / name for name in ("out/2_filter/candidate/a-0123456789abcdef.parquet", "photos/me.jpg")]
    others += [tmp_path / name for name in ("out/2_filter/.tmp-1", "photos/.tmp-1", "out/report.html")]
    for path in others:
        publish(str(path), b"x")
    (folder / "elsewhere").symlink_to(target)
    with exclusive(str(folder), "crawl"):
        runs.publish_manifest(str(folder), FACTS, receipts, RUN)
    assert all(path.exists() for path in others)
    assert idle(str(folder)) and (folder / "elsewhere").is_symlink()


def test_a_link_beside_a_table_hides_nothing_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "1_crawl"
    receipts = [task(str(folder), "a"), task(str(folder), "b")]
    put(str(folder), "candidate/stray.parquet")
    for number in range(20):  # in whatever order the disk lists them
        (folder / f"link{number}").symlink_to("candidate")
    runs.publish_manifest(str(folder), FACTS, receipts, RUN)
    assert sorted(path.name for path in (folder / "candidate").iterdir()) == ["a.parquet", "b.parquet"]


def test_names_are_names(tmp_path: Path) -> None:
    """A folder called out[12] is not out1 and out2."""
    for root in (str(tmp_path), f"memory://names/{tmp_path.name}"):
        others = [put(f"{root}/out{i}", "_manifest.json") for i in (1, 2)]
        folder = f"{root}/out[12]"
        finished(folder)
        put(folder, "candidate/stray.parquet")
        put(folder, "candidate/stray?.parquet")
        remove_manifest(folder)
        runs.publish_manifest(folder, FACTS, [task(folder, "a")], RUN)
        remove_manifest(folder)
        for path in others:
            assert read_bytes(path) == b"x"
        assert {name for name in files(folder) if name.startswith("candidate/")} == {"candidate/a.parquet"}


def test_a_stage_that_does_not_add_up_removes_nothing(folder: str) -> None:
    receipt = task(folder, "a")
    put(folder, "candidate/stray.parquet")
    receipt.counts["pairs"]["kept"] = 0
    with pytest.raises(Failure, match="1 of 1 pairs are neither kept nor dropped"):
        runs.publish_manifest(folder, FACTS, [receipt], RUN)
    assert "candidate/stray.parquet" in files(folder) and "_manifest.json" not in files(folder)
