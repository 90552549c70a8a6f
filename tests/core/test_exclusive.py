"""One run at a time on a folder, whatever disk or store it is on."""

from __future__ import annotations

import errno
import fcntl
import shutil
from collections import namedtuple
from pathlib import Path
from tempfile import gettempdir

import pytest

from core import exclusive, runs
from core.errors import Failure
from core.exclusive import exclusive as one_run
from tests.core.stages import files, put


def test_one_run_at_a_time(tmp_path: Path) -> None:
    folder = str(tmp_path / "1_crawl")
    with one_run(folder, "crawl"):
        with pytest.raises(Failure) as error, one_run(folder, "crawl"):
            pytest.fail("two at once")
        assert str(error.value) == f"crawl is already running on {folder}: wait for it, or end it first"
        with one_run(str(tmp_path / "2_filter"), "filter"):
            pass
    with one_run(folder, "crawl"):
        pass


def test_a_run_that_failed_leaves_no_lock(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="in the middle"), one_run(str(tmp_path), "crawl"):
        raise Failure("in the middle")
    with one_run(str(tmp_path), "crawl"):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_has_a_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """NFS without a lock manager."""

    def flock(*_: object) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(exclusive, "SILENCE", 0.5)
    folder = str(tmp_path)
    with one_run(folder, "crawl") as held:
        held()
        with pytest.raises(Failure, match="held by a process that is alive"), one_run(folder, "crawl"):
            pytest.fail("two at once")
    with one_run(folder, "crawl"):
        pass


def test_what_a_killed_run_left_half_written_is_removed(tmp_path: Path) -> None:
    folder = str(tmp_path)
    put(folder, "candidate/a.parquet")
    (tmp_path / "candidate" / ".tmp-1").write_text("half")
    (tmp_path / ".tmp-2").write_text("half")
    with one_run(folder, "crawl"):
        assert files(folder) == {"candidate/a.parquet", "_lock"}


def test_a_refused_run_takes_nothing_from_the_one_that_runs(tmp_path: Path) -> None:
    with one_run(str(tmp_path), "crawl"):
        (tmp_path / ".tmp-1").write_text("being written")
        with pytest.raises(Failure), one_run(str(tmp_path), "crawl"):
            pass
        assert (tmp_path / ".tmp-1").read_text() == "being written"


@pytest.mark.parametrize(("room", "least"), [(0, 256), (1 << 30, 1280)])
def test_too_little_room_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, least: int
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12, (least << 20) - 1))
    with pytest.raises(Failure) as error, one_run(str(tmp_path), "crawl", room):
        pytest.fail("it started")
    assert str(error.value) == (
        f"only {least - 1} MiB are free on the disk of {tmp_path}: free some ({least} MiB at the least), "
        "or move the recipe's run.out"
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 0, least << 20))
    with one_run(str(tmp_path), "crawl", room):
        pass


def test_a_store_is_written_by_way_of_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12, 255 << 20))
    remedy = rf"255 MiB are free on the disk of {gettempdir()}: .*, or set TMPDIR to a folder of another disk$"
    with pytest.raises(Failure, match=remedy), one_run(f"memory://runs/{tmp_path.name}", "crawl"):
        pytest.fail("it started")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(Failure, match=r"cannot write .*/file/1_crawl \(Not a directory\): make it writable, or move"),
        one_run(str(tmp_path / "file" / "1_crawl"), "crawl"),
    ):
        pytest.fail("it started")


def test_an_object_store_has_a_lease_for_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = f"memory://runs/{tmp_path.name}"
    monkeypatch.setattr(exclusive, "SILENCE", 0.5)
    with (
        one_run(folder, "crawl"),
        pytest.raises(Failure, match="alive: wait for it"),
        one_run(folder, "crawl"),
    ):
        raise AssertionError("two runs of one stage")
    with one_run(folder, "crawl"):
        pass
    runs.publish_manifest(folder, {"stage": "crawl"}, [], b"{}")
    assert files(folder) == {"_manifest.json", "_parts.parquet", "_run.json", "_lock.00000001", "_lock.00000002"}


@pytest.mark.parametrize("what", ["_lock", "the folder"])
def test_who_removes_the_lock_lets_the_next_run_begin_and_the_first_one_knows(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "1_crawl"
    with one_run(str(folder), "crawl") as held:
        held()
        if what == "_lock":
            (folder / what).unlink()
        else:
            shutil.rmtree(folder)
        with pytest.raises(Failure, match="_lock was removed while this run held it"):
            held()
        with one_run(str(folder), "crawl") as second:
            second()
            with pytest.raises(Failure, match="was removed"):
                held()
